"""What the page shows of two designs: findings, rates with intervals by group, paired differences, moves of classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from clipjax.analysis import findings, rates, sentences
from clipjax.analysis.findings import Finding
from clipjax.analysis.order import places
from clipjax.analysis.records import Question
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.explore import form, gaps
from clipjax.explore.answers import Answers, Asked, has, members
from clipjax.explore.opened import Opened

MOST_MOVES = 200
SAMPLE = 24  # images shown at once
EACH = ["each"]  # the grouping of the page that stands for every column by itself
Group = tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """The design on the page beside the pinned one."""

    base: Asked
    now: Asked

    @property
    def same(self) -> bool:
        """Whether nothing that is asked differs."""
        return self.base.design.sha256 == self.now.design.sha256


def ask(answers: Answers, body: Mapping[str, Any], unwanted: Callable[[], bool] = lambda: False) -> Pair:
    """Both designs of a request; without a baseline, the run's own stands in."""
    now = form.read(body.get("design"))
    return Pair(answers.ask(pinned(answers, body), unwanted), answers.ask(now, unwanted))


def pinned(answers: Answers, body: Mapping[str, Any]) -> Design:
    """What designs are compared with."""
    return form.read(body["baseline"]) if body.get("baseline") else answers.opened.design


def found(answers: Answers, pair: Pair) -> list[Finding]:
    """What moved from the pinned design to this one; with one design, its differences between groups."""
    return answers.alone(pair.now) if pair.same else answers.between(pair.base, pair.now).findings


def as_shown(stated: Sequence[Finding], lead: str) -> dict[str, Any]:
    """Findings as the page has them: those stated, each with what the chart shows of it, and those that were not."""
    main = findings.main(stated)
    return {
        "lead": lead, "individual": sentences.individual(0.95),
        "findings": [
            {"statement": f.statement, "question": _question(f), "grouping": list(f.group), "group": f.group}
            for f in main if f.kind in findings.STATED
        ],
        "silent": [
            *(f.statement for f in main if f.kind not in findings.STATED),
            *findings.left_out(stated, main, "the other questions and groupings"),
        ],
    }  # fmt: skip


def lead(answers: Answers, pair: Pair) -> str:
    """What is looked at, before the findings."""
    n, design = len(answers.opened.unit), pair.now.design
    if pair.same:
        classes = len(design.classes)
        return f"{design.name}: {classes} class{'es' if classes != 1 else ''}, {n} images."
    moved = answers.between(pair.base, pair.now).moved
    return f"A is {pair.base.design.name}, B is {design.name}; of the same {n} images {moved} got another class."


def next_step(pair: Pair, moved: int) -> str:
    """What a reader can do about what was found, of which `moved` images got another class."""
    if pair.same:
        return "What next: change, add or remove a class in the design, and see which images get another class."
    look = "look at the images that moved, and " if moved else ""
    return f"What next: {look}save the design as YAML or the history as a report."


def rates_view(answers: Answers, pair: Pair, body: Mapping[str, Any]) -> dict[str, Any]:
    """Findings; rows of everybody and of each group: {"group", "now", "base", "paired"}; moves between classes.

    Without a wish for a question or a grouping, the first finding says what is shown.
    """
    opened, stated = answers.opened, found(answers, pair)
    question = question_of(pair.now, body.get("question"), stated)
    grouping = grouping_of(opened, body.get("grouping"), stated, question)
    shown = rows(answers, pair, question, grouping)
    between = answers.between(pair.base, pair.now)
    tests = next((r.tests for r in between.of(question)), 0)
    return {
        "design": _described(pair.now.design), "baseline": _described(pair.base.design), "question": list(question),
        "grouping": list(grouping), "rows": shown, "images": len(opened.unit), "moved": between.moved,
        "moves": between.moves.moves()[:MOST_MOVES], "tests": tests,
        "level": opened.method.level, "method": opened.method.name, "min_n": opened.method.min_n,
        "gaps": _gaps(answers, pair, question, grouping), "next": next_step(pair, between.moved),
        **as_shown(stated, lead(answers, pair)),
    }  # fmt: skip


def _gaps(answers: Answers, pair: Pair, question: Question, grouping: tuple[str, ...]) -> list[str]:
    """How far the groups on the page are apart, under each design."""
    shown = [(name,) for name in answers.opened.asked] if grouping == tuple(EACH) else [grouping] if grouping else []
    return gaps.lines(answers, {"": pair.now} if pair.same else {"A": pair.base, "B": pair.now}, question, shown)


def rows(answers: Answers, pair: Pair, question: Question, grouping: tuple[str, ...]) -> list[dict[str, Any]]:
    """Everybody, then the groups of a grouping; of EACH, those of every column."""
    shown = [(name,) for name in answers.opened.asked] if grouping == tuple(EACH) else [grouping]
    return [row for g in dict.fromkeys([(), *shown]) for row in _sorted(_rows(answers, pair, question, g))]


