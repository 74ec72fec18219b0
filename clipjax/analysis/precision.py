"""Average precision and means over classes as functions of how often each image is drawn: for intervals by resampling.

Equal scores are one block, so the order of the files decides nothing. A class without positives has no average
precision and is left out of means.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Weights of the positives and of all images per block, best first [B, blocks] -> average precision [B].
Average = Callable[[np.ndarray, np.ndarray], np.ndarray]
Of = Callable[[np.ndarray], np.ndarray]  # how often each of N images is drawn [B, N] -> values [B]


class Ranked:
    """Examples ordered by falling score, equal scores in one block."""

    def __init__(self, scores: np.ndarray):
        self.order = np.argsort(-scores, kind="stable")
        self.starts = np.flatnonzero(np.diff(scores[self.order], prepend=np.nan) != 0)

    def blocks(self, weights: np.ndarray) -> np.ndarray:
        """Weights [B, N] summed per block [B, blocks], best block first."""
        ordered = weights[:, self.order]
        return ordered if len(self.starts) == ordered.shape[1] else np.add.reduceat(ordered, self.starts, axis=1)


def all_points(positive: np.ndarray, everything: np.ndarray) -> np.ndarray:
    """Average precision [B] from weights per block [B, blocks]: precision at each block, weighted by its positives."""
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = positive.cumsum(1) / everything.cumsum(1)
        return np.where(positive > 0, positive * precision, 0).sum(1) / positive.sum(1)


def eleven_points(positive: np.ndarray, everything: np.ndarray) -> np.ndarray:
    """The mean over recall 0, 0.1 .. 1 of the best precision at that recall or beyond [B]."""
    useful = (positive > 0).any(0)  # precision only falls in between
    found, seen = positive.cumsum(1)[:, useful], everything.cumsum(1)[:, useful]
    with np.errstate(invalid="ignore", divide="ignore"):
        best = np.maximum.accumulate(np.nan_to_num(found / seen)[:, ::-1], axis=1)[:, ::-1]
    total = found[:, -1:]
    points = np.zeros(len(found))
    for tenth in range(11):  # whole numbers: 3 / 10 >= 0.3 must not hang on rounding
        first = (10 * found < tenth * total).sum(1)
        points += best[np.arange(len(best)), first]
    return np.where(total[:, 0] > 0, points / 11, np.nan)


def mean_average(average: Average, scores: np.ndarray, labels: np.ndarray, judged: np.ndarray) -> Of:
    """scores [N, C], labels bool [N, C], judged bool [N, C] (which images rank in each class) -> the mean over classes
    with a positive as a function of how often each image is drawn, [B, N] -> [B]; nan where no class has one."""
    classes = np.flatnonzero((labels & judged).any(0))
    rankings = [Ranked(scores[judged[:, c], c]) for c in classes]

    def mean(draws: np.ndarray) -> np.ndarray:
        points = []
        for c, ranking in zip(classes, rankings, strict=True):
            weights = draws[:, judged[:, c]]
            points.append(average(ranking.blocks(weights * labels[judged[:, c], c]), ranking.blocks(weights)))
        return mean_defined(np.array(points))

    return mean


def mean_defined(points: np.ndarray) -> np.ndarray:
    """Mean over the first axis where not nan, the same to the last digit in any order; nan where nothing is."""
    points = np.sort(points, axis=0)
    defined = ~np.isnan(points)
    with np.errstate(invalid="ignore"):
        return np.where(defined, points, 0).sum(0) / defined.sum(0)
