"""What `clipjax panel` writes: every model's numbers side by side, which ranks hold, and what goes with accuracy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from clipjax.analysis import figures, findings, main_numbers, panel, scatter, sentences, units
from clipjax.analysis.intervals import RESAMPLES
from clipjax.analysis.panel import Pair, Panel, Row
from clipjax.analysis.records import RIGHT, Question, Record
from clipjax.analysis.report import head, page, panel_findings, tuned
from clipjax.analysis.report.section import Section, slug
from clipjax.analysis.tables import Cell, Table, percent, tidy
from clipjax.files import write_text

MOST_ROWS = 14  # of a figure
MOST_PAIRS = 40  # with a figure
DRAWN = {  # kinds with a figure: its question
    "accuracy": "How accurate is each model?",
    "worst groups": "How accurate is each model for its worst group?",
    "rates": "How often does each model answer with a class of each set?",
    "differences between groups": "How far are the groups apart under each model?",
}
NOTES = {
    "worst groups": "The worst group is named; two models may have two worst groups.",
    "differences between groups": "In brackets the value by chance: of groups that do not differ, which is not zero.",
    "confidence": "In brackets the value by chance: of a calibrated model, which is not zero.",
}
RANKS = "Which ranks hold?"
CORRELATED = "What goes with accuracy"


def write(found: Panel, out: Path, command: str = "", trained: tuned.Trained | None = None) -> list[Section]:
    """metrics.json, tables, figures and report.html; the same runs give the same bytes. trained: models by the runs of
    `clipjax finetune` that made them."""
    shown = sections(found, command, trained)
    out.mkdir(parents=True, exist_ok=True)
    for section in shown:
        for table in section.tables:
            table.write(out / "tables")
        for name, (drawing, _) in section.drawings.items():
            drawing.save(out / "figures", name)
    text = json.dumps(content(found), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(out / "metrics.json", text + "\n")
    title = f"{len(found.models)} models side by side: {', '.join(found.models)}"
    write_text(out / "report.html", page.html([one.run for one in found.entries], shown, title))
    return shown


def content(found: Panel) -> dict[str, Any]:
    """What metrics.json of a panel holds."""
    records = [
        {"model": m, "probe": row.column[0], "data_set": row.column[1], **record.to_dict()}
        for row in found.rows
        for m, record in row.of.items()
    ]
    pairs = [_about(pair) | pair.record.to_dict() | {"verdict": pair.verdict} for pair in found.pairs]
    robust = {} if found.robustness is None else found.robustness.records
    return {
        "records": records,
        "findings": [finding.to_dict() for finding in panel_findings.of_panel(found)],
        "ranks": [{**msgspec.to_builtins(r), "question": dict([r.question])} for r in found.ranks],
        "pairs": pairs,
        "correlations": msgspec.to_builtins(found.correlations),
        "robustness": [{"model": m} | record.to_dict() for m, record in robust.items()],
        "failed": msgspec.to_builtins(found.failed),
    }


def _about(pair: Pair) -> dict[str, str]:
    return {"probe": pair.probe, "data_set": pair.data_set, "a": pair.a, "b": pair.b}


def sections(found: Panel, command: str = "", trained: tuned.Trained | None = None) -> list[Section]:
    """The page, section by section."""
    runs = [one.run for one in found.entries]
    shown = [_head(found)]
    if found.failed:
        rows = [[one.probe, one.data_set, one.model, one.message] for one in found.failed]
        table = Table("failed", "Runs that failed", ["probe", "data set", "model", "why"], rows)
        shown.append(Section("Runs that failed", ["The same command runs them again, and only them."], [table]))
    shown += tuned.sections(found, trained or {})
    shown += [_numbers(found, kind) for kind in main_numbers.KINDS if any(row.kind == kind for row in found.rows)]
    shown += [one for one in (_ranks(found), _published(found), _correlations(found), _robustness(found)) if one]
    shown.append(_groups(found))
    shown.append(Section("Methods", _methods(found)))
    shown.append(dataclasses.replace(head.methods(runs), title="Methods of every run", folded=True))
    shown.append(Section("Caveats of this page", points=[(said, "") for said in head.caveats(runs)]))
    words = ["Finished runs are not repeated; the folder runs/ holds them, for `clipjax report` and `clipjax compare`:"]
    return [*shown, Section("How to repeat it", [*words, *([command] if command else [])])]


def text(shown: Sequence[Section]) -> str:
    """The findings and the first tables, for a terminal."""
    said = head.lines([*(point for point, _ in shown[0].points), *shown[0].silent])
    main = ("trained", "before_and_after", "accuracy", "ranks", "failed")
    tables = [table for section in shown for table in section.tables if table.name in main]
    return "\n\n".join([*([said] if said else []), *(table.markdown().rstrip() for table in tables)])


def _head(found: Panel) -> Section:
    probes, data_sets = ({column[i] for column in found.columns} for i in (0, 1))
    lead = (
        f"{sentences.count(len(found.models), 'model')}, {sentences.count(len(probes), 'probe')}, "
        f"{sentences.count(len(data_sets), 'data set')}: {sentences.count(len(found.entries), 'finished run')}"
        + (f", {len(found.failed)} failed." if found.failed else ".")
    )
    stated = panel_findings.of_panel(found)
    kinds = (
        [f for f in stated if f.kind == "moved"], [f for f in stated if f.kind == "disparity"],
        [f for f in stated if f.kind not in findings.STATED],
    )  # fmt: skip
    moved, correlated, rest = (mine[: panel_findings.MOST] for mine in kinds)
    points = [*((f.statement, RANKS) for f in moved), *((f.statement, CORRELATED) for f in correlated)]
    silent = [f.statement for f in rest] + findings.left_out(stated, [*moved, *correlated, *rest], head.METRICS)
    intervals = (
        f"Intervals of shares, of differences of models and of correlations are individual ({100 * found.level:g}% for "
        "ranks, differences and correlations, the level of each run for its own numbers): all of them hold together "
        "less often. Those of a worst group and of a largest gap hold for all groups of a column at once. Adjusted "
        "p-values (Benjamini-Hochberg) of pairs allow for all pairs of this page whose answers differ often enough to "
        "reach 0.05 at all (Tarone), those of correlations for all correlations; where an interval excludes zero and "
        "nothing is stated, that is the reason."
    )
    return Section(head.FOUND, [*found.notes, intervals], points=points, silent=silent, lead=lead)


def _numbers(found: Panel, kind: str) -> Section:
    rows = [row for row in found.rows if row.kind == kind]
    cells = [[*reversed(row.column), row.name, *(_cell(row.of.get(m)) for m in found.models)] for row in rows]
    same = [list(dict.fromkeys(str(record.n) for record in row.of.values())) for row in rows]
    for one, n in zip(cells, same, strict=True):
        one.insert(3, " / ".join(n))
    data = tidy([
        (f"{m}, {row.column[0]} on {row.column[1]}", [record.to_dict()]) for row in rows for m, record in row.of.items()
    ])  # fmt: skip
    note = NOTES.get(kind, "")
    if any(record.small for row in rows for record in row.of.values()):
        note = f"{note} † fewer images than min_n.".strip()
    table = Table(slug(kind), kind.capitalize(), ["data set", "probe", "number", "n", *found.models], cells, note, data)
    drawings = {}
    if kind in DRAWN:
        shares = [row for row in rows if all(map(units.is_share, row.of.values()))][:MOST_ROWS]
        if shares:
            caption = f"{DRAWN[kind]} Each number has its own interval."
            if len(shares) < len(rows):
                caption += f" The first {len(shares)} of {len(rows)} numbers of the table."
            drawings = {slug(kind): (_drawing(found, shares, kind), caption)}
    return Section(kind.capitalize(), [], [table], drawings)


def _cell(record: Record | None) -> str:
    """ "10.34% [0.00, 33.44] (15.0%)", with the value by chance; of a worst group with its name."""
    if record is None:
        return "–"
    bounds = units.interval(record, ", ")
    chance = record.expected_if_equal if record.null_mean is None else record.null_mean
    mark = "†" if record.small else ""
    said = [units.value(record) + mark, f"[{bounds}]" if bounds else "", record.worst or ""]
    if chance is not None:
        said.append(f"({percent(chance) + '%' if units.is_share(record) else format(chance, '.3g')})")
    return " ".join(filter(None, said))


def _drawing(found: Panel, rows: Sequence[Row], kind: str) -> figures.Drawing:
    series = []
    for m in found.models:
        records = [row.of.get(m) for row in rows]
        values, low, high = ([getattr(r, part, None) for r in records] for part in ("value", "low", "high"))
        low, high = ([v if one is None else one for v, one in zip(values, side, strict=True)] for side in (low, high))
        counts = ["" if r is None or r.k is None else f"{r.k}/{r.n}" for r in records]
        series.append(figures.Series(m, values, low, high, counts, [bool(r and r.small) for r in records]))
    unit = "points" if kind == "differences between groups" else "percent"
    return figures.rates_by_group([_brief(row, found) for row in rows], series, kind, unit=unit)


def _brief(row: Row, found: Panel) -> str:
    """A number's name for an axis: "roles: person by age"; with the data set where the probe has several."""
    record = next(iter(row.of.values()))
    by = f"by {record.over}" if record.over else ""
    what = " ".join(filter(None, [record.set or record.class_ or record.attribute, by]))
    data_set = f" on {row.column[1]}" if _several(found, row.column[0]) else ""
    metric = "" if row.kind == "rates" or record.metric.startswith("demographic") else record.metric.split("_")[0]
    return f"{row.column[0]}{data_set}: {' '.join(filter(None, [metric, what]))}"


