"""What `clipjax compare` writes: paired differences by group, the images that moved, one page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from clipjax.analysis import compare, figures, sentences, units
from clipjax.analysis.compare import Compared
from clipjax.analysis.records import PairedRecord
from clipjax.analysis.report import head, page
from clipjax.analysis.report.section import Section, not_drawn, ordered, run_names, slug
from clipjax.analysis.tables import Cell, Table, csv_text, percent, tidy
from clipjax.files import write_atomically, write_text

AGAIN = "look at the images behind a difference, and repeat it with other prompts or another model"
MOST_FIGURES = 30
MOST_ROWS = 100  # of a table that is cut
NUMBERS = "What changed with the answers"
AGREEMENT = "Do both give the same answers and make the same errors?"
MOST_FLOWS = 6  # groups with a flow figure of their own


def write(compared: Compared, out: Path) -> list[Section]:
    """compare.json, flips.csv, tables, figures and report.html; the same runs give the same bytes."""
    found = sections(compared)
    out.mkdir(parents=True, exist_ok=True)
    for section in found:
        for table in section.tables:
            table.write(out / "tables")
        for name, (drawing, _) in section.drawings.items():
            drawing.save(out / "figures", name)
    pairing = compared.pairing
    content = {
        "records": [record.to_dict() for record in compared.records],
        "findings": [finding.to_dict() for finding in compared.findings],
        "numbers": [number.to_dict() for number in compared.numbers],
        "agreement": [record.to_dict() for record in compared.agreement],
        "images": compared.images,
        "same_order": pairing.same_order,
        "annotations": pairing.annotations,
        "columns_only_a": pairing.only_a,
        "columns_only_b": pairing.only_b,
    }
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(out / "compare.json", text + "\n")
    write_atomically(out / "flips.csv", lambda path: _write_flips(compared, path))
    a, b = run_names([compared.a, compared.b])
    write_text(out / "report.html", page.html([compared.a, compared.b], found, f"{b} compared with {a}"))
    return found


def sections(compared: Compared) -> list[Section]:
    """Everybody, then by each grouping, then the moves."""
    a, b = run_names([compared.a, compared.b])
    n = compared.images
    moved = f"of the same {n} images {compared.moved} got another class"
    lead = f"A is {a}, B is {b}; {moved if compared.class_moves else f'the same {n} images'}."
    words = []
    for name, only in ((a, compared.only_a), (b, compared.only_b)):
        if only:
            words.append(f"Only {name} has {sentences.some(only, 20)}: nothing to compare it with.")
    words += notes(compared)
    steps = ["flips.csv lists the images that moved"] if compared.class_moves else []
    steps += [f"clipjax explore {compared.b.folder} changes the classes again"] if head.explorable(compared.b) else []
    step = f"What next: {'; '.join(steps) or AGAIN}."
    found = [head.of_comparison(compared.findings, compared.level, lead, step)]
    found += [Section("What is compared", words)] if words else []
    if compared.class_moves is not None:
        found.append(_moves(compared))
    found.append(Section("Methods", _methods(compared)))
    drawn, mirrored = 0, not_drawn([compared.a, compared.b])
    for key in dict.fromkeys(r.columns for r in compared.records):
        table = _table(compared, key, a, b)
        drawings = {}
        kinds = [name for name in dict.fromkeys(map(_name, compared.records)) if name != mirrored]
        if len(key) == 1 and drawn + len(kinds) <= MOST_FIGURES:
            drawn += len(kinds)
            for name in kinds:
                caption = f"How far does the rate of {name} differ between A and B, by {key[0]}? "
                caption += f"{_answer(compared, key, name)} Shown: B - A with its paired interval."
                drawings[f"paired_{slug(name)}_by_{slug(key[0])}"] = (_drawing(compared, key, name), caption)
        words = [f"Of {mirrored} nothing is drawn: it lost what is gained below."] if mirrored and drawings else []
        found.append(Section(f"By {' and '.join(key)}" if key else "Everybody", words, [table], drawings))
    if compared.numbers:
        found.append(_numbers(compared, a, b))
    if compared.agreement:
        found.append(_agreement(compared))
    runs = [compared.a, compared.b]
    known = Section("Caveats of this comparison", points=[(said, "") for said in head.caveats(runs)])
    return [*found, known, head.repeat(runs)]


def _methods(compared: Compared) -> list[str]:
    """A paragraph per run, and one about the pair, that can stand in a paper."""
    said = [head.method(run, tests=False) for run in (compared.a, compared.b)]
    if not compared.records:
        return said
    first = compared.records[0]
    paired = (
        f"Both runs answered the same {compared.images} images and are compared image by image: "
        f"McNemar's exact test of the images whose answer changed, and Newcombe's interval of the paired difference at "
        f"{100 * first.level:g}%. p-values were adjusted by Benjamini and Hochberg's procedure over the tests of each "
        "question in which enough answers changed to reject at 0.05 at all (Tarone 1990, Gilbert 2005)."
    )
    return [*said, paired]


def _numbers(compared: Compared, a: str, b: str) -> Section:
    """Numbers that are not shares of images, under A and under B, with the accuracies or sets over all images first."""
    rows: list[list[Cell]] = []
    for r in compared.records:
        if not r.group:
            difference = f"{percent(r.difference)} [{percent(r.low)}, {percent(r.high)}]"
            rows.append([_name(r), f"{percent(r.value_a)}%", f"{percent(r.value_b)}%", difference, r.method])
    for one in compared.numbers:
        unit = 100 if units.is_share(one.b) else 1
        difference = "" if one.difference is None else f"{unit * one.difference:.4g}"
        if one.low is not None and one.high is not None:
            difference += f" [{unit * one.low:.4g}, {unit * one.high:.4g}]"
        shown = [units.value(r) + (f" ({r.worst})" if r.worst else "") for r in (one.a, one.b)]
        rows.append([one.name, *shown, difference, one.method or "no interval"])
    note = (
        "t over draws: of few labelled images, over the same draws and the same test images in both runs. "
        "Bootstrap: the interval of the difference, from the same draws of images in both runs; a calibration error is "
        "above its true value in both. No interval: a worst group or a gap may be of other groups in B, and resampling "
        "does not hold its level (the tables by group compare the groups one by one), or predictions.parquet does not "
        "have what the number is made of."
    )
    columns = ["number", f"A: {a}", f"B: {b}", "B - A (points, or as it is)", "interval"]
    data = [["number", "a", "b", "difference", "low", "high", "method"]]
    data += [[n.name, n.a.value, n.b.value, n.difference, n.low, n.high, n.method] for n in compared.numbers]
    return Section(NUMBERS, [], [Table("numbers", NUMBERS, columns, rows, note, data)])


def _agreement(compared: Compared) -> Section:
    """Kappas and flips: of everybody, then of each group of one column."""
    rows = [
        [
            ", ".join(f"{k} {v}" for k, v in (r.group or {}).items()) or "all images", r.metric.replace("_", " "),
            units.value(r) + "†" * bool(r.small), units.interval(r, ", "), r.n,
            "–" if r.agreement is None else f"{percent(r.agreement)} ({percent(r.expected)})",
        ]
        for r in compared.agreement
    ]  # fmt: skip
    note = (
        "Cohen's kappa: of the answers; error consistency: of being right (Geirhos et al. 2020). Both are agreement "
        "beyond what the shares of answers give by themselves, which stands in brackets; groups with other shares have "
        "another kappa at equal agreement. Negative flips: right in A and wrong in B. Attack success: of the images "
        "that A has right, those that B answers with the word that is written on them. † fewer images than min_n."
    )
    columns = ["group", "number", "value", "interval", "images", "agreement (by the shares), %"]
    data = tidy([("both", [r.to_dict() for r in compared.agreement])])
    return Section(AGREEMENT, [], [Table("agreement", AGREEMENT, columns, rows, note, data)])


def notes(compared: Compared) -> list[str]:
    """How images were paired, whose annotations count, which classes are in no set; nothing where all is as usual."""
    found, pairing = [], compared.pairing
    if pairing.by_name:
        found.append("The images are paired by their file names: ingested answers do not say what the images hold.")
    elif not pairing.same_order:
        found.append("The images come in another order in B; they are paired by their contents.")
    if pairing.annotations != "equal":
        found.append(
            f"The runs annotate these images differently; those of {pairing.annotations.upper()} count for both "
            f"(--annotations={pairing.annotations})."
        )
    for name, only in (("A", pairing.only_a), ("B", pairing.only_b)):
        if only:
            found.append(f"Only {name} has the column {', '.join(only)}: left out.")
    for name, run in (("A", compared.a), ("B", compared.b)):
        found += [f"{name}: {said}" for said in [*compare.changes(run), head.incomplete(run.manifest)] if said]
    if compared.a.probe != compared.b.probe:
        found.append(f"A is a run of the probe {compared.a.probe}, B of {compared.b.probe}, over the same draws.")
    if compared.same:
        found.append("Both runs asked the same model the same thing.")
    designs = [run.design for run in (compared.a, compared.b) if run.probe == "rates" and run.design]
    return found + [f"{design.unset_note()}." for design in designs if design.unset]


def _name(record: PairedRecord) -> str:
    assert record.question is not None
    return record.question.name


def _table(compared: Compared, key: tuple[str, ...], a: str, b: str) -> Table:
    mine = [r for r in compared.records if r.columns == key]
    places = {group: i for i, group in enumerate(ordered([compared.a], key, {tuple(r.group.values()) for r in mine}))}
    mine.sort(key=lambda r: places[tuple(r.group.values())])
    cut = ""
    if len(mine) > 400:  # hundreds of labels: those that moved most surely
        cut = _cut(mine, "with the smallest p")
        mine = sorted(mine, key=lambda r: r.p)[:MOST_ROWS]
    rows = []
    for r in mine:
        mark = "†" if r.small else ""
        rows.append([
            *r.group.values(), _name(r), f"{percent(r.value_a)}{mark} ({r.k_a}/{r.n})",
            f"{percent(r.value_b)}{mark} ({r.k_b}/{r.n})",
            f"{percent(r.difference)} [{percent(r.low)}, {percent(r.high)}]", r.only_a, r.only_b, f"{r.p:.2g}",
            *(f"{p:.2g}" if r.testable else "–" for p in (r.p_benjamini_hochberg, r.p_bonferroni)),
        ])  # fmt: skip
    head = [
        *key,
        "what",
        f"A: {a}, %",
        f"B: {b}, %",
        "B - A, points",
        "A only",
        "B only",
        "p",
        "p (BH)",
        "p (Bonferroni)",
    ]
    tests, asked = compared.records[0].tests, compared.records[0].asked
    note = (
        f"p: McNemar's exact test of the images that only A or only B counts. Of the {asked} tests of this comparison "
        f"{tests} have changed answers enough to reject at all (Tarone); adjusted p are over those, – elsewhere. "
        f"Differences: Newcombe's interval for paired data, each at {100 * compared.records[0].level:g}% by itself. "
        f"† fewer images than min_n.{cut}"
    )
    name = f"paired_by_{slug('_'.join(key) or 'everybody')}"
    title = f"Paired comparison by {' and '.join(key)}" if key else "Paired comparison"
    return Table(name, title, head, rows, note, tidy([(f"{b} against {a}", [r.to_dict() for r in mine])]))


def _cut(rows: Sequence[object], first: str) -> str:
    """What the note of a table says where it holds the first rows only."""
    return f" Shown: {MOST_ROWS} of {len(rows)} rows, those {first}." if len(rows) > MOST_ROWS else ""


def _drawing(compared: Compared, key: tuple[str, ...], kind: str) -> figures.Drawing:
    """B - A of each group with its paired interval, the largest first, and of all images."""
    mine = [r for r in compared.records if r.columns == key and _name(r) == kind and r.n]
    everybody = [r for r in compared.records if not r.group and _name(r) == kind]
    mine = sorted(mine, key=lambda r: r.difference or 0) + everybody
    groups = [", ".join(r.group.values()) or "all images" for r in mine]
    series = figures.Series(
        "", [r.difference for r in mine], [r.low for r in mine], [r.high for r in mine],
        [f"{r.k_a} → {r.k_b} of {r.n}" for r in mine], [bool(r.small) for r in mine],
    )  # fmt: skip
    return figures.differences_by_group(groups, series, f"B - A of the rate of {kind}")


def _answer(compared: Compared, key: tuple[str, ...], name: str) -> str:
    """What the figure of one question shows, in a sentence."""
    asked = [f for f in compared.findings if f.kind == "moved" and list(f.what.values()) == [name]]
    mine = [f for f in asked if tuple(f.group) in (key, ())]
    if mine:
        return mine[0].statement
    if not any(r.testable for r in compared.records if _name(r) == name and r.columns in (key, ())):
        return "So few answers changed that no test could pass the adjusted threshold."
    return "No difference was found after adjustment for all tests of the comparison."


def _moves(compared: Compared) -> Section:
    n, moved = compared.images, compared.moved
    words = [f"{moved} of {n} images ({100 * moved / max(n, 1):.1f}%) got another class; flips.csv lists them."]
    if not moved:
        return Section(head.MOVED, words)
    moves = compared.moves
    listed, cut = [list(move) for move in moves[:MOST_ROWS]], _cut(moves, "with the most images").strip()
    tables = [Table("flips", "From which class to which", ["A", "B", "images"], listed, cut)]
    records = compared.class_moves[0] if compared.class_moves else []
    if shown := [r for r in records if r.only_a or r.only_b]:
        tables.append(_by_class(shown, *run_names([compared.a, compared.b])))
    for column, values in compared.a.values.items():
        groups = [g for (g,) in ordered([compared.a], (column,), {(v,) for v in values})]
        if 1 < len(groups) <= compare.MOST_VALUES:
            of_group = _moved_by(compared, column, values)
            rows: list[list[Cell]] = []
            full: list[list[Cell]] = [[f"group.{column}", "moved", "images"]]
            for group in groups:
                rows.append([group, of_group[group], values[group], percent(of_group[group] / values[group])])
                full.append([group, of_group[group], values[group]])
            title, columns = f"Images that moved, by {column}", [column, "moved", "images", "%"]
            tables.append(Table(f"flips_by_{slug(column)}", title, columns, rows, data=full))
    caption = f"Which images moved from which class to which? {sentences.flows(moves)}, of {n} images."
    return Section(head.MOVED, words, tables, {"flips": (figures.flows(moves, n), caption)} | _flows(compared))


def _flows(compared: Compared) -> dict[str, tuple[figures.Drawing, str]]:
    """A flow figure for each group of one column of which a finding says that its answers changed."""
    drawings = {}
    stated = [f for f in compared.findings if f.kind == "moved" and len(f.group) == 1 and (f.value or 0) != 0]
    for group in list({str(f.group): f.group for f in stated}.values())[:MOST_FLOWS]:
        assert compared.transitions is not None
        ((column, value),) = group.items()
        if moves := compared.transitions.moves(group):
            said = next(f.statement for f in stated if f.group == group)
            drawing = figures.flows(moves, compared.a.values[column][value], f"images with {column} {value}")
            caption = f"Where did the images with {sentences.value_of(column, value)} move? {said}"
            drawings[f"flips_{slug(column)}_{slug(value)}"] = (drawing, caption)
    return drawings


def _moved_by(compared: Compared, column: str, values: Mapping[str, int]) -> dict[str, int]:
    """Images that moved, of every value of a column; "" are those in no group."""
    assert compared.transitions is not None
    known = {v: sum(n for *_, n in compared.transitions.moves({column: v})) for v in values if v}
    return known | {"": compared.moved - sum(known.values())}


def _by_class(records: Sequence[PairedRecord], a: str, b: str) -> Table:
    """The classes of both designs, all images and each group of one column, where answers changed: the surest first."""
    rows = [
        [
            ", ".join(f"{k} {v}" for k, v in r.group.items()) or "all images", _name(r),
            f"{percent(r.value_a)} ({r.k_a}/{r.n})", f"{percent(r.value_b)} ({r.k_b}/{r.n})",
            f"{percent(r.difference)} [{percent(r.low)}, {percent(r.high)}]", r.only_a, r.only_b,
            f"{r.p:.2g}", f"{r.p_benjamini_hochberg:.2g}" if r.testable else "–",
        ]
        for r in sorted(records, key=lambda r: r.p)[:MOST_ROWS]
    ]  # fmt: skip
    columns = ["group", "class", f"A: {a}, %", f"B: {b}, %", "B - A, points", "A only", "B only", "p", "p (BH)"]
    note = (
        f"p: McNemar's exact test; of {records[0].asked} tests {records[0].tests} have changed answers enough to "
        "reject at all (Tarone), adjusted p are over those. Classes that only one design has are not tested."
        f"{_cut(records, 'with the smallest p')}"
    )
    return Table(
        "moved_classes", "Classes of both designs that lost or gained images", columns, rows, note,
        tidy([(f"{b} against {a}", [r.to_dict() for r in records])]),
    )  # fmt: skip


def _write_flips(compared: Compared, path: Path) -> None:
    """flips.csv: every image whose class changed, with its groups."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(csv_text([["file", *compared.a.group_columns, "A", "B"]]))
        for rows in compared.flips() if compared.transitions is not None else ():
            file.write(csv_text(rows))
