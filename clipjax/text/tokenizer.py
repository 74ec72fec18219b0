"""OpenAI's CLIP tokenizer: the same ids for every string, at several times the speed.

The reference is `clip.tokenize` of openai/CLIP (commit d05afc4): mend the text (ftfy, HTML entities), collapse
white space, lower-case, cut it into words with a regular expression, merge byte pairs in each word. Ids of
unusual text depend on the installed ftfy and regex (newer Unicode), here as there.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import chain, pairwise
from typing import Literal, get_args

import numpy as np
import regex

from clipjax.errors import InputError
from clipjax.text.cleaning import mended
from clipjax.text.vocabulary import (
    BYTE_IDS,
    END,
    END_OF_WORD,
    SPECIAL_TOKENS,
    START,
    merged_ids,
    symbol_bytes,
)

SpecialTokens = Literal["openai", "text"]

_CACHED_PIECES = 1 << 16
_LONGEST_CACHED = 64  # characters: with _CACHED_PIECES this bounds the memory of the caches
_SHOWN = 60  # characters of a text shown in an error
_GONE = -1  # in place of a symbol that has become part of the one before it

# IGNORECASE acts on lower-cased text here, yet it is not idle: 'ſ (long s) counts as 's, and U+0345, whose
# capital is a letter, fits neither the letters nor the rest: it is dropped, the one character that is.
_WORD = r"'(?:s|t|re|ve|m|ll|d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_WORDS = regex.compile(_WORD, regex.IGNORECASE)
_WORDS_OR_SPECIAL = regex.compile(r"<\|startoftext\|>|<\|endoftext\|>|" + _WORD, regex.IGNORECASE)
_SPACES = regex.compile(r"\s+")


def tokenize(
    texts: str | Sequence[str],
    context_length: int = 77,
    truncate: bool = False,
    special_tokens: SpecialTokens = "openai",
) -> np.ndarray:
    """Token ids as OpenAI's `clip.tokenize` gives them.

    Args:
      texts: one text or several; one text gives one row.
      context_length: T, the number of ids the model's text encoder takes (77 in every model OpenAI released).
      truncate: cut a text that is too long to its first T - 1 ids and the end of text, instead of raising.
      special_tokens: what a literal `<|startoftext|>` or `<|endoftext|>` inside a text becomes. "openai": that
        special token, in any case and even when written with HTML entities. As CLIP reads its features at the
        first end of text, such a text is then cut short there. "text": ordinary characters, so that nothing in
        a text can end it. All other texts get the same ids either way.

    Returns:
      int32 [B, T]: start of text (49406), the text, end of text (49407), zeros.

    Raises:
      InputError: (a ValueError) a text is too long and `truncate` is off, or is not a string.
    """
    texts = as_list(texts)
    ids, lengths = tokenize_with_lengths(texts, context_length, special_tokens)
    if not truncate:
        check_lengths(texts, lengths, context_length)
    return ids


def check_lengths(texts: Sequence[str], lengths: np.ndarray, context_length: int) -> None:
    """InputError for the first text that has more tokens, lengths int [B], than the model reads."""
    too_long = np.flatnonzero(lengths > context_length)
    if too_long.size:
        first = int(too_long[0])
        others = f" (and {too_long.size - 1} more too long)" if too_long.size > 1 else ""
        raise InputError(
            f"texts[{first}] {_shortened(texts[first])} has {lengths[first]} tokens, start and end included, more "
            f"than the context length {context_length}{others}: shorten it or pass truncate=True"
        )


def tokenize_with_lengths(
    texts: str | Sequence[str], context_length: int = 77, special_tokens: SpecialTokens = "openai"
) -> tuple[np.ndarray, np.ndarray]:
    """`tokenize(..., truncate=True)`, and the token count of each text before it was cut.

    Returns:
      ids int32 [B, T], lengths int32 [B] with start and end of text. `(lengths > T).sum()` texts were cut.
    """
    if context_length < 2:
        raise InputError(f"context_length {context_length} has no room for start and end of text: pass 2 or more")
    rows = [[START, *encode(text, special_tokens), END] for text in as_list(texts)]
    lengths = np.array([len(row) for row in rows], dtype=np.int32)
    for row in rows:
        if len(row) > context_length:
            row[context_length - 1 :] = [END]
    ids = np.zeros((len(rows), context_length), dtype=np.int32)
    filled = np.arange(context_length) < lengths[:, None]
    ids[filled] = np.fromiter(chain.from_iterable(rows), dtype=np.int32)
    return ids, lengths


def encode(text: str, special_tokens: SpecialTokens = "openai") -> list[int]:
    """The ids of one text of any length, without start and end of text (OpenAI's `SimpleTokenizer.encode`)."""
    if not isinstance(text, str):
        raise InputError(f"text is {type(text).__name__}, not a string: {_shortened(text)}")
    piece_ids = _PIECE_IDS.get(special_tokens)
    if piece_ids is None:
        names = " or ".join(repr(name) for name in get_args(SpecialTokens))
        raise InputError(f"special_tokens {special_tokens!r} is unknown: pass {names}")
    ids: list[int] = []
    for piece in _pieces(text):
        ids += piece_ids(piece) if len(piece) <= _LONGEST_CACHED else piece_ids.__wrapped__(piece)
    return ids


def decode(ids: Iterable[int]) -> str:
    """The text of ids, as OpenAI's `SimpleTokenizer.decode`: lower case, a space after every word.

    Special tokens are spelled out and a padding zero is the id of "!": pass the ids between start and end.
    """
    symbols = symbol_bytes()
    ids = list(ids)
    for position, i in enumerate(ids):
        if not 0 <= i < len(symbols):
            raise InputError(f"ids[{position}] is {i}: no such token, ids are 0 to {len(symbols) - 1}")
    # The end of a word is replaced last, as OpenAI does: bytes that are not UTF-8 must not swallow it.
    return b"".join([symbols[i] for i in ids]).decode("utf-8", errors="replace").replace("</w>", " ")


def as_list(texts: str | Sequence[str]) -> list[str]:
    """One text or several as a list. InputError for anything that is not a string."""
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise InputError(f"texts is {type(texts).__name__}, not a string or a sequence of strings")
    texts = list(texts)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"texts[{position}] is {type(text).__name__}, not a string: {_shortened(text)}")
    return texts