def _ranks(found: Panel) -> Section | None:
    if not found.ranks:
        return None
    rows: list[list[Cell]] = [
        [
            r.data_set, r.probe, _asked(r.question), r.model,
            f"{percent(r.value)} [{percent(r.value_low)}, {percent(r.value_high)}] {r.k}/{r.n}", r.rank,
            f"{r.low} to {r.high}" if r.low < r.high else str(r.low), f"{percent(r.first)}",
        ]
        for r in found.ranks
    ]  # fmt: skip
    level = f"{100 * found.level:g}%"
    note = (
        "Rank 1 has the largest share, which for a set of classes is not the best. Ranks are counted again when images "
        "are resampled, the same ones for every model: the range holds the middle "
        f"{level} of the draws, first in how many of them the model leads."
    )
    head_of_ranks = ["data set", "probe", "question", "model", "share, %", "rank", f"rank, {level}", "first, %"]
    tables = [Table("ranks", "Ranks of the models", head_of_ranks, rows, note)]
    first, drawings = found.pairs[0].record, {}
    columns = [
        "data set",
        "probe",
        "question",
        "A",
        "B",
        "A, %",
        "B, %",
        "B - A, points",
        "p",
        "p (BH)",
        "verdict",
    ]
    tables.append(Table(
        "pairs", "Pairs of models on the same images", columns, [_pair(one) for one in found.pairs],
        f"p: McNemar's exact test; p (BH) over the {first.tests} of {first.asked} tests in which enough answers differ "
        "to reject at all (Tarone), – elsewhere. Differences have Newcombe's interval for paired data, each at "
        f"{level} by itself. Distinguished: p (BH) below 0.05 and zero outside the interval. Equal: the interval "
        f"allows less than {sentences.points(found.margin)} either way. Undecided: neither, with this many images.",
    ))  # fmt: skip
    if len(found.pairs) <= MOST_PAIRS:
        difference, low, high = ([getattr(p.record, x) for p in found.pairs] for x in ("difference", "low", "high"))
        counts = [f"{p.record.k_a} → {p.record.k_b} of {p.record.n}" for p in found.pairs]
        series = figures.Series("", difference, low, high, counts, [not p.distinguished for p in found.pairs])
        named = [f"{_question(one, found)}: {one.b} - {one.a}" for one in found.pairs]
        drawing = figures.differences_by_group(named, series, "difference", hollow="not distinguished")
        drawings["pairs"] = (drawing, "Which models are distinguished on the same images? Hollow: not distinguished.")
    words = [panel_findings.distinguished(found)]
    return Section(RANKS, words, tables, drawings)


