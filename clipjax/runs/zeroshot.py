"""Zero-shot classification of a data set: the design's answer for every image, and how often it is right."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import rates
from clipjax.analysis.manifest import Outcome
from clipjax.analysis.records import Record
from clipjax.analysis.tallies import Tally
from clipjax.data.labels import Labels
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.keys import inside
from clipjax.probes import metrics, zeroshot
from clipjax.runs import calibration, groups, projected, scoring, wording
from clipjax.runs import task as tasks
from clipjax.runs.calibration import Calibration
from clipjax.runs.config import Asked, Scored, WithProbabilities
from clipjax.runs.features import Features, Probability
from clipjax.runs.projected import Projected
from clipjax.runs.result import Counted, Result
from clipjax.runs.task import Task
from clipjax.runs.wording import Sweep

UNREAD = ("caption_columns",)  # `data.` keys that change nothing here
of_rows = tasks.of_rows
select = tasks.select
ADDED = ("top1", "top5", "mean_per_class")  # metrics that are made of counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Asked, WithProbabilities, Scored, Projected):
    """What is read."""

    calibration: Calibration = inside(Calibration)
    sweep: Sweep = inside(Sweep)


def prepare(config: Config) -> Task:
    """The data set and what it is asked; refuses what cannot be classified before any compute."""
    tasks.check_probability(config)
    task = scoring.grouped(config, tasks.prepare(config))
    calibration.check(config.calibration, task)
    wording.check(config.sweep, task)
    projected.check(config.project, [task.design, *wording.variants(config.sweep, task.design)])
    return task


def run(config: Config, features: Features, task: Task) -> Result:
    """Probabilities of every class for every image; metrics where there are labels."""
    several = task.labels is not None and task.labels.several
    probability = features.probability(config.probability, several)
    texts = projected.texts(config.project, features, config.seed)
    weights = zeroshot.class_weights(texts, [task.design])[0]
    encoded = features.images(task.source)
    probabilities = features.probabilities(encoded.values, weights, probability)
    if "lexicon" in task.source.protocol:
        probabilities = within_lexicon(probabilities, task.source.protocol["lexicon"][encoded.rows])
    table = tasks.columns(task.source, task.labels, encoded.rows) | answers(task.design, probabilities)
    records = _records(config, task, encoded.rows, probabilities)
    if config.calibration.bins:
        scale, method = features.engine.model.scale, groups.method_of(config)
        bias = zeroshot.bias_of(probability, features.engine.model.bias)
        logits = zeroshot.logits(encoded.values, weights, scale) + (bias or 0.0)
        records += calibration.records(
            logits, task, encoded.rows, config.calibration, config.groups, method, scale, probability
        )
    if wordings := wording.variants(config.sweep, task.design):
        more = zeroshot.class_weights(texts, wordings)
        columns = {name: values[encoded.rows] for name, values in task.groups.items()}
        grouped = rates.groupings(config.groups, list(columns))
        method = groups.method_of(config)
        found, flips = wording.records(encoded.values, wordings, more, columns, grouped, method)
        records, table = records + found, table | flips
    if several:  # how a class ranks images depends on it; which class is the likeliest does not
        records = [replace(record, probability=probability) for record in records]
    return Result(records, table, encoded.skipped, task.design, Outcome(probability=probability))


def check_units(config: Config, task: Task) -> None:
    """InputError where the numbers of a run are more than sums over units."""
    own = {"video", "lexicon"} & task.source.protocol.keys()
    for reason, remedy in (
        (own, f"its images are scored by {' and '.join(sorted(own))}"),
        (task.labels is not None and task.labels.several, "images with several labels are ranked"),
        (task.metric not in ADDED, f"its metric {task.metric} is not a sum over images"),
        (config.calibration.bins, "leave calibration.bins out"),
        (config.sweep.rename or config.sweep.templates, "leave sweep out, or make a plan for each wording"),
        (config.group_weights, "leave group_weights out"),
    ):
        if reason:
            raise InputError(f"{task.source.name}: not all its numbers are sums over units of work: {remedy}")


def count(config: Config, task: Task, rows: np.ndarray, probabilities: np.ndarray) -> Counted:
    """Probabilities [M, C] of these rows [M] -> their predictions, and counts of right ones by class and group."""
    table = tasks.columns(task.source, task.labels, rows) | answers(task.design, probabilities)
    if task.labels is None:
        return Counted(table, [])
    labels = task.labels.select(rows)
    of_rows = scoring.selected(task, rows)
    return Counted(table, scoring.tallies(probabilities, labels, *of_rows, config.groups, task.design))


def total(
    config: Config, design: Design, tallied: Sequence[Tally], metric: str = "top1", probability: Probability = "softmax"
) -> list[Record]:
    """Counts of all images -> the records, the metric that the data set is judged by first."""
    if not tallied:
        return []
    if not tallied[0].counts:
        raise InputError(f"{design.name}: none of the images has a label")
    return scoring.totals(tallied, metric, groups.method_of(config), {}, design)


def outcome(config: Config, probability: Probability, tallied: Sequence[Tally]) -> Outcome:
    """What the manifest says of the probe."""
    return Outcome(probability=probability)


def answers(design: Design, probabilities: np.ndarray) -> dict[str, Any]:
    """Of predictions.parquet: the likeliest class of each image, its probability, and the whole row [N, C]."""
    best = probabilities.argmax(1)  # the first of equals
    return {
        "prediction": np.array(design.names, object)[best],
        "probability": probabilities[np.arange(len(best)), best],
        "probabilities": probabilities,
    }


def _records(config: Config, task: Task, rows: np.ndarray, probabilities: np.ndarray) -> list[Record]:
    """The data set's own metric first, then what every labelled data set can be asked."""
    if task.labels is None:
        return []
    labels, protocol = task.labels.select(rows), {name: v[rows] for name, v in task.source.protocol.items()}
    if task.metric == "pm_k":
        files, anchors = task.source.files[rows], protocol["anchor"]
        return [metrics.pm_k(probabilities, labels.column, files, anchors, k) for k in (0, 10)]
    if "video" in protocol:
        probabilities, first = over_videos(probabilities, protocol["video"])
        rows, labels = rows[first], labels.select(first)
        protocol = {name: values[first] for name, values in protocol.items()}
    if task.metric == "mwap":
        return _rare_actions(probabilities, labels, protocol, config.seed)
    return scoring.records(probabilities, labels, task, rows, config.groups, groups.method_of(config))


