"""Runs of the probe `attributes`: accuracy of race, gender and age, as the model card and the CLIP paper tell it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipjax.analysis import figures
from clipjax.analysis.records import Record
from clipjax.analysis.report.section import Section, beside_paper, data, ordered, run_names, slug
from clipjax.analysis.run import Run
from clipjax.analysis.tables import Table, percent, rate


def sections(runs: Sequence[Run]) -> list[Section]:
    """Overall, by group, per class, then the published numbers."""
    found = [_overall(runs)]
    keys = dict.fromkeys(r.columns for run in runs for r in run.records if r.metric == "top1" and r.group)
    found += [_by(runs, key) for key in keys]
    found.append(_recall(runs))
    beside = beside_paper(runs)
    return [*found, *([beside] if beside else [])]


def _head(r: Record) -> tuple[str, str, str]:
    return r.attribute or "", r.reading or "", r.classifier or ""


def _overall(runs: Sequence[Run]) -> Section:
    rows = []
    for name, run in zip(run_names(runs), runs, strict=True):
        for r in run.records:
            if r.metric == "top1" and not r.group:
                rows.append([*_head(r), rate(r), name])
            if r.metric == "top1_mean_of_groups":
                bounds = f"{percent(r.value)} [{percent(r.low)}, {percent(r.high)}]"
                attribute, reading, classifier = _head(r)
                rows.append([attribute, f"{reading}, mean over {r.over}", classifier, bounds, name])
    head = ["attribute", "reading", "classifier", "accuracy, % [interval] k/n", "run"]
    note = (
        "Three statistics that are easily taken for each other: accuracy over all classes, White against Non-White "
        "(what the model card's race figure is), and the mean over groups of unequal size. The card's figures are "
        "linear probes."
    )
    words = [
        "Race, gender and age are what FairFace's annotators perceived, in its categories, and not what people are."
    ]
    return Section(
        "Accuracy",
        words,
        [
            Table(
                "accuracy",
                "Accuracy of each attribute",
                head,
                rows,
                note,
                data(runs, ["top1", "top1_mean_of_groups"], ()),
            )
        ],
    )


def _by(runs: Sequence[Run], key: tuple[str, ...]) -> Section:
    names = run_names(runs)
    heads = dict.fromkeys((i, _head(r)) for i, run in enumerate(runs) for r in run.records if r.metric == "top1")
    cells: dict[tuple[str, ...], dict[Any, Record]] = {}
    for i, run in enumerate(runs):
        for r in run.records:
            if r.metric == "top1" and r.columns == key:
                cells.setdefault(r.cell, {})[i, _head(r)] = r
    columns = [" ".join(h) + (f" {names[i]}" if len(runs) > 1 else "") for i, h in heads]
    groups = ordered(runs, key, cells)
    rows = [[*group, *(rate(cells[group][h]) if h in cells[group] else None for h in heads)] for group in groups]
    table = Table(
        f"accuracy_by_{slug('_'.join(key))}", f"Accuracy by {' and '.join(key)}", [*key, *columns], rows,
        "Percent [interval] k/n, every image counting the same.", data(runs, ["top1"], key),
    )  # fmt: skip
    drawings = {}
    if len(groups) <= 40:
        for attribute in dict.fromkeys(h[0] for _, h in heads):
            mine = [h for h in heads if h[1][0] == attribute]
            series = []
            for h in mine:
                found = [cells[group].get(h) for group in groups]
                label = " ".join(h[1][1:]) + (f" {names[h[0]]}" if len(runs) > 1 else "")
                series.append(figures.Series.of(label.strip(), found))
            drawing = figures.rates_by_group([", ".join(g) for g in groups], series, f"Accuracy of {attribute}")
            drawings[f"accuracy_{slug(attribute)}_by_{slug('_'.join(key))}"] = (
                drawing, f"Accuracy of {attribute} by {' and '.join(key)}.",
            )  # fmt: skip
    return Section(f"By {' and '.join(key)}", [], [table], drawings)


def _recall(runs: Sequence[Run]) -> Section:
    rows = [
        [r.attribute, r.class_, r.classifier, rate(r), name]
        for name, run in zip(run_names(runs), runs, strict=True)
        for r in run.records
        if r.metric == "recall"
    ]
    head = ["attribute", "class", "classifier", "recall, % [interval] k/n", "run"]
    return Section(
        "Recall of each class",
        [],
        [Table("recall", "How often each class is found", head, rows, "", data(runs, ["recall"]))],
    )
