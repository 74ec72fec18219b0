"""What class scores are worth where images have labels: the numbers that every classification probe reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import groups as by_group
from clipjax.analysis import rates
from clipjax.analysis.records import Record
from clipjax.analysis.tallies import Tally, tally
from clipjax.data.labels import Labels
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.probes import metrics
from clipjax.runs import groups
from clipjax.runs.config import Scored
from clipjax.runs.task import Task

OF_SCORES = {"mean_top1_top5": metrics.mean_top1_top5, "roc_auc": metrics.roc_auc}  # metrics that are not of counts
SPLIT = "split of the data set"  # as a grouping of its own
ODDS = "label and answer in each set"  # beside a column, as a grouping of its own
MOST_CLASSES = 10  # that are asked about one by one, where a design has no sets


def grouped(config: Scored, task: Task) -> Task:
    """The task with the groups of data.group_columns; InputError for a method or a column that does not exist."""
    groups.method_of(config)
    columns = groups.asked(config, task.source)
    if not columns:
        if config.group_weights:
            raise InputError("group_weights needs groups; name their columns: --config.data.group_columns=a,b")
        return task
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
        by_group.weighted_mean_of_groups(n, n, shares, by_group.names_of(cells.groups))  # refuses what cannot be a mean
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
    if labels.present is None:
        found = tallies(scores, labels, *selected(task, rows), groupings, task.design)
        more = []
        if task.metric in OF_SCORES:
            more = [OF_SCORES[task.metric](scores[known], labels.column[known], seed=method.seed)]
        return totals(found, task.metric, method, task.group_weights, task.design, more)
    scores, rows, labels = scores[known], rows[known], labels.select(known)
    if task.metric == "map_11pt":  # several classes in one image: how well each class ranks the images
        difficult = task.source.protocol.get("difficult")
        difficult = None if difficult is None else difficult[rows]
        return [metrics.map_11pt(scores, labels.column, difficult, seed=method.seed)]
    pair = (metrics.map_all_point, metrics.map_11pt)
    return [f(scores, labels.column, seed=method.seed) for f in pair]


def selected(task: Task, rows: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The groups of these rows [M] of a task, and the split of each, where the data set has splits."""
    splits = task.source.protocol.get("split")
    return {name: values[rows] for name, values in task.groups.items()}, None if splits is None else splits[rows]


def tallies(
    scores: np.ndarray, labels: Labels, columns: rates.Columns, splits: np.ndarray | None, groupings: str,
    design: Design,
) -> list[Tally]:  # fmt: skip
    """Scores [M, C], labels, groups and splits [M] -> images with a label, and how many of them are right among the
    first and (of more than five classes) the five best: [C, 2 or 3] by their own class, then [2 or 3] of each grouping,
    and of each split."""
    known, classes = labels.known, len(labels.names)
    scores, index = scores[known], labels.column[known]
    if len(index):
        scores, index = metrics.check_scores(scores, index)
    right = [metrics.in_top(scores, index, k) for k in (1, 5) if k == 1 or classes > 5]
    counted = np.stack([np.ones(len(index), bool), *right], axis=1)
    by_class = np.stack([np.bincount(index, column, minlength=classes) for column in counted.T], axis=1)
    out = [tally([{}], (), by_class.astype(np.int64)[None])]
    columns = {name: values[known] for name, values in columns.items()}
    grouped = [grouping for grouping in rates.groupings(groupings, list(columns)) if grouping] if columns else []
    if splits is not None:
        columns, grouped = columns | {SPLIT: splits[known]}, [*grouped, (SPLIT,)]
    for grouping in grouped:
        cells = rates.cells(grouping, columns, len(index))
        table = np.stack([by_group.tally(column, cells)[0] for column in counted.T], axis=1)
        out.append(tally(cells.groups, grouping, table))
    if asked := one_against_rest(design):
        answer = scores.argmax(1)
        for (column,) in (one for one in grouped if len(one) == 1 and one != (SPLIT,)):
            out.append(_odds(answer, index, asked, column, rates.cells((column,), columns, len(index))))
    return out


def one_against_rest(design: Design) -> list[tuple[str, str, np.ndarray]]:
    """What answers and labels are asked, one set against the rest: ("set", its name, bool [C]) of every set; of every
    class, where a design has no sets and few classes."""
    if design.sets:
        return [("set", name, design.members(name)) for name in design.counted]
    if not 1 < len(design.names) <= MOST_CLASSES:
        return []
    return [
        ("class_", name, row) for name, row in zip(design.names, np.eye(len(design.names), dtype=bool), strict=True)
    ]


def _odds(
    answer: np.ndarray, label: np.ndarray, asked: Sequence[tuple[str, str, np.ndarray]], column: str,
    cells: rates.Cells,
) -> Tally:  # fmt: skip
    """Answers and labels int [N] -> by group and question: images in the set, with an answer in it; the others, with an
    answer in the set: int [Q, 4]."""
    counts = []
    for _, _, members in asked:
        given, true = members[answer], members[label]
        counts.append([by_group.tally(which, cells)[0] for which in (true, true & given, ~true, ~true & given)])
    groups = [{**group, ODDS: ""} for group in cells.groups]
    return tally(groups, (column, ODDS), np.array(counts).transpose(2, 0, 1))


