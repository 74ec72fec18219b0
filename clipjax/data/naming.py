"""What the labels of a source are called, where the source itself says only "0" or "n02121808".

In this order: what the user says (`data.class_names`), a list beside the data, the shipped list of ImageNet's classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from clipjax.classes import Naming, read_naming
from clipjax.data import info
from clipjax.data.labels import IMAGENET, WORDNET_ID, Labels, Value, is_numbers, read, shell_word
from clipjax.errors import InputError, some
from clipjax.progress import say

BESIDE = ("classnames.txt", "class_names.txt", "classes.txt", "classes.json", "labels.txt")


def labels(
    values: Sequence[Value] | np.ndarray,
    where: str,
    given: str,
    places: Sequence[Path] = (),
    declared: Sequence[str] | None = None,
    separator: str = "",
) -> Labels:
    """A column of label values -> labels with their names (`labels.read`, `find`)."""
    own = read(values, where, declared, separator)
    naming = find(given, own.ids, places, where)
    return own.renamed(naming, where) if naming else own


def find(given: str, ids: Sequence[str], places: Sequence[Path], where: str) -> Naming | None:
    """What labels called `ids` are called; None where that is all that is known.

    given: `data.class_names`. places: folders where a list may lie. A list beside the data that does not fit text
    labels is left aside with a note; one that is too short for numbers is an error.
    """
    if given:
        return _noted(read_naming(given), ids, where)
    if pairs := differ_in_case(ids):
        one, other = pairs[0]
        say(
            f"note: {where}: labels {one!r} and {other!r} differ in case only and are two classes"
            f"{f', and so are {len(pairs) - 1} more pairs' if pairs[1:] else ''}; for one class: "
            f"--config.data.class_names={shell_word(f'{one}={other}')}"
        )
    for place in places:
        for name in BESIDE:
            if not (place / name).is_file():
                continue
            naming = read_naming(str(place / name))
            try:
                named = naming.names(ids, where)
            except InputError as error:
                if is_numbers(ids):
                    raise InputError(f"{error}, in a list that you name: --config.data.class_names=FILE") from error
                say(f"note: {error}; {name} is not used")
                continue
            if named != tuple(ids):
                say(f"note: {where}: labels are named by {place / name}")
                return _noted(naming, ids, where)
            return None
    return imagenet(ids, where)


def differ_in_case(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of texts that are equal but for capitals, sorted."""
    first: dict[str, str] = {}
    return [(first[key], text) for text in sorted(set(texts)) if first.setdefault(key := text.casefold(), text) != text]


def _noted(naming: Naming, ids: Sequence[str], where: str) -> Naming:
    """Says which labels have one name, and are one class."""
    named = naming.names(ids, where)
    twice = [name for name, times in Counter(named).items() if times > 1]
    if twice:
        say(f"note: {where}: several labels are called {some([repr(name) for name in twice], 3)}: one class each")
    return naming


def imagenet(ids: Sequence[str], where: str) -> Naming | None:
    """Names of WordNet ids, where every label is one of ImageNet's 1,000."""
    if not ids or not all(map(WORDNET_ID.fullmatch, ids)):
        return None
    names = dict(zip(info.own_names("imagenet"), info.design("imagenet").names, strict=True))
    if not set(ids) <= names.keys():
        return None
    say(f"note: {where}: labels are WordNet ids, named by {IMAGENET}")
    return Naming(IMAGENET, mapping={name: names[name] for name in ids})
