"""What the page shows of two designs: rates with intervals by group, paired differences, moves between classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from clipjax.analysis import compare, rates
from clipjax.analysis.records import PairedRecord, Question
from clipjax.analysis.report.rates import AGES
from clipjax.design import NO_SET, Design
from clipjax.errors import InputError
from clipjax.explore import form
from clipjax.explore.answers import Answers, Asked
from clipjax.explore.opened import Opened

MOST_MOVES = 200
SIGNIFICANT = 0.05
SAMPLE = 24  # images shown at once


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """The design on the page beside the pinned one."""

    base: Asked
    now: Asked


def ask(answers: Answers, body: Mapping[str, Any], unwanted: Callable[[], bool] = lambda: False) -> Pair:
    """Both designs of a request; without a baseline, the run's own stands in."""
    now = form.read(body.get("design"))
    base = form.read(body["baseline"]) if body.get("baseline") else answers.opened.design
    return Pair(answers.ask(base, unwanted), answers.ask(now, unwanted))


def rates_view(answers: Answers, pair: Pair, body: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of everybody and of each group: {"group", "now", "base", "paired"}; moves; groups that moved."""
    opened = answers.opened
    question = question_of(pair.now, body.get("question"))
    grouping = grouping_of(opened, body.get("grouping"))
    paired = answers.paired(pair.base, pair.now)
    mine = [r for r in paired if r.question == question]
    if not mine and question.kind == "class":
        mine = answers.paired_class(pair.base, pair.now, question.name)
    by_group = {_key(r.group): r.to_dict() for r in mine}
    rows = []
    for key in dict.fromkeys([(), grouping]):
        now, base = (_rates(opened, asked, question, key) for asked in (pair.now, pair.base))
        for group, record in now.items():
            rows.append({
                "group": dict(group), "now": record, "base": base.get(group), "paired": by_group.get(group),
            })  # fmt: skip
    flipped = pair.base.names != pair.now.names
    return {
        "design": _told(pair.now.design), "baseline": _told(pair.base.design), "question": list(question),
        "grouping": list(grouping), "rows": _sorted(rows), "images": len(flipped), "moved": int(flipped.sum()),
        "moves": compare.moves(pair.base.names[flipped], pair.now.names[flipped])[:MOST_MOVES],
        "groups_moved": groups_moved(mine), "tests": paired[0].tests if paired else 0,
        "level": opened.method.level, "method": opened.method.name, "min_n": opened.method.min_n,
    }  # fmt: skip


def groups_moved(records: Sequence[PairedRecord]) -> list[dict[str, Any]]:
    """Of one question, the groups of single columns whose difference is significant, the largest first.

    By the adjusted p-value where there is one (`clipjax compare`'s family), else by the test's own.
    """
    told = []
    for r in records:
        p = r.p if r.p_benjamini_hochberg is None else r.p_benjamini_hochberg
        if len(r.group) == 1 and p < SIGNIFICANT and r.only_a != r.only_b:
            shown = ("group", "difference", "low", "high", "only_a", "only_b", "n")
            told.append({key: getattr(r, key) for key in shown} | {"p": p})
    return sorted(told, key=lambda r: -abs(r["difference"]))


def sample(opened: Opened, pair: Pair, body: Mapping[str, Any]) -> dict[str, Any]:
    """Some of the images that got another class, drawn with a fixed seed: {"index", "file", "from", "to"}.

    body["move"]: [class before, class now], only those; body["group"]: {column: value}, only those.
    """
    inside = pair.base.names != pair.now.names
    move, group = body.get("move"), body.get("group")
    if isinstance(move, list) and len(move) == 2:
        inside &= (pair.base.names == move[0]) & (pair.now.names == move[1])
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
            "index": int(i), "file": str(files[i]), "from": str(pair.base.names[i]), "to": str(pair.now.names[i]),
            "probability": float(pair.now.probabilities[i, pair.now.best[i]]),
        }
        for i in drawn
    ]  # fmt: skip
    return {"of": len(rows), "images": shown}


def question_of(asked: Asked, wanted: Any) -> Question:
    """The set or class that was asked for, where the design has it; else the first set but the largest; else the
    commonest answer. The largest set of a design is usually who people are; what else they are called is the question.
    """
    design = asked.design
    if isinstance(wanted, list) and len(wanted) == 2:
        kind, name = wanted
        if (kind == "set" and name in design.counted) or (kind == "class" and name in design.names):
            return Question(kind, name)
    if not design.sets:
        return Question("class", design.names[int(np.bincount(asked.best).argmax())])
    largest = max(design.sets, key=lambda name: len(design.sets[name]))
    return Question("set", next((name for name in design.sets if name != largest), largest))


def grouping_of(opened: Opened, wanted: Any) -> tuple[str, ...]:
    """Columns to group by; without a wish, the first column."""
    if isinstance(wanted, list) and len(wanted) <= 2 and all(name in opened.columns for name in wanted):
        return tuple(dict.fromkeys(wanted))
    return next((g for g in opened.grouped if len(g) == 1), ())


def _rates(
    opened: Opened, asked: Asked, question: Question, grouping: tuple[str, ...]
) -> dict[tuple[tuple[str, str], ...], dict[str, Any]]:
    """Group -> its rate record under one design; nothing where the design has no such set or class."""
    kind, name = question
    design = asked.design
    sets = (
        (*design.sets, NO_SET) if design.sets else ()
    )  # a design whose classes are all in sets never answers with none
    if name not in (sets if kind == "set" else design.names):
        return {}
    found = opened.cells(grouping)
    tally = rates.counts(asked.best, found, len(design.classes))
    k = tally[:, design.members(name)].sum(1) if kind == "set" else tally[:, design.names.index(name)]
    what = {"set" if kind == "set" else "class_": name}
    records = rates.cell_records(k, tally.sum(1), found.groups, opened.method, **what)
    return {_key(group): r.to_dict() for group, r in zip(found.groups, records, strict=True)}


def _key(group: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(group.items())


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ages in the order of life, everything else by name, as the reports do."""

    def place(row: dict[str, Any]) -> list[tuple[int, str]]:
        return [(AGES.index(v) if v in AGES else -1, v) for v in row["group"].values()]

    return sorted(rows, key=place)


def _told(design: Design) -> dict[str, Any]:
    """What the page needs of a design that was asked: its sets, a prompt of each class, and which are in no set."""
    return {
        "name": design.name, "sha256": design.sha256, "sets": {k: len(v) for k, v in design.counted.items()},
        "unset": design.unset_note(), "classes": list(design.names),
        "prompts": [[p[0], len(p)] for p in design.prompts()],
    }  # fmt: skip
