"""The paper's linear probe on cached features (CLIP paper, appendix A.3)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from clipjax import parallel
from clipjax.errors import InputError
from clipjax.probes import linear, metrics
from clipjax.runs import sources
from clipjax.runs.job import Job
from clipjax.runs.result import Result, picture_columns
from clipjax.runs.zeroshot import labels_of


@dataclasses.dataclass(frozen=True)
class Parts:
    """Training, validation (may be None: then a seeded share of the training part) and test."""

    train: sources.Task
    validation: sources.Task | None
    test: sources.Task

    @property
    def source(self):
        """The data set that predictions are about."""
        return self.test.source


def load(config: Any) -> Parts:
    """Three splits of one data set, with the same classes in the same order."""
    train = sources.load(config, config.train_split)
    validation = sources.load(config, config.validation_split) if config.validation_split else None
    test = sources.load(config, config.data.split or config.test_split)
    for part in (train, validation, test):
        if part is not None and "label" not in part.source.table:
            raise InputError(f"{part.source.name}: a linear probe needs one label per picture")
        if part is not None and part.classes != train.classes:
            raise InputError(
                f"{part.source.name}: its classes are not those of {train.source.name}; give --config.classes"
            )
    if train.source.fingerprint == test.source.fingerprint:
        raise InputError(
            f"{test.source.name}: training and test part are the same pictures; set train_split and data.split"
        )
    return Parts(train, validation, test)


def run(job: Job, parts: Parts) -> Result:
    """Sweeps the regularisation, refits on training and validation, predicts the test part."""
    config = job.config
    encoded = {
        name: job.image_features(task.source, config.feature)
        for name, task in (("train", parts.train), ("validation", parts.validation), ("test", parts.test))
        if task is not None
    }
    labels = {name: labels_of(getattr(parts, name))[e.rows] for name, e in encoded.items()}
    extra: dict[str, Any] = {"feature": config.feature, "n_train": len(labels["train"])}
    classes = len(parts.train.classes)
    mesh = parallel.data_mesh(jax.local_devices())  # every host has all features and comes to the same answer
    if config.C > 0:
        x, y = _joined(encoded, labels)
        weights, bias = linear.fit(x, y, config.C, config.max_iter, classes=classes, mesh=mesh)
        extra["C"] = config.C
    else:
        held = (encoded["validation"].values, labels["validation"]) if "validation" in encoded else None
        found = linear.sweep(
            encoded["train"].values, labels["train"], held, classes=classes, seed=config.seed,
            max_iter=config.max_iter, mesh=mesh,
        )  # fmt: skip
        weights, bias = found.weights, found.bias
        extra |= {"C": found.C, "path": found.records}
    test = encoded["test"]
    scores = linear.scores(test.values, weights, bias)
    best = scores.argmax(1)
    columns = picture_columns(parts.test, test.rows) | {"prediction": np.array(parts.test.classes, object)[best]}
    records = [metrics.top_k(scores, labels["test"], k) for k in (1, 5) if k == 1 or classes > 5]
    records.append(metrics.mean_per_class(scores, labels["test"], seed=config.seed))
    skipped = [s for e in encoded.values() for s in e.skipped]
    design = {"classes": list(parts.test.classes)}
    return Result(records, columns, skipped, design, extra, seen=sum(len(e.rows) for e in encoded.values()))


def _joined(encoded, labels) -> tuple[np.ndarray, np.ndarray]:
    names = [n for n in ("train", "validation") if n in encoded]
    return np.concatenate([encoded[n].values for n in names]), np.concatenate([labels[n] for n in names])
