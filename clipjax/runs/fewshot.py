"""Few-shot linear probes on cached features: k images per class, several draws."""

from __future__ import annotations

import dataclasses

import jax

from clipjax import parallel
from clipjax.analysis import rates
from clipjax.analysis.manifest import Outcome
from clipjax.errors import InputError
from clipjax.keys import key
from clipjax.probes import fewshot
from clipjax.runs import few_images, groups, linear, parts
from clipjax.runs import task as tasks
from clipjax.runs.config import FittedAndTested, Groups, Level
from clipjax.runs.features import Features
from clipjax.runs.parts import Parts
from clipjax.runs.result import Result

UNREAD = ("caption_columns",)  # `data.` keys that change nothing here


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FittedAndTested, Level, Groups):
    """What is read."""

    shots: tuple[int, ...] = key((1, 2, 4, 8, 16), "images per class")
    draws: int = key(3, "how often the images are drawn anew")
    C: float = key(0.316, "inverse regularisation; OpenAI's README")


def prepare(config: Config) -> Parts:
    """The training and the test part, and the groups of the test part; nothing is swept, C is config.C."""
    _method(config)
    split = parts.prepare(config)
    for task in (split.train, split.test):
        if task.labels is not None and task.labels.several:
            raise InputError(f"{task.source.name}: few-shot needs one label per image, and some have several")
    columns = groups.asked(config, split.test.source)
    return dataclasses.replace(split, test=dataclasses.replace(split.test, groups=columns))


def run(config: Config, features: Features, split: Parts) -> Result:
    """Top-1 on the test part for every number of shots, mean and spread over draws, and by group."""
    (train, labels, digests), skipped, seen = linear.fitted(features, split.train, config.feature)
    (test, truth, _), more, n = linear.fitted(features, split.test, config.feature)
    order, encoded = parts.ordered(digests, labels), features.images(split.test.source, config.feature)
    seeds, classes = tuple(range(config.seed, config.seed + config.draws)), len(labels.names)
    drawn = fewshot.evaluate(
        train[order.rows], order.labels, test, order.known(truth.column), config.shots, seeds=seeds, C=config.C,
        classes=classes, max_iter=config.max_iter, mesh=parallel.data_mesh(jax.local_devices()),
        method=_method(config), by=few_images.groupings_of(features, config, split, config.feature),
    )  # fmt: skip
    outcome = Outcome(
        feature=config.feature, shots=list(config.shots), draws=config.draws, C=config.C,
        train=split.train.source.fingerprint,
        drawn=few_images.drawn_images(digests[order.rows], order.labels, config.shots, seeds, classes),
    )  # fmt: skip
    table = tasks.columns(split.test.source, split.test.labels, encoded.rows)
    table |= few_images.right_columns(drawn, split.test.labels, encoded.rows)
    return Result(drawn.records, table, skipped + more, split.test.design, outcome, seen + n)


def _method(config: Config) -> rates.Method:
    return groups.checked_method("clopper-pearson", config.level, config.min_n, config.seed)
