"""The worst group, the gap and the ratio of several groups: intervals that hold for whichever group turns out worst.

A bootstrap of a minimum or of a gap is wrong: of 7 equal groups of 100 at 80% its 95% interval of the minimum holds
the truth in 17% of simulations, that of the gap never. Here every group (or pair of groups) has an interval at a level
so high that all of them hold together, and so does whatever is computed from them (Bonferroni). Sizes n [G] > 0.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from clipjax.analysis import two_rates
from clipjax.analysis.intervals import check_counts, check_level, clopper_pearson, wilson
from clipjax.errors import InputError

EXACT = 100_000  # ways to give the right answers to groups up to which all are enumerated
DRAWS = 9_999  # of them otherwise
ROUNDING = 1e-12  # relative: of shares that are equal in exact arithmetic
Bounds = tuple[float, float]


def counts(k: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """k of n [G] as int64; InputError where they are not counts, or of fewer than two groups."""
    k, n = np.broadcast_arrays(np.atleast_1d(np.asarray(k)), np.atleast_1d(np.asarray(n)))
    check_counts(k, n)
    if (present := int((n > 0).sum())) < 2:
        raise InputError(f"{present} group has images; a worst group and a gap need two")
    return k.astype(np.int64), n.astype(np.int64)


def split_level(level: float, parts: int) -> float:
    """The level at which each of `parts` intervals has to hold so that all do at `level`."""
    return 1 - (1 - check_level(level)) / max(parts, 1)


def minimum(k: np.ndarray, n: np.ndarray, level: float = 0.95) -> Bounds:
    """Interval of the smallest true rate, exact (Clopper-Pearson of every group)."""
    low, high = clopper_pearson(k, n, split_level(level, len(n)))
    return float(low.min()), float(high.min())


def gap(k: np.ndarray, n: np.ndarray, level: float = 0.95) -> Bounds:
    """Interval of the largest difference of two true rates: Newcombe's of every pair."""
    each, rate = split_level(level, math.comb(len(n), 2)), k / n
    low, high = wilson(k, n, each)
    down = np.hypot((rate - low)[:, None], (high - rate)[None])  # of i minus j
    up = np.hypot((high - rate)[:, None], (rate - low)[None])
    difference, other = rate[:, None] - rate[None], ~np.eye(len(n), dtype=bool)
    return max(0.0, float((difference - down)[other].max())), min(1.0, float((difference + up)[other].max()))


def gap_to(k: np.ndarray, n: np.ndarray, level: float = 0.95) -> Bounds:
    """Interval of the largest |rate of a group - rate of all|: a group is a part of all, and a = w a + (1 - w) rest, so
    it is (1 - w) times the difference from the rest, w its share of the images."""
    found = two_rates.difference(k, n, k.sum() - k, n.sum() - n, level=split_level(level, len(n)))
    part = 1 - n / n.sum()
    least = np.where((found.low <= 0) & (found.high >= 0), 0, np.minimum(np.abs(found.low), np.abs(found.high)))
    most = np.maximum(np.abs(found.low), np.abs(found.high))
    return float((part * least).max()), float((part * most).max())


def ratio(k: np.ndarray, n: np.ndarray, level: float = 0.95) -> Bounds:
    """Interval of the smallest true rate over the largest: Miettinen and Nurminen's of every pair."""
    order = np.lexsort((k, n))  # what groups are called decides no rounding
    k, n = k[order], n[order]
    first, second = np.array(list(itertools.combinations(range(len(n)), 2))).T
    each = split_level(level, len(first))
    one = two_rates.ratio(k[first], n[first], k[second], n[second], each)
    low, high = np.concatenate([one.low, _inverse(one.high)]), np.concatenate([one.high, _inverse(one.low)])
    return float(low.min()), min(1.0, float(high.min()))


def _inverse(x: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.where(np.isinf(x), 0.0, 1 / x)


def equal_groups(k: np.ndarray, n: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, bool]:
    """What chance does to groups that do not differ: (right answers [R, G], weights [R], whether these are all ways).

    The right answers are dealt to the images at random (multivariate hypergeometric). All ways where there are at most
    EXACT, with their probabilities; else DRAWS of them, seeded. What the groups are called decides nothing.
    """
    total, order = int(k.sum()), np.argsort(n, kind="stable")
    size, place = n[order], np.argsort(order)
    if math.prod((size + 1).tolist()) <= EXACT:
        dealt = np.stack(np.meshgrid(*(np.arange(m + 1) for m in size), indexing="ij"), -1).reshape(-1, len(size))
        dealt = dealt[dealt.sum(1) == total]
        chance = np.exp(-(gammaln(dealt + 1) + gammaln(size - dealt + 1)).sum(1) + gammaln(size + 1).sum())
        return dealt[:, place], chance / chance.sum(), True
    dealt = np.random.default_rng(seed).multivariate_hypergeometric(size, total, DRAWS, method="marginals")
    return dealt[:, place], np.full(DRAWS, 1 / DRAWS), False


def p_value(null: np.ndarray, weights: np.ndarray, exact: bool, observed: float) -> float:
    """The chance of a statistic at least as large as the one observed, from its values [R] under `equal_groups`."""
    reached = null >= observed - ROUNDING * max(1.0, abs(observed))
    if exact:
        return min(1.0, float(weights[reached].sum()))
    return (int(reached.sum()) + 1) / (len(null) + 1)


def spread(rates: np.ndarray) -> np.ndarray:
    """Largest minus smallest rate along the last axis, nan left out; nan where there is none."""
    defined = ~np.isnan(rates)
    most, least = np.where(defined, rates, -np.inf).max(-1), np.where(defined, rates, np.inf).min(-1)
    return np.where(defined.any(-1), most - least, np.nan)[()]
