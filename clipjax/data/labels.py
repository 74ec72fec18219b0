"""Labels and the names that they index: one object, and the only way from a source's labels to the classes asked.

Labels of one data set are numbers into a list that is somewhere else (a folder listing, a file beside the shards, a
config), and an index into one list used with another gives wrong numbers without a sign of it (openai/CLIP#346,
wise-ft#25). So nothing else in clipjax indexes a list of classes with a source's labels: `Labels.align` gives the
labels in the order of the classes that are asked.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from clipjax.classes import WORDNET_ID, Naming, numbers, positions
from clipjax.errors import InputError, brief, nearest, some
from clipjax.progress import say

Value = str | None | tuple[str, ...]

IMAGENET = "the shipped list of ImageNet's classes"
_ONE = r"""\s*("(\\.|[^"\\])*"|'(\\.|[^'\\])*'|-?[0-9]+)\s*"""
_LIST = re.compile(rf"\[({_ONE}(,{_ONE})*)?\s*\]")
_WHOLE_AS_FLOAT = re.compile(r"(0|-?[1-9][0-9]{0,17})\.0")


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """What annotators said of N images.

    names: the classes [C], all different. One of the two columns is there:
    index: int64 [N] into `names`, -1 where an image has no label.
    present: bool [N, C], where an image may show several classes; no class is true where it has no label.
    ids: what the names are called in the data, in the same order, where it is something else ("0", "n02121808").
    source: where the names come from, for messages and the manifest; "" where they are the labels' own texts.
    """

    names: tuple[str, ...]
    index: np.ndarray | None = None
    present: np.ndarray | None = None
    ids: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        object.__setattr__(self, "ids", tuple(map(str, self.ids)) or self.names)
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise InputError(f"labels: class {twice!r} is named twice; two equal classes cannot be told apart")
        if self.index is not None:
            index = np.asarray(self.index)
            assert not index.size or index.dtype.kind in "iu", index.dtype
            object.__setattr__(self, "index", index.astype(np.int64, copy=False))
        if self.present is not None:
            object.__setattr__(self, "present", np.asarray(self.present, bool))

    def __len__(self) -> int:
        return len(self.column)

    @property
    def column(self) -> np.ndarray:
        """`index` or `present`, whichever there is."""
        column = self.index if self.index is not None else self.present
        assert column is not None
        return column

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self.present is not None

    @functools.cached_property
    def known(self) -> np.ndarray:
        """bool [N]: the images that have a label."""
        return np.asarray(self.index >= 0 if self.index is not None else self.column.any(1))

    def check(self, n: int, where: str, files: Sequence[str] | np.ndarray) -> None:
        """InputError where there are not N labels, or one is outside the list of names."""
        if len(self) != n:
            raise InputError(f"{where}: {len(self)} labels for {n} files")
        if self.present is not None:
            assert self.present.shape == (n, len(self.names)), self.present.shape
            return
        wrong = np.flatnonzero((self.column < -1) | (self.column >= len(self.names)))
        if len(wrong):
            row = wrong[0]
            raise InputError(
                f"{where}: label {self.column[row]} (row {row}, {files[row]}) is outside the class list of "
                f"{len(self.names)} (0 to {len(self.names) - 1}); correct the labels or the class list"
            )

    def select(self, rows: np.ndarray | slice) -> Labels:
        """The labels of these rows, in this order."""
        index = None if self.index is None else self.index[rows]
        present = None if self.present is None else self.present[rows]
        return dataclasses.replace(self, index=index, present=present)

    def renamed(self, naming: Naming, where: str) -> Labels:
        """The same labels called as `naming` says of their ids: two of one name are one class, one without is none."""
        names = naming.names(self.ids, where)
        distinct = tuple(dict.fromkeys(name for name in names if name))
        kept = tuple(own for own, name in zip(self.ids, names, strict=True) if name)
        order = [distinct.index(name) if name else -1 for name in names]
        ids = kept if len(kept) == len(distinct) else distinct
        return dataclasses.replace(self._moved(order, distinct), ids=ids, source=naming.source)

    def _moved(self, order: Sequence[int], names: tuple[str, ...]) -> Labels:
        """The labels as positions in other names: class c becomes `order[c]`, or no label where that is -1."""
        places = np.array([*order, -1], np.int64)
        if self.index is not None:
            return dataclasses.replace(self, names=names, index=places[self.index], ids=())
        present = np.zeros((len(self), len(names)), bool)
        for c in self._used(lambda c: places[c] >= 0):
            present[:, places[c]] |= self.column[:, c]
        return dataclasses.replace(self, names=names, present=present, ids=())

    def texts(self) -> np.ndarray:
        """Class names, object [N]: "" without a label, several joined by "|"."""
        names = np.array([*self.names, ""], object)
        if self.index is not None:
            return names[self.index]
        return np.array(["|".join(names[:-1][row]) for row in self.column], object)

    def members(self) -> list[tuple[str, ...]]:
        """The names of each image's labels, () without one."""
        if self.index is not None:
            return [(self.names[c],) if c >= 0 else () for c in self.index.tolist()]
        return [tuple(self.names[c] for c in np.flatnonzero(row)) for row in self.column]

    def align(self, asked: Sequence[str], where: str) -> Labels:
        """The same labels as indices into the classes that are asked.

        By name where any name is asked. Bare numbers are positions in the list, and WordNet ids positions in their
        sorted list, where the list has exactly as many classes as the labels. InputError for a label that is not asked.
        """
        asked = tuple(asked)
        place = {unicodedata.normalize("NFC", name): i for i, name in enumerate(asked)}
        if place.keys() & set(self.names):
            new, outside = (
                [place.get(name, -1) for name in self.names],
                self._used(lambda c: self.names[c] not in place),
            )
        elif (places := self._positions(len(asked), where)) is not None:
            new, outside = list(places), []
            taken = [f"{own} = {asked[place]}" for own, place in zip(self.ids, places, strict=True)]
            say(f"note: {where}: classes are taken by position: {some(taken, 4)}")
        else:
            raise self._refusal(asked, where)
        if outside:
            near = nearest(self.names[outside[0]], asked)
            raise InputError(
                f"{where}: label {self.names[outside[0]]!r} is not among the {len(asked)} classes asked{near}"
                + (f" (nor are {some([repr(self.names[c]) for c in outside[1:]], 3)})" if len(outside) > 1 else "")
                + "; add it to the classes, or say which class it is: --config.data.class_names="
                f"{shell_word(f'{self.names[outside[0]]}=CLASS')}"
            )
        return self._moved(new, asked)

    def _used(self, keep: Callable[[int], bool] = lambda c: True) -> list[int]:
        """The classes that any image has, of those that `keep` says."""
        if self.present is not None:
            used = np.flatnonzero(self.present.any(0))
        else:
            used = np.unique(self.column[self.column >= 0])
        return [int(c) for c in used if keep(int(c))]

    def _positions(self, count: int, where: str) -> tuple[int, ...] | None:
        """Where a list of `count` names by position has each class; None where these labels are not positions in it.

        Named labels are never positions; WordNet ids are, in sorted order.
        """
        if self.names != self.ids and self.source != IMAGENET:
            return None
        if (given := numbers(self.ids)) is not None:
            low, high = min(given), max(given)
            return (
                positions(self.ids, count, "the classes asked", where)
                if count in (high, high + 1) and low >= 0
                else None
            )
        if count == len(self.ids) and all(map(WORDNET_ID.fullmatch, self.ids)):
            order = sorted(self.ids)
            return tuple(order.index(name) for name in self.ids)
        return None

    def _refusal(self, asked: tuple[str, ...], where: str) -> InputError:
        given = numbers(self.ids)
        if given is not None and self.names == self.ids:
            low, high = min(given), max(given)
            several = [f"{name}=NAME" for name in self.ids if not name.startswith("-")][:2]
            without = [f"{name}=" for name in self.ids if name.startswith("-")][:1]
            return InputError(
                f"{where}: labels are numbers from {low} to {high}, and {len(asked)} classes are asked: a list by "
                f"position has {high + 1} names, counted from 0; say which is which: "
                f'--config.data.class_names="{",".join([*without, *several])},..."'
                + (f" ({without[0]} where {without[0][:-1]} means no label)" if without else "")
            )
        return InputError(
            f"{where}: none of its {len(self.names)} labels ({some([repr(name) for name in self.names], 3)}) is among "
            f"the {len(asked)} classes asked ({some([repr(name) for name in asked], 3)}); say which is which: "
            "--config.data.class_names=FILE, one OLD=NEW a line"
        )


