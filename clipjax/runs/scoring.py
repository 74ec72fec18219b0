"""What class scores are worth where images have labels: the numbers that every classification probe reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import groups as by_group
from clipjax.analysis import rates
from clipjax.analysis.records import Record
from clipjax.data.labels import Labels
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.probes import metrics
from clipjax.runs import groups
from clipjax.runs.config import Scored
from clipjax.runs.task import Task

MOST_COMPARED = 200  # groups of one grouping that are compared with each other


def grouped(config: Scored, task: Task) -> Task:
    """The task with the groups of data.group_columns; InputError for a method or a column that does not exist."""
    groups.method_of(config)
    if not config.data.group_columns:
        if config.group_weights:
            raise InputError("group_weights needs groups; name their columns: --config.data.group_columns=a,b")
        return task
    columns = groups.columns(task.source, config.data.group_columns, config.bands)
    rates.groupings(config.groups, list(columns))
    return dataclasses.replace(task, groups=columns, group_weights=weights_of(config.group_weights, columns))


def weights_of(text: str, columns: rates.Columns) -> dict[str, dict[str, float]]:
    """ "bird*place: land*land=0.73; land*water=0.04" -> {"bird*place": {"land, land": 0.73, ...}}; several groupings by
    "&". Every group named has images, and the weights of a grouping sum to 1."""
    out: dict[str, dict[str, float]] = {}
    for line in filter(None, (part.strip() for part in text.split("&"))):
        name, colon, body = line.partition(":")
        grouping = tuple(part.strip() for part in name.split("*"))
        if not colon or not all(grouping):
            raise InputError(f"group_weights: {line!r} is not COLUMN*COLUMN: VALUE*VALUE=SHARE; ...")
        if unknown := [one for one in grouping if one not in columns]:
            raise InputError(f"group_weights: no column {unknown[0]!r} among {', '.join(columns)}")
        shares: dict[str, float] = {}
        for entry in filter(None, (part.strip() for part in body.split(";"))):
            values, _, share = entry.rpartition("=")
            group = ", ".join(part.strip() for part in values.split("*"))
            try:
                shares[group] = float(share)
            except ValueError:
                raise InputError(f"group_weights: {entry!r} is not VALUE*VALUE=SHARE, as land*water=0.04") from None
        cells = rates.cells(grouping, columns, len(next(iter(columns.values()))))
        n = np.bincount(cells.of[cells.of >= 0], minlength=len(cells.groups))
        by_group.weighted_mean_of_groups(n, n, shares, by_group.names_of(cells))  # refuses what cannot be a mean
        out["*".join(grouping)] = shares
    return out


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
    hits = {f"top{k}": metrics.in_top(scores, index, k) for k in (1, 5) if k == 1 or classes > 5}
    return out + of_groups(hits, task, rows, groupings, method)


def of_groups(
    hits: Mapping[str, np.ndarray], task: Task, rows: np.ndarray, groupings: str, method: rates.Method
) -> list[Record]:
    """Each of several accuracies, "top1" -> bool [M] of these rows, by group; and the groups compared."""
    if not task.groups:
        return []
    columns = {name: values[rows] for name, values in task.groups.items()}
    out = []
    for grouping in rates.groupings(groupings, list(columns)):
        if not grouping:
            continue
        cells = rates.cells(grouping, columns, len(rows))
        for metric, right in hits.items():
            out += by_group.accuracy_by_group(right, cells, method, metric)
            out += compared(metric, right, cells, grouping, method, task.group_weights.get("*".join(grouping)))
    return out


def compared(
    metric: str, right: np.ndarray, cells: rates.Cells, grouping: Sequence[str], method: rates.Method,
    weights: Mapping[str, float] | None = None,
) -> list[Record]:  # fmt: skip
    """Worst group, gap, ratio, unweighted (and weighted) mean and variance of the groups' accuracies."""
    k, n = by_group.tally(right, cells)
    if not 1 < (n > 0).sum() <= MOST_COMPARED:
        return []
    names = by_group.names_of(cells)
    numbers = (
        by_group.worst_group, by_group.group_difference, by_group.group_ratio, by_group.mean_of_groups,
        by_group.between_group_variance,
    )  # fmt: skip
    found = [number(k, n, names, method, metric) for number in numbers]
    if weights is not None:
        found.append(by_group.weighted_mean_of_groups(k, n, weights, names, method, metric))
    return [replace(record, over="*".join(grouping)) for record in found]


def parity(
    prediction: np.ndarray, design: Design, columns: rates.Columns, grouped: Sequence[Sequence[str]],
    method: rates.Method,
) -> list[Record]:  # fmt: skip
    """Class indices [N] -> the difference and the ratio of the groups' rates of every set, for single columns."""
    out = []
    for grouping in grouped:
        if len(grouping) != 1:
            continue
        cells = rates.cells(grouping, columns, len(prediction))
        if not 1 < len(cells.groups) <= MOST_COMPARED:
            continue
        for name in design.counted:
            answer = design.members(name)[prediction]
            found = (
                by_group.demographic_parity_difference(answer, cells, method, name),
                by_group.demographic_parity_ratio(answer, cells, method, name),
            )  # fmt: skip
            out += [replace(record, over=grouping[0]) for record in found]
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
