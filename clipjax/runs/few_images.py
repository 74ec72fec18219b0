"""What the probes share that see k labelled images per class beside the texts of the classes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from clipjax.analysis import rates
from clipjax.analysis.manifest import Outcome
from clipjax.analysis.run import RIGHT_BY_DRAW, RIGHT_ZERO_SHOT
from clipjax.cache import Skipped
from clipjax.data.labels import Labels
from clipjax.errors import InputError
from clipjax.keys import key
from clipjax.probes import fewshot
from clipjax.probes.draws import Labelled, ZeroShot
from clipjax.probes.fewshot import By, Drawn
from clipjax.runs import groups, linear, parts
from clipjax.runs import task as tasks
from clipjax.runs.config import Groups, Level, Templates, Tested
from clipjax.runs.features import Features
from clipjax.runs.parts import Parts
from clipjax.runs.result import Result


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewImages(Tested, Templates, Level, Groups):
    """Of a probe that draws images of every class."""

    shots: tuple[int, ...] = key((1, 2, 4, 8, 16), "images per class")
    draws: int = key(3, "how often the images are drawn anew")

    @property
    def seeds(self) -> tuple[int, ...]:
        """One of every draw."""
        return tuple(range(self.seed, self.seed + self.draws))

    @property
    def interval(self) -> rates.Method:
        """Level and smallest group; InputError for a level that is not one."""
        return groups.checked_method("clopper-pearson", self.level, self.min_n, self.seed)


class Read(NamedTuple):
    """Features of the parts, labels and class weights in the order of `Ordered`, and what was read and skipped.

    digests [M, 32]: of the images to draw from; by: the groupings of the test images.
    """

    images: Labelled
    digests: np.ndarray
    by: By
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
    _ = config.interval
    split = parts.prepare(config, validation_split)
    templates = tasks.templates_of(config.templates)
    design = split.test.design.ask(templates) if templates else split.test.design
    tasks.note_unnamed(design)
    for task in filter(None, (split.train, split.validation, split.test)):
        if task.labels is not None and task.labels.several:
            raise InputError(f"{task.source.name}: few-shot needs one label per image, and some have several")
    columns = groups.asked(config, split.test.source)
    return dataclasses.replace(split, test=dataclasses.replace(split.test, design=design, groups=columns))


def groupings_of(features: Features, config: Groups, split: Parts, feature: str) -> By:
    """The groups of the labelled test images, as they were read."""
    rows = features.images(split.test.source, feature).rows
    assert split.test.labels is not None
    rows = rows[split.test.labels.known[rows]]
    columns = {name: values[rows] for name, values in split.test.groups.items()}
    listed = rates.groupings(config.groups, list(columns)) if columns else []
    return [(grouping, rates.cells(grouping, columns, len(rows))) for grouping in listed if grouping]


def read(features: Features, config: FewImages, split: Parts) -> Read:
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
        Labelled(train[order.rows], order.labels), digests[order.rows],
        groupings_of(features, config, split, "proj"), held, Labelled(test, order.known(truth.column)),
        ZeroShot(weights, features.engine.model.scale), order, skipped, seen,
    )  # fmt: skip


def result(
    config: FewImages, features: Features, split: Parts, read: Read, digests: np.ndarray, images: Labelled,
    drawn: Drawn, n_validation: int | None = None,
) -> Result:  # fmt: skip
    """What was `drawn` of these images, with these digests, as a run's result."""
    outcome = Outcome(
        feature="proj", shots=list(config.shots), draws=config.draws, train=split.train.source.fingerprint,
        n_validation=n_validation,
        drawn=drawn_images(digests, images.labels, config.shots, config.seeds, len(read.zero_shot.weights)),
    )  # fmt: skip
    test, rows = split.test, features.images(split.test.source).rows
    table = tasks.columns(test.source, test.labels, rows) | right_columns(drawn, test.labels, rows)
    return Result(drawn.records, table, read.skipped, test.design, outcome, read.seen)


def drawn_images(
    digests: np.ndarray, labels: np.ndarray, shots: Sequence[int], seeds: Sequence[int], classes: int
) -> list[str]:
    """Digests [M, 32] and labels [M] of the images to draw from -> for each number of shots a sha256 of those drawn."""
    each = [[digests[fewshot.draw(labels, k, seed, classes)].tobytes() for seed in seeds] for k in shots]
    return [hashlib.sha256(b"".join(mine)).hexdigest() for mine in each]


def right_columns(drawn: Drawn, labels: Labels | None, rows: np.ndarray) -> dict[str, Any]:
    """Of predictions.parquet, for these rows of the test part: whether each draw has the image right, by shots, then
    seed; False where it has no label."""
    assert labels is not None
    known = labels.known[rows]
    right = np.zeros((len(rows), drawn.right.shape[0] * drawn.right.shape[1]), bool)
    right[known] = drawn.right.reshape(-1, drawn.right.shape[2]).T
    if drawn.zero_shot is None:
        return {RIGHT_BY_DRAW: right}
    without = np.zeros(len(rows), bool)
    without[known] = drawn.zero_shot
    return {RIGHT_BY_DRAW: right, RIGHT_ZERO_SHOT: without}
