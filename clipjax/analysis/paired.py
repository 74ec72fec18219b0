"""Two class designs (or models) asked about the same images: only the images whose answer changed can tell."""

from __future__ import annotations

import msgspec
import numpy as np
import scipy
from numpy.typing import ArrayLike

from clipjax.analysis.intervals import check_level, interval, wilson
from clipjax.analysis.records import PairedRecord
from clipjax.errors import InputError


def mcnemar(b: ArrayLike, c: ArrayLike, exact: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """McNemar's test of b (yes under A only) against c (yes under B only): (statistic, p); arrays broadcast.

    Exact: the statistic is min(b, c), p the two-sided binomial probability at 1/2, as statsmodels'. Otherwise
    chi-squared with continuity correction. Without discordant images there is no evidence against equality: p is 1.
    """
    b, c = np.broadcast_arrays(np.asarray(b), np.asarray(c))
    if not ((b >= 0) & (c >= 0) & (b == np.floor(b)) & (c == np.floor(c))).all():
        raise InputError("discordant counts are whole numbers from 0")
    n = b + c
    if exact:
        statistic = np.minimum(b, c)
        return statistic[()], np.minimum(2 * scipy.stats.binom.cdf(statistic, np.maximum(n, 1), 0.5), 1.0)[()]
    gap = np.maximum(np.abs(b - c) - 1, 0.0)
    statistic = gap**2 / np.maximum(n, 1)
    return statistic[()], np.where(n > 0, scipy.stats.chi2.sf(statistic, 1), 1.0)[()]


def smallest_p(discordant: ArrayLike) -> np.ndarray:
    """The smallest p that the exact test can give for so many discordant images: all of them on one side."""
    return np.minimum(2 * 0.5 ** np.asarray(discordant, np.float64), 1.0)[()]


def paired_rates(a: ArrayLike, b: ArrayLike, level: float = 0.95, method: str = "clopper-pearson") -> PairedRecord:
    """a, b: bool [N], the same images in the same order -> `paired_records` of them as one cell."""
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    if a.shape != b.shape or a.ndim != 1:
        raise InputError(f"answers have shapes {a.shape} and {b.shape}; both are [N], image by image")
    tally = [np.array([x.sum()]) for x in (a & b, a & ~b, ~a & b, ~a & ~b)]
    return paired_records(*tally, level=level, method=method)[0]


def paired_records(
    both: ArrayLike,
    only_a: ArrayLike,
    only_b: ArrayLike,
    neither: ArrayLike,
    level: float = 0.95,
    method: str = "clopper-pearson",
) -> list[PairedRecord]:
    """Counts of cells [G] -> for each the rates of A and B, their paired difference B - A, and McNemar.

    k_a, k_b, n; low_a .. high_b by `method`, the record's rate_method; only_a, only_b (discordant counts); difference
    with its interval (Newcombe 1998, method 10 for paired data); p (exact).
    """
    both, only_a, only_b, neither = (np.atleast_1d(np.asarray(x, np.int64)) for x in (both, only_a, only_b, neither))
    k_a, k_b, n = both + only_a, both + only_b, both + only_a + only_b + neither
    (low_a, high_a), (low_b, high_b) = interval(k_a, n, method, level), interval(k_b, n, method, level)
    low, high = paired_difference(both, only_b, only_a, neither, level)
    p = mcnemar(only_a, only_b)[1]
    some = np.where(n > 0, n, np.nan)
    columns = {
        "n": n, "k_a": k_a, "value_a": k_a / some, "low_a": low_a, "high_a": high_a, "k_b": k_b, "value_b": k_b / some,
        "low_b": low_b, "high_b": high_b, "only_a": only_a, "only_b": only_b, "difference": (k_b - k_a) / some,
        "low": low, "high": high, "p": p,
    }  # fmt: skip
    rest = {"level": check_level(level), "rate_method": method}
    rows = zip(*(x.tolist() for x in columns.values()), strict=True)
    # No images have no rate: null, as JSON has no nan.
    numbers = ({k: None if v != v else v for k, v in zip(columns, row, strict=True)} for row in rows)
    return msgspec.convert([one | rest for one in numbers], list[PairedRecord])


def paired_difference(
    both: ArrayLike, first: ArrayLike, second: ArrayLike, neither: ArrayLike, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Newcombe's interval (1998, "Improved confidence intervals for the difference between binomial proportions based
    on paired data", method 10) of (both + first) / n - (both + second) / n; arrays broadcast. n = 0: (-1, 1)."""
    both, first, second, neither = np.broadcast_arrays(
        *(np.asarray(x, np.float64) for x in (both, first, second, neither))
    )
    n = both + first + second + neither
    some = np.maximum(n, 1)
    p1, p2 = (both + first) / some, (both + second) / some
    (low1, high1), (low2, high2) = wilson(both + first, n, level), wilson(both + second, n, level)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    # phi, the correlation of the two answers, with Newcombe's correction towards 0 where it is positive
    cross = both * neither - first * second
    cross = np.where(cross > n / 2, cross - n / 2, np.minimum(cross, 0))
    phi = np.where(margins > 0, cross / np.sqrt(np.where(margins > 0, margins, 1)), 0.0)
    down = (p1 - low1) ** 2 - 2 * phi * (p1 - low1) * (high2 - p2) + (high2 - p2) ** 2
    up = (high1 - p1) ** 2 - 2 * phi * (high1 - p1) * (p2 - low2) + (p2 - low2) ** 2
    low, high = p1 - p2 - np.sqrt(np.maximum(down, 0)), p1 - p2 + np.sqrt(np.maximum(up, 0))
    return np.where(n > 0, low, -1.0)[()], np.where(n > 0, high, 1.0)[()]
