"""What confidences are worth: calibration error, Brier score, log loss, abstaining; by group, with a temperature."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
from msgspec.structs import replace
from scipy.special import expit

from clipjax.analysis import calibration, rates, selective
from clipjax.analysis.calibration import Probability
from clipjax.analysis.records import Record
from clipjax.errors import InputError
from clipjax.keys import key
from clipjax.probes.order import by_value
from clipjax.progress import say
from clipjax.runs.task import Task

BLOCK = 1 << 22  # probabilities held at once
SINGLE = ("top1", "mean_per_class", "mean_top1_top5", "roc_auc")  # metrics of sets with one label per image


@dataclasses.dataclass(frozen=True)
class Calibration:
    """`calibration` of a config."""

    bins: int = key(0, "of the calibration error, 15 is usual; 0: confidences are not scored")
    scheme: calibration.Scheme = key("width", "bins of equal width, or of equal mass: mass")
    fit: float = key(0.0, "share of the images that fits a temperature and a threshold; the rest is measured")
    risk: float = key(0.0, "abstain: find the threshold with at most this share of errors; 0: none")
    delta: float = key(0.05, "the chance that the threshold's risk is higher after all")
    thresholds: tuple[float, ...] = key(
        (0.99, 0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.0), "of confidence, that are tried"
    )


def check(keys: Calibration, task: Task) -> None:
    """InputError for keys that cannot be met, before anything is computed."""
    if not keys.bins:
        if keys.fit or keys.risk:
            raise InputError("calibration.fit and calibration.risk need calibration.bins, 15 is usual")
        return
    calibration.check_bins(keys.bins, keys.scheme)
    if task.labels is None:
        raise InputError("calibration needs labels; this run has none")
    if task.labels.several or task.metric not in SINGLE or {"video", "lexicon"} & task.source.protocol.keys():
        raise InputError(f"{task.source.name}: calibration needs one label per image and all classes for each")
    if not 0 <= keys.fit < 1:
        raise InputError(f"calibration.fit={keys.fit:g}; choose a share from 0, below 1")
    if keys.risk and not keys.fit:
        raise InputError("calibration.risk needs images to choose the threshold on: --config.calibration.fit=0.5")
    if not (0 <= keys.risk < 1 and 0 < keys.delta < 1):
        raise InputError(f"calibration.risk={keys.risk:g}, delta={keys.delta:g}: both are above 0 and below 1")


@dataclasses.dataclass(frozen=True, eq=False)
class _Scored:
    """Of each image [N]: confidence, whether its answer is right, Brier score and log loss."""

    confidence: np.ndarray
    right: np.ndarray
    brier: np.ndarray
    nll: np.ndarray

    def of(self, rows: np.ndarray) -> _Scored:
        return _Scored(self.confidence[rows], self.right[rows], self.brier[rows], self.nll[rows])


def records(
    logits: np.ndarray, task: Task, rows: np.ndarray, keys: Calibration, groupings: str, method: rates.Method,
    scale: float, probability: Probability = "softmax",
) -> list[Record]:  # fmt: skip
    """Logits [M, C] of these rows [M] of the task -> records for everybody and by group; with `calibration.fit` for the
    images that do not fit, as they are and at the fitted temperature.

    sigmoid: a confidence is that of the answer by itself; Brier score and log loss are of every class, yes or no."""
    assert task.labels is not None
    labels = task.labels.select(rows)
    kept = np.flatnonzero(labels.known)
    if not keys.bins or not len(kept):
        return []
    logits, rows, label = logits[kept], rows[kept], labels.column[kept]
    fit, rest = _parts(task.source.digests(rows), keys.fit, method.seed)
    groups = [(group, np.intersect1d(inside, rest)) for group, inside in _groups(task, rows, groupings)]
    scored = _scored(logits, label, probability)
    out = _measured(scored, groups, keys, method)
    temperature = None
    if len(fit):
        where = f"{len(fit)} other images"
        try:
            fitted = calibration.fit_temperature(logits[fit], label[fit], scale, where, probability)
        except InputError as error:
            say(f"note: {task.source.name}: {error}")
        else:
            temperature = float(fitted.temperature or 1)
            out.append(fitted)
            scored = _scored(logits, label, probability, temperature)
            more = _measured(scored, groups, keys, method)
            out += [replace(record, temperature=temperature, fitted_on=where) for record in more]
    if keys.risk:
        out += _abstaining(scored, fit, groups, keys, task.source.name, temperature)
    return out if probability == "softmax" else [replace(record, probability=probability) for record in out]


def _parts(digests: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that fit and rows that are measured, by the images' contents: the order of the rows decides nothing."""
    order = by_value(digests)
    drawn = order[np.random.default_rng([seed, 3]).permutation(len(order))]
    size = round(share * len(order))
    return np.sort(drawn[:size]), np.sort(drawn[size:])


