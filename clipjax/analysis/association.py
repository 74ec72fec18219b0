"""Do two groups get a label equally often? Chi-squared and Fisher's test per label, and what many labels at once cost.

Schwemmer et al. (2020), whose procedure section 2.1 of "Evaluating CLIP" follows, mix two denominators in one figure:
the test counts label tokens (a label against all other labels of that gender), the bars count images. Both are here
and every number says which it is.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy
from numpy.typing import ArrayLike
from scipy.special import gammaln

from clipjax.errors import InputError

METHODS = ("benjamini-hochberg", "bonferroni")
TIED = 1e-7
ALPHA = 0.05  # from which adjusted p-value on nothing is stated
CURVE = 96  # thresholds that labels per image are counted at
TRUSTED = 5  # expected counts from which chi-squared is read (Cochran 1954), Fisher's exact test below


def chi_squared(table: ArrayLike, correction: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Pearson's chi-squared (statistic, p) of tables [..., 2, 2] of counts, one degree of freedom.

    `correction` is Yates'. An empty row or column holds no information: statistic 0, p 1. The same numbers as
    `scipy.stats.chi2_contingency`, for many tables at once.
    """
    table = _tables(table)
    total = table.sum((-2, -1), keepdims=True)
    margins = table.sum(-1, keepdims=True) * table.sum(-2, keepdims=True)
    expected = margins / np.maximum(total, 1)
    gap = np.abs(table - expected)
    if correction:
        gap = gap - np.minimum(0.5, gap)
    informed = (expected > 0).all((-2, -1))
    terms = gap**2 / np.where(expected > 0, expected, 1)
    statistic = np.where(informed, terms.sum((-2, -1)), 0.0)
    return statistic[()], scipy.stats.chi2.sf(statistic, 1)[()]


def chi_squared_table(table: ArrayLike) -> tuple[float, int, float]:
    """(statistic, degrees of freedom, p) of one table [R, C] of counts; empty rows and columns are left out."""
    table = np.asarray(table)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    if min(table.shape) < 2:
        return 0.0, 0, 1.0
    found = scipy.stats.chi2_contingency(table, correction=False)
    return float(found.statistic), int(found.dof), float(found.pvalue)


