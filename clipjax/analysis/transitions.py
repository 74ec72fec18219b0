"""Which class each image had under one design and has under another, counted by group.

Every question about two designs (how often is a set answered, which classes moved, whose answers changed) is a sum of
these counts: after one pass over the images, further questions cost nothing that grows with their number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from clipjax.analysis import rates
from clipjax.analysis.findings import Move
from clipjax.analysis.tallies import Tally

Groups = Sequence[dict[str, str]]  # of one grouping


def width(groups: Groups) -> int:
    """How many columns a grouping has; 0 where it has no groups."""
    return len(next(iter(groups), {}))


@dataclasses.dataclass(frozen=True, eq=False)
class Transitions:
    """`names_a` [D] and `names_b` [D]: the pairs of classes (under A, under B) that occur; `a` and `b` [D]: the same as
    indices of each design's classes. `counts[i]` [G, D]: images of each of `groups[i]` with each pair.
    """

    names_a: np.ndarray
    names_b: np.ndarray
    a: np.ndarray
    b: np.ndarray
    groups: Sequence[Groups]
    counts: Sequence[np.ndarray]

    @staticmethod
    def of(
        names_a: Sequence[str], a: np.ndarray, names_b: Sequence[str], b: np.ndarray, cells: Sequence[rates.Cells]
    ) -> Transitions:
        """Class indices [N] under both designs, whose classes are `names_a` and `names_b`."""
        code = a.astype(np.int64) * len(names_b) + b
        found, pair = rates.occurring(code, len(names_a) * len(names_b))
        counts = [rates.counts(pair, one, len(found)) for one in cells]
        own_a, own_b = np.divmod(found, len(names_b))
        named_a, named_b = (np.array(names, object)[own] for names, own in ((names_a, own_a), (names_b, own_b)))
        return Transitions(named_a, named_b, own_a, own_b, [one.groups for one in cells], counts)

    @staticmethod
    def of_names(a: np.ndarray, b: np.ndarray, cells: Sequence[rates.Cells]) -> Transitions:
        """Class names [N] under both designs."""
        given = [values.tolist() for values in (a, b)]
        place = {name: i for i, name in enumerate(sorted(set().union(*given)))}
        of_a, of_b = (np.fromiter(map(place.__getitem__, values), np.int64, len(values)) for values in given)
        return Transitions.of(list(place), of_a, list(place), of_b, cells)

    @property
    def changed(self) -> np.ndarray:
        """bool [D]: the pairs of two different classes."""
        return self.names_a != self.names_b

    @property
    def moved(self) -> int:
        """Images with different classes under A and B."""
        return int(self.counts[0][:, self.changed].sum())

    def of_columns(self, columns: Collection[str]) -> Transitions:
        """The same, counted by groups of these columns alone."""
        kept = [i for i, groups in enumerate(self.groups) if set(next(iter(groups), {})) <= set(columns)]
        groups, counts = ([values[i] for i in kept] for values in (self.groups, self.counts))
        return dataclasses.replace(self, groups=groups, counts=counts)

    def tallies(self, inside_a: np.ndarray, inside_b: np.ndarray, most_columns: int = 2) -> np.ndarray:
        """bool [Q, D] twice: whether each pair's class answers each question with yes under A and under B.

        Counts [4, T]: both, only A, only B, neither; for each of `groups` (of at most so many columns) every question,
        and of that each group.
        """
        sides = [kind.astype(np.float64) for kind in (inside_a, inside_b, inside_a & inside_b)]
        out = []
        for groups, counts in zip(self.groups, self.counts, strict=True):
            if width(groups) <= most_columns:
                images = counts.T.astype(np.float64)  # exact below 2**53
                a, b, both = (side @ images for side in sides)
                n = np.broadcast_to(images.sum(0), a.shape)
                out.append(np.stack([both, a - both, b - both, n - a - b + both]).reshape(4, -1))
        return np.concatenate(out, axis=1).astype(np.int64)

    def moves(self, group: Mapping[str, str] | None = None, name: str = "") -> list[Move]:
        """The moves between different classes, the commonest first: of a group of one column, out of or into a class;
        of all images and classes without them."""
        counts = self._of(group or {})
        wanted = self.changed & (counts > 0)
        if name:
            wanted &= (self.names_a == name) | (self.names_b == name)
        found = [(str(self.names_a[d]), str(self.names_b[d]), int(counts[d])) for d in np.flatnonzero(wanted)]
        return sorted(found, key=lambda move: (-move[2], move[0], move[1]))

    def _of(self, group: Mapping[str, str]) -> np.ndarray:
        """Images of a group with each pair [D]."""
        for groups, counts in zip(self.groups, self.counts, strict=True):
            if group in groups:
                return counts[list(groups).index(dict(group))]
        raise KeyError(group)


class Sum:
    """Transitions of parts of the images, added up; the parts may have other classes and groups of these groupings."""

    def __init__(self, groupings: Sequence[tuple[str, ...]]):
        self._groupings = groupings
        self._pairs: dict[tuple[str, str], int] = {}
        self._rows: list[dict[tuple[str, ...], int]] = [{} for _ in groupings]
        self._tables = [np.zeros((0, 0), np.int64) for _ in groupings]

    def add(self, part: Transitions) -> None:
        """Counts the images of one part."""
        pairs = zip(part.names_a.tolist(), part.names_b.tolist(), strict=True)
        columns = [self._pairs.setdefault(pair, len(self._pairs)) for pair in pairs]
        for i, (groups, counts) in enumerate(zip(part.groups, part.counts, strict=True)):
            known, before = self._rows[i], self._tables[i]
            rows = [known.setdefault(tuple(group.values()), len(known)) for group in groups]
            if before.shape != (len(known), len(self._pairs)):
                self._tables[i] = np.zeros((len(known), len(self._pairs)), np.int64)
                self._tables[i][: before.shape[0], : before.shape[1]] = before
            self._tables[i][np.ix_(rows, columns)] += counts

    def total(self) -> Transitions:
        """Of all parts: pairs and groups are sorted, whatever the order of the parts."""
        pairs = sorted(self._pairs)
        order = [self._pairs[pair] for pair in pairs]
        place = {name: i for i, name in enumerate(sorted({name for pair in pairs for name in pair}))}
        names_a, names_b = (np.array([pair[side] for pair in pairs], object) for side in (0, 1))
        a, b = (np.array([place[pair[side]] for pair in pairs], np.int64) for side in (0, 1))
        tallied = [
            Tally(grouping, (len(pairs),), {values: table[row, order] for values, row in rows.items()})
            for grouping, rows, table in zip(self._groupings, self._rows, self._tables, strict=True)
        ]
        return Transitions(names_a, names_b, a, b, [one.groups for one in tallied], [one.table for one in tallied])
