"""The designs that were asked in the course of a session: what each one changed, and all of them as one report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from clipjax.analysis import compare, figures, findings, rates, sentences
from clipjax.analysis.manifest import AskedDesign
from clipjax.analysis.report import head, page
from clipjax.analysis.report.section import Section, slug
from clipjax.analysis.run import Run
from clipjax.analysis.tables import Table
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.explore import exports, state, view
from clipjax.explore.answers import Answers, Asked
from clipjax.explore.view import Pair

MOST_MOVES = 100  # rows of a table
DESIGNS = "The designs"


def trail_view(answers: Answers, body: Mapping[str, Any], unwanted: Callable[[], bool]) -> dict[str, Any]:
    """For each design of the trail what moved from the pinned one to it, in the words of its first finding."""
    return {"steps": [summary(answers, pair) for pair in _pairs(answers, body, state.steps(body), unwanted)]}


def summary(answers: Answers, pair: Pair) -> dict[str, Any]:
    """One step: the first finding, or what there is instead of one."""
    main = findings.main(view.found(answers, pair), 1)
    said = main[0].statement if main else head.NOTHING
    moved = 0 if pair.same else answers.between(pair.base, pair.now).moved
    return {"text": said, "moved": moved, "same": pair.same, "against": pair.base.design.sha256}


def report(answers: Answers, body: Mapping[str, Any], unwanted: Callable[[], bool]) -> dict[str, Any]:
    """The trail as one page that needs no network: findings of each design first, then how they were made."""
    designs = {design.sha256: design for design in state.steps(body)}
    if not designs:
        raise InputError("no design was asked yet")
    pairs = _pairs(answers, body, designs.values(), unwanted)
    titles = [f"{i}. {pair.now.design.name}" for i, pair in enumerate(pairs, 1)]
    steps = [_step(answers, pair, title) for pair, title in zip(pairs, titles, strict=True)]
    points = [
        (f"{s.title}: {s.points[0][0] if s.points else s.silent[0] if s.silent else s.lead}", s.title) for s in steps
    ]
    base = pairs[0].base.design.name
    lead = (
        f"{sentences.count(len(pairs), 'design')} asked of the same {len(answers.opened.unit)} images, each beside "
        f"{base} (A); the first finding of each:"
    )
    words = [sentences.individual(compare.LEVEL), _several(len(pairs))]
    runs = [_run(answers, pair.now) for pair in pairs]
    repeat = Section("How to repeat it", [
        "Save the state in the explorer (YAML), which holds every design of this page, and open it again:",
        f"clipjax explore {answers.opened.run.path.name} --state=FILE",
    ])  # fmt: skip
    sections = [
        Section(head.FOUND, words, points=points, lead=lead), _designs(answers, pairs), *steps,
        head.methods(runs[:1]), *(_asked(pair.now, title) for pair, title in zip(pairs, titles, strict=True)), repeat,
    ]  # fmt: skip
    name = pairs[-1].now.design.name
    title = f"{sentences.count(len(pairs), 'class design')} over {answers.opened.run.manifest.data.name}"
    return {"file": f"trail_{slug(name)}.html", "text": page.html(runs, sections, title)}


def _pairs(
    answers: Answers, body: Mapping[str, Any], designs: Iterable[Design], unwanted: Callable[[], bool]
) -> list[Pair]:
    base = answers.ask(view.pinned(answers, body), unwanted)
    return [Pair(base, answers.ask(design, unwanted)) for design in designs]


def _several(designs: int) -> str:
    return (
        f"The p-values are adjusted within each comparison, not over the {designs} designs that were tried: of designs "
        "chosen by these images, test the last one on others."
    )


def _step(answers: Answers, pair: Pair, title: str) -> Section:
    """Findings, who moved where, and the rates that the first finding is about."""
    found = head.of_comparison(view.found(answers, pair), compare.LEVEL, view.lead(answers, pair))
    shown = view.rates_view(answers, pair, {})
    by = " and ".join(shown["grouping"]) or "all images"
    drawing = exports.rates_figure(shown)
    drawings = {"rates": (drawing, f"How often is {shown['question'][1]} the answer, by {by}?")}
    tables = [exports.rates_table(shown)]
    if moves := answers.between(pair.base, pair.now).moves.moves():
        caption = f"Which images moved from which class to which? {sentences.flows(moves)}."
        drawings = {"moves": (figures.flows(moves, shown["images"]), caption)} | drawings
        note = f"Shown: {MOST_MOVES} of {len(moves)} moves, the commonest." if len(moves) > MOST_MOVES else ""
        tables.append(Table("moves", "From which class to which", ["A", "B", "images"], moves[:MOST_MOVES], note))
    points = [(said, "") for said, _ in found.points]
    return dataclasses.replace(found, title=title, words=(), points=points, tables=tables, drawings=drawings)


def _designs(answers: Answers, pairs: list[Pair]) -> Section:
    rows = [
        [
            i, pair.now.design.name, len(pair.now.design.classes), "; ".join(pair.now.design.templates),
            0 if pair.same else answers.between(pair.base, pair.now).moved, pair.now.design.sha256[:16],
        ]
        for i, pair in enumerate(pairs, 1)
    ]  # fmt: skip
    columns = ["step", "design", "classes", "templates", "images that moved", "sha256"]
    return Section(DESIGNS, [], [Table("designs", "Designs in the order in which they were asked", columns, rows)])


def _asked(asked: Asked, title: str) -> Section:
    design = asked.design
    rows = [
        [c.name, ", ".join(c.sets), "; ".join(prompts)]
        for c, prompts in zip(design.classes, design.prompts(), strict=True)
    ]
    table = Table("design", f"Class design {design.name}", ["class", "sets", "prompts"], rows)
    words = [line for line in (design.note, design.unset_note()) if line]
    return Section(f"Classes of {title}", words, [table], folded=True)


def _run(answers: Answers, asked: Asked) -> Run:
    """What `clipjax probe rates` would have written of a design, for the parts of a report that read runs."""
    run, design = answers.opened.run, asked.design
    groups = ["", *answers.opened.asked]
    manifest = msgspec.structs.replace(
        run.manifest, design=AskedDesign.of(design), config=run.manifest.config | {"probe": "rates"},
        result=msgspec.structs.replace(run.manifest.result, groups=groups), command="clipjax explore",
    )  # fmt: skip
    records = []
    for grouping in [(), *((name,) for name in answers.opened.asked)]:
        cells, tally = answers.opened.cells(grouping), answers.tally(asked, grouping)
        records += rates.tally_records(tally, cells.groups, design, answers.opened.method)
    settings = msgspec.structs.replace(run.settings, probe="rates")
    return dataclasses.replace(run, manifest=manifest, settings=settings, records=records)
