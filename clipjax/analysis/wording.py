"""Whose answer depends on how the classes are worded? R wordings of one design, classes aligned by their index.

`answers_changed` grows with R and is never compared between different R; the flip rate and Fleiss' kappa
(`agreement.fleiss_kappa` of `votes`) can be. Intervals are over images; the wordings are fixed. Averaged templates are
one wording.
"""

from __future__ import annotations

import itertools

import numpy as np
from msgspec.structs import replace

from clipjax.analysis.intervals import bounded_mean
from clipjax.analysis.rates import Method, numbers
from clipjax.analysis.records import Record
from clipjax.errors import InputError

USUAL = Method()


def answers_changed(answers: np.ndarray, method: Method = USUAL) -> Record:
    """answers int [R, N] -> the share of images with more than one answer, k of n with its exact interval."""
    answers = _checked(answers)
    (found,) = numbers("answers_changed", int(changed(answers).sum()), answers.shape[1], method)
    return replace(found, group={}, wordings=len(answers))


def changed(answers: np.ndarray) -> np.ndarray:
    """answers int [R, N] -> whether an image has more than one answer, bool [N]."""
    return (answers != answers[0]).any(0)


def flip_rate(answers: np.ndarray, method: Method = USUAL) -> Record:
    """answers int [R, N] -> how often two wordings differ, the mean over their pairs; `pairs` has those against the
    first wording."""
    answers = _checked(answers)
    each = flips(answers)
    low, high = bounded_mean(each, method.level)
    return Record(
        metric="flip_rate", group={}, n=answers.shape[1], value=float(each.mean()), low=low, high=high,
        level=method.level, method="clopper-pearson of effective n, wordings fixed", wordings=len(answers),
        pairs=(answers[1:] != answers[0]).mean(1).tolist(),
    )  # fmt: skip


def flips(answers: np.ndarray) -> np.ndarray:
    """answers int [R, N] -> the share of pairs of wordings that answer each image differently, [N]."""
    pairs = [answers[r] != answers[s] for r, s in itertools.combinations(range(len(answers)), 2)]
    return np.mean(pairs, axis=0)


def votes(answers: np.ndarray, classes: int) -> np.ndarray:
    """answers int [R, N] -> how many wordings gave each image each class: int [N, C]."""
    answers = _checked(answers)
    flat = np.arange(answers.shape[1]) * classes + answers
    return np.bincount(flat.ravel(), minlength=answers.shape[1] * classes).reshape(-1, classes)


def _checked(answers: np.ndarray) -> np.ndarray:
    answers = np.asarray(answers)
    if answers.ndim != 2 or not answers.size or answers.dtype.kind not in "iu":
        raise InputError(f"answers are {answers.dtype} {answers.shape}; they are classes int [R, N]")
    if len(answers) < 2:
        raise InputError("one wording; sensitivity needs two")
    return answers
