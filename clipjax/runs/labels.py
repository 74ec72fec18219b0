"""Labels: CLIP as a multi-label classifier over portraits, and which labels go to men and which to women.

"Evaluating CLIP", section 2.1, after Schwemmer et al. (2020): every label whose probability reaches a threshold counts
as returned; labels are compared between two groups by chi-squared. With K labels a uniform answer gives each 1/K, and
at most 1/threshold labels can be returned for one image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import association, rates
from clipjax.analysis.manifest import Outcome
from clipjax.analysis.records import Record
from clipjax.analysis.tallies import Tally, tally
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.keys import key
from clipjax.progress import say
from clipjax.runs import config as configs
from clipjax.runs import design_task, groups
from clipjax.runs import task as tasks
from clipjax.runs.config import WithProbabilities, words
from clipjax.runs.features import Features, Probability
from clipjax.runs.result import Counted, Result
from clipjax.runs.zeroshot import answers

UNREAD = ("caption_columns",)  # `data.` keys that change nothing here
SEVERAL = True  # an image may have several classes
select = design_task.select


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(design_task.DesignConfig, WithProbabilities, configs.Counted):
    """What is read."""

    contrast: str = key("gender", "the column whose two values are compared; COLUMN=A|B names them in order")
    thresholds: str = key("0.005,0.04", "probabilities from which a label counts as returned; the paper's")


@dataclasses.dataclass(frozen=True)
class Contrast:
    """The column that is compared, its two values, and the probabilities from which a label counts as returned."""

    column: str
    sides: tuple[str, str]
    thresholds: tuple[float, ...]

    def outcome(self, tallied: Sequence[Tally], probability: Probability | None) -> Outcome:
        """What the manifest says of it, and of `tallies` of all images."""
        curve = [tallied[2].of((side,)).tolist() for side in self.sides]
        thresholds = list(self.thresholds)
        return Outcome(
            contrast=self.column, sides=self.sides, thresholds=thresholds, curve=curve, probability=probability
        )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelsTask(design_task.DesignTask):
    """With what is compared."""

    contrast: Contrast


def prepare(config: Config, whole: bool = True) -> LabelsTask:
    """The portraits, the labels, and the two groups that are compared; `whole`: see `contrast_of`."""
    tasks.check_probability(config)
    groups.method_of(config)
    base = design_task.prepare(config)
    contrast = contrast_of(config.contrast, config.thresholds, base.columns, whole)
    return LabelsTask(base.source, base.design, base.columns, base.grouped, contrast=contrast)


def contrast_of(contrast: str, thresholds: str, columns: Mapping[str, np.ndarray], whole: bool = True) -> Contrast:
    """The keys `contrast` and `thresholds`. InputError for a column [N] that is missing or does not have two values; of
    columns that are not `whole` a value that `contrast` names may be absent."""
    try:
        shares = tuple(float(t) for t in words(thresholds))
    except ValueError as error:
        raise InputError(f"thresholds={thresholds!r}: {error}; for example 0.005,0.04") from error
    if not shares or not all(0 < t < 1 for t in shares):
        raise InputError(f"thresholds={thresholds!r}: probabilities between 0 and 1, for example 0.005,0.04")
    column, _, order = contrast.partition("=")
    if column not in columns:
        raise InputError(f"contrast={contrast!r}: no column {column!r} among {', '.join(columns) or 'none'}")
    there = sorted({v for v in columns[column].tolist() if v})
    sides = tuple(words(order, "|")) or tuple(there)
    if len(sides) != 2 or sides[0] == sides[1] or (whole and not set(sides) <= set(there)):
        raise InputError(f"contrast={contrast!r} needs two values, as {column}=F|M; there are {', '.join(there)}")
    return Contrast(column, (sides[0], sides[1]), shares)


def run(config: Config, features: Features, task: LabelsTask) -> Result:
    """Probabilities of every label for every portrait; rates and tests at each threshold."""
    probability = features.probability(config.probability, several=True)
    weights = features.class_weights(task.design)
    encoded = features.images(task.source)
    probabilities = features.probabilities(encoded.values, weights, probability)
    note_left_out(task.columns[task.contrast.column][encoded.rows], task.contrast)
    found = count(config, task, encoded.rows, probabilities)
    records = records_of(found.tallies, task.contrast, task.design.names, groups.method_of(config))
    records = [replace(record, probability=probability) for record in records]
    said = task.contrast.outcome(found.tallies, probability)
    return Result(records, found.columns, encoded.skipped, task.design, said)


def check_units(config: Config, task: LabelsTask) -> None:
    """Every number is made of sums over units."""


def part(config: Config) -> LabelsTask:
    """`prepare` of some of the images, which may lack a side of the contrast."""
    return prepare(config, whole=False)


def of_rows(config: Config, rows: tasks.Rows) -> LabelsTask:
    """The task of these rows alone."""
    assert rows.sides is not None
    base = design_task.of_rows(rows)
    column, thresholds = config.contrast.partition("=")[0], [float(t) for t in words(config.thresholds)]
    contrast = Contrast(column, rows.sides, tuple(thresholds))
    return LabelsTask(base.source, base.design, base.columns, base.grouped, contrast=contrast)


def count(config: Config, task: LabelsTask, rows: np.ndarray, probabilities: np.ndarray) -> Counted:
    """Probabilities [M, C] of these rows [M] -> their predictions, and `tallies`."""
    side = task.columns[task.contrast.column][rows]
    return Counted(task.table(rows) | answers(task.design, probabilities), tallies(probabilities, side, task.contrast))


def total(
    config: Config, design: Design, tallied: Sequence[Tally], metric: str = "", probability: Probability = "softmax"
) -> list[Record]:
    """Counts of all images -> the records."""
    records = records_of(tallied, _contrast(config, tallied), design.names, groups.method_of(config))
    return [replace(record, probability=probability) for record in records]


def outcome(config: Config, probability: Probability, tallied: Sequence[Tally]) -> Outcome:
    """What the manifest says of the probe."""
    return _contrast(config, tallied).outcome(tallied, probability)


def _contrast(config: Config, tallied: Sequence[Tally]) -> Contrast:
    """What was compared. InputError where no image that could be read has one of the values, and it is not named."""
    (column,), values = tallied[0].grouping, [value for (value,) in tallied[0].counts]
    return contrast_of(config.contrast, config.thresholds, {column: np.array(values, object)}, whole=False)


def note_left_out(side: np.ndarray, contrast: Contrast) -> None:
    """Says how many images of the contrasted column [N] are on neither side."""
    if left := int((~np.isin(side, contrast.sides)).sum()):
        say(f"{left} images are in neither of {' and '.join(contrast.sides)}; they count in no comparison")


def tallies(probabilities: np.ndarray, side: np.ndarray, contrast: Contrast) -> list[Tally]:
    """Probabilities [N, C], the contrasted column [N] -> images of each side [1], how many of them get each label at
    each threshold [T, C], and how many labels they get at each threshold of the curve."""
    inside = [probabilities[side == s] for s in contrast.sides]
    given = [np.stack([(rows >= threshold).sum(0) for threshold in contrast.thresholds]) for rows in inside]
    grid = association.curve_thresholds(probabilities.shape[1])
    curve = np.stack([association.reached(rows, grid) for rows in inside])
    tables = np.array([[len(rows)] for rows in inside]), np.stack(given), curve
    return [tally([{contrast.column: s} for s in contrast.sides], (contrast.column,), table) for table in tables]


def records_of(
    tallied: Sequence[Tally], contrast: Contrast, names: tuple[str, ...], method: rates.Method
) -> list[Record]:
    """`tallies` of all images -> `label_records` at each threshold."""
    images, given = ([one.of((side,)) for side in contrast.sides] for one in tallied[:2])
    (n1,), (n2,) = (one.tolist() for one in images)
    records = []
    for threshold, k1, k2 in zip(contrast.thresholds, *given, strict=True):
        counts = association.gendered_labels(k1, k2, n1, n2)
        records += label_records(counts, contrast.sides, contrast.column, names, threshold, method)
    return records


def label_records(
    counts: association.Gendered,
    sides: tuple[str, str],
    column: str,
    names: tuple[str, ...],
    threshold: float,
    method: rates.Method,
) -> list[Record]:
    """Per label: its rate in both groups, and chi-squared at image level and at token level, each adjusted for the
    number of labels; then how many labels an image gets."""
    n = counts.n
    out: list[Record] = []
    for s, group in enumerate(sides):
        rates_of = rates.numbers("label_rate", counts.k[:, s], n[s], method)
        for name, number in zip(names, rates_of, strict=True):
            out.append(replace(number, label=name, threshold=threshold, group={column: group}))
    given = np.flatnonzero(counts.k.sum(1) > 0)  # a label nobody got is not tested
    families = (
        ("images", "chi_squared", False, counts.image_chi2, counts.image_p),
        ("tokens", "chi_squared", True, counts.token_chi2, counts.token_p),
        ("images", "fisher", False, None, counts.fisher_p),
    )
    for denominator, test, correction, statistic, p in families:
        bh, bonferroni = association.adjust(p[given]), association.adjust(p[given], "bonferroni")
        for i, c in enumerate(given):
            out.append(Record(
                metric=test, label=names[c], threshold=threshold, denominator=denominator, correction=correction,
                n=int(sum(n) if denominator == "images" else sum(counts.tokens)),
                value=None if statistic is None else float(statistic[c]), p=float(p[c]),
                p_benjamini_hochberg=float(bh[i]), p_bonferroni=float(bonferroni[i]), labels=len(given),
                min_expected=float(counts.min_expected[c]), more=sides[counts.more[c]] if counts.more[c] >= 0 else None,
            ))  # fmt: skip
    for s, group in enumerate(sides):
        tokens = int(counts.k[:, s].sum())
        value = tokens / n[s] if n[s] else None
        group = {column: group}
        out.append(Record(
            metric="labels_per_image", threshold=threshold, group=group, n=n[s], value=value, tokens=tokens
        ))  # fmt: skip
    return out
