"""Which groups come first when images are ranked by their similarity to a text: Skew@k, NDKL, Bias@k.

Skew and NDKL: Geyik, Ambler and Kenthapadi (2019); Bias@k: Wang, Liu and Wang (2021). Logarithms are natural, the
discount of NDKL is log2. `reference`: "uniform" expects 1/G of each of the G groups in the data (published numbers of
CLIP), "share" the group's share of the images. Both measures are positive also for a random ranking: `null_mean` is
their mean when groups are dealt to the ranks at random, `p` the chance of a value at least as large. Their interval is
the bootstrap's, joined with the value of a random ranking where the test does not reject it: a bootstrap has the bias
of a maximum twice. Equal scores count by expectation (`ranking`). Scores have to be cosines of one text, not
probabilities over several.

An absent group counts as 1/k, as in the public codes. That would make it over-represented where its expected share of
the first k is below one image: refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from msgspec.structs import replace
from numpy.typing import ArrayLike

from clipjax.analysis import ranking as rankings
from clipjax.analysis.intervals import bootstrap_statistic, draws, percentile
from clipjax.analysis.ranking import Ranking, rank
from clipjax.analysis.rates import Method
from clipjax.analysis.records import Record
from clipjax.errors import InputError

Reference = Literal["uniform", "share"]
REFERENCES: tuple[Reference, ...] = ("uniform", "share")
USUAL = Method()
BOOTSTRAP = "bootstrap over images, and the test of a random ranking"
ROUNDING = 1e-12
BLOCK = 1 << 21  # counts held at once


@dataclasses.dataclass(frozen=True)
class _Skews:
    """Orders of groups [B, N] -> the Skew@k of one group, or the largest or smallest: [B]."""

    k: int
    share: tuple[float, ...]
    which: int | Literal["max", "min"]

    def __call__(self, groups: np.ndarray, ends: np.ndarray) -> np.ndarray:
        counts = rankings.counts_at(groups, ends, self.k, len(self.share))
        return self.of_skews(skew_values(counts, self.k, np.array(self.share)))

    def of_skews(self, skews: np.ndarray) -> np.ndarray:
        """Skew@k of every group [B, G] -> [B]."""
        if self.which == "max":
            return np.where(np.isnan(skews), -np.inf, skews).max(1)
        return np.where(np.isnan(skews), np.inf, skews).min(1) if self.which == "min" else skews[:, self.which]


@dataclasses.dataclass(frozen=True)
class _NDKL:
    """Orders of groups [B, N] -> NDKL [B]."""

    share: tuple[float, ...]

    def __call__(self, groups: np.ndarray, ends: np.ndarray) -> np.ndarray:
        return ndkl_values(groups, ends, np.array(self.share))


def skew_at_k(
    scores: ArrayLike, group: ArrayLike, k: int, reference: Reference = "share", names: Sequence[str] | None = None,
    method: Method = USUAL, column: str = "group",
) -> list[Record]:  # fmt: skip
    """scores [N] to one text, group int [N] -> ln(share of the group among the first k / its reference), a record per
    group; p is two-sided."""
    return _at_k(rank(scores, group, names), (k,), (reference,), method, column)[:-2]


def max_skew(
    scores: ArrayLike, group: ArrayLike, k: int, reference: Reference = "share", names: Sequence[str] | None = None,
    method: Method = USUAL,
) -> Record:  # fmt: skip
    """The largest Skew@k, of the group `highest`."""
    return _at_k(rank(scores, group, names), (k,), (reference,), method, "group")[-2]


def min_skew(
    scores: ArrayLike, group: ArrayLike, k: int, reference: Reference = "share", names: Sequence[str] | None = None,
    method: Method = USUAL,
) -> Record:  # fmt: skip
    """The smallest Skew@k, of the group `lowest`; where groups are `absent` the value is an upper bound."""
    return _at_k(rank(scores, group, names), (k,), (reference,), method, "group")[-1]


def ndkl(
    scores: ArrayLike, group: ArrayLike, reference: Reference = "share", names: Sequence[str] | None = None,
    method: Method = USUAL,
) -> Record:  # fmt: skip
    """Normalised discounted KL divergence between the groups of the first i and the reference, over all i."""
    if reference not in REFERENCES:
        raise InputError(f"reference {reference!r}; choose uniform or share")
    return _ndkls(rank(scores, group, names), (reference,), method)[0]


def measure(
    scores: ArrayLike, group: ArrayLike, ks: Sequence[int], references: Sequence[Reference],
    names: Sequence[str] | None = None, method: Method = USUAL, column: str = "group",
) -> list[Record]:  # fmt: skip
    """Skew of every group, MaxSkew, MinSkew at every k, and NDKL, for every reference, from one set of draws."""
    ranked = rank(scores, group, names)
    return _at_k(ranked, ks, references, method, column) + _ndkls(ranked, references, method)


def check(sizes: Mapping[str, int], k: int, references: Sequence[Reference]) -> None:
    """InputError where Skew@k of groups of these sizes is not what it seems."""
    n = sum(sizes.values())
    _check_k(k, n)
    for reference in references:
        if reference not in REFERENCES:
            raise InputError(f"reference {reference!r}; choose uniform or share")
        if reference == "share" and k == n:
            raise InputError(f"share reference with k = N = {n} is 0 by construction; choose k below N, or uniform")
        for name, size in sizes.items():
            share = size / n if reference == "share" else 1 / len(sizes)
            if k * share < 1 - ROUNDING:
                raise InputError(
                    f"k={k} is below 1/{share:.3g} for group {name!r}: an absent group would count as "
                    f"over-represented; choose k of at least {int(np.ceil(1 / share - ROUNDING))}"
                )


def bias_at_k(
    scores: ArrayLike, group: ArrayLike, k: int, pair: tuple[str, str], names: Sequence[str] | None = None,
    method: Method = USUAL,
) -> Record:  # fmt: skip
    """(c_first - c_second) / (c_first + c_second) of the counts of two named groups among the first k; 0 where both
    are 0. Other groups are ranked but not counted."""
    ranked = rank(scores, group, names)
    if absent := [name for name in pair if name not in ranked.names]:
        raise InputError(f"no image of group {absent[0]!r}; groups: {', '.join(sorted(ranked.names))}")
    if pair[0] == pair[1]:
        raise InputError(f"group {pair[0]!r} is compared with itself; name two groups")
    _check_k(k, len(ranked))
    rows = [ranked.names.index(name) for name in pair]

    def bias(counts: np.ndarray) -> np.ndarray:
        one, other = counts[:, rows].T
        return (one - other) / np.where(one + other > 0, one + other, 1)

    counts = rankings.first(ranked, k, np.ones((1, len(ranked))))
    low, high = bootstrap_statistic(
        lambda weights: bias(rankings.first(ranked, k, weights)), len(ranked), method.seed, method.level
    )
    return Record(
        metric="bias_at_k", group={}, against=f"{pair[0]} against {pair[1]}", k=k, n=len(ranked),
        value=float(bias(counts)[0]), low=low, high=high, level=method.level, method="bootstrap over images",
        ties_at_k=_ties(ranked, k), k_first=float(counts[0, rows[0]]), k_second=float(counts[0, rows[1]]),
    )  # fmt: skip


def drawn(ranked: Ranking, weights: np.ndarray, k: int | None, reference: Reference) -> np.ndarray:
    """How often each image with a group was drawn [B, N], in the images' own order -> MaxSkew@k of each draw [B]; NDKL
    without k. Rankings of the same images can be asked for the same draws."""
    weights = weights[:, ranked.rows]
    if k is None:
        return _resampled_ndkl(ranked, weights, reference)
    shares = weights @ np.eye(len(ranked.names))[ranked.group] / len(ranked)
    share = _share(ranked, reference) if reference == "uniform" else shares
    skews = skew_values(rankings.first(ranked, k, weights), k, share)
    return np.where(np.isnan(skews), -np.inf, skews).max(1)


def skew_values(counts: np.ndarray, k: int, share: np.ndarray) -> np.ndarray:
    """Expected counts [B, G] among the first k, reference [G] or [B, G] -> Skew@k [B, G]; 0 counts as 1/k, and a group
    that is not in the data (share 0) has none: nan."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log(np.where(counts > ROUNDING, counts, 1) / k) - np.log(share)
    return np.where(share > 0, found, np.nan)


