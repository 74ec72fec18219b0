"""Counts that add up exactly: what units of work bring back, in whatever order and of whatever size.

Everything here is whole numbers of images, by group. Sums of floats are not: they depend on the order. A rate, its
interval and every comparison of groups are made of these counts after all have been added.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from clipjax.analysis.order import in_order
from clipjax.errors import InputError

MOST_CELLS = 5000


@dataclasses.dataclass(frozen=True, eq=False)
class Tally:
    """Whole numbers [...] of each group of one grouping: `counts` has int64 arrays of one shape by a group's values.

    A group without images has no entry. No entry at all: no image, or none that is in a group.
    """

    grouping: tuple[str, ...]
    shape: tuple[int, ...]
    counts: Mapping[tuple[str, ...], np.ndarray]

    @property
    def groups(self) -> list[dict[str, str]]:
        """The groups as `clipjax.analysis.order` has them; everybody is one group, also without images."""
        return [dict(zip(self.grouping, values, strict=True)) for values in self._values]

    @property
    def table(self) -> np.ndarray:
        """int64 [G, ...], in the order of `groups`."""
        found = [self.of(values) for values in self._values]
        return np.stack(found) if found else np.zeros((0, *self.shape), np.int64)

    def of(self, values: tuple[str, ...]) -> np.ndarray:
        """int64 [...] of the group with these values; zeros where it has no images."""
        return self.counts[values] if values in self.counts else np.zeros(self.shape, np.int64)

    @property
    def _values(self) -> list[tuple[str, ...]]:
        if not self.grouping:
            return [()]
        values = sorted(self.counts)
        return [values[i] for i in in_order(values)]

    def to_json(self) -> dict[str, Any]:
        """JSON types; equal tallies are equal texts."""
        groups = [[list(values), self.counts[values].reshape(-1).tolist()] for values in sorted(self.counts)]
        return {"grouping": list(self.grouping), "shape": list(self.shape), "groups": groups}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Tally:
        """What `to_json` gave."""
        shape = tuple(value["shape"])
        counts = {tuple(g): np.array(flat, np.int64).reshape(shape) for g, flat in value["groups"]}
        return Tally(tuple(value["grouping"]), shape, counts)


def tally(groups: Sequence[Mapping[str, str]], grouping: Sequence[str], table: np.ndarray) -> Tally:
    """int64 [G, ...] of these groups -> their tally."""
    counts = {tuple(g.values()): row for g, row in zip(groups, table, strict=True) if row.any()}
    return Tally(tuple(grouping), table.shape[1:], counts)


def added(parts: Iterable[Tally]) -> Tally:
    """The sum of tallies of one grouping and shape, exact in any order. InputError for more than MOST_CELLS groups."""
    parts = iter(parts)
    first = next(parts)
    counts = {values: row.astype(np.int64) for values, row in first.counts.items()}
    for part in parts:
        assert (part.grouping, part.shape) == (first.grouping, first.shape), "tallies of one kind"
        for values, row in part.counts.items():
            counts[values] = counts[values] + row if values in counts else row
    check_cells(first.grouping, len(counts))
    return Tally(first.grouping, first.shape, counts)


def check_cells(grouping: Sequence[str], cells: int, n: int | None = None) -> None:
    """InputError where a grouping has more than MOST_CELLS groups (of n images)."""
    if cells > MOST_CELLS:
        of = "" if n is None else f" for {n} images"
        raise InputError(f"groups: {'*'.join(grouping)} has {cells} cells{of}; group by fewer columns")
