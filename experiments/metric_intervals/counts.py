"""Worlds whose numbers are counts: shares, differences of shares, groups, thresholds.

A world draws one sample, or many at once, and returns for every interval whether it held the truth: bool [...].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from clipjax.analysis import groups, paired, rates, selective, simultaneous, two_rates
from clipjax.analysis.rates import Cells
from clipjax.analysis.records import Record
from clipjax.errors import InputError
from clipjax.probes import captions

Held = Mapping[str, ArrayLike]
ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class World:
    """`draw(generator, n)` for each of `sizes`; `most` repetitions, 0 where coverage is computed exactly."""

    name: str
    sizes: tuple[int, ...]
    draw: Callable[[np.random.Generator, int], Held]
    most: int = 300


def inside(low: ArrayLike, truth: ArrayLike, high: ArrayLike) -> np.ndarray:
    """Whether the truth is in an interval, its ends included."""
    return (np.asarray(low) - ROUNDING <= truth) & (truth <= np.asarray(high) + ROUNDING)


def held(record: Record, truth: float) -> np.ndarray:
    """Whether the interval of a record holds the truth."""
    assert record.low is not None
    assert record.high is not None
    return inside(record.low, truth, record.high)


def share(generator: np.random.Generator, n: int, p: float) -> Held:
    """Exact: over all counts. Of a threshold's risk only the upper bound is given."""
    k = np.arange(n + 1)
    weights = stats.binom.pmf(k, n, p)
    found = rates.numbers("share", k, n, rates.Method())
    low, high = (np.array([getattr(one, side) for one in found], float) for side in ("low", "high"))
    return {
        "share": weights @ inside(low, p, high),
        "risk bound of a group": weights @ (p <= selective.upper_bound(k, np.full(n + 1, n), 0.05) + ROUNDING),
    }


