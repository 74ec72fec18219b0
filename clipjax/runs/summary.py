"""Numbers as people read them: one run's records, and models beside data sets as a table and a figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipjax.analysis import figures, units
from clipjax.analysis.records import Record
from clipjax.analysis.tables import csv_text, markdown_lines, percent
from clipjax.files import write_text

PROVENANCE = {
    "read": "read in the source",
    "recalled": "recalled, not verified: no golden value",
    "derived": "derived",
}
# What a run's first page leaves out, where there are many numbers, and how many lines it has.
DETAILS = (
    "rate_difference", "rate_ratio", "rate_range", "label_rate", "chi_squared", "fisher", "recall",
    "top1_between_group_variance", "top5_between_group_variance", "skew_at_k", "min_skew_at_k", "reliability",
    "demographic_parity_difference", "demographic_parity_ratio", "equal_opportunity_difference",
    "equalized_odds_difference", "mce", "rmsce", "brier_decomposition", "excess_aurc", "augrc",
)  # fmt: skip
OVERVIEW = 60
# What a record has measured, and is not named by.
NUMBERS = (
    "value", "low", "high", "k", "n", "level", "method", "small", "group", "p", "p_benjamini_hochberg", "null_mean",
    "expected_if_equal", "highest", "lowest", "worst", "k_first", "k_second", "ties_at_k", "absent",
    "fitted_on",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Cell:
    """One model on one data set."""

    model: str
    source: str
    records: Sequence[Record]
    published: Mapping[str, Any]

    @property
    def main(self) -> Record:
        """The record the data set is judged by: the first."""
        return self.records[0]


def records_table(records: Sequence[Record], published: Mapping[str, Any], markdown: bool = False) -> str:
    """A line per record with n and interval; then what was published, with its provenance."""
    if not records:
        return "no labels, so no metrics: see predictions.parquet"
    shown = _overview(records)
    rows = [["metric", "value", "95% interval", "n", "method"]]
    rows += [
        [name, units.value(r), units.interval(r), _count(r), units.method(r)]
        for name, r in zip(_names(shown), shown, strict=True)
    ]
    for source, cell in published.items():
        mark = PROVENANCE.get(cell["provenance"], cell["provenance"])
        rows.append([source.replace("_", " "), f"{cell['value']:.2f}%", "", "", mark])
    table = _markdown(rows) if markdown else _columns(rows)
    if len(shown) == len(records):
        return table
    small = ", * fewer images than min_n" if any(r.small for r in shown) else ""
    return f"{table}\n({len(shown)} of {len(records)} numbers{small}; all in metrics.json, `clipjax report` shows them)"


def cells_table(cells: Sequence[Cell]) -> str:
    """Models down, data sets across: the main metric of each, as a percentage."""
    return _columns(_grid(cells))


def write(out: Path, cells: Sequence[Cell]) -> None:
    """summary.csv, summary.md and figures/summary.png and .svg."""
    rows = _grid(cells)
    write_text(out / "summary.csv", csv_text(rows))
    write_text(out / "summary.md", _markdown(rows) + "\n")
    models, sources = _axes(cells)
    main = {(c.model, c.source): c.main for c in cells}
    metrics = [units.name(next(c.main for c in cells if c.source == source)) for source in sources]
    series = [figures.Series.of(model, [main.get((model, source)) for source in sources]) for model in models]
    figures.bars(list(zip(sources, metrics, strict=True)), series).save(out / "figures", "summary")


def _axes(cells: Sequence[Cell]) -> tuple[list[str], list[str]]:
    """Models and data sets, in order."""
    return list(dict.fromkeys(c.model for c in cells)), list(dict.fromkeys(c.source for c in cells))


def _grid(cells: Sequence[Cell]) -> list[list[str]]:
    models, sources = _axes(cells)
    main = {(c.model, c.source): c.main for c in cells}
    head = ["model", *(f"{s} ({units.name(main[models[0], s])})" for s in sources)]
    return [head, *([m, *(percent(main[m, s].value, 2) for s in sources)] for m in models)]


def _overview(records: Sequence[Record]) -> Sequence[Record]:
    """The numbers a reader wants first, where there are many: sets before classes, everybody and single columns."""
    if all(r.group is None for r in records):
        return records
    sets = any(r.set is not None for r in records)
    wanted = [
        r for r in records
        if r.metric not in DETAILS and len(r.group or ()) < 2 and not (sets and r.class_ is not None)
    ]  # fmt: skip
    return wanted[:OVERVIEW]


def _names(listed: Sequence[Record]) -> list[str]:
    """A name for each record; where two would be equal, with whatever else tells them apart."""
    names, records = [units.name(record) for record in listed], [record.to_dict() for record in listed]
    alike: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        alike.setdefault(name, []).append(i)
    for same in alike.values():
        keys = dict.fromkeys(key for i in same for key in records[i] if key not in NUMBERS)
        for key in keys:
            if len({repr(records[i].get(key)) for i in same}) > 1:
                for i in same:
                    names[i] += f", {key}={_brief(records[i][key])}" if key in records[i] else ""
    return names


def _brief(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _count(record: Record) -> str:
    counted = record.k is not None and record.group is not None and record.metric != "same_attribute_precision_at_k"
    return (f"{record.k}/{record.n}" if counted else str(record.n)) + ("*" if record.small else "")


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(markdown_lines(rows))
