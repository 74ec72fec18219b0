"""Few-shot: a linear probe on k examples a class, drawn several times; how good it is and how much the draw decides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from msgspec.structs import replace
from scipy.stats import random_table
from scipy.stats import t as student

from clipjax.analysis import drawn, groups, simultaneous
from clipjax.analysis.intervals import clopper_pearson
from clipjax.analysis.rates import Cells, Method
from clipjax.analysis.records import Record
from clipjax.errors import InputError
from clipjax.probes import linear, metrics

C = 0.316  # of the linear probe in OpenAI's README; the paper names none for few-shot
USUAL = Method()
By = Sequence[tuple[Sequence[str], Cells]]  # groupings: their columns, and the groups of the test examples


class Drawn(NamedTuple):
    """What several draws of labelled images gave.

    right: whether each test example is answered right, bool [K, S, N] by number of shots and seed; zero_shot: the same
    without any images, bool [N], where that was asked too.
    """

    records: list[Record]
    right: np.ndarray
    zero_shot: np.ndarray | None = None


def evaluate(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    shots: Sequence[int] = (1, 2, 4, 8, 16),
    *,
    seeds: Sequence[int] = (0, 1, 2),
    C: float = C,
    classes: int | None = None,
    max_iter: int = 1000,
    mesh: Mesh | None = None,
    by: By = (),
    method: Method = USUAL,
) -> Drawn:
    """features [N, D], labels int [N] to draw from, and a test set -> one top-1 record per number of shots, then for
    each grouping `of_groups` of every number of shots.

    `value` is the mean over the seeds, `spread` their standard deviation, `values` each. The interval (Student's t,
    one degree of freedom fewer than seeds) adds both sources of error: another draw of the shots, and another draw of
    the test examples, whose part is the variance over them of how often they are answered right.
    """
    if len(set(seeds)) < 2:
        raise InputError(f"seeds {list(seeds)}: a spread needs two different seeds or more")
    labels = metrics.check_labels(labels, len(features))
    test_labels = metrics.check_labels(test_labels, len(test_features), classes)
    classes = classes or int(max(labels.max(), test_labels.max())) + 1
    right = np.empty((len(shots), len(seeds), len(test_labels)), bool)
    records, grouped = [], []
    for k, mine in zip(shots, right, strict=True):
        for seed, one in zip(seeds, mine, strict=True):
            rows = draw(labels, k, seed, classes)
            probe = linear.fit(features[rows], labels[rows], C, max_iter, classes=classes, mesh=mesh)
            one[:] = metrics.in_top(linear.scores(test_features, *probe), test_labels, 1)
        about = {"shots": int(k), "C": C, "seeds": [int(s) for s in seeds]}
        records.append(replace(summary(mine, method.level), **about))
        grouped += [replace(r, **about) for g, cells in by for r in of_groups(mine, cells, "*".join(g), method)]
    return Drawn(records + grouped, right)


def draw(labels: np.ndarray, k: int, seed: int, classes: int | None = None) -> np.ndarray:
    """k rows of every class at random, class by class: int [C * k]. A larger k contains the smaller's rows.

    A class without rows is left out: it is never predicted.
    """
    labels = np.asarray(labels)
    if k < 1:
        raise InputError(f"{k} shots; choose 1 or more")
    generator = np.random.default_rng(seed)
    rows = []
    for c in range(classes or int(labels.max()) + 1):
        members = generator.permutation(np.flatnonzero(labels == c))
        if 0 < len(members) < k:
            raise InputError(f"class {c} has {len(members)} examples to draw from; {k} shots need {k}")
        rows.append(members[:k])
    return np.concatenate(rows)


def summary(right: np.ndarray, level: float = 0.95) -> Record:
    """Right or wrong per seed and test example, bool [S, N] -> the record of the mean over seeds."""
    found = drawn.mean(right, level)
    low, high = max(found.low, 0.0), min(found.high, 1.0)
    return replace(
        metrics.record("top1", right.shape[1], found.value, low, high, drawn.method(len(right))),
        spread=found.spread, values=found.each, level=level,
    )  # fmt: skip


def of_groups(right: np.ndarray, cells: Cells, over: str, method: Method = USUAL) -> list[Record]:
    """Right or wrong per seed and test example, bool [S, N] -> accuracy by group; the worst group, the gap and the
    unweighted mean of the groups, where there are two groups or more.

    Intervals are those of `summary`, for the worst group and the gap at the level at which those of all groups (pairs
    of groups) hold together. In a small group nothing may vary, and Student's interval would be a point: each is at
    least as wide as that of one draw with the mean number of right answers (Clopper-Pearson, Newcombe, Wilson). p and
    `expected_if_equal`: every example keeps its answers of all draws, and the examples are dealt to the groups.
    """
    found = _Accuracies.of(right, cells)
    names, n, how = groups.names_of(cells.groups), found.n, drawn.method(len(right))
    (low, high), spread = found.bounds(method.level), found.by_seed.std(0, ddof=1)
    out = [
        Record(
            metric="top1", group=group, n=int(n[g]), value=float(found.mean[g]), low=float(low[g]), high=float(high[g]),
            level=method.level, method=f"{how}, at least clopper-pearson", spread=float(spread[g]),
            values=found.by_seed[:, g].tolist(), small=bool(n[g] < method.min_n),
        )
        for g, group in enumerate(cells.groups)
    ]  # fmt: skip
    if not 1 < len(n) <= groups.MOST_COMPARED:
        return out
    worst, best = int(found.mean.argmin()), int(found.mean.argmax())
    low, high = found.bounds(simultaneous.split_level(method.level, len(n)))
    gap = float(found.mean[best] - found.mean[worst])
    null = found.dealt(method.seed)
    (gap_low, gap_high), (mean_low, mean_high) = found.gap(method.level), found.mean_of_groups(method)
    some = {"group": {}, "over": over, "groups": len(n), "level": method.level}
    pairs = "one pair" if len(n) == 2 else f"{math.comb(len(n), 2)} pairs"
    return [
        *out,
        Record(
            metric="top1_worst_group", worst=names[worst], n=int(n[worst]), value=float(found.mean[worst]),
            low=float(low.min()), high=float(high.min()), small=bool(n[worst] < method.min_n),
            method=f"{how}, at least clopper-pearson, simultaneous over {len(n)} groups", **some,
        ),
        Record(
            metric="top1_group_difference", n=int(n.sum()), value=gap, highest=names[best], lowest=names[worst],
            method=f"{how}, at least newcombe, simultaneous over {pairs}",
            p=simultaneous.p_value(null, np.ones(0), False, gap), expected_if_equal=float(null.mean()),
            small=bool(min(n[worst], n[best]) < method.min_n), low=gap_low, high=gap_high, **some,
        ),
        Record(
            metric="top1_mean_of_groups", n=int(n.sum()), value=float(found.mean.mean()),
            method=f"{how}, at least wilson, square-and-add", low=mean_low, high=mean_high, **some,
        ),
    ]  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class _Accuracies:
    """n [G] examples of each group; table [G, S + 1]: how many are right with 0 to S seeds; by_seed: rates [S, G]."""

    n: np.ndarray
    table: np.ndarray
    by_seed: np.ndarray

    @staticmethod
    def of(right: np.ndarray, cells: Cells) -> _Accuracies:
        seeds, count = len(right), len(cells.groups)
        inside = cells.of >= 0
        group, hits = cells.of[inside], right[:, inside]
        n = np.bincount(group, minlength=count)
        table = np.bincount(group * (seeds + 1) + hits.sum(0), minlength=count * (seeds + 1))
        by_seed = np.stack([np.bincount(group[one], minlength=count) for one in hits]) / n
        return _Accuracies(n, table.reshape(count, seeds + 1), by_seed)

    @property
    def share(self) -> np.ndarray:
        """The share of the seeds that each column of `table` is right with."""
        return np.arange(self.table.shape[1]) / (self.table.shape[1] - 1)

    @property
    def mean(self) -> np.ndarray:
        return self.table @ self.share / self.n

    @property
    def k(self) -> np.ndarray:
        """The right answers of one draw, on average, as whole examples."""
        return np.rint(self.table @ self.share).astype(np.int64)

    @property
    def of_examples(self) -> np.ndarray:
        """The variance of `mean` that comes from the draw of the test examples."""
        return np.maximum(self.table @ self.share**2 / self.n - self.mean**2, 0) / self.n

    def reach(self, by_seed: np.ndarray, of_examples: np.ndarray, level: float) -> np.ndarray:
        """Half of Student's interval of a mean over seeds [S, ...] with this variance of examples."""
        error = np.sqrt(by_seed.var(0, ddof=1) / len(by_seed) + of_examples)
        return student.ppf((1 + level) / 2, len(by_seed) - 1) * error

    def bounds(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Of each group's accuracy."""
        reach = self.reach(self.by_seed, self.of_examples, level)
        low, high = clopper_pearson(self.k, self.n, level)
        return np.clip(np.minimum(self.mean - reach, low), 0, 1), np.clip(np.maximum(self.mean + reach, high), 0, 1)

    def gap(self, level: float) -> simultaneous.Bounds:
        """Of the largest difference of two groups: every pair's, seed by seed."""
        apart, other = self.by_seed[:, :, None] - self.by_seed[:, None], ~np.eye(len(self.n), dtype=bool)
        examples = self.of_examples[:, None] + self.of_examples[None]
        reach = self.reach(apart, examples, simultaneous.split_level(level, math.comb(len(self.n), 2)))
        difference = self.mean[:, None] - self.mean[None]
        low, high = simultaneous.gap(self.k, self.n, level)
        return (
            min(low, max(0.0, float((difference - reach)[other].max()))),
            max(high, min(1.0, float((difference + reach)[other].max()))),
        )

    def mean_of_groups(self, method: Method) -> simultaneous.Bounds:
        """Of the unweighted mean over the groups."""
        reach = float(self.reach(self.by_seed.mean(1), self.of_examples.sum() / len(self.n) ** 2, method.level))
        counted, value = groups.mean_of_groups(self.k, self.n, method=method), float(self.mean.mean())
        low, high = (0.0 if counted.low is None else counted.low), (1.0 if counted.high is None else counted.high)
        return max(0.0, min(low, value - reach)), min(1.0, max(high, value + reach))

    def dealt(self, seed: int) -> np.ndarray:
        """The gap between groups that do not differ: examples dealt at random to groups of these sizes, [R]."""
        order = np.argsort(self.n, kind="stable")  # what groups are called decides nothing
        size = self.n[order]
        tables = random_table(size, self.table.sum(0)).rvs(simultaneous.DRAWS, random_state=seed)
        return np.ptp(tables @ self.share / size, axis=1)
