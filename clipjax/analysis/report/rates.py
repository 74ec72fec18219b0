"""Runs of the probe `rates`: who is given which classes, by group and class design."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipjax.analysis import figures, paper
from clipjax.analysis.records import Question, Record
from clipjax.analysis.report.section import Section, beside_paper, data, not_drawn, numbered, ordered, run_names, slug
from clipjax.analysis.run import REMEDY, Run
from clipjax.analysis.tables import Table, percent, rate
from clipjax.design import NO_SET
from clipjax.errors import InputError, one_line, some

RACES = {
    "Black": "Black", "White": "White", "Indian": "Indian", "Latino": "Latino_Hispanic",
    "Middle Eastern": "Middle Eastern", "Southeast Asian": "Southeast Asian", "East Asian": "East Asian",
}  # fmt: skip
AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
SMALL = "† fewer images than the run's min_n: read the interval, not the rate."
MOST_FIGURES = 40
MOST_CROSSED = 4  # sets that are drawn by pairs of columns
MOST_GAPS = 6  # sets whose differences are drawn
MOST_CLASSES = 40  # rows of a heat map of answers


def sections(runs: Sequence[Run]) -> list[Section]:
    """All of it, side by side where there are several runs."""
    found = [*_by_group(runs), _disparities(runs), _answers(runs)]
    found += [_sweep(run) for run in runs]
    found += [_as_printed(runs), beside_paper(runs), _asked(runs)]
    return [section for section in found if section is not None]


def _asked(runs: Sequence[Run]) -> Section:
    words, tables = [], []
    for i, (name, run) in enumerate(zip(run_names(runs), runs, strict=True)):
        assert run.design is not None
        words.append(
            f"{name}: {len(run.design.classes)} classes, templates {', '.join(map(repr, run.design.templates))}."
        )
        words += [run.design.note] if run.design.note and run.design.note not in words else []
        words += [f"{run.design.unset_note()}."] if run.design.unset else []
        without = NO_SET if run.design.sets else ""
        rows = [[c.name, ", ".join(c.sets) or without, "; ".join(c.prompts)] for c in run.manifest.design.classes]
        suffix = f"_{i + 1}" if len(runs) > 1 else ""
        tables.append(Table(f"design{suffix}", f"Class design {run.design.name}", ["class", "sets", "prompts"], rows))
    return Section("What was asked", words, tables, folded=True)


def _by_group(runs: Sequence[Run]) -> list[Section]:
    """A section for everybody and for each grouping; figures for up to one column."""
    keys = dict.fromkeys(r.columns for run in runs for r in run.records if r.metric == "rate")
    found, drawn = [], 0
    mirrored = not_drawn(runs)
    for key in keys:
        table = _table(runs, key)
        drawings = {}
        kinds = [kind for kind in _kinds(runs) if kind.name != mirrored]
        if len(key) == 1 and drawn + len(kinds) <= MOST_FIGURES:
            for kind, name in kinds:
                drawing = _drawing(runs, key, kind, name)
                drawings[f"rates_{slug(name)}_by_{slug(key[0])}"] = (
                    drawing,
                    f"How does the rate of {name} differ by {key[0]}? {_answer(runs[0], key, kind, name)}",
                )
            drawn += len(kinds)
        elif len(key) == 2:
            left = len(kinds) - MOST_CROSSED
            more = f" Of {left} more sets nothing is drawn." if left > 0 else ""
            for kind, name in kinds[:MOST_CROSSED]:
                highest = _highest(runs[0], key, kind, name)
                caption = f"How does the rate of {name} differ by {key[0]} and {key[1]}? {highest}{more}"
                parts = _crossed(runs, key, kind, name)
                drawings |= numbered(f"rates_{slug(name)}_by_{slug('_'.join(key))}", parts, caption)
        title = f"By {' and '.join(key)}" if key else "Everybody"
        said = f"Of {mirrored} nothing is drawn: its rates are 100% less those below."
        found.append(Section(title, [said] if mirrored and drawings else [], [table], drawings))
    return found


def _kinds(runs: Sequence[Run]) -> list[Question]:
    """Every set, `no set` last; every class for designs without sets."""
    rates = [r for run in runs for r in run.records if r.metric == "rate"]
    sets = dict.fromkeys(Question("set", r.set) for r in rates if r.set is not None)
    classes = dict.fromkeys(Question("class", r.class_) for r in rates if r.class_ is not None)
    return sorted(sets, key=lambda kind: kind.name == NO_SET) or list(classes)


def _lookup(run: Run, key: tuple[str, ...], kind: str, name: str) -> dict[tuple[str, ...], Record]:
    rates = (r for r in run.records if r.metric == "rate" and r.columns == key)
    return {r.cell: r for r in rates if (r.set if kind == "set" else r.class_) == name}


def _groups(runs: Sequence[Run], key: tuple[str, ...]) -> list[tuple[str, ...]]:
    """In the order of the runs' columns."""
    found = dict.fromkeys(r.cell for run in runs for r in run.records if r.metric == "rate" and r.columns == key)
    return ordered(runs, key, found)