def clustered(generator: np.random.Generator, n: int, same: float, size: int = 5) -> Held:
    """n questions, `size` of each image; with probability `same` a question has the answer that all of its image have.
    The exact interval treats them as independent."""
    own = generator.random((n // size, size)) < 0.7
    common = (generator.random((n // size, 1)) < 0.7) & np.ones((1, size), bool)
    right = np.where(generator.random((n // size, size)) < same, common, own).ravel()
    found = captions.choice_accuracy(right.astype(float), np.full(n, 0.5))[0]
    return {"caption choice, questions of one image alike": held(found, 0.7)}


def two(generator: np.random.Generator, n: int, p: float, q: float, many: int = 20_000) -> Held:
    """Two groups of n: VisoGender's gap."""
    found = two_rates.difference(generator.binomial(n, p, many), n, generator.binomial(n, q, many), n)
    return {"difference of two groups": inside(found.low, p - q, found.high)}


def pairs(generator: np.random.Generator, n: int, both: float, first: float, second: float, many: int = 20_000) -> Held:
    """The same n images twice: wording, perturbation, projection, two models."""
    left = 1 - both - first - second
    tables = generator.multinomial(n, [both, first, second, left], many)
    different, place = np.unique(tables, axis=0, return_inverse=True)
    low, high = paired.paired_difference(different[:, 0], different[:, 2], different[:, 1], different[:, 3])
    # `paired_records` gives B - A: the images that are right under B only come first
    found = {"paired difference": inside(low, second - first, high)[place.ravel()]}
    if first == second:
        found["McNemar's test"] = paired.mcnemar(different[:, 1], different[:, 2])[1][place.ravel()] <= 0.05
    return found


def grouped(generator: np.random.Generator, n: int, p: tuple[float, ...], unequal: bool = False) -> Held:
    """Groups of n images (or of n, 2 n, 4 n ...) with these true rates."""
    size, rate = n * 2 ** np.arange(len(p)) if unequal else np.full(len(p), n), np.array(p)
    k = generator.binomial(size, rate)
    weights = np.arange(1, len(p) + 1) / (len(p) * (len(p) + 1) / 2)
    overall, mean = (size * rate).sum() / size.sum(), groups.mean_of_groups(k, size)
    found = {
        "worst group": inside(*_around(simultaneous.minimum(k, size), rate.min())),
        "gap between groups": inside(*_around(simultaneous.gap(k, size), np.ptp(rate))),
        "gap to overall": inside(*_around(simultaneous.gap_to(k, size), np.abs(rate - overall).max())),
        "ratio of groups": inside(*_around(simultaneous.ratio(k, size), rate.min() / rate.max())),
        "mean of groups": held(mean, rate.mean()),
        "weighted mean of groups": held(groups.weighted_mean_of_groups(k, size, weights), float(weights @ rate)),
    }
    if len(set(p)) == 1:
        dealt, chance, exact = simultaneous.equal_groups(k, size, int(generator.integers(1 << 31)))
        null, value = np.ptp(dealt / size, axis=1), np.ptp(k / size)
        found["test of the gap"] = simultaneous.p_value(null, chance, exact, value) <= 0.05
    return found


def _around(bounds: simultaneous.Bounds, truth: float) -> tuple[float, float, float]:
    return bounds[0], truth, bounds[1]


def odds(generator: np.random.Generator, n: int, tpr: tuple[float, ...], fpr: tuple[float, ...]) -> Held:
    """Groups of n images, half of them in the set."""
    size = n * len(tpr)
    of = np.repeat(np.arange(len(tpr)), n)
    truth = np.arange(size) % 2 == 0
    answer = generator.random(size) < np.where(truth, np.array(tpr)[of], np.array(fpr)[of])
    cells = Cells([{"g": str(g)} for g in range(len(tpr))], of)
    both = groups.equalized_odds_difference(answer, truth, cells)
    opportunity = groups.equal_opportunity_difference(answer, truth, cells)
    return {
        "equalised odds": held(both, max(np.ptp(tpr), np.ptp(fpr))),
        "equal opportunity": held(opportunity, float(np.ptp(tpr))),
    }


def threshold(generator: np.random.Generator, n: int, rule: selective.Rule) -> Held:
    """Thresholds for a risk of 10% at 95%, where it is 10.1% at each: the share of samples without a threshold."""
    confidence, right = generator.random(n), generator.random(n) >= 0.101
    try:
        selective.threshold_for_risk(confidence, right, np.linspace(0, 0.9, 25), 0.1, 0.05, rule)
    except InputError:
        return {f"threshold for a risk, {rule}": True}
    return {f"threshold for a risk, {rule}": False}


SMALL, LARGE = (10, 20, 100), (10, 20, 100, 1000)
CHANGES = {  # of the images right before and after, right before only, right after only
    "70% before and after, 20% change": (0.6, 0.1, 0.1),
    "70% before, 60% after, 20% change": (0.55, 0.15, 0.05),
    "98% before and after, 2% change": (0.97, 0.01, 0.01),
    "98% before, 95% after, 3% change": (0.95, 0.03, 0.0),
}
GROUPS = {
    "2 groups at 80%": (0.8, 0.8),
    "7 groups at 80%": (0.8,) * 7,
    "7 groups at 98%": (0.98,) * 7,
    "7 groups, one at 70%, six at 98%": (0.7,) + (0.98,) * 6,
}


def worlds() -> Iterator[World]:
    """All of them; many counts are drawn at once where they can be."""
    for p in (0.02, 0.5, 0.98):
        yield World(f"{p:.0%} true", LARGE, partial(share, p=p), 0)
    for same in (0.0, 0.3, 0.9):
        draw = partial(clustered, same=same)
        yield World(f"70% true, questions alike with probability {same:g}", (50, 200, 1000), draw)
    for p, q in ((0.5, 0.5), (0.7, 0.5), (0.98, 0.9), (0.02, 0.02)):
        yield World(f"{p:.0%} and {q:.0%}", LARGE, partial(two, p=p, q=q), 1)
    for name, (both, first, second) in CHANGES.items():
        yield World(name, LARGE, partial(pairs, both=both, first=first, second=second), 1)
    for name, rate in GROUPS.items():
        yield World(name, SMALL, partial(grouped, p=rate))
    draw = partial(grouped, p=(0.1, 0.08, 0.06, 0.04, 0.02), unequal=True)
    yield World("5 groups of n to 16 n, 2% to 10%", SMALL, draw)
    draw = partial(odds, tpr=(0.9, 0.8, 0.7), fpr=(0.1, 0.05, 0.02))
    yield World("3 groups, true positives 90, 80, 70%", (20, 100), draw)
    yield World("3 groups, everything at 50%", (20, 100), partial(odds, tpr=(0.5,) * 3, fpr=(0.5,) * 3))
    for rule in ("fixed-sequence", "bonferroni"):
        yield World("risk 10.1% at every threshold", (60, 300, 1000), partial(threshold, rule=rule))
