"""The threshold view: every class whose probability reaches the threshold is a label, compared between two groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clipjax.analysis import association, findings
from clipjax.analysis.records import Record
from clipjax.errors import InputError
from clipjax.explore.answers import Answers
from clipjax.explore.opened import Opened
from clipjax.explore.view import Pair, as_shown
from clipjax.runs.labels import label_records

TOP = 20  # of each side, as Figure 1 of the paper


def labels_view(answers: Answers, pair: Pair, body: Mapping[str, Any]) -> dict[str, Any]:
    """Findings; rows of every label: counts and intervals of both sides, tests; the most gendered; labels per image by
    threshold.

    The numbers are those of `clipjax probe congress` with this design, contrast and threshold.
    """
    opened, asked = answers.opened, pair.now
    column, sides = contrast_of(opened, body)
    k = len(asked.design.classes)
    threshold = threshold_of(body, opened.thresholds[0])
    inside = [np.flatnonzero(opened.columns[column] == s) for s in sides]
    beside = _base_counts(answers, pair, inside, threshold)
    given = answers.probabilities(asked)
    hits = [(given[rows] >= threshold).sum(0) for rows in inside]
    found = association.gendered_labels(*hits, *map(len, inside))
    records = label_records(found, sides, column, asked.design.names, threshold, opened.method)
    grid = association.curve_thresholds(k)
    curves = answers.curves(asked, (column, *sides), inside, grid)
    lead = (
        f"{asked.design.name}: labels from a probability of {100 * threshold:.3g}%, {sides[0]} ({len(inside[0])} "
        f"images) and {sides[1]} ({len(inside[1])})."
    )
    return as_shown(findings.of_records(records), lead) | {
        "column": column, "sides": list(sides), "n": list(found.n), "threshold": threshold, "classes": k,
        "marks": list(opened.thresholds), "rows": _rows(records, asked.design.names, found),
        "top": [[asked.design.names[c] for c in rows] for rows in association.top_gendered(found, TOP)],
        "per_image": [r.value for r in records if r.metric == "labels_per_image"],
        "grid": grid.tolist(), "curves": [curve.tolist() for curve in curves],
        "level": opened.method.level, "method": opened.method.name,
        "beside": beside,
    }  # fmt: skip


def contrast_of(opened: Opened, body: Mapping[str, Any]) -> tuple[str, tuple[str, str]]:
    """The column and its two values; those of the run without a wish."""
    column, sides = body.get("column") or opened.contrast, body.get("sides") or opened.sides
    if column not in opened.columns:
        raise InputError("labels are compared between two groups, and this run's table has no column with two values")
    there = sorted({v for v in opened.columns[column].tolist() if v})
    if len(sides) != 2 or not set(sides) <= set(there) or sides[0] == sides[1]:
        sides = there[:2]
    if len(sides) != 2:
        raise InputError(f"column {column} has one value only; labels are compared between two groups")
    return column, (sides[0], sides[1])


def threshold_of(body: Mapping[str, Any], usual: float) -> float:
    """A probability between 0 and 1."""
    value = body.get("threshold") or usual
    if not isinstance(value, (int, float)) or not 0 < value < 1:
        raise InputError(f"threshold {str(value)[:20]} is not a probability between 0 and 1")
    return float(value)


def _rows(records: list[Record], names: tuple[str, ...], found: association.Gendered) -> list[dict[str, Any]]:
    """One row per label out of its records; `p_adjusted` is over images, Fisher's where an expected count is small."""
    p, smallest, _ = association.two_groups(found.tables)
    adjusted = association.adjust_testable(p, smallest).tolist()
    rows: dict[str, dict[str, Any]] = {
        name: {"label": name, "sides": [], "p_adjusted": adjusted[c]} for c, name in enumerate(names)
    }
    for r in records:
        if r.label is None:
            continue
        if r.metric == "label_rate":
            shown = ("k", "n", "value", "low", "high", "small")
            rows[r.label]["sides"].append({key: getattr(r, key) for key in shown})
        else:
            test = "fisher" if r.metric == "fisher" else str(r.denominator)
            shown = ("value", "p", "p_benjamini_hochberg", "p_bonferroni", "min_expected", "more")
            rows[r.label][test] = {key: getattr(r, key) for key in shown}
    return list(rows.values())


def _base_counts(answers: Answers, pair: Pair, inside: list[np.ndarray], threshold: float) -> dict[str, list[int]]:
    """Label -> its counts on both sides under the pinned design, where that is another."""
    if pair.same:
        return {}
    given, names = answers.probabilities(pair.base), pair.base.design.names
    k = [(given[rows] >= threshold).sum(0) for rows in inside]
    return {name: [int(k[0][c]), int(k[1][c])] for c, name in enumerate(names)}
