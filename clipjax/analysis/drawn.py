"""Shares over several draws of a few labelled images: their interval, and the difference of two methods.

Two sources of error: another draw of the labelled images, and another draw of the test images. Both methods see the
same draws and are asked about the same test images, so a difference is taken draw by draw and image by image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from clipjax.analysis.paired import paired_difference


class Mean(NamedTuple):
    """A mean over draws and test images, its interval, the standard deviation over draws, and the mean of each draw."""

    value: float
    low: float
    high: float
    spread: float
    each: list[float]


def method(draws: int) -> str:
    """How the interval of `mean` is made."""
    return f"t ({draws - 1} df) over draws and examples"


def mean(values: np.ndarray, level: float = 0.95) -> Mean:
    """A number of each draw and test image [S, N] -> their mean, with Student's interval of S - 1 degrees of freedom:
    the variance of the draws' means, and that over images of their means over draws."""
    draws, n = values.shape
    each = values.mean(1)
    spread, value = each.std(ddof=1), each.mean()
    error = np.sqrt(spread**2 / draws + np.sort(values.mean(0)).var() / n)
    reach = stdtrit(draws - 1, (1 + level) / 2) * error
    return Mean(float(value), float(value - reach), float(value + reach), float(spread), each.tolist())


def difference(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> Mean:
    """Right or wrong of the same draws and test images under A and B, bool [S, N] -> the share of B minus that of A.

    Where nothing varies Student's interval is a point: it is at least as wide as Newcombe's for pairs with the mean
    counts of one draw.
    """
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    found, n = mean(b.astype(np.float64) - a, level), a.shape[1]
    both, only_a, only_b = (round(float(x.sum(1).mean())) for x in (a & b, a & ~b, ~a & b))
    low, high = paired_difference(both, only_b, only_a, max(n - both - only_a - only_b, 0), level)
    return found._replace(low=max(min(found.low, float(low)), -1.0), high=min(max(found.high, float(high)), 1.0))
