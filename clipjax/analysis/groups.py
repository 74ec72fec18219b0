"""Accuracy by group and what is made of it: the worst group, the gap, the ratio, three averages, fairness differences.

Definitions are those of fairlearn's MetricFrame and of WILDS. Differences: a group without images is not a group, an
undefined rate (0 of 0) is null instead of 0, and every number has an interval that holds for whichever group turns out
worst (`simultaneous`). A gap is never zero, also of equal groups: `expected_if_equal` is beside it, and `p` is the
exact permutation test of "no difference".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from msgspec.structs import replace
from numpy.typing import ArrayLike

from clipjax.analysis import rates, simultaneous
from clipjax.analysis.intervals import of_effective_n, wilson
from clipjax.analysis.rates import Cells, Method
from clipjax.analysis.records import Record
from clipjax.analysis.simultaneous import split_level
from clipjax.errors import InputError

Against = Literal["between_groups", "to_overall"]
USUAL = Method()
MOST_COMPARED = 200  # groups of one grouping that are compared with each other
SUM = 1e-6  # how far weights may be from 1
MEAN = "wilson of each {}, square-and-add; at least clopper-pearson of effective n"  # a method


def accuracy_by_group(right: np.ndarray, cells: Cells, method: Method = USUAL, metric: str = "top1") -> list[Record]:
    """right bool [N] -> a record per group: k of n, exact interval; images in no group are left out."""
    found = rates.numbers(metric, *tally(right, cells), method)
    return [replace(record, group=group) for group, record in zip(cells.groups, found, strict=True)]


def tally(right: np.ndarray, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """bool [N] -> how many of each group are true, and how many images it has: k, n int64 [G]."""
    inside, groups = cells.of >= 0, len(cells.groups)
    n = np.bincount(cells.of[inside], minlength=groups)
    return np.bincount(cells.of[inside], np.asarray(right, bool)[inside], minlength=groups).astype(np.int64), n


def names_of(groups: Sequence[Mapping[str, str]]) -> list[str]:
    """What each group is called in a record: "Black", or "Black, Female" of two columns."""
    return [", ".join(group.values()) for group in groups]


def worst_group(
    k: ArrayLike, n: ArrayLike, names: Sequence[str] | None = None, method: Method = USUAL, of: str = ""
) -> Record:
    """k of n right [G] -> the smallest accuracy, with `worst`, `groups` and the interval of the smallest true one.

    `k` and `n` of the record are the worst group's. names [G]: what groups are called (their indices); of: "top1" puts
    its name before the metric's.
    """
    k, n, names = _groups(k, n, names)
    worst = int(np.argmin(k / n))
    low, high = simultaneous.minimum(k, n, method.level)
    return Record(
        metric=_named(of, "worst_group"), group={}, groups=len(n), worst=names[worst], k=int(k[worst]), n=int(n[worst]),
        value=float(k[worst] / n[worst]), low=low, high=high, level=method.level,
        method=f"clopper-pearson, simultaneous over {len(n)} groups", small=bool(n[worst] < method.min_n),
    )  # fmt: skip


def group_difference(
    k: ArrayLike, n: ArrayLike, names: Sequence[str] | None = None, method: Method = USUAL, of: str = "",
    against: Against = "between_groups",
) -> Record:  # fmt: skip
    """k of n [G] -> the largest minus the smallest rate, or the largest distance from the rate of all ("to_overall").

    With `highest`, `lowest`, and p and `expected_if_equal` of dealing the right answers at random."""
    k, n, names = _groups(k, n, names)
    if against not in ("between_groups", "to_overall"):
        raise InputError(f"against={against!r}; choose between_groups or to_overall")
    between, overall = against == "between_groups", k.sum() / n.sum()

    def statistic(rate: np.ndarray) -> np.ndarray:
        return np.ptp(rate, axis=-1) if between else np.abs(rate - overall).max(-1)

    value = float(statistic(k / n))
    low, high = (simultaneous.gap if between else simultaneous.gap_to)(k, n, method.level)
    dealt, weights, exact = simultaneous.equal_groups(k, n, method.seed)
    null = statistic(dealt / n)
    how = _pairs(len(n)) if between else f"{len(n)} groups"
    return replace(
        _between(_named(of, "group_difference"), k, n, names, method),
        value=value, low=low, high=high, method=f"newcombe, simultaneous over {how}",
        against=None if between else "overall", p=simultaneous.p_value(null, weights, exact, value),
        expected_if_equal=float(null @ weights),
    )  # fmt: skip


def group_ratio(
    k: ArrayLike, n: ArrayLike, names: Sequence[str] | None = None, method: Method = USUAL, of: str = "",
    against: Against = "between_groups",
) -> Record:  # fmt: skip
    """k of n [G] -> the smallest over the largest rate; "to_overall": the smallest of a/all and all/a, without an
    interval. 0/0 is null."""
    k, n, names = _groups(k, n, names)
    rate = k / n
    record = _between(_named(of, "group_ratio"), k, n, names, method)
    if against == "to_overall":
        overall = k.sum() / n.sum()
        value = float((np.minimum(rate, overall) / np.maximum(rate, overall)).min()) if overall else None
        return replace(record, value=value, against="overall", level=None)
    low, high = simultaneous.ratio(k, n, method.level)
    value = float(rate.min() / rate.max()) if rate.max() else None
    how = f"miettinen-nurminen, simultaneous over {_pairs(len(n))}"
    return replace(record, value=value, low=low, high=high, method=how)


def mean_of_groups(
    k: ArrayLike, n: ArrayLike, names: Sequence[str] | None = None, method: Method = USUAL, of: str = ""
) -> Record:
    """k of n [G] -> the mean of the groups' rates, each group weighing the same."""
    k, n, names = _groups(k, n, names)
    return _mean(_named(of, "mean_of_groups"), k, n, np.full(len(n), 1 / len(n)), method)