def ndkl_values(groups: np.ndarray, ends: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Orders of groups int [B, N] with ties in blocks that end at `ends`, reference [G] or [B, G] -> NDKL [B]."""
    n = groups.shape[1]
    share, rows = np.broadcast_to(share, (len(groups), share.shape[-1])), max(1, BLOCK // n)
    return np.concatenate(
        [_ndkl(groups[i : i + rows], ends, share[i : i + rows], n) for i in range(0, len(groups), rows)]
    )


def _ndkl(groups: np.ndarray, ends: np.ndarray, share: np.ndarray, n: int) -> np.ndarray:
    ranks = np.arange(1, n + 1)
    discount = 1 / np.log2(ranks + 1)
    tied = len(ends) < n
    logs = np.append(0.0, ranks * np.log(ranks))  # c ln c of whole counts
    total = np.zeros(len(groups))
    for g in range(share.shape[1]):
        counts = np.cumsum(groups == g, axis=1)
        if tied:  # expected counts: straight lines over each block
            counts = _straight(counts, ends, n)
            own = counts * np.log(np.where(counts > 0, counts, 1))
        else:
            own = logs[counts]
        # KL = sum of p ln p - p ln q with p = c / i
        with np.errstate(divide="ignore"):
            other = np.where(share[:, g] > 0, np.log(share[:, g]), 0)
        total += (own - counts * (np.log(ranks) + other[:, None])) @ (discount / ranks)
    return np.maximum(total / discount.sum(), 0.0)


def _straight(counts: np.ndarray, ends: np.ndarray, n: int) -> np.ndarray:
    """Cumulative counts [B, N] of any order inside the blocks -> expected ones over all orders."""
    at = np.concatenate([np.zeros((len(counts), 1)), counts[:, ends - 1]], axis=1)
    sizes = np.diff(ends, prepend=0)
    block = np.repeat(np.arange(len(ends)), sizes)
    inside = (np.arange(1, n + 1) - (ends - sizes)[block]) / sizes[block]
    return at[:, block] * (1 - inside) + at[:, block + 1] * inside


def _resampled_ndkl(ranked: Ranking, weights: np.ndarray, reference: Reference) -> np.ndarray:
    """How often each image was drawn [B, N] -> NDKL of those draws [B]."""
    n, groups = len(ranked), len(ranked.names)
    share = np.full(groups, 1 / groups) if reference == "uniform" else weights @ np.eye(groups)[ranked.group] / n
    drawn = weights.astype(np.int64)
    orders = np.repeat(np.tile(ranked.group, len(drawn)), drawn.ravel()).reshape(len(drawn), n)
    if len(ranked.ends) == n:
        return ndkl_values(orders, ranked.ends, share)
    ends = np.add.reduceat(drawn, np.append(0, ranked.ends[:-1]), axis=1).cumsum(1)
    shares = np.broadcast_to(share, (len(drawn), groups))
    found = [
        ndkl_values(orders[i : i + 1], np.unique(ends[i][ends[i] > 0]), shares[i : i + 1]) for i in range(len(drawn))
    ]
    return np.concatenate(found)


def _at_k(
    ranked: Ranking, ks: Sequence[int], references: Sequence[Reference], method: Method, column: str
) -> list[Record]:
    """For every k and reference: a record per group in order of their names, then the largest and the smallest."""
    n, groups = len(ranked), len(ranked.names)
    for k in ks:
        check(dict(zip(ranked.names, ranked.sizes.tolist(), strict=True)), k, references)
    member, counts, sizes = np.eye(groups)[ranked.group], {k: [] for k in ks}, []
    for weights in draws(n, method.seed):
        sizes.append(weights @ member)
        for k in ks:
            counts[k].append(rankings.first(ranked, k, weights))
    shares, out = np.concatenate(sizes) / n, []
    for k in ks:
        drawn, own = np.concatenate(counts[k]), rankings.first(ranked, k, np.ones((1, n)))
        for reference in references:
            share = _share(ranked, reference)
            under = skew_values(drawn, k, share if reference == "uniform" else shares)
            skews = skew_values(own, k, share)
            common = Record(
                metric="skew_at_k", groups=groups, group={}, k=k, n=n, value=None, level=method.level,
                method="bootstrap over images", reference=reference, ties_at_k=_ties(ranked, k),
                absent=sorted(ranked.names[g] for g in np.flatnonzero(own[0] <= ROUNDING)) or None,
            )  # fmt: skip
            for which in (*_by_name(ranked), "max", "min"):
                statistic = _Skews(k, tuple(share.tolist()), which)
                null, exact = rankings.null(ranked, statistic, method.seed)
                value = float(statistic.of_skews(skews)[0])
                low, high = percentile(statistic.of_skews(under), method.level)
                p = _tail(null, exact, value, which)
                if p > 1 - method.level and which in ("max", "min"):
                    random = float(statistic.of_skews(np.log(ranked.sizes / n / share)[None])[0])
                    low, high = min(low, random), max(high, random)
                record = replace(common, value=value, low=low, high=high, null_mean=float(null.mean()), p=p)
                out.append(replace(record, **_about(ranked, which, skews[0], column)))
    return out


def _about(ranked: Ranking, which: int | str, skews: np.ndarray, column: str) -> dict[str, Any]:
    """What a record of one group, of the largest or of the smallest skew is called."""
    if which == "max":
        return {"metric": "max_skew_at_k", "highest": ranked.names[int(skews.argmax())], "method": BOOTSTRAP}
    if which == "min":
        return {"metric": "min_skew_at_k", "lowest": ranked.names[int(skews.argmin())]}
    return {"group": {column: ranked.names[int(which)]}}


def _ndkls(ranked: Ranking, references: Sequence[Reference], method: Method) -> list[Record]:
    found: dict[Reference, list[np.ndarray]] = {reference: [] for reference in references}
    for weights in draws(len(ranked), method.seed):
        for reference in references:
            found[reference].append(_resampled_ndkl(ranked, weights, reference))
    out = []
    for reference in references:
        statistic = _NDKL(tuple(_share(ranked, reference).tolist()))
        value = float(statistic(ranked.group[None], ranked.ends)[0])
        null, exact = rankings.null(ranked, statistic, method.seed)
        low, high = percentile(np.concatenate(found[reference]), method.level)
        random, p = float(null.mean()), _p(null, exact, value)
        if p > 1 - method.level:
            low, high = min(low, random), max(high, random)
        out.append(Record(
            metric="ndkl", group={}, groups=len(ranked.names), n=len(ranked), value=value, low=low, high=high,
            level=method.level, method=BOOTSTRAP, reference=reference, null_mean=random, p=p,
        ))  # fmt: skip
    return out


def _tail(null: np.ndarray, exact: bool, value: float, which: int | str) -> float:
    if which == "max":
        return _p(null, exact, value)
    below = _p(-null, exact, -value)
    return below if which == "min" else min(1.0, 2 * min(below, _p(null, exact, value)))


def _p(null: np.ndarray, exact: bool, value: float) -> float:
    reached = int((null >= value - ROUNDING * max(1.0, abs(value))).sum())
    return reached / len(null) if exact else (reached + 1) / (len(null) + 1)


def _ties(ranked: Ranking, k: int) -> int:
    start, end = ranked.block(k)
    return end - start if end > k else 0


def _share(ranked: Ranking, reference: Reference) -> np.ndarray:
    groups = len(ranked.names)
    return np.full(groups, 1 / groups) if reference == "uniform" else ranked.sizes / len(ranked)


def _check_k(k: int, n: int) -> None:
    if not 1 <= k <= n:
        raise InputError(f"k={k} of {n} images; choose k below {n}, from 1")


def _by_name(ranked: Ranking) -> Sequence[int]:
    return sorted(range(len(ranked.names)), key=lambda g: ranked.names[g])
