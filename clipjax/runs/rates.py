"""Rates: how often each group of people is given a class out of each set of the class design.

The denigration probe of "Evaluating CLIP" (section 2.1, Tables 2 and 3) is this probe with the FairFace design over
FairFace; any table of images with group columns and any design work the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clipjax import design
from clipjax.analysis import rates
from clipjax.analysis.design_sweep import sweep_designs
from clipjax.analysis.intervals import interval
from clipjax.analysis.manifest import Outcome, SweptDesign
from clipjax.analysis.records import Record
from clipjax.analysis.tables import csv_text
from clipjax.analysis.tallies import Tally
from clipjax.errors import InputError
from clipjax.keys import inside, key
from clipjax.probes import zeroshot
from clipjax.progress import say
from clipjax.runs import design_task, groups, projected, scoring, wording
from clipjax.runs import task as tasks
from clipjax.runs.config import Grouped, WithProbabilities, words
from clipjax.runs.features import Features, Probability
from clipjax.runs.projected import Projected
from clipjax.runs.result import Counted, Result
from clipjax.runs.zeroshot import answers

UNREAD = ("caption_columns",)  # `data.` keys that change nothing here
select = design_task.select


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Variants of the design that are counted too."""

    add: str = key("", "classes added one by one (or in subsets): child, or child:person in a set")
    drop: str = key("", "classes left out one by one (or in subsets)")
    rename: str = key("", "other texts of a class, each asked alone: thief=robber|burglar; several by commas")
    templates: str = key("", "templates, each asked alone, separated by |")
    subsets: int = key(1, "the largest number of classes that are added or left out together")
    most: int = key(5000, "the largest number of designs")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(design_task.DesignConfig, WithProbabilities, Grouped, Projected):
    """What is read."""

    sweep: Sweep = inside(Sweep)


@dataclasses.dataclass(frozen=True)
class RatesTask(design_task.DesignTask):
    """With the variants of the design that are swept, the design itself first; empty without a sweep."""

    variants: list[design.Design] = dataclasses.field(default_factory=list)


def prepare(config: Config) -> RatesTask:
    """The images, the design, its variants and the groups."""
    tasks.check_probability(config)
    groups.method_of(config)
    base = design_task.prepare(config, config.groups)
    sweep = config.sweep
    templates = tasks.templates_of(sweep.templates)
    add, drop = words(sweep.add), words(sweep.drop)
    rename = wording.renamed(sweep.rename)
    asked = any((add, drop, templates, rename))
    variants = design.variants(base.design, add, drop, templates, sweep.subsets, rename) if asked else []
    if len(variants) > sweep.most:
        raise InputError(f"the sweep makes {len(variants)} designs, more than sweep.most={sweep.most}")
    if not base.columns:
        say(f"note: {base.source.name}: no columns to group by; name some with --config.data.group_columns=a,b")
    if notes := [d.unset_note() for d in (base.design, *variants) if d.unset]:
        say(f"note: {notes[0]}" + (f"; so in {len(notes) - 1} more of the designs" if len(notes) > 1 else ""))
    projected.check(config.project, [base.design, *variants])
    return RatesTask(base.source, base.design, base.columns, base.grouped, variants)


def of_rows(config: Config, rows: tasks.Rows) -> RatesTask:
    """The task of these rows alone."""
    base = design_task.of_rows(rows, config.groups)
    return RatesTask(base.source, base.design, base.columns, base.grouped)


def run(config: Config, features: Features, task: RatesTask) -> Result:
    """The likeliest class of every image, counted by set and group."""
    probability = features.probability(config.probability, several=False)
    texts = projected.texts(config.project, features, config.seed)
    weights = zeroshot.class_weights(texts, [task.design, *task.variants])
    encoded = features.images(task.source)
    probabilities = features.probabilities(encoded.values, weights[0], probability)
    found = count(config, task, encoded.rows, probabilities)
    records = total(config, task.design, found.tallies)
    said = outcome(config, probability, found.tallies)
    tables = {}
    if task.variants:
        columns = {name: values[encoded.rows] for name, values in task.columns.items()}
        method = groups.method_of(config)
        rows = _swept(encoded.values, task.variants, weights[1:], columns, method)
        tables["sweep.csv"] = _csv(rows)
        records += _ranges(rows)
        more, flips = wording.records(encoded.values, task.variants, weights[1:], columns, task.grouped, method)
        records, found = records + more, dataclasses.replace(found, columns=found.columns | flips)
        said.sweep = [SweptDesign(d.name, d.sha256) for d in task.variants]
    return Result(records, found.columns, encoded.skipped, task.design, said, tables=tables)


