"""Skew: which groups come first when the images are ranked by their similarity to each class of a design.

Each class is a text (its prompts, averaged), asked alone: images are ranked by cosine, not by a softmax over classes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import association, rates, skew
from clipjax.analysis.manifest import Outcome
from clipjax.analysis.records import Record
from clipjax.errors import InputError
from clipjax.keys import key
from clipjax.probes import zeroshot
from clipjax.runs import design_task, groups, projected
from clipjax.runs.config import Level, words
from clipjax.runs.design_task import DesignTask
from clipjax.runs.features import Features
from clipjax.runs.projected import Projected
from clipjax.runs.result import Result

UNREAD = ("caption_columns",)  # `data.` keys that change nothing here
TESTED = ("max_skew_at_k", "ndkl")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(design_task.DesignConfig, Level, Projected):
    """What is read."""

    k: tuple[int, ...] = key((100,), "how many images are the first; several: (10, 100, 1000)")
    reference: str = key("uniform,share", "what is expected: 1/G of each group (uniform), its share of the images")
    groups: str = key("", "race,gender,race*gender; empty: each column")
    bias: str = key("", "Bias@k of two groups: gender=Male|Female; several by commas")


@dataclasses.dataclass(frozen=True)
class SkewTask(DesignTask):
    """references: in the order of the config. pairs: (column, first, second) of Bias@k."""

    references: tuple[skew.Reference, ...] = ()
    pairs: tuple[tuple[str, str, str], ...] = ()


def prepare(config: Config) -> SkewTask:
    """The images, the texts and the groups; refuses a k that says nothing before any compute."""
    base = design_task.prepare(config)
    projected.check(config.project, [base.design])
    method_of(config)
    if not base.columns:
        raise InputError(
            f"{base.source.name}: a ranking is compared between groups; name columns: --config.data.group_columns=a,b"
        )
    listed = config.groups or ",".join(base.columns)
    grouped = [grouping for grouping in rates.groupings(listed, list(base.columns)) if grouping]
    asked = words(config.reference)
    references = tuple(reference for reference in skew.REFERENCES if reference in asked)
    if not references or len(references) != len(asked):
        raise InputError(f"reference={config.reference!r}; choose uniform, share, or both with a comma")
    if not config.k:
        raise InputError("k names no rank; give at least one, as --config.k='(100,)'")
    for grouping in grouped:
        cells = rates.cells(grouping, base.columns, len(base.source))
        names, sizes = _names(cells), np.bincount(cells.of[cells.of >= 0], minlength=len(cells.groups))
        if len(names) < 2:
            raise InputError(f"column {'*'.join(grouping)!r} has one value; a ranking is compared between two or more")
        for k in config.k:
            skew.check(dict(zip(names, sizes.tolist(), strict=True)), k, references)
    pairs = tuple(_pair(text, base) for text in words(config.bias))
    return SkewTask(base.source, base.design, base.columns, grouped, references, pairs)


def _pair(text: str, task: DesignTask) -> tuple[str, str, str]:
    column, _, values = text.partition("=")
    first, bar, second = values.partition("|")
    if not bar:
        raise InputError(f"bias={text!r} is not COLUMN=FIRST|SECOND, as gender=Male|Female")
    if column not in task.columns:
        raise InputError(f"bias={text!r}: no column {column!r} among {', '.join(task.columns)}")
    for value in (first, second):
        if value not in task.columns[column]:
            raise InputError(f"bias={text!r}: no image has {column} {value!r}")
    return column, first, second


def method_of(config: Config) -> rates.Method:
    """Level, smallest cell and seed; the intervals here are of one kind. InputError for an unknown level."""
    return groups.checked_method("clopper-pearson", config.level, config.min_n, config.seed)


def run(config: Config, features: Features, task: SkewTask) -> Result:
    """Cosines of every image with every class, and the groups of the first k."""
    texts = projected.texts(config.project, features, config.seed)
    weights = zeroshot.class_weights(texts, [task.design])[0]
    encoded = features.images(task.source)
    cosines = zeroshot.logits(encoded.values, weights, 1.0)
    columns = {name: values[encoded.rows] for name, values in task.columns.items()}
    table = task.table(encoded.rows) | {"similarities": cosines}
    records = skew_records(cosines, task, columns, config.k, method_of(config))
    outcome = Outcome(groups=["*".join(grouping) for grouping in task.grouped])
    return Result(records, table, encoded.skipped, task.design, outcome)


def skew_records(
    cosines: np.ndarray, task: SkewTask, columns: rates.Columns, ks: tuple[int, ...], method: rates.Method
) -> list[Record]:
    """Cosines [N, C], columns [N] -> records of every class and grouping, and the means over the classes.

    p-values of MaxSkew and NDKL are one family, over all classes, groupings, k and references.
    """
    out: list[Record] = []
    for grouping in task.grouped:
        cells, over = rates.cells(grouping, columns, len(cosines)), "*".join(grouping)
        names, sizes = _names(cells), np.bincount(cells.of[cells.of >= 0], minlength=len(cells.groups))
        small = {name for name, size in zip(names, sizes.tolist(), strict=True) if size < method.min_n}
        mine: list[Record] = []
        for c, name in enumerate(task.design.names):
            found = skew.measure(cosines[:, c], cells.of, ks, task.references, names, method, over)
            for column, first, second in task.pairs:
                if column == over:
                    found += [skew.bias_at_k(cosines[:, c], cells.of, k, (first, second), names, method) for k in ks]
            for record in found:
                few = not small.isdisjoint((record.group or {}).values())
                mine.append(replace(record, class_=name, over=None if record.group else over, small=few))
        out += _named(mine, grouping) + _means(mine, over)
    return _adjusted(out)


def _names(cells: rates.Cells) -> list[str]:
    return [", ".join(group.values()) for group in cells.groups]


def _named(records: list[Record], grouping: tuple[str, ...]) -> list[Record]:
    """Groups of several columns by column instead of in one text."""
    out = []
    for record in records:
        if record.group and len(grouping) > 1:
            (text,) = record.group.values()
            record = replace(record, group=dict(zip(grouping, text.split(", "), strict=True)))
        out.append(record)
    return out


def _means(records: list[Record], over: str) -> list[Record]:
    """The mean over the classes of MaxSkew@k and NDKL, beside the mean that chance gives; the texts are fixed."""
    families: dict[tuple[str, int | None, str | None], list[Record]] = {}
    for record in records:
        if record.metric in TESTED:
            families.setdefault((record.metric, record.k, record.reference), []).append(record)
    out = []
    for (metric, k, _), mine in families.items():
        values, nulls = ([float(getattr(r, name)) for r in mine] for name in ("value", "null_mean"))
        out.append(Record(
            metric=f"mean_{metric}", over=over, group={}, groups=mine[0].groups, classes=len(mine), k=k, n=mine[0].n,
            value=float(np.mean(values)), reference=mine[0].reference, null_mean=float(np.mean(nulls)),
        ))  # fmt: skip
    return out


def _adjusted(records: list[Record]) -> list[Record]:
    tested = [i for i, record in enumerate(records) if record.metric in TESTED]
    adjusted = association.adjust([records[i].p or 0.0 for i in tested])
    for i, p in zip(tested, adjusted.tolist(), strict=True):
        records[i] = replace(records[i], p_benjamini_hochberg=p)
    return records
