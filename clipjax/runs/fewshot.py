"""Few-shot linear probes on cached features: k images per class, several draws."""

from __future__ import annotations

import jax
from ml_collections import ConfigDict

from clipjax import parallel
from clipjax.analysis.manifest import Outcome
from clipjax.errors import InputError
from clipjax.keys import Key
from clipjax.probes import fewshot
from clipjax.runs import linear, parts
from clipjax.runs.config import shared
from clipjax.runs.features import Features
from clipjax.runs.parts import Parts
from clipjax.runs.result import Result
from clipjax.runs.task import columns

KEYS = (
    {name: key for name, key in parts.KEYS.items() if "validation" not in name}
    | shared("classes")
    | {
        "shots": Key((1, 2, 4, 8, 16), "images per class"),
        "draws": Key(3, "how often the images are drawn anew"),
        "C": Key(0.316, "inverse regularisation; OpenAI's README"),
    }
)
UNREAD = ("caption_columns",)  # `data.` keys that change nothing here


def prepare(config: ConfigDict) -> Parts:
    """The training and the test part; nothing is swept, C is config.C."""
    found = parts.prepare(config)
    for task in (found.train, found.test):
        if task.labels is not None and task.labels.several:
            raise InputError(f"{task.source.name}: few-shot needs one label per image, and some have several")
    return found


def run(features: Features, found: Parts) -> Result:
    """Top-1 on the test part for every number of shots, mean and spread over draws."""
    config = features.config
    (train, labels, digests), skipped, seen = linear.fitted(features, found.train)
    (test, truth, _), more, n = linear.fitted(features, found.test)
    order = parts.ordered(digests, labels)
    records = fewshot.evaluate(
        train[order.rows], order.labels, test, order.known(truth.column), tuple(config.shots),
        seeds=tuple(range(config.seed, config.seed + config.draws)), C=config.C, classes=len(labels.names),
        max_iter=config.max_iter, mesh=parallel.data_mesh(jax.local_devices()),
    )  # fmt: skip
    outcome = Outcome(
        feature=config.feature, shots=list(config.shots), draws=config.draws, C=config.C,
        train=found.train.source.fingerprint,
    )  # fmt: skip
    encoded = features.images(found.test.source, config.feature)
    table = columns(found.test.source, found.test.labels, encoded.rows)
    return Result(records, table, skipped + more, found.test.design, outcome, seen + n)
