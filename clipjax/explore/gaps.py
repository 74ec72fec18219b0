"""How far apart the groups of a column are under a design, beside what groups that do not differ would show."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from clipjax.analysis import groups, rates, sentences
from clipjax.analysis.records import Question, Record
from clipjax.explore.answers import Answers, Asked, has, members

LABEL = "label"


def lines(
    answers: Answers, sides: dict[str, Asked], question: Question, columns: Sequence[tuple[str, ...]]
) -> list[str]:
    """A sentence for each grouping and side ("A", "B"; "" for one design alone): the largest difference of the rates of
    the question; where images have labels among the classes of the design also its worst group."""
    out: list[tuple[str, str]] = []
    for grouping in columns:
        for side, asked in sides.items():
            if (gap := _gap(answers, asked, question, grouping)) is not None:
                out.append((side, _of_gap(gap, grouping)))
            if grouping != (LABEL,) and (worst := _worst(answers, asked, grouping)) is not None:
                out.append((side, _of_worst(worst, grouping)))
    return [f"{side}: {said}" if side else said[0].upper() + said[1:] for side, said in out]


def _gap(answers: Answers, asked: Asked, question: Question, grouping: tuple[str, ...]) -> Record | None:
    """The difference of the groups' rates; None where the design cannot answer, or groups are too few or too many."""
    cells = answers.opened.cells(grouping)
    if not has(asked.design, question) or not 1 < len(cells.groups) <= groups.MOST_COMPARED:
        return None
    tally = answers.tally(asked, grouping)
    k, n = tally[:, members(asked.design, question)].sum(1), tally.sum(1)
    return _difference(
        tuple(k.tolist()), tuple(n.tolist()), tuple(groups.names_of(cells.groups)), answers.opened.method
    )


@functools.lru_cache(256)
def _difference(k: tuple[int, ...], n: tuple[int, ...], names: tuple[str, ...], method: rates.Method) -> Record:
    """Kept: the pinned design is asked again with every edit of the other."""
    return groups.parity_difference(k, n, names, method)


def _worst(answers: Answers, asked: Asked, grouping: tuple[str, ...]) -> Record | None:
    """The worst group by accuracy, over the images whose label is a class of the design."""
    labels = answers.opened.run.predictions.get(LABEL)
    if labels is None:
        return None
    known = np.isin(labels.astype(str), asked.design.names)
    cells = answers.opened.cells(grouping)
    inside = rates.Cells(cells.groups, np.where(known, cells.of, -1))
    k, n = groups.tally(asked.names == labels, inside)
    if not 1 < (n > 0).sum() <= groups.MOST_COMPARED:
        return None
    return groups.worst_group(k, n, groups.names_of(cells.groups), answers.opened.method)


def _of_gap(gap: Record, grouping: tuple[str, ...]) -> str:
    assert gap.value is not None
    assert gap.low is not None
    assert gap.high is not None
    assert gap.expected_if_equal is not None
    assert gap.p is not None
    return (
        f"the groups of {' and '.join(grouping)} are {100 * gap.value:.1f} points apart, from {gap.lowest} to "
        f"{gap.highest} ({100 * (gap.level or 0.95):g}% interval {100 * gap.low:.1f} to {100 * gap.high:.1f} for the "
        f"largest difference of {sentences.count(gap.groups or 0, 'group')}); groups that do not differ would show "
        f"{100 * gap.expected_if_equal:.1f} points (p {sentences.p_value(gap.p)})."
    )


def _of_worst(worst: Record, grouping: tuple[str, ...]) -> str:
    assert worst.value is not None
    assert worst.low is not None
    assert worst.high is not None
    every = sentences.count(worst.groups or 0, "group")
    return (
        f"of the labelled images, those with {' and '.join(grouping)} {worst.worst} are right least often: "
        f"{sentences.percent(worst.value)} ({worst.k} of {worst.n}; {100 * (worst.level or 0.95):g}% interval "
        f"{100 * worst.low:.1f} to {100 * worst.high:.1f} for whichever of {every} is the worst)."
    )
