"""Agreement of answers: Fleiss' kappa over many raters, Cohen's of two, error consistency, negative flips.

Kappa is agreement beyond what the marginal shares give: 0/0, where everybody always answers the same, is null
(model-vs-human says 1 there, scikit-learn nan). Kappa depends on how common the classes are; `agreement` and
`expected` are beside it. Intervals resample images; raters and models are fixed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clipjax.analysis.intervals import bootstrap_statistic
from clipjax.analysis.paired import paired_rates
from clipjax.analysis.rates import Method, numbers
from clipjax.analysis.records import Record, finite
from clipjax.errors import InputError

USUAL = Method()
CERTAIN = 1e-12  # how near to 1 expected agreement has to be for kappa to be undefined


def fleiss_kappa(counts: np.ndarray, method: Method = USUAL) -> Record:
    """counts int [N, C]: how many of R raters gave each image each class -> Fleiss' kappa, with `raters`."""
    counts = np.asarray(counts)
    if counts.ndim != 2 or not counts.size or (counts < 0).any() or (counts != np.floor(counts)).any():
        raise InputError(f"counts are {counts.shape}; they are whole numbers [N, C], how many raters gave each class")
    raters = counts.sum(1)
    if (different := np.flatnonzero(raters != raters[0])).size:
        row = int(different[0])
        raise InputError(f"image 0 has {raters[0]} answers and image {row} has {raters[row]}; all have as many")
    if raters[0] < 2:
        raise InputError(f"{raters[0]} rater; agreement needs two")
    r = int(raters[0])
    counts = counts[np.lexsort(counts.T)].astype(np.float64)  # the images' order decides nothing
    same = (counts * (counts - 1)).sum(1) / (r * (r - 1))

    def parts(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = weights.sum(1)
        return weights @ same / n, ((weights @ counts / (n * r)[:, None]) ** 2).sum(1)

    return _kappa("fleiss_kappa", parts, len(counts), method, raters=r)


def cohen_kappa(a: np.ndarray, b: np.ndarray, method: Method = USUAL) -> Record:
    """Answers int [N] of two classifiers to the same images -> Cohen's kappa, unweighted."""
    a, b = _pair(a, b)
    classes = np.unique(np.concatenate([a, b]))
    a, b = np.searchsorted(classes, a), np.searchsorted(classes, b)
    order = np.lexsort((b, a))
    return _two("cohen_kappa", np.eye(len(classes))[a[order]], np.eye(len(classes))[b[order]], method)


def error_consistency(a: np.ndarray, b: np.ndarray, labels: np.ndarray, method: Method = USUAL) -> Record:
    """Answers and labels int [N] -> kappa of being right (Geirhos, Meding and Wichmann 2020)."""
    a, b = _pair(a, b)
    a, labels = _pair(a, labels)
    x, y = (a == labels).astype(int), (b == labels).astype(int)
    order = np.lexsort((y, x))
    return _two("error_consistency", np.eye(2)[x[order]], np.eye(2)[y[order]], method)


def flips(a: np.ndarray, b: np.ndarray, labels: np.ndarray | None = None, method: Method = USUAL) -> list[Record]:
    """Answers int [N] of A, then of B -> churn: how often they differ; with labels also negative flips (A right, B
    wrong), positive flips, and their difference (exact intervals; Newcombe's for pairs, with McNemar's p)."""
    a, b = _pair(a, b)
    out = [_share("churn", a != b, method)]
    if labels is None:
        return out
    a, labels = _pair(a, labels)
    one, other = a == labels, b == labels
    out += [_share("negative_flips", one & ~other, method), _share("positive_flips", ~one & other, method)]
    found = paired_rates(one, other, method.level)
    return [
        *out,
        Record(
            metric="accuracy_change", group={}, n=len(a), value=found.difference, low=found.low, high=found.high,
            level=found.level, method="newcombe, paired", p=found.p,
        ),
    ]  # fmt: skip


def _share(metric: str, hits: np.ndarray, method: Method) -> Record:
    (found,) = numbers(metric, int(hits.sum()), len(hits), method)
    return found


Parts = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # draws [B, N] -> agreement and expected agreement [B]


def _two(metric: str, one: np.ndarray, other: np.ndarray, method: Method) -> Record:
    """Answers of two as rows of the identity [N, C]."""
    same = (one * other).sum(1)

    def parts(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = weights.sum(1)
        return weights @ same / n, ((weights @ one) * (weights @ other)).sum(1) / n**2

    return _kappa(metric, parts, len(one), method)


def _kappa(metric: str, parts: Parts, n: int, method: Method, raters: int | None = None) -> Record:
    def kappa(weights: np.ndarray) -> np.ndarray:
        agreement, expected = parts(weights)
        certain = expected >= 1 - CERTAIN
        return np.where(certain, np.nan, (agreement - expected) / np.where(certain, 1, 1 - expected))

    agreement, expected = (float(x[0]) for x in parts(np.ones((1, n))))
    value = float(kappa(np.ones((1, n)))[0])
    low = high = None
    if finite(value) is not None:
        low, high = bootstrap_statistic(kappa, n, method.seed, method.level)
    return Record(
        metric=metric, group={}, n=n, value=finite(value), low=low, high=high, level=method.level,
        method="bootstrap over images", raters=raters, agreement=agreement, expected=expected,
    )  # fmt: skip


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise InputError(f"answers are {a.shape} and {b.shape}; both are [N], image by image")
    return a, b
