"""Two independent rates: their difference and their ratio, with intervals that hold for small counts; arrays broadcast.

Newcombe's interval is statsmodels' formula, vectorised. Miettinen and Nurminen's is inverted here: statsmodels' own
inversion stops with an error where a count is zero or small, which is where such an interval is needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from clipjax.analysis.intervals import check_counts, check_level, wilson
from clipjax.errors import InputError

DIFFERENCES = ("newcombe", "miettinen-nurminen")
HALVINGS = 60  # of an interval of length 1: below what float64 can tell apart


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A difference or ratio with its interval: nan where it is undefined, infinite where a bound is open."""

    value: Any
    low: Any
    high: Any
    method: str
    level: float


def difference(
    k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, method: str = "newcombe", level: float = 0.95
) -> Comparison:
    """k1/n1 - k2/n2: "newcombe" (1998, method 10) or "miettinen-nurminen" (1985).

    Without examples on a side nothing is known: value nan, interval (-1, 1).
    """
    if method not in DIFFERENCES:
        raise InputError(f"unknown method {method!r} for a difference; choose {' or '.join(DIFFERENCES)}")
    k1, n1, k2, n2, empty = _counts(k1, n1, k2, n2)
    level = check_level(level)
    value = k1 / n1 - k2 / n2
    if method == "newcombe":
        (low1, high1), (low2, high2) = wilson(k1, n1, level), wilson(k2, n2, level)
        low = value - np.hypot(k1 / n1 - low1, high2 - k2 / n2)
        high = value + np.hypot(high1 - k1 / n1, k2 / n2 - low2)
    else:
        low, high = _edges(_score_difference, (k1, n1, k2, n2), level, value, (-1.0, 1.0))
    low, high = np.maximum(low, -1), np.minimum(high, 1)
    return _comparison(empty, value, low, high, -1.0, 1.0, method, level)


def ratio(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, level: float = 0.95) -> Comparison:
    """(k1/n1) / (k2/n2) with Miettinen and Nurminen's interval (1985).

    k2 = 0: value nan and no upper bound (inf). Both counts zero, or no examples on a side: (0, inf).
    """
    k1, n1, k2, n2, empty = _counts(k1, n1, k2, n2)
    level = check_level(level)
    # Searched as share = r / (1 + r), which runs from 0 to 1 while the ratio runs from 0 to infinity.
    p1, p2 = k1 / n1, k2 / n2
    unknown = empty | ((k1 == 0) & (k2 == 0))
    share = np.where(unknown, 0.5, p1 / np.where(p1 + p2 > 0, p1 + p2, 1))
    bounds = _edges(_score_ratio, (k1, n1, k2, n2), level, share, (0.0, 1.0))
    with np.errstate(divide="ignore"):
        low, high = (np.where(s >= 1, np.inf, s / (1 - np.where(s >= 1, 0.5, s))) for s in bounds)
    low, high = np.where(k1 == 0, 0.0, low), np.where(k2 == 0, np.inf, high)
    value = np.where(k2 > 0, p1 / np.where(k2 > 0, p2, 1), np.nan)
    return _comparison(unknown, value, low, high, 0.0, np.inf, "miettinen-nurminen", level)


def _score_difference(k1, n1, k2, n2, d):
    """Chi-squared of the hypothesis p1 - p2 = d, with Miettinen and Nurminen's n / (n - 1)."""
    n, k = n1 + n2, k1 + k2
    # p2 under the hypothesis: the middle root of a cubic (their appendix 1)
    a2, a1, a0 = (n1 + 2 * n2) * d - n - k, (n2 * d - n - 2 * k2) * d + k, k2 * d * (1 - d)
    q = (a2 / (3 * n)) ** 3 - a1 * a2 / (6 * n**2) + a0 / (2 * n)
    p = np.where(q < 0, -1.0, 1.0) * np.sqrt(np.maximum((a2 / (3 * n)) ** 2 - a1 / (3 * n), 0))
    cubed = np.where(np.abs(p) > 1e-12, p, 1.0) ** 3
    angle = (np.pi + np.arccos(np.clip(np.where(np.abs(p) > 1e-12, q / cubed, 0), -1, 1))) / 3
    p2 = np.clip(2 * p * np.cos(angle) - a2 / (3 * n), np.maximum(0, -d), np.minimum(1, 1 - d))
    p1 = np.clip(p2 + d, 0, 1)
    variance = (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2) * n / (n - 1)
    return _over(k1 / n1 - k2 / n2 - d, variance)


def _score_ratio(k1, n1, k2, n2, share):
    """Chi-squared of the hypothesis p1 / p2 = share / (1 - share), written without the infinite end."""
    u, v = share, 1 - share  # p1 = u t, p2 = v t: the likelihood's maximum in t solves a quadratic
    n, k = n1 + n2, k1 + k2
    a, b = n * u * v, n1 * u + k1 * v + n2 * v + k2 * u
    root = np.sqrt(np.maximum(b**2 - 4 * a * k, 0))
    t = 2 * k / np.where(b + root > 0, b + root, 1)
    p1, p2 = np.clip(u * t, 0, 1), np.clip(v * t, 0, 1)
    variance = (v**2 * p1 * (1 - p1) / n1 + u**2 * p2 * (1 - p2) / n2) * n / (n - 1)
    return _over(v * k1 / n1 - u * k2 / n2, variance)


def _over(gap, variance):
    """gap^2 / variance; where the hypothesis leaves no variance it fits exactly or not at all."""
    certain = variance < 1e-14
    fits = np.abs(gap) < 1e-7
    return np.where(certain, np.where(fits, 0.0, np.inf), gap**2 / np.where(certain, 1.0, variance))


def _edges(
    score: Callable, counts: tuple[np.ndarray, ...], level: float, start: np.ndarray, ends: tuple[float, float]
) -> np.ndarray:
    """[2, ...]: the last point from `start` (inside) to each of `ends` that is inside the interval, by halving.

    Inside is where the chi-squared of the hypothesis is not above the quantile of `level`.
    """
    limit = scipy.stats.chi2.ppf(level, 1)
    near, end = np.stack([start, start]), np.stack([np.full_like(start, end) for end in ends])
    far = end
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        keep = score(*counts, middle) <= limit
        near, far = np.where(keep, middle, near), np.where(keep, far, middle)
    return np.where(score(*counts, end) <= limit, end, near)


def _counts(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike):
    """float64 counts of one shape; empty sides get n = 1 and are marked."""
    arrays = np.broadcast_arrays(*(np.asarray(x) for x in (k1, n1, k2, n2)))
    for k, n in (arrays[:2], arrays[2:]):
        check_counts(k, n)
    k1, n1, k2, n2 = (x.astype(np.float64) for x in arrays)
    return k1, np.maximum(n1, 1), k2, np.maximum(n2, 1), (n1 == 0) | (n2 == 0)


def _comparison(unknown, value, low, high, least, most, method: str, level: float) -> Comparison:
    value = np.where(unknown, np.nan, value)
    low, high = np.where(unknown, least, low), np.where(unknown, most, high)
    return Comparison(value[()], low[()], high[()], method, level)
