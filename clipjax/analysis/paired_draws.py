"""Accuracies over several draws of a few labelled images, of two runs over the same draws and the same test images."""

from __future__ import annotations

import numpy as np

from clipjax.analysis import drawn, paired, rates
from clipjax.analysis.records import Record
from clipjax.analysis.run import REMEDY, RIGHT_BY_DRAW, RIGHT_ZERO_SHOT, Run
from clipjax.errors import InputError

PAIRED = "paired by draw and image, at least newcombe"
Bounds = tuple[float, float, str]  # of a difference, and how they were made


def check(a: Run, b: Run) -> None:
    """InputError where the runs have no number of shots of which both drew the same images."""
    for run in (a, b):
        if run.manifest.result.drawn is None or RIGHT_BY_DRAW not in run.predictions:
            raise InputError(f"{run.path}: does not say which images were drawn and which are answered right; {REMEDY}")
    both = [k for k in _drawn(a) if k in _drawn(b)]
    if not both:
        raise InputError(f"{a.path} and {b.path} share no number of shots: {[*_drawn(a)]} and {[*_drawn(b)]}")
    if other := [k for k in both if _drawn(a)[k] != _drawn(b)[k]]:
        alone = {run.probe for run in (a, b) if run.manifest.result.n_validation} and a.probe != b.probe
        held = "; tip_adapter holds images out of the training part unless validation_split names others"
        raise InputError(
            f"{a.path} and {b.path} drew other images at {other[0]} shots, so that the draw is a part of the "
            f"difference: run both with one training part, seed and number of draws{held if alone else ''}"
        )


def of_record(a: Run, b: Run, record: Record) -> Bounds | None:
    """The interval of the difference B - A of an accuracy or of a gain; None where it has no valid one: a worst group
    and a gap may be of other groups in B."""
    rows = _rows(a, record)
    if record.shots == 0:
        return _without_images(a, b, record, rows)
    right_a, right_b = (_right(run, record.shots or 0)[:, rows] for run in (a, b))
    if record.metric == "top1":
        found = drawn.difference(right_a, right_b, record.level or 0.95)
        return found.low, found.high, f"{drawn.method(len(right_a))}, {PAIRED}"
    if record.metric == "top1_gain_over_zero_shot":
        gains = [right.astype(np.float64) - run.predictions[RIGHT_ZERO_SHOT][rows]
                 for run, right in ((a, right_a), (b, right_b))]  # fmt: skip
        found = drawn.mean(gains[1] - gains[0], record.level or 0.95)
        return max(found.low, -2.0), min(found.high, 2.0), f"{drawn.method(len(right_a))}, paired by draw and image"
    return None


def _without_images(a: Run, b: Run, record: Record, rows: np.ndarray) -> Bounds | None:
    if record.metric != "top1":
        return None
    before, after = (run.predictions[RIGHT_ZERO_SHOT][rows] for run in (a, b))
    found = paired.paired_rates(before, after, record.level or 0.95)
    return found.low, found.high, found.method


def _drawn(run: Run) -> dict[int, str]:
    """Number of shots -> which images they were, in all draws."""
    return dict(zip(run.manifest.result.shots or (), run.manifest.result.drawn or (), strict=True))


def _right(run: Run, shots: int) -> np.ndarray:
    """Whether each draw of so many shots has each image right, bool [S, N]."""
    listed, draws = run.manifest.result.shots or [], run.manifest.result.draws or 0
    start = listed.index(shots) * draws
    return run.predictions[RIGHT_BY_DRAW][:, start : start + draws].T.astype(bool)


def _rows(run: Run, record: Record) -> np.ndarray:
    """The labelled images that a number is of."""
    inside = run.predictions["label"].astype(str) != ""
    columns = run.columns | rates.bands(str(run.manifest.config.get("bands", "")), run.columns)[0]
    for column, value in (record.group or {}).items():
        inside &= columns[column].astype(str) == value
    return np.flatnonzero(inside)