def fisher(table: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Fisher's exact test, two-sided: (sample odds ratio, p) of tables [..., 2, 2]; nan where the ratio is 0/0.

    Exact for every count, and the one to read where `min_expected` is below 5.
    """
    table = _tables(table)
    flat = table.reshape(-1, 2, 2)
    distinct, place = np.unique(flat, axis=0, return_inverse=True)
    p = _fisher_p(distinct.astype(np.int64))
    cross = flat[:, 0, 0] * flat[:, 1, 1], flat[:, 0, 1] * flat[:, 1, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = cross[0] / cross[1]
    shape = table.shape[:-2]
    return odds.reshape(shape)[()], p[place.ravel()].reshape(shape)[()]


def _fisher_p(tables: np.ndarray) -> np.ndarray:
    """int [T, 2, 2] -> of all tables with the same margins, the chance of those that are not likelier [T].

    Chances that differ by less than TIED are equal, as in R. scipy's function does one table in milliseconds, and a
    list of labels has hundreds, at every threshold.
    """
    factorial = gammaln(np.arange(tables.sum((-2, -1)).max(initial=0) + 1) + 1.0)  # logarithms
    out = []
    for (a, b), (c, d) in tables.tolist():
        row, column, rest = a + b, a + c, d - a
        low = max(0, -rest)
        x = np.arange(low, min(row, column) + 1)
        log = -(factorial[x] + factorial[row - x] + factorial[column - x] + factorial[rest + x])
        chance = np.exp(log - log.max())
        out.append(chance[chance <= chance[a - low] * (1 + TIED)].sum() / chance.sum())
    return np.minimum(np.array(out, np.float64), 1.0)


def fisher_smallest(table: ArrayLike) -> np.ndarray:
    """The smallest p that Fisher's exact test can give with the margins of tables [..., 2, 2]: one of the two extremes,
    or both where they are equally likely."""
    table = _tables(table)
    (a, b), (c, d) = (np.moveaxis(half, -1, 0) for half in np.moveaxis(table, -2, 0))
    row, column, total = a + b, a + c, a + b + c + d
    ends = []
    for x in (np.maximum(0, row + column - total), np.minimum(row, column)):
        cells = (x, row - x, column - x, total - row - column + x)
        margins = gammaln(np.stack([row, total - row, column, total - column]) + 1).sum(0) - gammaln(total + 1)
        ends.append(np.exp(margins - gammaln(np.stack(cells) + 1).sum(0)))
    low, high = np.minimum(*ends), np.maximum(*ends)
    return np.minimum(np.where(high <= low * (1 + TIED), low + high, low), 1.0)[()]


def two_groups(table: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(p, the smallest p that these margins allow, whether p is Fisher's) of tables [..., 2, 2].

    Chi-squared without correction where every expected count is at least TRUSTED, Fisher's exact test elsewhere.
    """
    table = _tables(table)
    exact = np.asarray(min_expected(table) < TRUSTED)
    p, smallest = np.array(chi_squared(table)[1]), np.zeros(exact.shape)
    if exact.any():
        p[exact], smallest[exact] = fisher(table[exact])[1], fisher_smallest(table[exact])
    return p[()], smallest[()], exact[()]


def min_expected(table: ArrayLike) -> np.ndarray:
    """The smallest expected count of tables [..., 2, 2]; chi-squared is trusted from TRUSTED on (Cochran 1954)."""
    table = _tables(table)
    total = table.sum((-2, -1))
    least = table.sum(-1).min(-1) * table.sum(-2).min(-1)
    return (least / np.maximum(total, 1))[()]


def adjust(p: ArrayLike, method: str = "benjamini-hochberg") -> np.ndarray:
    """p-values of one family [L] -> adjusted p-values: false discovery rate (1995), or Bonferroni."""
    p = np.asarray(p, np.float64)
    if method not in METHODS:
        raise InputError(f"unknown correction {method!r}; choose {' or '.join(METHODS)}")
    if not p.size:
        return p
    if method == "bonferroni":
        return np.minimum(p * p.size, 1.0)
    return scipy.stats.false_discovery_control(p.ravel(), method="bh").reshape(p.shape)


def can_reject(smallest: ArrayLike, alpha: float = ALPHA) -> np.ndarray:
    """bool [L]: the tests that count, by the smallest p [L] that each could give (Tarone 1990).

    With K the smallest number such that at most K tests can reach alpha / K: those tests. The others cannot be
    rejected whatever the images say, so there is nothing to adjust for. It depends on margins (or numbers of discordant
    images) only, not on which way a test went.
    """
    smallest = np.asarray(smallest, np.float64)
    k = np.arange(1, smallest.size + 1)
    reach = np.searchsorted(np.sort(smallest.ravel()), alpha / k, side="right")
    enough = np.flatnonzero(reach <= k)
    return smallest <= alpha / k[enough[0]] if len(enough) else np.zeros(smallest.shape, bool)


def adjust_testable(
    p: ArrayLike, smallest: ArrayLike, method: str = "benjamini-hochberg", alpha: float = ALPHA
) -> np.ndarray:
    """p-values of one family [L] -> adjusted over its testable tests only (Gilbert 2005); 1 for all others."""
    p, counted = np.asarray(p, np.float64), can_reject(smallest, alpha)
    out = np.ones(p.shape)
    out[counted] = adjust(p[counted], method)
    return out


@dataclasses.dataclass(frozen=True)
class Gendered:
    """One row per label: how often each of two groups got it, and the tests. All arrays are [L], `k` is [L, 2].

    `image_chi2`, `image_p`: images with the label against images without, uncorrected. `token_chi2`, `token_p`: the
    label's tokens against all other tokens of the group, Yates-corrected (quanteda's keyness). `fisher_p` is at image
    level. `more` is 0 or 1: the group whose rate is higher (-1 where equal).
    """

    k: np.ndarray
    n: tuple[int, int]
    tokens: tuple[int, int]
    image_chi2: np.ndarray
    image_p: np.ndarray
    token_chi2: np.ndarray
    token_p: np.ndarray
    fisher_p: np.ndarray
    min_expected: np.ndarray
    more: np.ndarray

    @property
    def tables(self) -> np.ndarray:
        """Images with the label against images without, of both groups: [L, 2, 2]."""
        return np.stack([self.k, np.array(self.n) - self.k], axis=1)


def gendered_labels(k1: ArrayLike, k2: ArrayLike, n1: int, n2: int, tokens: tuple[int, int] | None = None) -> Gendered:
    """Images of group 1 and 2 with each label [L], of n1 and n2 images. `tokens`: all labels given out in each group;
    None: the sums over these labels."""
    k = np.stack([np.asarray(k1), np.asarray(k2)], axis=1).astype(np.int64)
    if (k < 0).any() or (k > [n1, n2]).any():
        row = int(np.flatnonzero(((k < 0) | (k > [n1, n2])).any(1))[0])
        raise InputError(f"label {row} (from 0) has counts {k[row].tolist()} of {n1} and {n2} images; 0 <= k <= n")
    tokens = (int(k[:, 0].sum()), int(k[:, 1].sum())) if tokens is None else tokens
    if (k > list(tokens)).any():
        raise InputError(f"a label has more tokens than its group, {tokens}; count every label that was given out")
    image = np.stack([k, np.array([n1, n2]) - k], axis=1)  # [L, with/without, group]
    token = np.stack([k, np.array(tokens) - k], axis=1)
    image_chi2, image_p = chi_squared(image)
    token_chi2, token_p = chi_squared(token, correction=True)
    rates = k / np.maximum([n1, n2], 1)
    more = np.where(rates[:, 0] == rates[:, 1], -1, rates.argmax(1))
    return Gendered(
        k, (n1, n2), tokens, image_chi2, image_p, token_chi2, token_p, fisher(image)[1], min_expected(image), more
    )


def top_gendered(counts: Gendered, n: int = 20, by: str = "image", min_count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """For each group the rows of the n labels that most set it apart, sorted by how often the group gets them.

    By chi-squared at image or token level, among labels given at least `min_count` times that the group gets more
    often (Figure 1 of the paper: "20 most gendered labels ... sorted by absolute frequencies").
    """
    if by not in ("image", "token"):
        raise InputError(f"labels are ranked by image or token, not {by!r}")
    statistic = counts.image_chi2 if by == "image" else counts.token_chi2
    shares = counts.k / np.maximum(counts.n if by == "image" else counts.tokens, 1)
    out = []
    for group in (0, 1):
        rows = np.flatnonzero((shares[:, group] > shares[:, 1 - group]) & (counts.k.sum(1) >= min_count))
        best = rows[np.argsort(-statistic[rows], kind="stable")][:n]
        out.append(best[np.argsort(-counts.k[best, group], kind="stable")])
    return out[0], out[1]


def curve_thresholds(labels: int) -> np.ndarray:
    """The thresholds that labels per image are counted at: from a twentieth of the uniform probability to a half."""
    return np.geomspace(0.05 / labels, 0.5, CURVE)


def reached(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Probabilities [N, K] -> how many of them reach each threshold, int64 [T]: sums over images."""
    flat = np.sort(probabilities.ravel())
    return len(flat) - np.searchsorted(flat, thresholds, side="left")


def _tables(table: ArrayLike) -> np.ndarray:
    table = np.asarray(table)
    if table.shape[-2:] != (2, 2):
        raise InputError(f"a table of counts has shape {list(table.shape)}; it has to be [..., 2, 2]")
    if table.dtype.kind not in "iufb" or not ((table >= 0) & (table == np.floor(table))).all():
        raise InputError("a table of counts holds whole numbers from 0; give counts, not rates")
    return table.astype(np.float64)