def weighted_mean_of_groups(
    k: ArrayLike, n: ArrayLike, weights: ArrayLike | Mapping[str, float], names: Sequence[str] | None = None,
    method: Method = USUAL, of: str = "",
) -> Record:  # fmt: skip
    """k of n [G] -> the mean of the groups' rates by weights [G] (or by name) that sum to 1: the "average accuracy" of
    Waterbirds has those of the training part."""
    counted, sizes = np.atleast_1d(np.asarray(k)), np.atleast_1d(np.asarray(n))
    names = list(names or map(str, range(len(sizes))))
    if isinstance(weights, Mapping):
        if absent := [name for name in weights if name not in names]:
            raise InputError(f"weights name {absent[0]!r}, which no image has; groups: {', '.join(names)}")
        weights = [weights.get(name, 0.0) for name in names]
    weights = np.asarray(weights, np.float64)
    if weights.shape != sizes.shape:
        raise InputError(f"{weights.size} weights for {sizes.size} groups; give one for each")
    if (weights < 0).any() or abs(weights.sum() - 1) > SUM:
        raise InputError(f"weights sum to {weights.sum():g}; they must sum to 1, none below 0")
    if (empty := (sizes == 0) & (weights > 0)).any():
        raise InputError(f"weights name {names[int(np.flatnonzero(empty)[0])]!r}, which no image has")
    kept = sizes > 0
    counted, sizes, listed = _groups(counted, sizes, names)
    record = _mean(_named(of, "weighted_mean_of_groups"), counted, sizes, weights[kept], method)
    return replace(record, weights=dict(zip(listed, weights[kept].tolist(), strict=True)))


def between_group_variance(
    k: ArrayLike, n: ArrayLike, names: Sequence[str] | None = None, method: Method = USUAL, of: str = ""
) -> Record:
    """k of n [G] -> an unbiased estimate of the variance of the groups' true rates: variance of the rates (ddof 1)
    minus the mean of a (1 - a) / (n - 1). Below zero where chance alone explains more; such values stay. No interval.

    The idea: Lum, Zhang and Bower (2022), "De-biasing 'bias' measurement". Groups of one image: null.
    """
    k, n, names = _groups(k, n, names)
    order = np.lexsort((k, n))  # what groups are called decides no rounding
    k, n = k[order], n[order]
    rate = k / n
    value = rate.var(ddof=1) - (rate * (1 - rate) / (n - 1)).mean() if n.min() > 1 else None
    return Record(
        metric=_named(of, "between_group_variance"), group={}, groups=len(n), n=int(n.sum()),
        value=None if value is None else float(value),
    )  # fmt: skip


def demographic_parity_difference(
    answer: np.ndarray, cells: Cells, method: Method = USUAL, set: str | None = None,
    against: Against = "between_groups",
) -> Record:  # fmt: skip
    """answer bool [N] (is it in the set?) -> the difference of the groups' selection rates."""
    return parity_difference(*tally(answer, cells), names_of(cells.groups), method, set, against)