def _groups(task: Task, rows: np.ndarray, groupings: str) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """Everybody, and every group of every grouping, with its rows."""
    columns: Mapping[str, np.ndarray] = {name: values[rows] for name, values in task.groups.items()}
    for grouping in rates.groupings(groupings, list(columns)):
        cells = rates.cells(grouping, columns, len(rows))
        for g, group in enumerate(cells.groups):
            yield group, np.flatnonzero(cells.of == g)


def _scored(logits: np.ndarray, labels: np.ndarray, probability: Probability, temperature: float = 1.0) -> _Scored:
    parts = []
    step = max(1, BLOCK // logits.shape[1])
    for start in range(0, len(labels), step):
        z, label = logits[start : start + step].astype(np.float64) / temperature, labels[start : start + step]
        p, losses = _probabilities(z), calibration.losses
        if probability == "sigmoid":
            p, losses = expit(z), calibration.sigmoid_losses
        own = p[np.arange(len(p)), label]
        parts.append((
            p.max(1), z.argmax(1) == label, (p**2).sum(1) - 2 * own + 1, losses(z, label),
        ))  # fmt: skip
    return _Scored(*map(np.concatenate, zip(*parts, strict=True)))


def _probabilities(z: np.ndarray) -> np.ndarray:
    """The softmax over classes."""
    odds = np.exp(z - z.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def _measured(
    scored: _Scored, groups: list[tuple[dict[str, str], np.ndarray]], keys: Calibration, method: rates.Method
) -> list[Record]:
    out = []
    for group, rows in groups:
        if not len(rows):
            continue
        one = scored.of(rows)
        found = [
            calibration.error_of(one.confidence, one.right, keys.bins, keys.scheme, method),
            calibration.mean_of("brier", one.brier, method),
            calibration.mean_of("nll", one.nll, method),
            selective.aurc(one.confidence, one.right, method),
        ]
        if not group:
            found += [
                calibration.error_of(one.confidence, one.right, keys.bins, keys.scheme, method, "mce"),
                calibration.error_of(one.confidence, one.right, keys.bins, keys.scheme, method, "rmsce"),
                calibration.brier_decomposition(one.confidence, one.right, keys.bins, keys.scheme),
                selective.excess_of(found[-1]),
                selective.augrc(one.confidence, one.right),
            ]
            found += calibration.curve_of(one.confidence, one.right, keys.bins, keys.scheme, method)
        small = len(rows) < method.min_n
        out += [replace(record, group=group, small=record.small or small) for record in found]
    return out


def _abstaining(
    scored: _Scored, fit: np.ndarray, groups: list[tuple[dict[str, str], np.ndarray]], keys: Calibration, name: str,
    temperature: float | None,
) -> list[Record]:  # fmt: skip
    """The threshold that the fitting part guarantees, and what it does to every group of the others."""
    part = scored.of(fit)
    try:
        chosen = selective.threshold_for_risk(
            part.confidence, part.right, np.array(keys.thresholds), keys.risk, keys.delta
        )
    except InputError as error:
        say(f"note: {name}: {error}")
        return []
    assert chosen.threshold is not None
    out = [replace(chosen, temperature=temperature, fitted_on=f"{len(fit)} other images")]
    for group, rows in groups:
        if len(rows):
            one = scored.of(rows)
            found = selective.at_threshold(one.confidence, one.right, chosen.threshold, keys.delta)
            out.append(replace(found, group=group))
    return out