def _question(pair: Pair, found: Panel) -> str:
    assert pair.record.question is not None
    data_set = f" on {pair.data_set}" if _several(found, pair.probe) else ""
    asked = "" if pair.record.question == RIGHT else f" {pair.record.question.name}"
    return f"{pair.probe}{data_set}{asked}"


def _several(found: Panel, probe: str) -> bool:
    """Whether a probe was asked of several data sets."""
    return sum(column[0] == probe for column in found.columns) > 1


def _asked(question: Question) -> str:
    return "accuracy" if question == RIGHT else question.name


def _pair(one: Pair) -> list[Cell]:
    r = one.record
    assert r.question is not None
    return [
        one.data_set, one.probe, _asked(r.question), one.a, one.b, f"{percent(r.value_a)} ({r.k_a}/{r.n})",
        f"{percent(r.value_b)} ({r.k_b}/{r.n})", f"{percent(r.difference)} [{percent(r.low)}, {percent(r.high)}]",
        _p(r.p), _p(r.p_benjamini_hochberg) if r.testable else "–", one.verdict,
    ]  # fmt: skip


def _p(p: float | None) -> str:
    return "–" if p is None else sentences.p_value(p).removeprefix("= ")


def _published(found: Panel) -> Section | None:
    """Numbers of the released models on named data sets, as the files of clipjax/data have them."""
    rows: list[list[Cell]] = []
    for one in found.entries:
        for table, cell in one.published.items():
            ours = one.run.records[0]
            value = float(cell["value"])
            inside = ours.low is not None and ours.high is not None and 100 * ours.low <= value <= 100 * ours.high
            rows.append([
                one.data_set, one.probe, one.model, table.replace("_", " "), f"{value:.2f}", cell["provenance"],
                _cell(ours), "inside" if inside else "outside",
            ])  # fmt: skip
    if not rows:
        return None
    columns = ["data set", "probe", "model", "source", "published, %", "provenance", "ours", "published number"]
    note = "inside: the published number lies in our interval. Provenance: read in the source, recalled, or derived."
    return Section("Published numbers beside ours", [], [Table("published", "Published numbers", columns, rows, note)])