def _rare_actions(
    probabilities: np.ndarray, labels: Labels, protocol: dict[str, np.ndarray], seed: int
) -> list[Record]:
    relevance = metrics.rare_actions(
        labels.column, protocol["annotation"], protocol["verb"], protocol["noun"], len(labels.names)
    )
    return [f(probabilities, relevance, protocol["youtube_id"], seed=seed) for f in (metrics.mwap, metrics.mwsap)]


def within_lexicon(probabilities: np.ndarray, lexicon: np.ndarray) -> np.ndarray:
    """Only the words of each image's own lexicon [N, L] (class indices, -1 where it is shorter) can be its answer."""
    allowed = np.zeros((len(probabilities), probabilities.shape[1] + 1), bool)
    np.put_along_axis(allowed, lexicon, True, axis=1)  # -1 falls into the extra column
    inside = np.where(allowed[:, :-1], probabilities, 0)
    return (inside / inside.sum(1, keepdims=True)).astype(np.float32)


def over_videos(probabilities: np.ndarray, videos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames of one clip -> one row: the mean of their probabilities; and the clips' first frames, int [clips]."""
    _, first, clip = np.unique(videos.astype(str), return_index=True, return_inverse=True)
    if len(first) == len(clip):
        return probabilities, np.arange(len(clip))
    total = np.zeros((len(first), probabilities.shape[1]))
    np.add.at(total, clip, probabilities)
    return (total / np.bincount(clip)[:, None]).astype(np.float32), first
