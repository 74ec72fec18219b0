"""The same design asked in other words: each template by itself, or other texts for one class, side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from clipjax.analysis import findings
from clipjax.analysis.sentences import count
from clipjax.design import Design
from clipjax.errors import InputError, brief, require
from clipjax.explore import form, view
from clipjax.explore.answers import Answers
from clipjax.explore.view import Pair

MOST = 24  # wordings at once: each is a design that is asked


def wordings_view(answers: Answers, body: Mapping[str, Any], unwanted: Callable[[], bool]) -> dict[str, Any]:
    """For each wording: rows of rates for everybody and each group, and what moved from the design of the page to it.

    body["of"]: the class whose texts are `body["wordings"]`; without it they are templates, asked alone.
    """
    now = form.read(body.get("design"))
    base = answers.ask(now, unwanted)
    question = view.question_of(base, body.get("question"))
    grouping = view.grouping_of(answers.opened, body.get("grouping"))
    out = []
    for text, worded in variants(now, form.texts(body.get("wordings"), "a wording"), body.get("of")).items():
        asked = answers.ask(worded, unwanted)
        pair = Pair(base, asked)
        between = answers.between(base, asked)
        stated = [f.statement for f in findings.main(between.findings, 1) if f.kind in findings.STATED]
        out.append({
            "wording": text, "design": form.write(worded), "moved": between.moved, "found": stated[0] if stated else "",
            "rows": view.rows(answers, pair, question, grouping),
        })  # fmt: skip
    images = count(len(answers.opened.unit), "image")
    return {
        "question": list(question), "grouping": list(grouping), "wordings": out, "images": images, "name": now.name
    }  # fmt: skip


def variants(design: Design, wordings: list[str], of: Any) -> dict[str, Design]:
    """Wording -> the design that asks with it alone; InputError for none, too many, and what cannot be asked."""
    wordings = list(dict.fromkeys(text.strip() for text in wordings if text.strip()))
    if not wordings or len(wordings) > MOST:
        raise InputError(f"{len(wordings)} wordings; give 1 to {MOST}, one a line")
    if not of:
        return {text: dataclasses.replace(design.ask([text]), name=f"{design.name} | {text}") for text in wordings}
    require(str(of), design.names, f"design {design.name}", "class")
    out = {}
    for text in wordings:
        if "{" in text:
            raise InputError(f"{brief(text)!r} is a template; a class is worded by a name: child, or young person")
        classes = [dataclasses.replace(c, texts=(text,), asked=()) if c.name == of else c for c in design.classes]
        out[text] = dataclasses.replace(design, name=f"{design.name} | {of}: {text}", classes=tuple(classes))
    return out