def _table(runs: Sequence[Run], key: tuple[str, ...]) -> Table:
    names, kinds = run_names(runs), _kinds(runs)
    columns = [*key, *(f"{kind[1]} ({name})" if len(runs) > 1 else kind[1] for kind in kinds for name in names)]
    found = [_lookup(run, key, *kind) for kind in kinds for run in runs]
    rows = [[*group, *(rate(f[group]) if group in f else None for f in found)] for group in _groups(runs, key)]
    small = any(r.small for f in found for r in f.values())
    note = "Percent of the group's images [interval] k/n." + (f" {SMALL}" if small else "")
    methods = sorted({f"{r.method}, {100 * (r.level or 0):g}%" for f in found for r in f.values()})
    title = f"Rates by {' and '.join(key)}" if key else "Rates over all images"
    return Table(
        f"rates_by_{slug('_'.join(key) or 'everybody')}", title, columns, rows, f"{note} {'; '.join(methods)}.",
        data(runs, ["rate"], key),
    )  # fmt: skip


def _drawing(runs: Sequence[Run], key: tuple[str, ...], kind: str, name: str) -> figures.Drawing:
    """Groups by the first run's rate, the largest first; with one run the rate of all images as a line."""
    first, everybody = (_lookup(runs[0], columns, kind, name) for columns in (key, ()))
    groups = sorted(_groups(runs, key), key=lambda group: -(first[group].value or 0) if group in first else 1)
    series = []
    for label, run in zip(run_names(runs), runs, strict=True):
        found = _lookup(run, key, kind, name)
        series.append(figures.Series.of(label, [found.get(group) for group in groups]))
    overall = everybody[()].value if len(runs) == 1 and () in everybody else None
    return figures.rates_by_group([", ".join(group) for group in groups], series, f"Rate of {name}", overall)


def _answer(run: Run, key: tuple[str, ...], kind: str, name: str) -> str:
    """What the figure of one set or class shows, in a sentence."""
    mine = [f for f in run.findings if f.kind == "disparity" and f.what == {kind: name} and tuple(f.group) == key]
    return mine[0].statement if mine else "No difference was found after adjustment for all tests of its question."


def _highest(run: Run, key: tuple[str, ...], kind: str, name: str) -> str:
    """The group of two columns with the highest rate, in a sentence, and how sure that is."""
    found = [r for r in _lookup(run, key, kind, name).values() if r.value is not None]
    if not found:
        return "No image has a value in both."
    top = max(found, key=lambda r: r.value or 0.0)
    return (
        f"The highest rate is that of {', '.join(top.cell)}: {rate(top)}. Groups of two columns are not tested against "
        f"each other{'; † fewer images than min_n' if any(r.small for r in found) else ''}."
    )


def _crossed(runs: Sequence[Run], key: tuple[str, ...], kind: str, name: str) -> list[figures.Drawing]:
    found = _lookup(runs[0], key, kind, name)
    axes = [[v for (v,) in ordered(runs[:1], (column,), {(g[i],) for g in found})] for i, column in enumerate(key)]
    if not found or len(axes[0]) > 30 or len(axes[1]) > 30:
        return []
    values = np.full((len(axes[0]), len(axes[1])), np.nan)
    small = np.zeros(values.shape, bool)
    for group, record in found.items():
        cell = axes[0].index(group[0]), axes[1].index(group[1])
        values[cell] = np.nan if record.value is None else record.value
        small[cell] = bool(record.small)
    return figures.heat_maps(values, axes[0], axes[1], f"Rate of {name}", small)


