"""What class scores are worth where images have labels: the numbers that every classification probe reports."""

from __future__ import annotations

import dataclasses

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import rates
from clipjax.analysis.records import Record
from clipjax.data.labels import Labels
from clipjax.errors import InputError
from clipjax.probes import metrics
from clipjax.runs import groups
from clipjax.runs.config import Grouped
from clipjax.runs.task import Task


def grouped(config: Grouped, task: Task) -> Task:
    """The task with the groups of data.group_columns; InputError for a method or a column that does not exist."""
    groups.method_of(config)
    if not config.data.group_columns:
        return task
    return dataclasses.replace(task, groups=groups.columns(task.source, config.data.group_columns, config.bands))


def records(
    scores: np.ndarray, labels: Labels, task: Task, rows: np.ndarray, groupings: str, method: rates.Method
) -> list[Record]:
    """Scores [M, C] of these rows [M] of the task, and their labels -> accuracies, or mean average precision.

    The data set's own metric comes first; accuracy by group where data.group_columns names columns. Images without a
    label are not scored. groupings: which groups (`rates.groupings`).
    """
    known = labels.known
    if not known.any():
        raise InputError(f"{task.source.name}: none of its {len(known)} images has a label")
    scores, rows, labels = scores[known], rows[known], labels.select(known)
    if labels.present is not None:  # several classes in one image: how well each class ranks the images
        if task.metric == "map_11pt":
            difficult = task.source.protocol.get("difficult")
            difficult = None if difficult is None else difficult[rows]
            return [metrics.map_11pt(scores, labels.present, difficult, seed=method.seed)]
        pair = (metrics.map_all_point, metrics.map_11pt)
        return [f(scores, labels.present, seed=method.seed) for f in pair]
    index, classes = labels.column, len(labels.names)
    out = [metrics.top_k(scores, index, k) for k in (1, 5) if k == 1 or classes > 5]
    out.append(metrics.mean_per_class(scores, index, seed=method.seed))
    splits = task.source.protocol.get("split")
    if splits is not None and len(set(splits[rows])) > 1:
        out += _per_split(scores, index, splits[rows])
    if task.metric == "mean_top1_top5":
        out.append(metrics.mean_top1_top5(scores, index, seed=method.seed))
    if task.metric == "roc_auc":
        out.append(metrics.roc_auc(scores, index, seed=method.seed))
    out.sort(key=lambda record: record.metric != task.metric)
    return out + by_group(metrics.in_top(scores, index, 1), task, rows, groupings, method)


def by_group(right: np.ndarray, task: Task, rows: np.ndarray, groupings: str, method: rates.Method) -> list[Record]:
    """Top-1 accuracy of each group: right bool [M] of these rows."""
    if not task.groups:
        return []
    columns = {name: values[rows] for name, values in task.groups.items()}
    out = []
    for grouping in rates.groupings(groupings, list(columns)):
        if not grouping:
            continue
        cells = rates.cells(grouping, columns, len(right))
        inside = cells.of >= 0
        n = np.bincount(cells.of[inside], minlength=len(cells.groups))
        k = np.bincount(cells.of[inside], right[inside], minlength=len(cells.groups)).astype(np.int64)
        numbers = rates.numbers("top1", k, n, method)
        out += [replace(number, group=group) for group, number in zip(cells.groups, numbers, strict=True)]
    return out


def _per_split(scores: np.ndarray, labels: np.ndarray, splits: np.ndarray) -> list[Record]:
    """Top-1 of each split, and their mean where the splits are a data set's test folds (UCF101's three)."""
    records = []
    for split in sorted(set(splits)):
        rows = splits == split
        records.append(replace(metrics.top_k(scores[rows], labels[rows], 1), split=split))
    values, n = np.array([record.value for record in records], float), sum(record.n for record in records)
    spread = float(np.std(values, ddof=1))
    return [*records, Record(metric="top1_mean_of_splits", n=n, value=float(np.mean(values)), spread=spread)]
