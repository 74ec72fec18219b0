"""Several models asked the same questions: their numbers side by side, which ranks hold, what goes with accuracy.

Models are compared where their runs are over the same images: pairs by McNemar's exact test, ranks by resampling the
images, the same ones for every model. The models are fixed: nothing here is about models that were not asked.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import scipy
from msgspec.structs import replace

from clipjax.analysis import effective_robustness, gate, units
from clipjax.analysis.association import ALPHA, adjust, adjust_testable, can_reject
from clipjax.analysis.compare import ANSWERED, NUMBERS, annotated, questions, scored
from clipjax.analysis.effective_robustness import Line
from clipjax.analysis.intervals import draws, interval
from clipjax.analysis.main_numbers import KINDS, kind_of, main_numbers
from clipjax.analysis.paired import paired_records, smallest_p
from clipjax.analysis.pairing import pair
from clipjax.analysis.rates import Method
from clipjax.analysis.records import PairedRecord, Question, Record
from clipjax.analysis.run import Run
from clipjax.errors import InputError

FEWEST = 4  # models of a correlation: fewer have no interval (Fisher)
ASKED = ("accuracy", "attribute", "set")  # kinds of questions that models are ranked by
MARGIN = 0.01  # models that differ by less count as equal
Column = tuple[str, str]  # probe, data set
Verdict = Literal["distinguished", "equal", "undecided"]


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """A finished run of the panel. `published`: {table: {value, provenance}}; `show`: selectors, () for the main
    numbers."""

    model: str
    data_set: str
    probe: str
    run: Run
    published: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    show: tuple[str, ...] = ()

    @property
    def column(self) -> Column:
        """Which question was asked of which images."""
        return self.probe, self.data_set

    @property
    def shown(self) -> list[Record]:
        """The numbers of the run that the page has. InputError where a selector matches none."""
        if not self.show:
            return main_numbers(self.run.records)
        return [record for text in self.show for record in gate.selector(text).of(self.run.records)]


class Failed(msgspec.Struct, frozen=True):
    """A run that ended with one line."""

    model: str
    data_set: str
    probe: str
    message: str

    @property
    def name(self) -> str:
        """Which it is."""
        return f"{self.probe} on {self.data_set}, {self.model}"


@dataclasses.dataclass(frozen=True)
class Row:
    """One number of every model that has it."""

    column: Column
    name: str
    kind: str
    of: dict[str, Record]


class Rank(msgspec.Struct, frozen=True, kw_only=True):
    """The place of one model among those asked the same: 1 has the largest share.

    `low`, `high`: of its rank when images are resampled; `first`: how often it is the first then, ties shared.
    """

    probe: str
    data_set: str
    question: Question
    model: str
    k: int
    n: int
    value: float
    value_low: float
    value_high: float
    rank: int
    low: int
    high: int
    first: float
    level: float


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two models on the same images: `record` has the paired difference B - A, with p adjusted over all pairs; models
    that differ by less than `margin` count as equal."""

    probe: str
    data_set: str
    a: str
    b: str
    record: PairedRecord
    margin: float

    @property
    def distinguished(self) -> bool:
        """Whether the test passes and the interval excludes zero."""
        p = self.record.p_benjamini_hochberg
        return p is not None and p < ALPHA and (self.record.low > 0 or self.record.high < 0)

    @property
    def verdict(self) -> Verdict:
        """What these images say: undecided is what they are too few for."""
        if self.distinguished:
            return "distinguished"
        return "equal" if max(-self.record.low, self.record.high) < self.margin else "undecided"


class Correlation(msgspec.Struct, frozen=True, kw_only=True):
    """Pearson's r of two numbers over models, with Fisher's interval."""

    x: str
    y: str
    models: int
    value: float
    low: float
    high: float
    level: float
    p: float
    p_benjamini_hochberg: float | None = None
    method: str = "pearson; fisher z"


@dataclasses.dataclass(frozen=True)
class Shift:
    """What effective robustness is asked of: two columns, the models of the line, and {name: (x, y)} of further
    ones, in shares."""

    reference: Column
    shifted: Column
    baselines: tuple[str, ...]
    axis: effective_robustness.Axis
    table: Mapping[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True, eq=False)
class Robustness:
    """The line (None where there are too few baselines), the accuracies of every model, and the evaluated ones."""

    shift: Shift
    line: Line | None
    points: dict[str, tuple[Record, Record]]
    records: dict[str, Record]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """All that the page has. `notes`: which runs are not compared, and why."""

    entries: list[Entry]
    failed: list[Failed]
    models: list[str]
    columns: list[Column]
    rows: list[Row]
    ranks: list[Rank]
    pairs: list[Pair]
    correlations: list[Correlation]
    robustness: Robustness | None
    notes: list[str]
    level: float
    margin: float = MARGIN