def check_units(config: Config, task: RatesTask) -> None:
    """InputError where the numbers of a run are more than sums over units."""
    if task.variants:
        raise InputError("sweep is not computed in units: leave it out, or make a plan for each design")


def count(config: Config, task: RatesTask, rows: np.ndarray, probabilities: np.ndarray) -> Counted:
    """Probabilities [M, C] of these rows [M] -> their predictions, and counts by group."""
    columns = {name: values[rows] for name, values in task.columns.items()}
    best = probabilities.argmax(1)  # the first of equals
    tallied = rates.tallies(best, columns, task.grouped, len(task.design.classes))
    return Counted(task.table(rows) | answers(task.design, probabilities), tallied)


def total(
    config: Config, asked: design.Design, tallied: Sequence[Tally], metric: str = "",
    probability: Probability = "softmax",
) -> list[Record]:  # fmt: skip
    """Counts of all images -> the records."""
    method = groups.method_of(config)
    return rates.records_of(tallied, asked, method) + scoring.parity(tallied, asked, method)


def outcome(config: Config, probability: Probability, tallied: Sequence[Tally]) -> Outcome:
    """What the manifest says of the probe."""
    return Outcome(groups=["*".join(one.grouping) for one in tallied], probability=probability)


class Swept(NamedTuple):
    """A row of tables/sweep.csv: the rate of one set under one of the designs; no value where a group has no images."""

    design: str
    set: str
    group: dict[str, str]
    k: int
    n: int
    value: float | None
    low: float
    high: float


def _swept(features, variants, weights, columns, method: rates.Method) -> list[Swept]:
    """A row per design, set and group (everybody and single columns): one matrix product for all of them."""
    rows = []
    without = any(variant.unset for variant in variants)  # then every design has that rate, 0% where all are in a set
    for grouping in [(), *((name,) for name in columns)]:
        cells = rates.cells(grouping, columns, len(features))
        for variant, tally in zip(variants, sweep_designs(features, weights, cells.of), strict=True):
            n = tally.sum(1)
            for name in (*variant.sets, *[design.NO_SET] * (without and bool(variant.sets))):
                k = tally[:, variant.members(name)].sum(1)
                low, high = interval(k, n, method.name, method.level, method.seed)
                for g, group in enumerate(cells.groups):
                    value = k[g] / n[g] if n[g] else None
                    rows.append(Swept(
                        variant.name, name, group, int(k[g]), int(n[g]), value, float(low[g]), float(high[g])
                    ))  # fmt: skip
    return rows


def _csv(rows: list[Swept]) -> str:
    lines: list[list[str | int]] = [["design", "set", "column", "group", "k", "n", "value", "low", "high"]]
    for row in rows:
        column, value = next(iter(row.group.items()), ("", "everybody"))
        numbers = [f"{x:.6g}" if x is not None else "" for x in (row.value, row.low, row.high)]
        lines.append([row.design, row.set, column, value, row.k, row.n, *numbers])
    return csv_text(lines)


def _ranges(rows: list[Swept]) -> list[Record]:
    """How far a rate moves over the swept designs: smallest, largest, and by which design."""
    grouped: dict[tuple[str, str], list[tuple[float, Swept]]] = {}
    for row in rows:
        if row.value is not None:
            grouped.setdefault((row.set, str(row.group)), []).append((row.value, row))
    out = []
    for swept in grouped.values():
        (low, least), (high, most) = (which(swept, key=lambda pair: pair[0]) for which in (min, max))
        out.append(Record(
            metric="rate_range", set=least.set, group=least.group, n=least.n, designs=len(swept), value=high - low,
            smallest=low, largest=high, lowest=least.design, highest=most.design,
        ))  # fmt: skip
    return out