def _correlations(found: Panel) -> Section | None:
    if not found.correlations:
        if len(found.models) < panel.FEWEST:
            models = sentences.count(len(found.models), "model")
            return Section(CORRELATED, [f"{models}: a correlation over models needs {panel.FEWEST} or more."])
        return None
    rows = [
        [
            c.x, c.y, f"{c.value:+.2f} [{c.low:+.2f}, {c.high:+.2f}]", c.models, f"{c.p:.2g}",
            f"{c.p_benjamini_hochberg:.2g}",
        ]
        for c in found.correlations
    ]  # fmt: skip
    note = (
        "Pearson's r over models with Fisher's interval; p (BH) over all correlations of the page. Models are not a "
        "random sample, and models of one family share data and code: the interval is for models like these."
    )
    columns = ["accuracy", "number", "r", "models", "p", "p (BH)"]
    table = Table("correlations", "Correlations of accuracy with other numbers", columns, rows, note)
    surest = min(found.correlations, key=lambda c: c.p)
    by_name = {panel.called(row): row for row in found.rows}
    x, y = (by_name[name] for name in (surest.x, surest.y))
    both = [m for m in found.models if m in x.of and m in y.of]
    points = [scatter.Point.of(m, x.of[m], y.of[m]) for m in both]
    drawing = scatter.of_models(points, surest.x, surest.y, units.is_share(y.of[both[0]]))
    caption = (
        "Do more accurate models have more of it? The pair of numbers with the smallest p; each with its interval."
    )
    return Section(CORRELATED, [], [table], {"correlation": (drawing, caption)})