def measure(
    entries: Sequence[Entry], failed: Sequence[Failed], level: float = 0.95, seed: int = 0, shift: Shift | None = None,
    margin: float = MARGIN,
) -> Panel:  # fmt: skip
    """Everything that several runs say together."""
    models = list(dict.fromkeys(one.model for one in (*entries, *failed)))
    columns = list(dict.fromkeys((one.probe, one.data_set) for one in (*entries, *failed)))
    rows = side_by_side(entries)
    ranks: list[Rank] = []
    pairs: list[Pair] = []
    notes: list[str] = []
    seen: set[tuple[str, tuple[str, ...], Question, bytes]] = set()
    for column in columns:
        mine = [one for one in entries if one.column == column]
        if len(mine) > 1:
            try:
                answers = same_images(mine)
            except InputError as error:
                notes.append(f"{' on '.join(column)}: models are not compared: {error}")
                continue
            for question, right in answers.items():
                fingerprint, asked = mine[0].run.manifest.data.fingerprint, tuple(one.model for one in mine)
                same = (fingerprint, asked, question, right.tobytes())
                if same in seen:  # another probe of the same answers, as one with other numbers about them
                    continue
                seen.add(same)
                ranks += ranked(column, question, asked, right, level, seed)
                pairs += paired(column, question, asked, right, level, margin)
    return Panel(
        list(entries), list(failed), models, columns, rows, ranks, adjusted(pairs), correlations(rows, models, level),
        None if shift is None else robustness(entries, shift, Method(level=level, seed=seed)), notes, level,
        margin,
    )  # fmt: skip


def side_by_side(entries: Sequence[Entry]) -> list[Row]:
    """Every shown number with the record of each model, in the order of the runs."""
    found: dict[tuple[Column, str], dict[str, Record]] = {}
    for one in entries:
        for record in one.shown:
            found.setdefault((one.column, units.name(record)), {})[one.model] = record
    rows = [Row(column, name, kind_of(next(iter(of.values()))), of) for (column, name), of in found.items()]
    return sorted(rows, key=lambda row: KINDS.index(row.kind))


def same_images(entries: Sequence[Entry]) -> dict[Question, np.ndarray]:
    """The questions that all runs answer -> bool [M, N], image by image, of the N images that have the label asked.
    InputError where images differ."""
    first = entries[0].run
    runs = [first, *(pair(first, one.run).b for one in entries[1:])]
    if first.probe in NUMBERS or not (first.probe in ANSWERED or "prediction" in first.names):
        return {}
    answers = [questions(scored(run)) for run in runs]
    shared = [q for q in answers[0] if q.kind in ASKED and all(q in other for other in answers)]
    known = annotated(runs[0])
    stacked = {q: np.stack([other[q] for other in answers]) for q in shared}
    return {q: right[:, known[q]] if q in known else right for q, right in stacked.items()}


def ranked(
    column: Column, question: Question, models: Sequence[str], right: np.ndarray, level: float, seed: int
) -> list[Rank]:
    """bool [M, N] of the same images -> the rank of every model, the best first."""
    right = right[:, np.lexsort(right)]  # the images' own order decides nothing
    k, n = right.sum(1), right.shape[1]
    found = np.concatenate([_ranks(weights @ right.T) for weights in draws(n, seed)])
    tail = (1 - level) / 2
    low, high = np.quantile(found, [tail, 1 - tail], axis=0, method="inverted_cdf")
    first = ((found == 1) / (found == 1).sum(1, keepdims=True)).mean(0)
    bounds = interval(k, np.full(len(k), n), level=level)
    own = _ranks(k[None].astype(float))[0]
    return [
        Rank(
            probe=column[0], data_set=column[1], question=question, model=models[m], k=int(k[m]), n=n,
            value=float(k[m] / n), value_low=float(bounds[0][m]), value_high=float(bounds[1][m]), rank=int(own[m]),
            low=int(low[m]), high=int(high[m]), first=float(first[m]), level=level,
        )
        for m in np.lexsort((np.arange(len(k)), -k))
    ]  # fmt: skip


def _ranks(values: np.ndarray) -> np.ndarray:
    """[B, M] -> 1 for the largest of each row; equal ones share the best of their ranks."""
    return 1 + (values[:, :, None] < values[:, None, :]).sum(2)