def _disparities(runs: Sequence[Run]) -> Section | None:
    """Each group against all other images; of one run, a figure for each set too."""
    tables, names, drawings = [], run_names(runs), {}
    columns = dict.fromkeys(r.columns[0] for run in runs for r in run.records if r.metric == "rate_ratio" and r.columns)
    for column in columns:
        rows = []
        for name, run in zip(names, runs, strict=True):
            mine = [r for r in run.records if r.columns == (column,)]
            ratios = {(r.set, r.cell): r for r in mine if r.metric == "rate_ratio"}
            for r in (r for r in mine if r.metric == "rate_difference"):
                ratio = ratios.get((r.set, r.cell))
                factor = "– [–, –]"
                if ratio is not None:
                    bounds = f"{_factor(ratio.low)}, {_factor(ratio.high, True)}"
                    factor = f"{_factor(ratio.value, bool(ratio.k))} [{bounds}]"
                cells = [r.cell[0], r.set, f"{r.k}/{r.n}", f"{r.k_rest}/{r.n_rest}"]
                cells += [
                    f"{percent(r.value)}{'†' if r.small else ''} [{percent(r.low)}, {percent(r.high)}]",
                    factor,
                ]
                rows.append([*cells, *([name] if len(runs) > 1 else [])])
        head = [column, "set", "k/n", "the rest", "difference, points", "ratio", *(["run"] if len(runs) > 1 else [])]
        note = "Differences: Newcombe; ratios: Miettinen-Nurminen; ∞: no upper bound, –: undefined. " + SMALL
        tables.append(Table(
            f"disparities_by_{slug(column)}", f"Each {column} against the rest", head, rows, note,
            data(runs, ["rate_difference", "rate_ratio"], (column,)),
        ))  # fmt: skip
        if len(runs) == 1:
            drawings |= _gaps(runs[0], column)
    return Section("Differences between groups", [], tables, drawings) if tables else None


def _gaps(run: Run, column: str) -> dict[str, tuple[figures.Drawing, str]]:
    """The difference of each group of a column to all other images, a figure per set, the largest first."""
    found: dict[str, list[Record]] = {}
    for r in run.records:
        if r.metric == "rate_difference" and r.columns == (column,) and r.value is not None and r.set is not None:
            found.setdefault(r.set, []).append(r)
    drawings = {}
    found.pop(not_drawn([run]), None)
    more = f" Of {len(found) - MOST_GAPS} more sets nothing is drawn." if len(found) > MOST_GAPS else ""
    for name, records in list(found.items())[:MOST_GAPS]:
        records = sorted(records, key=lambda r: -(r.value or 0.0))
        counts = [f"{r.k}/{r.n}, others {r.k_rest}/{r.n_rest}" for r in records]
        series = dataclasses.replace(figures.Series.of("", records), counts=counts)
        drawing = figures.differences_by_group([r.cell[0] for r in records], series, f"Rate of {name} less the others'")
        drawings[f"gaps_{slug(name)}_by_{slug(column)}"] = (
            drawing,
            f"How far does each {column} differ from all other images in the rate of {name}? "
            f"{_answer(run, (column,), 'set', name)}{more}",
        )
    return drawings


def _factor(value: float | None, unbounded: bool = False) -> str:
    return f"{value:.2f}" if value is not None else "∞" if unbounded else "–"


def _answers(runs: Sequence[Run]) -> Section | None:
    """Which classes each group is given."""
    drawings, names = {}, run_names(runs)
    for i, run in enumerate(runs):
        assert run.design is not None
        for column in run.group_columns:
            found = run.answered((column,))
            if not 1 < len(found.groups) <= 40:
                continue
            tally, groups = found.table, [group[column] for group in found.groups]
            places = run.places(column)
            order = sorted(range(len(groups)), key=lambda g: places[groups[g]])
            tally, groups = tally[order], [groups[g] for g in order]
            used = np.flatnonzero(tally.sum(0) > 0)
            shown = np.sort(used[np.argsort(-tally.sum(0)[used], kind="stable")][:MOST_CLASSES])
            n = tally.sum(1)
            small = np.broadcast_to((n < run.settings.min_n)[:, None], (len(groups), len(shown)))
            parts = figures.heat_maps(
                (tally / n[:, None])[:, shown], groups, [run.design.names[c] for c in shown], "Share of answers", small,
                [f" (n = {count})" for count in n],
            )  # fmt: skip
            name = f"answers_by_{slug(column)}" + (f"_{i + 1}" if len(runs) > 1 else "")
            caption = _commonest(run, column, groups, tally, shown)
            drawings |= numbered(name, parts, f"{names[i]}: {caption}" if len(runs) > 1 else caption)
    return Section("Which class they are given", [], [], drawings) if drawings else None


def _commonest(run: Run, column: str, groups: Sequence[str], tally: np.ndarray, shown: np.ndarray) -> str:
    """The caption of a heat map of answers: what each group is given most, and which classes are not drawn."""
    assert run.design is not None
    names = run.design.names
    top = [f"{g}: {names[row.argmax()]} ({row.max()} of {row.sum()})" for g, row in zip(groups, tally, strict=True)]
    said = f"Which class is each {column} given most often? {some(top, 12)}."
    total = tally.sum(0)
    if unused := [names[c] for c in np.flatnonzero(total == 0)]:
        said += f" No image was given {some(unused, 12)}."
    if rest := [c for c in np.flatnonzero(total > 0) if c not in shown]:
        said += f" Not drawn: {len(rest)} rarer classes with {int(total[rest].sum())} of {int(total.sum())} answers."
    return said


