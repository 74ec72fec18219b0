"""Runs of the probe `skew`: for every column which groups come first, beside what a random ranking gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipjax.analysis import units
from clipjax.analysis.records import Record
from clipjax.analysis.report.section import Section, run_names, slug
from clipjax.analysis.run import Run
from clipjax.analysis.tables import Cell, Table, tidy

WORDS = (
    "MaxSkew and NDKL are above zero for a random ranking too: read each against its value by chance. p: groups dealt "
    "to the ranks at random; adjusted over all classes, columns, k and references of the run (Benjamini and Hochberg). "
    "Intervals resample images; those of MaxSkew and NDKL reach to the value of a random ranking unless p rejects it.",
)

Named = tuple[str, list[dict[str, Any]]]  # a run's name, and records of it


def sections(runs: Sequence[Run]) -> list[Section]:
    """A section for every column: the summary of each class, then every group."""
    overs = dict.fromkeys(r.over for run in runs for r in run.records if r.metric == "max_skew_at_k")
    return [_of_column(runs, over) for over in overs if over is not None]


def _of_column(runs: Sequence[Run], over: str) -> Section:
    first, every = [], []
    of_first: list[Named] = []
    of_every: list[Named] = []
    for name, run in zip(run_names(runs), runs, strict=True):
        for r in run.records:
            if r.over == over and (r.p_benjamini_hochberg is not None or r.metric.startswith("mean_")):
                first.append([name, *_summary(r)])
                of_first.append((name, [r.to_dict()]))
            elif r.metric == "skew_at_k" and sorted(r.columns) == sorted(over.split("*")):
                cell = ", ".join((r.group or {})[column] for column in over.split("*"))
                every.append([name, r.class_, r.reference, r.k, cell, *_numbers(r), r.p])
                of_every.append((name, [r.to_dict()]))
            elif r.metric == "bias_at_k" and r.over == over:
                every.append([name, r.class_, "", r.k, r.against, *_numbers(r), r.p])
                of_every.append((name, [r.to_dict()]))
    head = ["run", "class", "reference", "measure", "group", "value", "interval", "by chance", "p", "p (BH)"]
    groups = ["run", "class", "reference", "k", "group", "skew", "interval", "by chance", "p"]
    tables = [
        Table(f"skew_{slug(over)}", f"Which groups of {over} come first", head, first, data=tidy(of_first)),
        Table(f"skew_{slug(over)}_groups", f"Skew of every group of {over}", groups, every, data=tidy(of_every)),
    ]
    return Section(f"Skew by {over}", WORDS, tables)


def _summary(r: Record) -> list[Cell]:
    measure = f"MaxSkew@{r.k}" if r.metric.endswith("max_skew_at_k") else "NDKL"
    who = "mean of the classes" if r.metric.startswith("mean_") else r.class_
    return [who, r.reference, measure, r.highest, *_numbers(r), r.p, r.p_benjamini_hochberg]


def _numbers(r: Record) -> list[Cell]:
    bounds = units.interval(r, ", ")
    return [units.value(r), bounds and f"[{bounds}]", r.null_mean]