def _rows(answers: Answers, pair: Pair, question: Question, grouping: tuple[str, ...]) -> list[dict[str, Any]]:
    now, base = (_rates(answers, asked, question, grouping) for asked in (pair.now, pair.base))
    paired = {_key(r.group): r.to_dict() for r in answers.paired(pair.base, pair.now, question, grouping)}
    return [
        {"group": dict(group), "now": record, "base": base.get(group), "paired": paired.get(group)}
        for group, record in now.items()
    ]


def sample(opened: Opened, pair: Pair, body: Mapping[str, Any]) -> dict[str, Any]:
    """Some of the images that got another class, drawn with a fixed seed: {"index", "file", "from", "to"}.

    body["move"]: [class before, class now], only those; body["group"]: {column: value}, only those.
    """
    before, after = (np.array(asked.design.names, object) for asked in (pair.base, pair.now))
    place = {name: c for c, name in enumerate(pair.now.design.names)}
    same = np.array([place.get(name, -1) for name in pair.base.design.names], np.int32)
    inside = same[pair.base.best] != pair.now.best
    move, group = body.get("move"), body.get("group")
    if isinstance(move, list) and len(move) == 2:
        inside &= (before == move[0])[pair.base.best] & (after == move[1])[pair.now.best]
    if isinstance(group, dict):
        for column, value in group.items():
            if column not in opened.columns:
                raise InputError(f"the run has no column {str(column)[:40]!r}")
            inside &= opened.columns[column] == value
    rows = np.flatnonzero(inside)
    drawn = np.random.default_rng(0).permutation(rows)[:SAMPLE]
    files = opened.run.predictions["file"]
    shown = [
        {
            "index": int(i), "file": str(files[i]), "from": before[pair.base.best[i]], "to": after[pair.now.best[i]],
            "probability": float(pair.now.scored.top[i]),
        }
        for i in drawn
    ]  # fmt: skip
    return {"of": len(rows), "images": shown}


def question_of(asked: Asked, wanted: Any, stated: Sequence[Finding] = ()) -> Question:
    """The set or class that was asked for, where the design has it; else that of the first finding; else the first set
    but the largest (usually who people are; what else they are called is the question); else the commonest answer."""
    for found in (wanted, *(_question(f) for f in findings.main(stated) if f.kind in findings.STATED)):
        if isinstance(found, list) and len(found) == 2 and _has(asked.design, *found):
            return Question("set" if found[0] == "set" else "class", found[1])
    design = asked.design
    if not design.sets:
        return Question("class", design.names[int(np.bincount(asked.best).argmax())])
    largest = max(design.sets, key=lambda name: len(design.sets[name]))
    return Question("set", next((name for name in design.sets if name != largest), largest))


def grouping_of(
    opened: Opened, wanted: Any, stated: Sequence[Finding] = (), question: Question | None = None
) -> tuple[str, ...]:
    """Columns to group by, or EACH; without a wish, the column of the question's first finding for a group, else the
    first column."""
    if wanted == EACH:
        return tuple(EACH)
    if isinstance(wanted, list) and len(wanted) <= 2 and all(name in opened.columns for name in wanted):
        return tuple(dict.fromkeys(wanted))
    for f in stated:
        if f.kind in findings.STATED and f.group and _question(f) == list(question or ()):
            return tuple(f.group)
    return next((g for g in opened.grouped if len(g) == 1), ())


def _question(f: Finding) -> list[str] | None:
    """What a finding is about, as the page asks for it; None where it is neither a set nor a class."""
    return next(([kind, f.what[kind]] for kind in ("set", "class") if kind in f.what), None)


def _has(design: Design, kind: Any, name: Any) -> bool:
    return (kind == "set" and name in design.counted) or (kind == "class" and name in design.names)


def _rates(
    answers: Answers, asked: Asked, question: Question, grouping: tuple[str, ...]
) -> dict[Group, dict[str, Any]]:
    """Group -> its rate record under one design; nothing where the design has no such set or class."""
    if not has(asked.design, question):
        return {}
    cells, tally = answers.opened.cells(grouping), answers.tally(asked, grouping)
    k = tally[:, members(asked.design, question)].sum(1)
    what = {"set" if question.kind == "set" else "class_": question.name}
    records = rates.cell_records(k, tally.sum(1), cells.groups, answers.opened.method, **what)
    return {_key(group): r.to_dict() for group, r in zip(cells.groups, records, strict=True)}


def _key(group: Mapping[str, str]) -> Group:
    return tuple(group.items())


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups in the order of reports."""
    values: dict[str, list[str]] = {}
    for row in rows:
        for column, value in row["group"].items():
            values.setdefault(column, []).append(value)
    ranks = {column: places(found) for column, found in values.items()}
    return sorted(rows, key=lambda row: [ranks[column][value] for column, value in row["group"].items()])


def _described(design: Design) -> dict[str, Any]:
    """What the page needs of a design that was asked: its sets, a prompt of each class, and which are in no set."""
    return {
        "name": design.name, "sha256": design.sha256, "sets": {k: len(v) for k, v in design.counted.items()},
        "unset": design.unset_note(), "classes": list(design.names),
        "prompts": [[p[0], len(p)] for p in design.prompts()],
    }  # fmt: skip