def paired(
    column: Column, question: Question, models: Sequence[str], right: np.ndarray, level: float, margin: float = MARGIN
) -> list[Pair]:
    """bool [M, N] of the same images -> every pair of models, by the paired difference."""
    rows = list(itertools.combinations(range(len(models)), 2))
    a, b = (right[[row[i] for row in rows]] for i in (0, 1))
    tallies = [(x).sum(1) for x in (a & b, a & ~b, ~a & b, ~a & ~b)]
    return [
        Pair(
            probe=column[0],
            data_set=column[1],
            a=models[i],
            b=models[j],
            margin=margin,
            record=replace(record, question=question),
        )
        for (i, j), record in zip(rows, paired_records(*tallies, level=level), strict=True)
    ]


def adjusted(pairs: Sequence[Pair]) -> list[Pair]:
    """All pairs of a page are one family of tests: Benjamini and Hochberg's p over those that could reject (Tarone)."""
    if not pairs:
        return []
    p = np.array([one.record.p for one in pairs])
    smallest = smallest_p([one.record.only_a + one.record.only_b for one in pairs])
    counted, found = can_reject(smallest), adjust_testable(p, smallest)
    common = {"tests": int(counted.sum()), "asked": len(pairs)}
    return [
        replace(
            one,
            record=replace(one.record, p_benjamini_hochberg=float(found[i]), testable=bool(counted[i]), **common),
        )
        for i, one in enumerate(pairs)
    ]


def correlations(rows: Sequence[Row], models: Sequence[str], level: float = 0.95) -> list[Correlation]:
    """Every accuracy with every difference between groups and every number of confidence, over the models that have
    both; none over fewer than FEWEST models."""
    first = [row for row in rows if row.kind == "accuracy"]
    others = [row for row in rows if row.kind in ("worst groups", "differences between groups", "confidence")]
    out = []
    for x, y in itertools.product(first, others):
        values = [
            (x.of[m].value, y.of[m].value)
            for m in models
            if m in x.of and m in y.of and x.of[m].value is not None and y.of[m].value is not None
        ]
        if len(values) < FEWEST or any(np.ptp(one) == 0 for one in np.array(values, float).T):
            continue
        found = scipy.stats.pearsonr(*np.array(values, float).T)
        low, high = found.confidence_interval(level)
        out.append(Correlation(
            x=called(x), y=called(y), models=len(values), value=float(found.statistic), low=float(low),
            high=float(high), level=level, p=float(found.pvalue),
        ))  # fmt: skip
    p = adjust([one.p for one in out]).tolist() if out else []
    return [replace(one, p_benjamini_hochberg=q) for one, q in zip(out, p, strict=True)]


def called(row: Row) -> str:
    """A number with the run that it is of."""
    return f"{row.column[0]}/{row.column[1]}: {row.name}"


def robustness(entries: Sequence[Entry], shift: Shift, method: Method) -> Robustness:
    """The line through the baselines, and every other model beside it. Accuracies are the first ones on the page."""
    columns = shift.reference, shift.shifted
    found: dict[str, dict[Column, Record]] = {}
    for one in entries:
        accuracies = [r for r in one.shown if kind_of(r) == "accuracy" and not r.group]
        if one.column in columns and accuracies:
            found.setdefault(one.model, {})[one.column] = accuracies[0]
    points = {m: (of[shift.reference], of[shift.shifted]) for m, of in found.items() if len(of) == 2}
    notes = [
        f"{' on '.join(column)} of {m} has no accuracy on this page."
        for m in dict.fromkeys(one.model for one in entries)
        for column in columns
        if column not in found.get(m, {})
    ]
    through = {m: tuple(map(_accuracy, points[m])) for m in shift.baselines if m in points} | dict(shift.table)
    evaluated = [m for m in points if m not in through]
    x, y = ([both[i] for both in through.values()] for i in (0, 1))
    try:
        line = effective_robustness.fit(x, y, shift.axis, list(through))
    except InputError as error:
        return Robustness(shift, None, points, {}, (*notes, str(error)))
    records = {}
    for m in evaluated:
        own, shifted = points[m]
        n = own.n, shifted.n
        records[m] = effective_robustness.of(line, _accuracy(own), _accuracy(shifted), m, n, method)
    return Robustness(shift, line, points, records, tuple(notes))


def _accuracy(record: Record) -> float:
    """A share that has a logit."""
    value = record.value
    if value in (0, 1) or value is None:
        return effective_robustness.share(round((value or 0) * record.n), record.n)
    return value