def read(
    values: Sequence[Value] | np.ndarray, where: str, declared: Sequence[str] | None = None, separator: str = "|"
) -> Labels:
    """A column of label values -> labels under their own texts (`Labels.renamed` gives them other names).

    values: str, None for a missing label, or a tuple of str; a text with the separator in it is several labels.
    declared: the classes of the data set itself in order (a ClassLabel feature), also those that do not occur.
    """
    cells = _split(list(values), where, separator)
    rows = [_members(cell) for cell in cells]
    if all(_WHOLE_AS_FLOAT.fullmatch(text) for row in rows for text in row):  # a float column of whole numbers
        rows = [tuple(text.removesuffix(".0") for text in row) for row in rows]
    names = _sorted({text for row in rows for text in row}) if declared is None else _members(tuple(declared))
    names = tuple(dict.fromkeys(names))
    if not names:
        raise InputError(f"{where}: no image has a label; name another label column, or none")
    place = {name: i for i, name in enumerate(names)}
    if unknown := next(((row, text) for row, texts in enumerate(rows) for text in texts if text not in place), None):
        row, text = unknown
        raise InputError(
            f"{where}: row {row} has the label {brief(text)!r}, not among its {len(names)} classes"
            f"{nearest(text, names)}; correct the table or the class list"
        )
    if any(isinstance(cell, tuple) for cell in cells):
        present = np.zeros((len(rows), len(names)), bool)
        for row, texts in enumerate(rows):
            present[row, [place[text] for text in texts]] = True
        return Labels(names, present=present)
    return Labels(names, np.fromiter((place[row[0]] if row else -1 for row in rows), np.int64, len(rows)))


