"""Tip-Adapter on cached features: k images per class beside the texts of the classes, several draws."""

from __future__ import annotations

import dataclasses

import numpy as np

from clipjax.errors import InputError
from clipjax.keys import inside, key
from clipjax.probes import linear, tip_adapter
from clipjax.probes.draws import Labelled
from clipjax.runs import few_images
from clipjax.runs.config import Validated
from clipjax.runs.features import Features
from clipjax.runs.few_images import FewImages
from clipjax.runs.parts import Parts
from clipjax.runs.result import Result

UNREAD = ("caption_columns",)  # `data.` keys that change nothing here
HELD_OUT = 0.2  # of the training part, if no validation part is named


@dataclasses.dataclass(frozen=True)
class Training:
    """Of the keys of the cache (Tip-Adapter-F)."""

    epochs: int = key(0, "of learning the cache's keys with AdamW (published: 20); 0: training-free")
    learning_rate: float = key(1e-3, "of AdamW at the first step, falling to 0 along a cosine")
    batch_size: int = key(256, "images of the cache per step")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Validated, FewImages):
    """What is read."""

    training: Training = inside(Training)


def prepare(config: Config) -> Parts:
    """Training, validation and test part; refuses what cannot be learned, or is set and not read."""
    chosen = config.training
    if chosen.epochs < 0 or chosen.batch_size < 1 or not chosen.learning_rate > 0:
        raise InputError(
            f"training.epochs={chosen.epochs}, batch_size={chosen.batch_size}, learning_rate={chosen.learning_rate:g}: "
            "epochs are 0 or more, the others above 0"
        )
    for name, default in vars(Training()).items():
        if not chosen.epochs and (value := getattr(chosen, name)) != default:
            raise InputError(f"training.{name}={value} is read where keys are learned: set training.epochs=20 too")
    return few_images.prepare(config, config.validation_split)


def run(config: Config, features: Features, split: Parts) -> Result:
    """Top-1 on the test part for every number of shots and its gain over zero-shot, mean and spread over draws."""
    read = few_images.read(features, config, split)
    images, held, digests = read.images, read.held, read.digests
    if held is None:
        rows = linear.hold_out(images.labels, HELD_OUT, config.seed)
        held = Labelled(images.features[rows], images.labels[rows])
        images = Labelled(np.delete(images.features, rows, axis=0), np.delete(images.labels, rows))
        digests = np.delete(digests, rows, axis=0)
    drawn = tip_adapter.evaluate(
        images, held, read.test, read.zero_shot, config.shots, seeds=config.seeds, epochs=config.training.epochs,
        learning_rate=config.training.learning_rate, batch_size=config.training.batch_size, by=read.by,
        method=config.interval,
    )  # fmt: skip
    return few_images.result(config, features, split, read, digests, images, drawn, len(held.labels))
