"""The parts of a probe that is fitted: training, validation and test, with one list of classes."""

from __future__ import annotations

import dataclasses

import numpy as np

from clipjax import design as designs
from clipjax.data.contents import UNREADABLE
from clipjax.data.labels import Labels, is_numbers
from clipjax.data.source import Source
from clipjax.design import Design
from clipjax.errors import InputError, some
from clipjax.progress import say
from clipjax.runs import data as opening
from clipjax.runs import task as tasks
from clipjax.runs.config import Tested
from clipjax.runs.task import Task


@dataclasses.dataclass(frozen=True)
class Parts:
    """Training, validation (may be None: then a seeded share of the training part) and test."""

    train: Task
    validation: Task | None
    test: Task

    @property
    def source(self) -> Source:
        """The data set that predictions are about."""
        return self.test.source


def prepare(config: Tested, validation_split: str = "") -> Parts:
    """Parts of one data set by split, or by a path each; their labels index one list of classes, by name."""
    opened = {"train": opening.open_part(config.data, "train", config.train_split)}
    if validation_split or getattr(config.data, "validation_path", ""):
        opened["validation"] = opening.open_part(config.data, "validation", validation_split)
    opened["test"] = opening.open_part(config.data, "test", config.data.given.get("split") or config.test_split)
    for part in opened.values():
        if part.source.labels is None:
            raise InputError(
                f"{part.source.name}: the probe {config.probe} needs labels; name them: --config.data.label_column=NAME"
            )
    tasks.check_columns(opened["test"].source)
    asked = tasks.chosen("", config.classes) or _together(opened)
    parts = {
        name: Task(part.source, asked, _labels(part.source).align(asked.names, f"{part.source.name}, {name} part"))
        for name, part in opened.items()
    }
    for name in [name for name in parts if name != "test"]:
        check_different(parts[name].source, parts["test"].source, name)
    return Parts(parts["train"], parts.get("validation"), parts["test"])


@dataclasses.dataclass(frozen=True, eq=False)
class Ordered:
    """Training rows and classes in an order that only the images decide.

    What is drawn at random and how sums are rounded then depend neither on the order of rows and classes, nor on what
    they are called, nor on what the images lie in. rows [N]: the order of the rows; classes [C]: the class at each
    place of the new order; labels: those of the ordered rows, int [N] in the new order (or bool [N, C]).
    """

    rows: np.ndarray
    classes: np.ndarray
    labels: np.ndarray

    def restore(self, weights: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights [C, D] and bias [C] of the new order of classes, in the order of the design."""
        place = np.argsort(self.classes)
        return weights[place], bias[place]

    def known(self, labels: np.ndarray) -> np.ndarray:
        """Labels of the design's order in the new order."""
        return labels[:, self.classes] if labels.ndim == 2 else np.argsort(self.classes)[labels]


def ordered(digests: np.ndarray, labels: Labels) -> Ordered:
    """Classes by their images and rows by their image, both by digests, uint8 [N, 32]; of equal images by class."""
    _, image = np.unique(digests, axis=0, return_inverse=True)
    image, column, count = image.ravel(), labels.column, len(labels.names)

    def of_class(c: int) -> bytes:
        members = column[:, c] if column.ndim == 2 else column == c
        return np.sort(image[members]).astype(">i8").tobytes()

    classes = np.array(sorted(range(count), key=lambda c: (not (held := of_class(c)), held, labels.names[c])), np.int64)
    order = Ordered(np.arange(len(image)), classes, column)
    known = order.known(column)
    rows = np.lexsort((*known.T[::-1], image)) if known.ndim == 2 else np.lexsort((known, image))
    return Ordered(rows, classes, known[rows])


def check_different(fitted: Source, test: Source, part: str = "train") -> None:
    """InputError where every test image is in this part, which is fitted to, by its bytes; a note where some are."""
    seen = set(fitted.short_digests) - {UNREADABLE[:8].hex()}
    both = [file for file, digest in zip(test.files, test.short_digests, strict=True) if digest in seen]
    if len(test) and len(both) == len(test):
        raise InputError(
            f"{test.name}: every test image is in the {part} part; name two splits (--config.{part}_split, "
            f"--config.test_split) or two paths (--config.data.{part}_path, --config.data.test_path)"
        )
    if both:
        say(f"note: {test.name}: {len(both)} of {len(test)} test images are in the {part} part too; first: {both[0]}")


def _labels(source: Source) -> Labels:
    assert source.labels is not None
    return source.labels


def _together(opened: dict[str, opening.Opened]) -> Design:
    """The classes of all parts: the training part's, then those that only another part has."""
    train = opened["train"]
    names = dict.fromkeys(name for part in opened.values() for name in _labels(part.source).names)
    own = tasks.of_labels(train)
    assert own is not None
    if set(names) == set(own.names):
        return own
    more = [name for name in names if name not in own.names]
    say(f"note: {some(more, 3)} not in the training part; never predicted, and scored as such")
    every = sorted(names, key=int) if is_numbers(tuple(names)) else sorted(names)
    return designs.of_classes(every, own.templates, own.name, own.source)
