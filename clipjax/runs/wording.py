"""Sweeps over wordings: whose answer depends on how the classes are asked, by group and by class."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from clipjax import design as designs
from clipjax.analysis import agreement, rates, wording
from clipjax.analysis.records import Record
from clipjax.analysis.run import FLIPS
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.keys import key
from clipjax.probes.zeroshot import normalise, similarity
from clipjax.runs import scoring
from clipjax.runs.config import words
from clipjax.runs.task import Task, templates_of

ROWS = 1 << 14  # images scored at once


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Other wordings of the same classes."""

    rename: str = key("", "other texts of a class, each asked alone: thief=robber|burglar; several by commas")
    templates: str = key("", "templates, each asked alone, separated by |")


def renamed(text: str) -> list[tuple[str, str]]:
    """ "thief=robber|burglar, man=guy" -> (class, text) of every rewording."""
    out = []
    for entry in words(text):
        name, equals, texts = (part.strip() for part in entry.partition("="))
        listed = [part.strip() for part in texts.split("|") if part.strip()]
        if not equals or not name or not listed:
            raise InputError(f"sweep.rename: {entry!r} is not CLASS=TEXT|TEXT, as thief=robber|burglar")
        out += [(name, one) for one in listed]
    return out


def variants(sweep: Sweep, design: Design) -> list[Design]:
    """The design and its wordings; [] where none are asked for. InputError where there is one only."""
    rename, templates = renamed(sweep.rename), templates_of(sweep.templates)
    if not rename and not templates:
        return []
    if not rename and len(templates) == 1:
        raise InputError(
            f"sweep.templates={sweep.templates!r}: answers are compared between two templates or more, separated by |; "
            "name the usual one too"
        )
    return designs.variants(design, templates=templates, rename=rename)


def check(sweep: Sweep, task: Task) -> None:
    """InputError for wordings that cannot be asked, or of a data set whose answers are not each image's likeliest."""
    own = {"video", "lexicon"} & task.source.protocol.keys()
    if variants(sweep, task.design) and own:
        raise InputError(
            f"{task.source.name}: its images are scored by {' and '.join(sorted(own))}, and answers to other wordings "
            "are compared image by image over all classes; leave sweep.rename and sweep.templates out"
        )


def records(
    features: np.ndarray, asked: Sequence[Design], weights: Sequence[np.ndarray], columns: rates.Columns,
    grouped: Sequence[Sequence[str]], method: rates.Method,
) -> tuple[list[Record], dict[str, np.ndarray]]:  # fmt: skip
    """Raw image features [N, E]; designs and their class weights [C, E], the first being the default -> how answers
    depend on the wording, over those designs that have the first one's classes, and the column of predictions.parquet
    that says so of each image; nothing where it has no other wording."""
    same = [i for i, one in enumerate(asked) if one.names == asked[0].names]
    if len(same) < 2:
        return [], {}
    answers = np.stack([_answers(features, weights[i]) for i in same])
    out = [
        wording.answers_changed(answers, method), wording.flip_rate(answers, method),
        agreement.fleiss_kappa(wording.votes(answers, len(asked[0].names)), method),
    ]  # fmt: skip
    changed = wording.changed(answers)
    for grouping in grouped:
        if not grouping:
            continue
        cells = rates.cells(grouping, columns, len(changed))
        out += of_groups(changed, answers, cells, grouping, method)
    for c, name in enumerate(asked[0].names):
        if (rows := answers[0] == c).any():
            out.append(replace(wording.answers_changed(answers[:, rows], method), class_=name))
    return out, {FLIPS: wording.flips(answers)}


def of_groups(
    changed: np.ndarray, answers: np.ndarray, cells: rates.Cells, grouping: Sequence[str], method: rates.Method
) -> list[Record]:
    """Both rates of every group, and how the groups compare."""
    out = []
    for g, group in enumerate(cells.groups):
        rows = cells.of == g
        found = wording.answers_changed(answers[:, rows], method), wording.flip_rate(answers[:, rows], method)
        out += [replace(record, group=group) for record in found]
    return out + scoring.compared("answers_changed", changed, cells, grouping, method)


def _answers(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The most similar class of every image [N], the first of equals."""
    compare = similarity(weights)
    return np.concatenate([
        compare(normalise(features[start : start + ROWS])).argmax(1) for start in range(0, len(features), ROWS)
    ])  # fmt: skip