def totals(
    tallied: Sequence[Tally], metric: str, method: rates.Method, weights: Mapping[str, Mapping[str, float]],
    design: Design, more: Sequence[Record] = (),
) -> list[Record]:  # fmt: skip
    """`tallies` of all images, and records that are `more` than counts -> all records; those of `metric` first."""
    out = [*of_everybody(tallied, method), *more]
    out.sort(key=lambda record: record.metric != metric)
    return out + of_groups(tallied, method, weights) + odds(tallied, design, method)


def of_everybody(tallied: Sequence[Tally], method: rates.Method) -> list[Record]:
    """`tallies` -> top-1, top-5, the mean over classes, and top-1 of each split."""
    table = tallied[0].table[0]
    n, *right = table.sum(0).tolist()
    out = [metrics.share(f"top{k}", hits, n) for k, hits in zip((1, 5), right, strict=False)]
    out.append(metrics.mean_of_classes(table[:, 1], table[:, 0]))
    return out + [record for one in tallied if one.grouping == (SPLIT,) for record in _per_split(one)]


def of_groups(
    tallied: Sequence[Tally], method: rates.Method, weights: Mapping[str, Mapping[str, float]]
) -> list[Record]:
    """`tallies` -> each accuracy by group, and the groups compared."""
    out = []
    for one in tallied:
        if one.grouping in ((), (SPLIT,)) or ODDS in one.grouping:
            continue
        over, (n, *right) = "*".join(one.grouping), one.table.T
        for metric, k in zip(("top1", "top5"), right, strict=False):
            found = rates.numbers(metric, k, n, method)
            out += [replace(record, group=group) for group, record in zip(one.groups, found, strict=True)]
            out += compared_counts(metric, k, n, by_group.names_of(one.groups), over, method, weights.get(over))
    return out


def compared(
    metric: str, right: np.ndarray, cells: rates.Cells, grouping: Sequence[str], method: rates.Method
) -> list[Record]:
    """right bool [N] -> `compared_counts`."""
    return compared_counts(
        metric, *by_group.tally(right, cells), by_group.names_of(cells.groups), "*".join(grouping), method
    )


def compared_counts(
    metric: str, k: np.ndarray, n: np.ndarray, names: Sequence[str], over: str, method: rates.Method,
    weights: Mapping[str, float] | None = None,
) -> list[Record]:  # fmt: skip
    """k of n right [G] -> worst group, gap, ratio, unweighted (and weighted) mean and variance of the accuracies."""
    if not 1 < (n > 0).sum() <= by_group.MOST_COMPARED:
        return []
    numbers = (
        by_group.worst_group, by_group.group_difference, by_group.group_ratio, by_group.mean_of_groups,
        by_group.between_group_variance,
    )  # fmt: skip
    found = [number(k, n, names, method, metric) for number in numbers]
    if weights is not None:
        found.append(by_group.weighted_mean_of_groups(k, n, weights, names, method, metric))
    return [replace(record, over=over) for record in found]


def odds(tallied: Sequence[Tally], design: Design, method: rates.Method) -> list[Record]:
    """`tallies` -> the difference of the groups' true positive rates, and of both rates, of every set (or class)."""
    out = []
    for one in tallied:
        if ODDS not in one.grouping or not 1 < len(one.groups) <= by_group.MOST_COMPARED:
            continue
        column, names = one.grouping[0], [values[0] for values in (tuple(g.values()) for g in one.groups)]
        for (kind, name, _), table in zip(one_against_rest(design), one.table.transpose(1, 2, 0), strict=True):
            n_true, k_true, n_other, k_other = table
            found = [
                by_group.opportunity_difference(k_true, n_true, names, method),
                by_group.odds_difference([(k_true, n_true), (k_other, n_other)], names, method),
            ]
            out += [replace(record, over=column, **{kind: name}) for record in found]
    return out


def parity(tallied: Sequence[Tally], design: Design, method: rates.Method) -> list[Record]:
    """`rates.tallies` -> the difference and the ratio of the groups' rates of every set, for single columns."""
    out = []
    for one in tallied:
        if len(one.grouping) != 1 or not 1 < len(one.groups) <= by_group.MOST_COMPARED:
            continue
        names, table = by_group.names_of(one.groups), one.table
        for name in design.counted:
            k, n = table[:, design.members(name)].sum(1), table.sum(1)
            parity = by_group.parity_difference, by_group.parity_ratio
            found = [number(k, n, names, method, name) for number in parity]
            out += [replace(record, over=one.grouping[0]) for record in found]
    return out


def _per_split(splits: Tally) -> list[Record]:
    """Top-1 of each split, and their mean where the splits are a data set's test folds (UCF101's three)."""
    if len(splits.counts) < 2:
        return []
    records = [
        replace(metrics.share("top1", int(row[1]), int(row[0])), split=split)
        for (split,), row in sorted(splits.counts.items())
    ]
    values, n = np.array([record.value for record in records], float), sum(record.n for record in records)
    spread = float(np.std(values, ddof=1))
    return [*records, Record(metric="top1_mean_of_splits", n=n, value=float(np.mean(values)), spread=spread)]
