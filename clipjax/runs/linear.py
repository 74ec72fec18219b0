"""The paper's linear probe on cached features (CLIP paper, appendix A.3)."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from clipjax import parallel
from clipjax.analysis.manifest import Outcome
from clipjax.keys import inside, key
from clipjax.probes import linear, metrics
from clipjax.runs import data as opening
from clipjax.runs import groups, parts, scoring
from clipjax.runs.config import Fitted, FittedAndTested, Scored
from clipjax.runs.features import Features
from clipjax.runs.parts import Parts
from clipjax.runs.result import Result
from clipjax.runs.task import Task, columns

UNREAD = ("caption_columns",)  # `data.` keys that change nothing here


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FittedAndTested, Scored):
    """What is read."""

    data: opening.ThreeParts = inside(opening.ThreeParts)
    validation_split: str = key("", "the part to choose C on; empty: a seeded fifth of the training part")


def prepare(config: Config) -> Parts:
    """Training, validation and test part, and the groups."""
    split = parts.prepare(config, config.validation_split)
    return dataclasses.replace(split, test=scoring.grouped(config, split.test))


def run(config: Config, features: Features, split: Parts) -> Result:
    """Sweeps the regularisation, refits on training and validation, predicts the test part."""
    test_task = split.test
    train, skipped, seen = fitted(features, split.train, config.feature)
    held = None
    if split.validation is not None:
        held, more, n = fitted(features, split.validation, config.feature)
        skipped, seen = skipped + more, seen + n
    encoded = features.images(test_task.source, config.feature)
    weights, bias, C, path = fit(config, train, held)
    scores = linear.scores(encoded.values, weights, bias)
    labels = test_task.labels
    assert labels is not None
    labels = labels.select(encoded.rows)
    table = columns(test_task.source, test_task.labels, encoded.rows)
    table["prediction"] = np.array(test_task.design.names, object)[scores.argmax(1)]
    records = scoring.records(scores, labels, test_task, encoded.rows, config.groups, groups.method_of(config))
    outcome = Outcome(
        feature=config.feature, C=C, path=path, n_train=len(train[1]), train=split.train.source.fingerprint
    )
    return Result(records, table, skipped + encoded.skipped, test_task.design, outcome, seen + len(encoded.rows))


def fitted(
    features: Features, task: Task, feature: str
) -> tuple[tuple[np.ndarray, parts.Labels, np.ndarray], list, int]:
    """The labelled images of a part: features [N, D], labels and digests; what was skipped; how many were read."""
    assert task.labels is not None
    encoded = features.images(task.source, feature)
    kept = np.flatnonzero(task.labels.known[encoded.rows])
    rows = encoded.rows[kept]
    return (
        (encoded.values[kept], task.labels.select(rows), task.source.digests(rows)),
        encoded.skipped,
        len(encoded.rows),
    )


def fit(
    config: Fitted, train: tuple, held: tuple | None
) -> tuple[np.ndarray, np.ndarray, float, list[metrics.Record] | None]:
    """Weights [C, D] and bias [C] in the order of the design, the C, and the path of the search for it."""
    features, labels, digests = train
    order = parts.ordered(digests, labels)
    x, y = features[order.rows], order.labels
    validation = None
    if held is not None:
        rows = parts.ordered(held[2], held[1]).rows
        validation = held[0][rows], order.known(held[1].column[rows])
    classes = len(labels.names)
    mesh = parallel.data_mesh(jax.local_devices())  # every host has all features and comes to the same answer
    if config.C > 0:
        if validation is not None:
            x, y = (np.concatenate(pair) for pair in ((x, validation[0]), (y, validation[1])))
        weights, bias = linear.fit(x, y, config.C, config.max_iter, classes=classes, mesh=mesh)
        return *order.restore(weights, bias), config.C, None
    metric = metrics.map_11pt if labels.several else metrics.top_k
    best = linear.sweep(
        x, y, validation, classes=classes, seed=config.seed, metric=metric, max_iter=config.max_iter, mesh=mesh
    )
    return *order.restore(best.weights, best.bias), best.C, best.records