def _sweep(run: Run) -> Section | None:
    """The designs that were swept: range per set and group, and a dot each."""
    ranges = [r for r in run.records if r.metric == "rate_range"]
    if not ranges:
        return None
    rows = [
        [
            r.set,
            ", ".join(r.cell) or "everybody",
            percent(r.smallest),
            r.lowest,
            percent(r.largest),
            r.highest,
        ]
        for r in ranges
    ]
    table = Table(
        "sweep_ranges", f"Smallest and largest rate over {ranges[0].designs} designs",
        ["set", "group", "smallest, %", "by", "largest, %", "by"], rows, "Every design's rates: tables/sweep.csv.",
        data([run], ["rate_range"]),
    )  # fmt: skip
    drawings = {}
    swept = _swept(run.path / "tables" / "sweep.csv")
    for column in dict.fromkeys(row.column for row in swept if row.column):
        for name in dict.fromkeys(row.set for row in swept):
            mine = [row for row in swept if row.column == column and row.set == name]
            groups = [g for (g,) in ordered([run], (column,), {(row.group,) for row in mine})]
            values = [[row.value for row in mine if row.group == g] for g in groups]
            base = [rates[0] for rates in values]  # of the first design, which is the run's own
            drawing = figures.sweep_strip(groups, values, base, f"Rate of {name}")
            drawings[f"sweep_{slug(name)}_by_{slug(column)}"] = (drawing, _widest(name, column, groups, values))
    return Section("Sweep of class designs", [], [table], drawings)


def _widest(name: str, column: str, groups: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """The caption of a sweep: the group whose rate moves furthest."""
    g = max(range(len(groups)), key=lambda g: max(values[g]) - min(values[g]))
    return (
        f"How far does the rate of {name} move by {column} with the design? Furthest for {groups[g]}: "
        f"{percent(min(values[g]))}% to {percent(max(values[g]))}% over {len(values[g])} designs."
    )


class _Swept(NamedTuple):
    design: str
    set: str
    column: str
    group: str
    value: float


def _swept(path: Path) -> list[_Swept]:
    """The rows of tables/sweep.csv that have a rate, the run's own design first; none without the file."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["value"]]
            return [_Swept(r["design"], r["set"], r["column"], r["group"], float(r["value"])) for r in rows]
    except OSError:
        return []
    except (KeyError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: not what the run wrote ({one_line(error, 80)}); {REMEDY}") from error


def _as_printed(runs: Sequence[Run]) -> Section | None:
    """Tables 2 and 3 in the paper's own layout, where the runs have its classes and groups."""
    tables = []
    crime, non_human, all_seven = (paper.published()["classes"][k] for k in ("crime", "non-human", "denigration"))
    for run, name in zip(runs, run_names(runs), strict=True):
        if "race" in run.group_columns and paper.label_set(run) == "default" and not tables:
            rows = [
                [words, *(_share(run, classes, "race", value) for value in RACES.values())]
                for words, classes in (("Crime-related Categories", crime), ("Non-human Categories", non_human))
            ]
            if any(cell is not None for row in rows for cell in row[1:]):
                title = f"Percent of images by race, as Table 2 of the paper ({name})"
                tables.append(Table("paper_table2", title, ["Category", *RACES], rows))
    rows = []
    words = {"default": "Default Label Set", "child": "Default Label Set + 'child' category"}
    for run in runs:
        if "age" in run.group_columns and (found := paper.label_set(run)):
            row = [_share(run, all_seven, "age", value) for value in AGES]
            if any(cell is not None for cell in row):
                rows.append([words[found], *row])
    if rows:
        head = ["Category Label Set", *AGES[:-1], "over 70"]
        title = "Percent of images in crime-related and non-human categories by age, as Table 3 of the paper"
        tables.append(Table("paper_table3", title, head, sorted(rows, key=lambda r: len(str(r[0])))))
    return Section("In the paper's layout", [], tables) if tables else None


def _share(run: Run, classes: Sequence[str], column: str, value: str) -> str | None:
    assert run.design is not None
    counts = run.answered((column,)).of((value,))
    if not counts.sum():
        return None
    return percent(float(counts[[name in classes for name in run.design.names]].sum() / counts.sum()))