def parity_difference(
    k: ArrayLike, n: ArrayLike, names: Sequence[str], method: Method = USUAL, set: str | None = None,
    against: Against = "between_groups",
) -> Record:  # fmt: skip
    """`demographic_parity_difference` of counts: k of n [G] answers of each group are in the set."""
    found = group_difference(k, n, names, method, against=against)
    return replace(found, metric="demographic_parity_difference", set=set)


def demographic_parity_ratio(
    answer: np.ndarray, cells: Cells, method: Method = USUAL, set: str | None = None
) -> Record:
    """answer bool [N] -> the smallest over the largest selection rate."""
    return parity_ratio(*tally(answer, cells), names_of(cells.groups), method, set)


def parity_ratio(
    k: ArrayLike, n: ArrayLike, names: Sequence[str], method: Method = USUAL, set: str | None = None
) -> Record:
    """`demographic_parity_ratio` of counts: k of n [G] answers of each group are in the set."""
    return replace(group_ratio(k, n, names, method), metric="demographic_parity_ratio", set=set)


def equal_opportunity_difference(
    answer: np.ndarray, truth: np.ndarray, cells: Cells, method: Method = USUAL, set: str | None = None
) -> Record:
    """answer, truth bool [N] (in the set?) -> the difference of true positive rates over the groups that have one;
    `undefined` names the others. fairlearn calls their rate 0."""
    answer, truth = _both(answer, truth)
    return opportunity_difference(*_stratum(answer, truth, cells), names_of(cells.groups), method, set)


def opportunity_difference(
    k: ArrayLike, n: ArrayLike, names: Sequence[str], method: Method = USUAL, set: str | None = None
) -> Record:
    """`equal_opportunity_difference` of counts: of n [G] images of each group in the set, k have an answer in it."""
    k, n = np.asarray(k), np.asarray(n)
    missing = [name for name, size in zip(names, n, strict=True) if not size]
    return replace(_defined("equal_opportunity_difference", k, n, names, method), set=set, undefined=missing or None)


def equalized_odds_difference(
    answer: np.ndarray, truth: np.ndarray, cells: Cells, method: Method = USUAL, set: str | None = None,
    agg: Literal["worst_case", "mean"] = "worst_case",
) -> Record:  # fmt: skip
    """answer, truth bool [N] -> the larger ("worst_case") or the mean of the differences of true and of false positive
    rates. p and `expected_if_equal`: groups are permuted within the images in the set, and within the others."""
    answer, truth = _both(answer, truth)
    strata = [_stratum(answer, inside, cells) for inside in (truth, ~truth)]
    return odds_difference(strata, names_of(cells.groups), method, set, agg)


def odds_difference(
    strata: Sequence[tuple[np.ndarray, np.ndarray]], names: Sequence[str], method: Method = USUAL,
    set: str | None = None, agg: Literal["worst_case", "mean"] = "worst_case",
) -> Record:  # fmt: skip
    """`equalized_odds_difference` of counts: (k, n) [G] of the images in the set, then of the others; k of n have an
    answer in the set."""
    if agg not in ("worst_case", "mean"):
        raise InputError(f"agg={agg!r}; choose worst_case or mean")
    both = np.max if agg == "worst_case" else np.mean
    total = int(sum(n.sum() for _, n in strata))
    parts, undefined, bounds, nulls = [], [], [], []
    for k, n in strata:
        missing = [name for name, size in zip(names, n, strict=True) if not size]
        undefined += [name for name in missing if name not in undefined]
        kept = n > 0
        if kept.sum() < 2:
            parts.append(None)
            continue
        k, n = k[kept], n[kept]
        parts.append(float(np.ptp(k / n)))
        bounds.append(simultaneous.gap(k, n, split_level(method.level, 2)))
        dealt, weights, exact = simultaneous.equal_groups(k, n, method.seed)
        nulls.append((np.ptp(dealt / n, axis=1), weights, exact))
    defined = None not in parts
    value = float(both(parts)) if defined else None
    low, high = (float(both([b[side] for b in bounds])) for side in (0, 1)) if defined else (0.0, 1.0)
    p = expected = None
    if defined:
        p, expected = _joint(nulls, both, float(value or 0), method.seed)
    return Record(
        metric="equalized_odds_difference", set=set, group={}, groups=len(names), n=total,
        value=value, low=low, high=high, level=method.level, p=p, expected_if_equal=expected,
        method="newcombe, simultaneous over both differences", tpr_difference=parts[0], fpr_difference=parts[1],
        undefined=undefined or None,
    )  # fmt: skip