def is_numbers(names: Sequence[str]) -> bool:
    """Whether every name is a bare whole number (`classes.numbers`)."""
    return numbers(names) is not None


def shell_word(text: str) -> str:
    """A word of a command line, quoted where a shell would take it apart."""
    return text if re.fullmatch(r"[\w.=/:+-][\w.,=/:+-]*", text) else '"' + text.replace('"', '\\"') + '"'


def _split(values: list[Value], where: str, separator: str) -> list[Value]:
    """Texts that are several labels as tuples: with the separator in them, or a list as JSON or Python writes it.

    An empty separator leaves every text whole. InputError for texts that are made of other labels in another way.
    """
    if not separator:
        return values
    cells = [_of_list(v, where) if isinstance(v, str) and v[:1] == "[" and v[-1:] == "]" else v for v in values]
    cells = [
        tuple(p.strip() for p in v.split(separator) if p.strip()) if isinstance(v, str) and separator in v else v
        for v in cells
    ]
    alone = {v.strip() for v in cells if isinstance(v, str)}
    for other in (",", ";"):
        for text in sorted(alone):
            parts = [part.strip() for part in text.split(other)]
            if len(parts) > 1 and alone.issuperset(parts):
                raise InputError(
                    f"{where}: {brief(text)!r} may be one label or several, as {brief(parts[0])!r} is a label too; say "
                    f"which: --config.data.label_separator={shell_word(other)} for several, "
                    "--config.data.label_separator= for one"
                )
    if not any(isinstance(v, tuple) for v in cells):
        return list(cells)
    return [(v.strip(),) if isinstance(v, str) else v for v in cells]


def _of_list(text: str, where: str) -> Value:
    """ "['cat', 'dog']" -> ("cat", "dog")."""
    if not _LIST.fullmatch(text):
        raise InputError(
            f'{where}: the label {brief(text)!r} looks like a list and is none; write it as ["cat", "dog"] or cat|dog, '
            "or take it as it is: --config.data.label_separator="
        )
    return tuple(str(one).strip() for one in ast.literal_eval(text))


def _members(value: Value) -> tuple[str, ...]:
    texts = () if value is None else value if isinstance(value, tuple) else (value,)
    clean = (unicodedata.normalize("NFC", text).strip() for text in texts)
    return tuple(text for text in clean if text)


def _sorted(names: set[str]) -> tuple[str, ...]:
    """Numbers by their value, texts by their characters."""
    return tuple(sorted(names, key=int)) if is_numbers(tuple(names)) else tuple(sorted(names))
