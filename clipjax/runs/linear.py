"""The paper's linear probe on cached features (CLIP paper, appendix A.3)."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from clipjax import parallel
from clipjax.analysis import rates
from clipjax.analysis.manifest import Outcome
from clipjax.data.contents import UNREADABLE
from clipjax.data.labels import Labels
from clipjax.errors import InputError, located, some
from clipjax.keys import inside, key
from clipjax.probes import linear, metrics, neighbours
from clipjax.runs import calibration, groups, parts, scoring
from clipjax.runs.calibration import Calibration
from clipjax.runs.config import Fitted, FittedAndTested, Scored, Validated
from clipjax.runs.features import Features
from clipjax.runs.parts import Parts
from clipjax.runs.result import Result
from clipjax.runs.task import Task, columns

UNREAD = ("caption_columns",)  # `data.` keys that change nothing here


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Validated, FittedAndTested, Scored):
    """What is read."""

    calibration: Calibration = inside(Calibration)
    neighbours: tuple[int, ...] = key(
        (), "K: how many of the K training images nearest to a test image share its label; 1,5,10,50 are usual"
    )


def prepare(config: Config) -> Parts:
    """Training, validation and test part, and the groups."""
    split = parts.prepare(config, config.validation_split)
    if config.neighbours:
        _check_neighbours(config, split)
    split = dataclasses.replace(split, test=scoring.grouped(config, split.test))
    calibration.check(config.calibration, split.test)
    if config.calibration.bins:
        _check_examples(split)
    return split


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
    method = groups.method_of(config)
    records = scoring.records(scores, labels, test_task, encoded.rows, config.groups, method)
    # A probability is the softmax of the scores, as scikit-learn's predict_proba.
    records += calibration.records(scores, test_task, encoded.rows, config.calibration, config.groups, method, 1.0)
    if config.neighbours:
        records += nearest(config, (encoded.values, labels), train, test_task, encoded.rows)
    outcome = Outcome(
        feature=config.feature, C=C, path=path, n_train=len(train[1]), train=split.train.source.fingerprint
    )
    return Result(records, table, skipped + encoded.skipped, test_task.design, outcome, seen + len(encoded.rows))


def _check_examples(split: Parts) -> None:
    """InputError where test images are of classes without training images: their probability is 0, its log -inf."""
    fitting = [split.train, *([split.validation] if split.validation is not None else [])]
    of_training, of_test = (
        {name for task in tasks if task.labels is not None for name in task.labels.texts()[task.labels.known]}
        for tasks in (fitting, [split.test])
    )
    if absent := sorted(of_test - of_training):
        raise InputError(
            f"{split.test.source.name}: no training image is of class {some(absent, 3)}, so its log loss is infinite; "
            "add training images of it, or leave calibration.bins out"
        )


def _check_neighbours(config: Config, split: Parts) -> None:
    """InputError where an image has several labels, would find itself, or has no image to find."""
    name, texts = split.test.source.name, []
    for task in (split.test, split.train):
        assert task.labels is not None
        if task.labels.several:
            raise InputError(f"{name}: neighbours needs one label per image, and some have several; leave it out")
        texts.append(task.labels.texts()[task.labels.known])
    of_test, of_training = texts
    with located(f"{name}: neighbours"):
        for k in config.neighbours:
            neighbours.check(of_test, of_training, k)
    own, theirs = (set(task.source.short_digests) - {UNREADABLE[:8].hex()} for task in (split.test, split.train))
    if both := own & theirs:
        raise InputError(
            f"{name}: the training and the test part share {len(both)} images, and an image would find itself; take "
            "them out of one part, or leave neighbours out"
        )


def nearest(
    config: Config, asked: tuple[np.ndarray, Labels], train: tuple[np.ndarray, Labels, np.ndarray], task: Task,
    rows: np.ndarray,
) -> list[metrics.Record]:  # fmt: skip
    """Features [M, D] and labels of these rows [M] of the task, and those of the training part -> how often the
    nearest images of that part have the image's label: over all, and by group."""
    values, labels = asked
    known = labels.known
    columns = {name: column[rows[known]] for name, column in task.groups.items()}
    grouped = [grouping for grouping in rates.groupings(config.groups, list(columns)) if grouping] if columns else []
    by = [rates.cells(grouping, columns, int(known.sum())) for grouping in grouped]
    texts = labels.texts()[known], train[1].texts()
    method = groups.method_of(config)
    out: list[metrics.Record] = []
    for k in config.neighbours:
        out += neighbours.same_attribute_precision(values[known], train[0], texts, k, by, method=method)
    return out


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
