"""Zero-shot classification of a data set: the class design's answer for every picture, and what it is worth."""

from __future__ import annotations

from typing import Any

import numpy as np

from clipjax.errors import InputError
from clipjax.probes import metrics, zeroshot
from clipjax.runs import sources
from clipjax.runs.job import Job
from clipjax.runs.result import Result, picture_columns


def load(config: Any) -> sources.Task:
    """The data set and its class design; refuses what cannot be classified before any compute."""
    task = sources.load(config)
    if not task.classes:
        raise InputError(f"{task.source.name} has no classes: give --config.classes=a,b,c or a labelled data set")
    return task


def run(job: Job, task: sources.Task) -> Result:
    """Probabilities of every class for every picture; metrics where there are labels."""
    weights = job.class_weights(task.names, task.templates)
    encoded = job.image_features(task.source)
    probabilities = zeroshot.probabilities(encoded.values, weights, job.model.scale)
    if "lexicon" in task.source.table:
        probabilities = within_lexicon(probabilities, task.source.table["lexicon"][encoded.rows])
    best = probabilities.argmax(1)  # the first of equals
    columns = picture_columns(task, encoded.rows)
    columns["prediction"] = np.array(task.classes, object)[best]
    columns["probability"] = probabilities[np.arange(len(best)), best]
    columns["probabilities"] = probabilities
    design = {
        "classes": list(task.classes),
        "templates": list(task.templates),
        "prompts": [zeroshot.prompts(n, task.templates) for n in task.names],
        "source": task.prompts_from,
    }
    return Result(_records(job, task, encoded.rows, probabilities), columns, encoded.skipped, design)


def _records(job: Job, task: sources.Task, rows: np.ndarray, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """The data set's own metric first, then what every labelled data set can be asked."""
    table: dict[str, Any] = {name: values[rows] for name, values in task.source.table.items()}
    seed = job.config.seed
    if task.metric == "pm_k":
        labels = table["labels"] if "labels" in table else table["label"]
        return [metrics.pm_k(probabilities, labels, table["file"], table["anchor"], k) for k in (0, 10)]
    if "label" in table:
        table["label"] = labels_of(task)[rows]
    if "video" in table:
        probabilities, table = over_videos(probabilities, table)
    if task.metric == "mwap":
        relevance = metrics.rare_actions(
            table["label"], table["annotation"], table["verb"], table["noun"], len(task.classes)
        )
        return [f(probabilities, relevance, table["youtube_id"], seed=seed) for f in (metrics.mwap, metrics.mwsap)]
    if "labels" in table:  # several classes in one picture: how well each class ranks the pictures
        return [metrics.map_11pt(probabilities, table["labels"], table.get("difficult"), seed=seed)]
    if "label" not in table:
        return []
    labels = table["label"]
    out = [metrics.top_k(probabilities, labels, k) for k in (1, 5) if k == 1 or len(task.classes) > 5]
    out.append(metrics.mean_per_class(probabilities, labels, seed=seed))
    if "split" in table and len(set(table["split"])) > 1:
        out += _per_split(probabilities, table)
    if task.metric == "mean_top1_top5":
        out.append(metrics.mean_top1_top5(probabilities, labels, seed=seed))
    if task.metric == "roc_auc":
        out.append(metrics.roc_auc(probabilities, labels, seed=seed))
    return sorted(out, key=lambda record: record["metric"] != task.metric)


def _per_split(probabilities: np.ndarray, table: dict[str, Any]) -> list[dict[str, Any]]:
    """Top-1 of each split, and their mean where the splits are a data set's test folds (UCF101's three)."""
    found = []
    for split in sorted({str(s) for s in table["split"]}):
        rows = table["split"].astype(str) == split
        found.append(metrics.top_k(probabilities[rows], table["label"][rows], 1) | {"split": split})
    values = [record["value"] for record in found]
    mean = {"metric": "top1_mean_of_splits", "n": sum(record["n"] for record in found), "value": float(np.mean(values))}
    return [*found, mean | {"spread": float(np.std(values, ddof=1))}]


def within_lexicon(probabilities: np.ndarray, lexicon: np.ndarray) -> np.ndarray:
    """Only the words of each picture's own lexicon [N, L] (class indices, -1 where it is shorter) can be its answer."""
    allowed = np.zeros((len(probabilities), probabilities.shape[1] + 1), bool)
    np.put_along_axis(allowed, lexicon, True, axis=1)  # -1 falls into the extra column
    inside = np.where(allowed[:, :-1], probabilities, 0)
    return (inside / inside.sum(1, keepdims=True)).astype(np.float32)


def over_videos(probabilities: np.ndarray, table: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Frames of one clip -> one row: the mean of their probabilities, the columns of its first frame."""
    _, first, clip = np.unique(table["video"].astype(str), return_index=True, return_inverse=True)
    if len(first) == len(clip):
        return probabilities, table
    total = np.zeros((len(first), probabilities.shape[1]))
    np.add.at(total, clip, probabilities)
    mean = (total / np.bincount(clip)[:, None]).astype(np.float32)
    return mean, {name: values[first] for name, values in table.items()}


def labels_of(task: sources.Task) -> np.ndarray:
    """Labels as indices of the task's classes, matched by name where the config brought its own list."""
    label = np.asarray(task.source.table["label"])
    if task.prompts_from != "config":
        return label
    place = {name: i for i, name in enumerate(task.classes)}
    return np.array([place.get(name, -1) for name in task.source.classes or ()], np.int64)[label]
