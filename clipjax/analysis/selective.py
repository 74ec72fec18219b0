"""Abstaining: risk and coverage when only confident answers are accepted, and a threshold with a guaranteed risk.

Accepting the images of confidence >= t leaves a coverage (accepted / N) and a risk (errors / accepted). AURC is the
mean over i of the risk of the i most confident (El-Yaniv and Wiener 2010), equal confidences by expectation over their
orders. AURC mixes accuracy with ranking: a random order has the error rate as its expected AURC, and `optimal` is the
value of the same errors ranked last.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from clipjax.analysis.intervals import bootstrap_statistic
from clipjax.analysis.rates import Method
from clipjax.analysis.records import Record
from clipjax.errors import InputError

Rule = Literal["fixed-sequence", "bonferroni"]
USUAL = Method()


class Curve(NamedTuple):
    """One point per distinct confidence, the strictest first: arrays [T]."""

    threshold: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray
    n: np.ndarray
    k: np.ndarray  # errors among the n accepted


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> Curve:
    """Confidence [N], right bool [N] -> the curve over the thresholds that make a difference."""
    confidence, right = _checked(confidence, right)
    order = np.argsort(-confidence, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(confidence[order])), len(order) - 1)
    n, k = ends + 1, np.cumsum(~right[order])[ends]
    return Curve(confidence[order][ends], n / len(order), k / n, n, k)


def aurc(confidence: np.ndarray, right: np.ndarray, method: Method = USUAL) -> Record:
    """Area under the risk-coverage curve: the mean of the risks of the i most confident, with its `optimal` value."""
    confidence, right = _checked(confidence, right)
    order = np.lexsort((right, -confidence))
    confidence, wrong = confidence[order], ~right[order]
    ends = np.append(np.flatnonzero(np.diff(confidence)) + 1, len(order))

    def area(weights: np.ndarray) -> np.ndarray:
        return _areas(weights, wrong, ends)

    ones = np.ones((1, len(order)))
    low, high = bootstrap_statistic(area, len(order), method.seed, method.level)
    last = np.sort(wrong)
    return Record(
        metric="aurc", group={}, n=len(order), value=float(area(ones)[0]), low=low, high=high, level=method.level,
        method="bootstrap over images", rule="mean of risks, ties by expectation", expected=float(wrong.mean()),
        optimal=float(_areas(ones, last, np.arange(1, len(last) + 1))[0]),
    )  # fmt: skip


def excess_aurc(confidence: np.ndarray, right: np.ndarray, method: Method = USUAL) -> Record:
    """E-AURC: AURC minus that of the same errors ranked last; no interval."""
    return excess_of(aurc(confidence, right, method))


def excess_of(found: Record) -> Record:
    """`excess_aurc` of an AURC."""
    assert found.value is not None
    assert found.optimal is not None
    return Record(
        metric="excess_aurc", group={}, n=found.n, value=found.value - found.optimal, rule=found.rule,
        optimal=found.optimal,
    )  # fmt: skip


def augrc(confidence: np.ndarray, right: np.ndarray) -> Record:
    """Area under errors / N against coverage, by the trapezoid rule over distinct confidences; no interval."""
    curve = risk_coverage(confidence, right)
    x, y = np.append(0.0, curve.coverage), np.append(0.0, curve.k / curve.n[-1])
    return Record(
        metric="augrc", group={}, n=int(curve.n[-1]), value=float(np.trapezoid(y, x)), rule="trapezoid",
    )  # fmt: skip


def threshold_for_risk(
    confidence: np.ndarray, right: np.ndarray, thresholds: np.ndarray, risk: float, delta: float = 0.05,
    rule: Rule = "fixed-sequence",
) -> Record:  # fmt: skip
    """Confidence [N], right bool [N], thresholds [T] chosen beforehand -> the lowest whose risk is at most `risk`, with
    probability 1 - delta over images (Learn then Test, Angelopoulos et al. 2021).

    A threshold passes where so few errors (or fewer) among the accepted have a chance of at most delta at that risk
    (exact binomial). "fixed-sequence" goes from the strictest that can pass to the loosest and stops at the first that
    fails; "bonferroni" divides delta by the number of thresholds. `k` errors of `n` accepted, `bound`: the one-sided
    exact upper bound of the risk there at the level used.

    Raises:
        InputError: no threshold passes.
    """
    confidence, right = _checked(confidence, right)
    thresholds = np.unique(np.asarray(thresholds, np.float64))[::-1]
    if not (0 < risk < 1 and 0 < delta < 1):
        raise InputError(f"risk={risk}, delta={delta}: both are above 0 and below 1")
    if not thresholds.size or not np.isfinite(thresholds).all():
        raise InputError("thresholds: give at least one, all of them numbers")
    if rule not in ("fixed-sequence", "bonferroni"):
        raise InputError(f"rule {rule!r}; choose fixed-sequence or bonferroni")
    accepted = confidence >= thresholds[:, None]
    n, k = accepted.sum(1), (accepted & ~right).sum(1)
    each = delta / len(thresholds) if rule == "bonferroni" else delta
    p = scipy.stats.binom.cdf(k, n, risk)
    able = np.flatnonzero(n >= np.log(each) / np.log1p(-risk))  # can pass at all, by confidences alone
    if rule == "bonferroni":
        passed = able[p[able] <= each]
    else:
        stop = np.flatnonzero(p[able] > delta)
        passed = able[: stop[0]] if len(stop) else able
    if not len(passed):
        first = int(able[0]) if len(able) else len(n) - 1
        raise InputError(
            f"no threshold reaches risk {risk:g} at {100 * (1 - delta):g}%: the strictest that could accepts "
            f"{n[first]} images with {k[first]} errors"
        )
    at = passed[-1]
    return Record(
        metric="threshold_for_risk", group={}, k=int(k[at]), n=int(n[at]), value=float(thresholds[at]),
        threshold=float(thresholds[at]), coverage=float(n[at] / len(confidence)), delta=delta, rule=rule,
        bound=float(upper_bound(k[at], n[at], each)), expected=risk,
    )  # fmt: skip


def upper_bound(k: ArrayLike, n: ArrayLike, delta: float) -> np.ndarray:
    """One-sided Clopper-Pearson bound of k errors of n, arrays broadcast: above the risk with chance 1 - delta."""
    k, n = np.broadcast_arrays(np.asarray(k, np.float64), np.asarray(n, np.float64))
    return np.where(k < n, betaincinv(k + 1, np.maximum(n - k, 1), 1 - delta), 1.0)[()]


def at_threshold(confidence: np.ndarray, right: np.ndarray, threshold: float, delta: float = 0.05) -> Record:
    """Risk of the images of one group that a threshold accepts, with its own one-sided `bound`, and the coverage.

    A threshold's guarantee is for all images together; a group has only its own bound.
    """
    confidence, right = _checked(confidence, right)
    accepted = confidence >= threshold
    n, k = int(accepted.sum()), int((accepted & ~right).sum())
    return Record(
        metric="selective_risk", group={}, k=k, n=n, value=k / n if n else None, threshold=threshold,
        coverage=n / len(confidence), bound=float(upper_bound(k, n, delta)) if n else None, delta=delta,
    )  # fmt: skip


def _areas(weights: np.ndarray, wrong: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """How often each image, best first, was drawn [B, N] -> AURC [B]; blocks of equal confidence end at `ends`."""
    starts = np.append(0, ends[:-1])
    size = np.add.reduceat(weights, starts, axis=1)
    errors = np.add.reduceat(weights * wrong, starts, axis=1)
    before, wrong_before = np.cumsum(size, 1) - size, np.cumsum(errors, 1) - errors
    rate = errors / np.maximum(size, 1)
    # sum over i in a block of (wrong_before + (i - before) rate) / i
    n = weights.sum(1).astype(np.int64)
    harmonic = np.append(0.0, np.cumsum(1 / np.arange(1, n.max() + 1)))
    low, high = before.astype(np.int64), (before + size).astype(np.int64)
    total = (wrong_before - before * rate) * (harmonic[high] - harmonic[low]) + rate * size
    return total.sum(1) / n


def _checked(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    confidence, right = np.asarray(confidence, np.float64), np.asarray(right)
    if confidence.ndim != 1 or not confidence.size or confidence.shape != right.shape or right.dtype != bool:
        raise InputError(
            f"confidences are {confidence.shape} and right {right.dtype} {right.shape}; they are [N] and bool [N]"
        )
    if (bad := np.flatnonzero(~np.isfinite(confidence))).size:
        raise InputError(f"confidence of row {bad[0]} is {confidence[bad[0]]}")
    return confidence, right