def _joint(nulls, both, value: float, seed: int) -> tuple[float, float]:
    """p and expectation of a statistic of two independent ones, each with values [R], weights [R] and `exact`."""
    sampled = 9_999
    generator = np.random.default_rng([seed, 2])
    drawn = np.stack([values[generator.choice(len(values), sampled, p=weights)] for values, weights, _ in nulls])
    null = both(drawn, axis=0)
    return simultaneous.p_value(null, np.full(sampled, 1 / sampled), False, value), float(null.mean())


def _stratum(answer: np.ndarray, inside: np.ndarray, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Of the images `inside` bool [N]: how many answers of each group are yes, of how many [G]."""
    return tally(answer[inside], Cells(cells.groups, cells.of[inside]))


def _defined(metric: str, k: np.ndarray, n: np.ndarray, names: Sequence[str], method: Method) -> Record:
    """`group_difference` over the groups with images; null where fewer than two have any."""
    if (n > 0).sum() < 2:
        return Record(metric=metric, group={}, groups=int((n > 0).sum()), n=int(n.sum()), value=None)
    return replace(group_difference(k, n, names, method), metric=metric)


def _both(answer: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    answer, truth = np.asarray(answer), np.asarray(truth)
    if answer.dtype != bool or truth.dtype != bool or answer.shape != truth.shape:
        raise InputError(
            f"answers are {answer.dtype} {answer.shape} and truth {truth.dtype} {truth.shape}; both are bool [N]: "
            "whether each is in the set"
        )
    return answer, truth


def _groups(k: ArrayLike, n: ArrayLike, names: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Counts of the groups that have images, and their names."""
    k, n = simultaneous.counts(k, n)
    names = list(names) if names is not None else [str(g) for g in range(len(n))]
    if len(names) != len(n):
        raise InputError(f"{len(names)} names for {len(n)} groups; give one for each")
    return k[n > 0], n[n > 0], [name for name, size in zip(names, n, strict=True) if size]


def _between(metric: str, k: np.ndarray, n: np.ndarray, names: Sequence[str], method: Method) -> Record:
    """What a difference and a ratio of groups share."""
    rate = k / n
    worst, best = int(rate.argmin()), int(rate.argmax())
    return Record(
        metric=metric, group={}, groups=len(n), n=int(n.sum()), value=None, highest=names[best], lowest=names[worst],
        level=method.level, small=bool(min(n[worst], n[best]) < method.min_n),
    )  # fmt: skip


def _mean(metric: str, k: np.ndarray, n: np.ndarray, weights: np.ndarray, method: Method) -> Record:
    order = np.lexsort((k, n, weights))  # what groups are called decides no rounding
    k, n, weights = k[order], n[order], weights[order]
    low, high = interval_of_mean(k, n, weights, method.level)
    return Record(
        metric=metric, group={}, groups=len(n), n=int(n.sum()), value=float(weights @ (k / n)), low=low, high=high,
        level=method.level, method=MEAN.format("group"),
    )  # fmt: skip


def interval_of_mean(k: np.ndarray, n: np.ndarray, weights: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Of the weighted mean of k / n, [G] each: square-and-add (Zou, Huang and Zhang 2009) of Wilson's intervals. Where
    most groups are all right (or all wrong) theirs do not reach far enough together: at least the interval of the
    effective n."""
    low, high = wilson(k, n, level)
    rate = k / n
    value = float(weights @ rate)
    down, up = (float(np.sqrt((weights**2 * (rate - end) ** 2).sum())) for end in (low, high))
    variance = float((weights**2 * rate * (1 - rate) / n).sum())
    least, most = of_effective_n(value, variance, float(1 / (weights**2 / n).sum()), level)
    return max(0.0, min(value - down, least)), min(1.0, max(value + up, most))


def _pairs(groups: int) -> str:
    return "one pair" if groups == 2 else f"{groups * (groups - 1) // 2} pairs"


def _named(of: str, metric: str) -> str:
    return f"{of}_{metric}" if of else metric
