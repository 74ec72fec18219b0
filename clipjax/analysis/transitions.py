"""Which class each image had under one design and has under another, counted by group.

Every question about two designs (how often is a set answered, which classes moved, whose answers changed) is a sum of
these counts: after one pass over the images, further questions cost nothing that grows with their number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from clipjax.analysis import rates
from clipjax.analysis.findings import Move


def width(found: rates.Cells) -> int:
    """How many columns a grouping has; 0 where it has no groups."""
    return len(next(iter(found.groups), {}))


@dataclasses.dataclass(frozen=True, eq=False)
class Transitions:
    """`names_a` [D] and `names_b` [D]: the pairs of classes (under A, under B) that occur; `a` and `b` [D]: the same as
    indices of each design's classes. `counts[i]` [G, D]: images of each group of `cells[i]` with each pair.
    """

    names_a: np.ndarray
    names_b: np.ndarray
    a: np.ndarray
    b: np.ndarray
    cells: Sequence[rates.Cells]
    counts: Sequence[np.ndarray]

    @staticmethod
    def of(
        names_a: Sequence[str], a: np.ndarray, names_b: Sequence[str], b: np.ndarray, cells: Sequence[rates.Cells]
    ) -> Transitions:
        """Class indices [N] under both designs, whose classes are `names_a` and `names_b`."""
        code = a.astype(np.int64) * len(names_b) + b
        occurring = np.flatnonzero(np.bincount(code, minlength=len(names_a) * len(names_b)))
        place = np.zeros(len(names_a) * len(names_b), np.int64)
        place[occurring] = np.arange(len(occurring))
        pair = place[code]
        counts = [rates.counts(pair, found, len(occurring)) for found in cells]
        own_a, own_b = np.divmod(occurring, len(names_b))
        named_a, named_b = (np.array(names, object)[own] for names, own in ((names_a, own_a), (names_b, own_b)))
        return Transitions(named_a, named_b, own_a, own_b, cells, counts)

    @property
    def changed(self) -> np.ndarray:
        """bool [D]: the pairs of two different classes."""
        return self.names_a != self.names_b

    def tallies(self, inside_a: np.ndarray, inside_b: np.ndarray, most_columns: int = 2) -> np.ndarray:
        """bool [Q, D] twice: whether each pair's class answers each question with yes under A and under B.

        Counts [4, T]: both, only A, only B, neither; for each of `cells` (of at most so many columns) and question, its
        groups.
        """
        sides = [kind.astype(np.float64) for kind in (inside_a, inside_b, inside_a & inside_b)]
        out = []
        for found, counts in zip(self.cells, self.counts, strict=True):
            if width(found) <= most_columns:
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
        for found, counts in zip(self.cells, self.counts, strict=True):
            if group in found.groups:
                return counts[found.groups.index(dict(group))]
        raise KeyError(group)
