"""A ranking of images with a group each, resampled and rearranged: what skew and NDKL are counted from.

Images of equal score are one block: whatever is counted among the first k takes their expected share of it, so neither
the order of the rows nor what the groups are called decides anything.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from clipjax.errors import InputError

EXACT = 5000  # arrangements of the groups over the ranks up to which all are counted
DRAWS = 1000  # of them otherwise
BLOCK = 1 << 22  # ranks held at once
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]  # groups [B, N], block ends [b] -> values [B]


@dataclasses.dataclass(frozen=True, eq=False)
class Ranking:
    """Images, best first: `group` int [N] into `names`; `ends` int [b], how many images the first blocks hold; `rows`
    int [N], which of the images that have a group each is."""

    group: np.ndarray
    ends: np.ndarray
    names: tuple[str, ...]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.group)

    @property
    def sizes(self) -> np.ndarray:
        """Images of each group [G]."""
        return np.bincount(self.group, minlength=len(self.names))

    def block(self, k: int) -> tuple[int, int]:
        """The first and the end of the block that holds rank k (from 1)."""
        return block_of(self.ends, k)


def rank(scores: ArrayLike, group: ArrayLike, names: Sequence[str] | None = None) -> Ranking:
    """scores [N], group int [N] (below 0: in none, left out) -> the ranking; InputError where it has no two groups.

    names: of the groups by their number.
    """
    scores, group = np.asarray(scores, np.float64), np.asarray(group)
    if scores.ndim != 1 or scores.shape != group.shape or group.dtype.kind not in "iu":
        raise InputError(
            f"scores are {scores.shape} and groups {group.dtype} {group.shape}; both are [N], one an image"
        )
    if (bad := np.flatnonzero(~np.isfinite(scores))).size:
        raise InputError(f"{scores[bad[0]]} among the similarities: image {bad[0]}")
    scores, group = scores[group >= 0], group[group >= 0]
    present, member = np.unique(group, return_inverse=True)
    if len(present) < 2:
        raise InputError(f"{len(present)} group among {len(group)} images; a ranking is compared between two or more")
    called = [str(names[g]) if names is not None else str(g) for g in present.tolist()]
    # Groups are numbered by what they are, not by their names: draws then depend on the images only.
    place = np.unique(scores, return_inverse=True)[1]
    numbered = np.lexsort((np.bincount(member, place), np.bincount(member)))
    member = np.argsort(numbered)[member]
    order = np.lexsort((member, -scores))
    ends = np.append(np.flatnonzero(np.diff(scores[order])) + 1, len(order))
    return Ranking(member[order], ends, tuple(called[g] for g in numbered), order)


def first(ranking: Ranking, k: int, weights: np.ndarray) -> np.ndarray:
    """How often each image was drawn [B, N] -> expected images of each group among the first k: [B, G]."""
    total = np.add.reduceat(weights, np.append(0, ranking.ends[:-1]), axis=1)
    before = np.cumsum(total, axis=1) - total
    taken = np.clip(k - before, 0, total) / np.maximum(total, 1)
    share = np.repeat(taken, np.diff(ranking.ends, prepend=0), axis=1)
    return (weights * share) @ np.eye(len(ranking.names))[ranking.group]


def counts_at(groups: np.ndarray, ends: np.ndarray, k: int, n_groups: int) -> np.ndarray:
    """The same for orders of groups [B, N], each image once: [B, G]."""
    start, end = block_of(ends, k)
    parts = groups[:, :start], groups[:, start:end]
    inside, straddling = (np.stack([(part == g).sum(1) for g in range(n_groups)], 1) for part in parts)
    return inside + straddling * ((k - start) / (end - start))


def block_of(ends: np.ndarray, k: int) -> tuple[int, int]:
    """The first and the end of the block that holds rank k (from 1), of blocks that end at `ends`."""
    at = int(np.searchsorted(ends, k))
    return int(ends[at - 1]) if at else 0, int(ends[at])


def null(ranking: Ranking, statistic: Statistic, seed: int = 0) -> tuple[np.ndarray, bool]:
    """Values of a statistic when the groups are dealt to the ranks at random, and whether these are all arrangements.

    `statistic` has to be hashable: values are kept, as many rankings of the same groups ask for the same.
    """
    return _null(tuple(ranking.sizes.tolist()), ranking.ends.tobytes(), statistic, seed)


@functools.lru_cache(maxsize=256)
def _null(sizes: tuple[int, ...], ends: bytes, statistic: Statistic, seed: int) -> tuple[np.ndarray, bool]:
    n, blocks = sum(sizes), np.frombuffer(ends, np.int64)
    ways = math.factorial(n) // math.prod(map(math.factorial, sizes)) if n <= 60 else EXACT + 1
    if ways <= EXACT:
        return statistic(np.array(list(_arrangements(sizes))), blocks), True
    generator, labels = np.random.default_rng(seed), np.repeat(np.arange(len(sizes), dtype=np.int16), sizes)
    rows = max(1, min(DRAWS, BLOCK // n))
    found = []
    for start in range(0, DRAWS, rows):
        found.append(statistic(generator.permuted(np.tile(labels, (min(rows, DRAWS - start), 1)), axis=1), blocks))
    return np.concatenate(found), False


def _arrangements(sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every order of groups of these sizes."""
    if not sum(sizes):
        yield ()
    for g, size in enumerate(sizes):
        if size:
            left = [m - (i == g) for i, m in enumerate(sizes)]
            for rest in _arrangements(left):
                yield (g, *rest)