def _shortened(value: object) -> str:
    """A text or some other value on one line, cut to _SHOWN characters."""
    if isinstance(value, str):
        return repr(value[:_SHOWN]) + ("..." if len(value) > _SHOWN else "")
    shown = " ".join(repr(value).split())
    return shown[:_SHOWN] + ("..." if len(shown) > _SHOWN else "")


def _pieces(text: str) -> list[str]:
    """The text mended, lower-cased and split at spaces; no word of the regular expression spans two pieces."""
    # Lower-cased in one go: a capital sigma depends on its neighbours.
    return [piece for piece in _SPACES.split(mended(text).lower()) if piece]


@lru_cache(_CACHED_PIECES)
def _piece_ids_openai(piece: str) -> tuple[int, ...]:
    return _ids_of_words(_WORDS_OR_SPECIAL.findall(piece))


@lru_cache(_CACHED_PIECES)
def _piece_ids_text(piece: str) -> tuple[int, ...]:
    # No merge reaches the ids of the special tokens, so none can come out of here.
    return _ids_of_words(_WORDS.findall(piece))


_PIECE_IDS = {"openai": _piece_ids_openai, "text": _piece_ids_text}


def _ids_of_words(words: list[str]) -> tuple[int, ...]:
    ids: list[int] = []
    for word in words:
        if word in SPECIAL_TOKENS:
            ids.append(SPECIAL_TOKENS[word])
        else:
            ids += _merge(word.encode("utf-8"))
    return tuple(ids)


def _merge(word: bytes) -> list[int]:
    """The ids of one word: byte pairs merged in order of rank, in O(n log n) steps for n bytes.

    OpenAI's loop merges every occurrence of the best pair, left to right, and then looks for the next best
    pair in the whole word: quadratic. Here a heap holds the pairs by rank and place, and symbols are linked to
    their neighbours. The order is the same, as a symbol only takes part in merges that rank after its own.
    """
    merged = merged_ids()
    n = len(word)
    symbols = [BYTE_IDS[byte] for byte in word]
    symbols[-1] += END_OF_WORD
    symbols.append(_GONE)  # lies beyond both ends: at n, which is -1 too
    before = list(range(-1, n))
    after = [*range(1, n + 1), n]
    heap = [(merged[pair], i) for i, pair in enumerate(pairwise(symbols)) if pair in merged]
    heapify(heap)
    while heap:
        best, i = heappop(heap)
        j = after[i]
        if merged.get((symbols[i], symbols[j])) != best:
            continue  # one of the two has become part of another symbol
        symbols[i], symbols[j] = best, _GONE
        after[i] = after[j]
        before[after[j]] = i
        for left in (before[i], i):
            new = merged.get((symbols[left], symbols[after[left]]))
            if new is not None:
                heappush(heap, (new, left))
    return [symbol for symbol in symbols if symbol != _GONE]
