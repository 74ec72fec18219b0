"""What is done to a text before it becomes tokens: the rules of families, by the names that configurations store."""

import html
import string
import unicodedata
from itertools import groupby

import regex

LONG = 10_000  # characters from which a text's worst case is checked first
_MARKS = regex.compile(r"\p{M}{2,}")
_PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII only


def mended(text: str) -> str:
    """ftfy, HTML entities twice, no white space at the ends: what OpenAI's and open_clip's tokenizers begin with."""
    # Neither ftfy nor html touches printable ASCII without "&", and ftfy is nine tenths of OpenAI's time.
    if text.isascii() and text.isprintable() and "&" not in text:
        return text.strip()
    import ftfy  # 45 ms that an English prompt need not wait for

    if len(text) > LONG:
        text = _MARKS.sub(_in_canonical_order, text)
    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def clean(text: str, rule: str) -> str:
    """A text by one of the rules that `clipjax.models.inputs.Tokens` names.

    "whitespace" and "canonicalize" are open_clip's (of CLIPA and MetaCLIP 2, and of SigLIP), "remove_punctuation" and
    "lower" those of transformers' SigLIP and SigLIP 2, "openai" that of CLIP.
    """
    if rule == "none":
        return text
    if rule == "lower":  # character by character, as in Rust: a capital sigma does not depend on its neighbours
        return "".join(character.lower() for character in text)
    if rule == "remove_punctuation":
        return _spaced(text.lower().translate(_PUNCTUATION))
    text = mended(text)
    if rule == "whitespace":
        return _spaced(text)
    if rule == "canonicalize":
        return _spaced(text.replace("_", " ").translate(_PUNCTUATION).lower())
    assert rule == "openai", rule
    return _spaced(text.lower())


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _in_canonical_order(marks: regex.Match) -> str:
    """A run of combining marks as Unicode normalisation will order it.

    ftfy normalises with `unicodedata`, whose insertion sort is quadratic: minutes for a megabyte of marks in
    the wrong order, milliseconds once they are in the right one. The outcome is the same.
    """
    ordered: list[str] = []
    for _, group in groupby(marks[0], key=lambda mark: unicodedata.combining(mark) == 0):
        ordered += sorted(group, key=unicodedata.combining)  # stable: marks of class 0 keep their order
    return "".join(ordered)
