"""What the probes share that see k labelled images per class beside the texts of the classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from clipjax.analysis.manifest import Outcome
from clipjax.analysis.records import Record
from clipjax.cache import Skipped
from clipjax.errors import InputError
from clipjax.keys import key
from clipjax.probes.draws import Labelled, ZeroShot
from clipjax.runs import linear, parts
from clipjax.runs import task as tasks
from clipjax.runs.config import Templates, Tested
from clipjax.runs.features import Features
from clipjax.runs.parts import Parts
from clipjax.runs.result import Result


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewImages(Tested, Templates):
    """Of a probe that draws images of every class."""

    shots: tuple[int, ...] = key((1, 2, 4, 8, 16), "images per class")
    draws: int = key(3, "how often the images are drawn anew")

    @property
    def seeds(self) -> tuple[int, ...]:
        """One of every draw."""
        return tuple(range(self.seed, self.seed + self.draws))


class Read(NamedTuple):
    """Features of the parts, labels and class weights in the order of `Ordered`, and what was read and skipped."""

    images: Labelled
    held: Labelled | None
    test: Labelled
    zero_shot: ZeroShot
    order: parts.Ordered
    skipped: Skipped
    seen: int


def prepare(config: FewImages, validation_split: str = "") -> Parts:
    """The parts, asked with the templates of the config or else of the data set."""
    if config.draws < 2 or min(config.shots, default=0) < 1 or len(set(config.shots)) < len(config.shots):
        raise InputError(
            f"draws={config.draws}, shots={config.shots}: a spread needs two draws or more, and shots are different "
            "numbers above 0"
        )
    split = parts.prepare(config, validation_split)
    templates = tasks.templates_of(config.templates)
    design = split.test.design.ask(templates) if templates else split.test.design
    tasks.note_unnamed(design)
    for task in filter(None, (split.train, split.validation, split.test)):
        if task.labels is not None and task.labels.several:
            raise InputError(f"{task.source.name}: few-shot needs one label per image, and some have several")
    return dataclasses.replace(split, test=dataclasses.replace(split.test, design=design))


def read(features: Features, split: Parts) -> Read:
    """Everything that is compared: image features after the projection, and the texts of the classes."""
    (train, labels, digests), skipped, seen = linear.fitted(features, split.train, "proj")
    (test, truth, _), more, n = linear.fitted(features, split.test, "proj")
    skipped, seen, held = skipped + more, seen + n, None
    order = parts.ordered(digests, labels)
    if split.validation is not None:
        (values, known, _), more, n = linear.fitted(features, split.validation, "proj")
        skipped, seen, held = skipped + more, seen + n, Labelled(values, order.known(known.column))
    weights = features.class_weights(split.test.design)[order.classes]
    return Read(
        Labelled(train[order.rows], order.labels), held, Labelled(test, order.known(truth.column)),
        ZeroShot(weights, features.engine.model.scale), order, skipped, seen,
    )  # fmt: skip


def result(
    config: FewImages, features: Features, split: Parts, found: Read, records: Sequence[Record],
    n_validation: int | None = None,
) -> Result:  # fmt: skip
    """The records of `draws.compared` as a run's result."""
    outcome = Outcome(
        feature="proj", shots=list(config.shots), draws=config.draws, train=split.train.source.fingerprint,
        n_validation=n_validation,
    )  # fmt: skip
    test = split.test
    table = tasks.columns(test.source, test.labels, features.images(test.source).rows)
    return Result(list(records), table, found.skipped, test.design, outcome, found.seen)
