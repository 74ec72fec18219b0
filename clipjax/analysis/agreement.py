"""Agreement of answers: Fleiss' kappa over many raters, Cohen's of two, error consistency.

Kappa is agreement beyond what the marginal shares give: 0/0, where everybody always answers the same, is null
(model-vs-human says 1 there, scikit-learn nan). Kappa depends on how common the classes are; `agreement` and
`expected` are beside it. Intervals resample images; raters and models are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from scipy import sparse

from clipjax.analysis.intervals import BLOCK, RESAMPLES, draws, percentile
from clipjax.analysis.rates import Method
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

    return _kappa("fleiss_kappa", parts, np.ones(len(counts)), draws(len(counts), method.seed), method, raters=r)


def cohen_kappa(a: np.ndarray, b: np.ndarray, method: Method = USUAL, images: np.ndarray | None = None) -> Record:
    """Answers int [N] of two classifiers to the same images -> Cohen's kappa, unweighted. images [N]: how many images
    have these answers; without, each pair of answers is one image's."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise InputError(f"answers are {a.shape} and {b.shape}; both are [N], image by image")
    return _two("cohen_kappa", a, b, np.ones(len(a), np.int64) if images is None else images, method)


def error_consistency(tally: np.ndarray, method: Method = USUAL) -> Record:
    """Images that both have right, only A, only B, neither [4] -> kappa of being right (Geirhos, Meding and Wichmann
    2020)."""
    return _two("error_consistency", np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]), tally, method)


Parts = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # weights [B, M] -> agreement, expected agreement [B]


def _two(metric: str, a: np.ndarray, b: np.ndarray, images: np.ndarray, method: Method) -> Record:
    """Answers of two, int [N], and how many images have them [N]. Only how often each pair of answers occurs matters:
    images are resampled by drawing those counts."""
    a, b, images = (x[images > 0] for x in (a, b, images))
    names, codes = np.unique(np.stack([a, b]), return_inverse=True)
    (a, b), classes = codes.reshape(2, -1), len(names)
    pairs, place = np.unique(a * classes + b, return_inverse=True)
    counts = np.bincount(place, images).astype(np.int64)  # exact below 2**53
    rank = np.argsort(np.lexsort([np.bincount(x, images, classes) for x in (a, b)]))  # how common each class is
    one, other = rank[pairs // classes], rank[pairs % classes]
    order = np.lexsort((other, one, one == other, counts))  # what classes are called decides nothing
    one, other, counts = one[order], other[order], counts[order]
    place, ones = np.arange(len(counts)), np.ones(len(counts))
    of_one, of_other = (sparse.csr_array((ones, (place, c)), shape=(len(counts), classes)) for c in (one, other))

    def parts(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = weights.sum(1)
        return weights @ (one == other) / n, ((weights @ of_one) * (weights @ of_other)).sum(1) / n**2

    n, generator = int(counts.sum()), np.random.default_rng(method.seed)
    size = max(1, BLOCK // (len(counts) + 2 * classes))
    blocks = [min(size, RESAMPLES - start) for start in range(0, RESAMPLES, size)]
    drawn = (generator.multinomial(n, counts / n, rows).astype(np.float64) for rows in blocks)
    return _kappa(metric, parts, counts.astype(np.float64), drawn, method)


def _kappa(
    metric: str, parts: Parts, own: np.ndarray, drawn: Iterable[np.ndarray], method: Method, raters: int | None = None
) -> Record:
    """own [M]: how often each of M images (or pairs of answers) is there; drawn: the same of resamples, [B, M] each."""

    def kappa(weights: np.ndarray) -> np.ndarray:
        agreement, expected = parts(weights)
        certain = expected >= 1 - CERTAIN
        return np.where(certain, np.nan, (agreement - expected) / np.where(certain, 1, 1 - expected))

    agreement, expected = (float(x[0]) for x in parts(own[None]))
    value = float(kappa(own[None])[0])
    low = high = None
    if finite(value) is not None:
        low, high = percentile(np.concatenate([kappa(weights) for weights in drawn]), method.level)
    return Record(
        metric=metric, group={}, n=int(own.sum()), value=finite(value), low=low, high=high, level=method.level,
        method="bootstrap over images", raters=raters, agreement=agreement, expected=expected,
    )  # fmt: skip