def _robustness(found: Panel) -> Section | None:
    known = found.robustness
    if known is None:
        return None
    (x, y), rows = (" on ".join(column) for column in (known.shift.reference, known.shift.shifted)), []
    for m, (reference, shifted) in known.points.items():
        record = known.records.get(m)
        said = "baseline" if m in known.shift.baselines else "" if record is None else f"{record.value:+.2f}"
        if record is not None and record.low is not None:
            said += f" [{record.low:+.2f}, {record.high:+.2f}]"
        expected = "" if record is None or record.expected is None else f"{record.expected:.1f}"
        rows.append([m, _cell(reference), _cell(shifted), expected, said])
    columns = ["model", f"{x}", f"{y}", "expected, %", "effective robustness, points"]
    named = [*known.shift.baselines, *known.shift.table] if known.line is None else known.line.names
    note = (
        f"Expected: by the line through the baselines ({', '.join(named)}) on the {known.shift.axis} scale. Intervals "
        "need 10 baselines. Noise in the accuracies of baselines flattens the line."
    )
    table = Table("effective_robustness", "Accuracy beyond what models of the same accuracy have", columns, rows, note)
    words = list(known.notes)
    if known.line is not None:
        words.append(
            f"Slope {known.line.slope:.3f}, intercept {known.line.intercept:.3f}, R² {known.line.r2:.3f} "
            f"({len(known.line.x)} baselines, {known.shift.axis} scale)."
        )
    points = [scatter.Point.of(m, *both) for m, both in known.points.items()]
    if not points:
        return Section("Effective robustness", words)
    drawing = scatter.of_models(points, x, y, True, None if known.line is None else known.line.expected)
    caption = (
        "Is a model more accurate under the shift than its accuracy lets expect? The line is that of the baselines."
    )
    return Section("Effective robustness", words, [table], {"effective_robustness": (drawing, caption)})


def _groups(found: Panel) -> Section:
    """What each run found between groups: how many differences it states, and the first of them."""
    rows: list[list[Cell]] = []
    points = panel_findings.shared(found)
    for one in found.entries:
        if stated := [f for f in one.run.findings if f.kind == "disparity"]:
            rows.append([one.data_set, one.probe, one.model, len(stated), stated[0].statement])
    words = [f"{len(rows)} of {sentences.count(len(found.entries), 'run')} state a difference between groups."]
    columns = ["data set", "probe", "model", "differences stated", "the largest"]
    table = Table("group_findings", "Differences between groups that each run states", columns, rows)
    tables = [table] if rows else []
    return Section("Groups, run by run", words, points=[(said, "") for said in points], tables=tables)


def _methods(found: Panel) -> list[str]:
    said = (
        f"{len(found.models)} models answered the same questions about the same images. Pairs of models were compared "
        "image by image: McNemar's exact test of the images that only one of them has right (or in the set), and "
        f"Newcombe's interval of the paired difference at {100 * found.level:g}%. p-values were adjusted by Benjamini "
        "and Hochberg's procedure over all pairs of this page in which enough answers differ to reject at 0.05 at all "
        f"(Tarone 1990, Gilbert 2005). Ranks were counted again in {RESAMPLES} resamples of the images."
    )
    equal = (
        f"Two models count as equal where their interval allows less than {sentences.points(found.margin)} "
        "either way; pairs that are neither distinguished nor equal are undecided with this many images."
    )
    return [said, equal]
