"""What can be taken along: the table as CSV, the figure as SVG or PNG, both by the reports' own means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from clipjax.analysis import figures
from clipjax.analysis.records import Record
from clipjax.analysis.tables import Cell, Table, percent, rate
from clipjax.errors import InputError

FORMATS = ("svg", "png")


def rates_table(view: Mapping[str, Any]) -> Table:
    """The rows of a rates view: to be read, and for programs with numbers in full."""
    kind, name = view["question"]
    base, now = view["baseline"]["name"], view["design"]["name"]
    same = view["baseline"]["sha256"] == view["design"]["sha256"]
    by = list(dict.fromkeys(column for row in view["rows"] for column in row["group"])) or ["group"]
    full: list[list[Cell]] = [[*by, "n"]]
    for side in (f"A: {base}", f"B: {now}"):
        full[0] += [f"{side} k", f"{side} rate", f"{side} low", f"{side} high"]
    full[0] += ["B - A", "low", "high", "A only", "B only", "p", "p (BH)", "p (Bonferroni)"]
    shown: list[list[Cell]] = []
    for row in view["rows"]:
        group = (
            [row["group"].get(column, "") for column in by] if row["group"] else ["everybody", *[""] * (len(by) - 1)]
        )
        paired = row["paired"] or {}
        cells: list[Cell] = [*group, row["now"]["n"]]
        for record in (row["base"] or {}, row["now"]):
            cells += [record.get(key) for key in ("k", "value", "low", "high")]
        keys = ("difference", "low", "high", "only_a", "only_b", "p", "p_benjamini_hochberg", "p_bonferroni")
        full.append([*cells, *(paired.get(key) for key in keys)])
        rates = [_rate(row["now"])] if same else [_rate(row["base"]), _rate(row["now"]), *_change(paired)]
        shown.append([*group, *rates])
    heads = [f"{now}, %"] if same else [f"A: {base}, %", f"B: {now}, %", "B - A, points", "p", "p (BH)"]
    note = f"Percent of the group's images [{view['method']}, {100 * view['level']:g}%] k/n."
    return Table("rates", f"Rate of {kind} {name}", [*by, *heads], shown, note, full)


def _rate(fields: Mapping[str, Any] | None) -> Cell:
    record = _record(fields)
    return None if record is None else rate(record)


def _change(paired: Mapping[str, Any]) -> list[Cell]:
    """Difference with its interval, p, adjusted p; nothing where it was not compared."""
    if not paired or paired["difference"] is None:
        return [None, None, None]
    change = f"{percent(paired['difference'])} [{percent(paired['low'])}, {percent(paired['high'])}]"
    adjusted = f"{paired['p_benjamini_hochberg']:.2g}" if "p_benjamini_hochberg" in paired else "–"
    return [change, f"{paired['p']:.2g}", adjusted if paired.get("testable") else "–"]


def labels_table(view: Mapping[str, Any]) -> Table:
    """The rows of a labels view, numbers in full."""
    columns = ["label"]
    for side in view["sides"]:
        columns += [f"{side} k", f"{side} n", f"{side} rate", f"{side} low", f"{side} high"]
    tests = (("images", "chi-squared images"), ("tokens", "chi-squared tokens"), ("fisher", "Fisher"))
    for _, name in tests:
        columns += [name, f"{name} p", f"{name} p (BH)"]
    rows: list[list[Cell]] = []
    for row in view["rows"]:
        cells: list[Cell] = [row["label"]]
        for side in row["sides"]:
            cells += [_full(side[key]) for key in ("k", "n", "value", "low", "high")]
        for key, _ in tests:
            cells += [_full(row.get(key, {}).get(part)) for part in ("value", "p", "p_benjamini_hochberg")]
        rows.append(cells)
    return Table("labels", f"Labels at {100 * view['threshold']:g}%", columns, rows)


def rates_figure(view: Mapping[str, Any]) -> figures.Drawing:
    """Both designs by group, as `clipjax compare` draws them; one series where they are the same."""
    names = [", ".join(row["group"].values()) or "everybody" for row in view["rows"]]
    sides = [(view["design"]["name"], "now")]
    if view["baseline"]["sha256"] != view["design"]["sha256"]:
        sides.insert(0, (view["baseline"]["name"], "base"))
    series = [figures.Series.of(label, [_record(row[side]) for row in view["rows"]]) for label, side in sides]
    return figures.rates_by_group(names, series, f"Rate of {view['question'][1]}")


def labels_figure(view: Mapping[str, Any]) -> figures.Drawing:
    """The most gendered labels, as Figure 1 of the paper."""
    rows = {row["label"]: [side["value"] for side in row["sides"]] for row in view["rows"]}
    sides: Sequence[str] = view["sides"]
    panels = [
        (f"most {side}", top, [rows[name][0] for name in top], [rows[name][1] for name in top])
        for side, top in zip(sides, view["top"], strict=True)
    ]
    return figures.mirrored_bars(panels, (sides[0], sides[1]))


def curves_figure(view: Mapping[str, Any]) -> figures.Drawing:
    """Labels per image by threshold."""
    curves = {side: np.array(curve) for side, curve in zip(view["sides"], view["curves"], strict=True)}
    marks = sorted({*view["marks"], view["threshold"]})
    return figures.threshold_curves(np.array(view["grid"]), curves, view["classes"], marks, "labels per image")


def image(drawing: figures.Drawing, kind: str) -> tuple[bytes, str]:
    """Bytes and media type."""
    if kind == "svg":
        return drawing.svg().encode(), "image/svg+xml"
    if kind == "png":
        return drawing.png, "image/png"
    raise InputError(f"a figure is {' or '.join(FORMATS)}")


def _record(fields: Mapping[str, Any] | None) -> Record | None:
    """A record of the view, which is JSON, as the figures take it."""
    return None if fields is None else msgspec.convert(fields, Record)


def _full(value: Any) -> Cell:
    return repr(value) if isinstance(value, float) else value
