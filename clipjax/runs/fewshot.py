"""Few-shot linear probes on cached features: k pictures per class, several draws."""

from __future__ import annotations

from typing import Any

import jax

from clipjax import parallel
from clipjax.probes import fewshot
from clipjax.runs import linear
from clipjax.runs.job import Job
from clipjax.runs.result import Result, picture_columns
from clipjax.runs.zeroshot import labels_of


def load(config: Any) -> linear.Parts:
    """The parts of a linear probe; without a validation part nothing is swept, C is config.C."""
    return linear.load(config)


def run(job: Job, parts: linear.Parts) -> Result:
    """Top-1 on the test part for every number of shots, mean and spread over draws."""
    config = job.config
    train, test = (job.image_features(part.source, config.feature) for part in (parts.train, parts.test))
    records = fewshot.evaluate(
        train.values, labels_of(parts.train)[train.rows], test.values, labels_of(parts.test)[test.rows],
        tuple(config.shots), seeds=tuple(range(config.seed, config.seed + config.draws)), C=config.C,
        classes=len(parts.train.classes), max_iter=config.max_iter, mesh=parallel.data_mesh(jax.local_devices()),
    )  # fmt: skip
    design = {"classes": list(parts.test.classes), "shots": list(config.shots), "draws": config.draws, "C": config.C}
    seen = len(train.rows) + len(test.rows)
    columns = picture_columns(parts.test, test.rows)
    return Result(records, columns, train.skipped + test.skipped, design, {"feature": config.feature}, seen)
