"""What a probe works on: images, the design that they are asked with, and their labels in the design's order."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from clipjax import design as designs
from clipjax.analysis.paired_numbers import ASSOCIATION
from clipjax.analysis.run import CAPTION_RANK, FLIPS, IMAGE, QUESTION, RIGHT_BY_DRAW, RIGHT_ZERO_SHOT
from clipjax.classes import read_classes, read_texts
from clipjax.data import info as infos
from clipjax.data.labels import IMAGENET, WORDNET_ID, Labels, is_numbers
from clipjax.data.source import Source
from clipjax.design import Design
from clipjax.errors import InputError, some
from clipjax.probes.zeroshot import PROBABILITIES
from clipjax.progress import say
from clipjax.runs import data as opening
from clipjax.runs.config import Asked, WithProbabilities, words

# Of predictions.parquet.
RESULT_COLUMNS = (
    "file", IMAGE, QUESTION, "label", "prediction", "probability", "probabilities", "similarities", ASSOCIATION,
    CAPTION_RANK, RIGHT_BY_DRAW, RIGHT_ZERO_SHOT, FLIPS,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Task:
    """`labels` index `design.names`; None for a source without labels, or a design that is not a list of labels.

    groups: the columns [N] that accuracy is also given for, by name (`scoring.grouped`). group_weights: grouping ->
    group -> its share of a weighted average.
    """

    source: Source
    design: Design
    labels: Labels | None = None
    metric: str = "top1"
    groups: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    group_weights: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)


def select(task: Task, rows: np.ndarray) -> Task:
    """The task of these rows [M] alone."""
    labels = None if task.labels is None else task.labels.select(rows)
    groups = {name: values[rows] for name, values in task.groups.items()}
    return dataclasses.replace(task, source=task.source.select(rows), labels=labels, groups=groups)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Some rows of a task, with what `prepare` found in all of them: `of_rows` of a probe makes a task of these.

    labels: class names, object [N], "" without one; None where the source has none. groups: columns [N] by name.
    sides: the two groups that are compared, where any are.
    """

    source: Source
    design: Design
    labels: np.ndarray | None
    metric: str
    groups: dict[str, np.ndarray]
    sides: tuple[str, str] | None = None


def of_rows(config: Asked, rows: Rows) -> Task:
    """The task of these rows alone."""
    place = {name: i for i, name in enumerate(rows.design.names)} | {"": -1}
    labels = None
    if rows.labels is not None:
        labels = Labels(rows.design.names, np.array([place[name] for name in rows.labels]))
    return Task(rows.source, rows.design, labels, rows.metric, rows.groups)


def prepare(config: Asked) -> Task:
    """The images of a config, asked with its design or classes, else with the data set's own."""
    opened = opening.open_source(config.data)
    source = opened.source
    check_columns(source)
    asked = chosen(config.design, config.classes) or of_labels(opened)
    if asked is None:
        reads = "label_column" in opening.keys_of(config.data.source)
        column = ", or name the column of the labels: --config.data.label_column=NAME" if reads else ""
        raise InputError(f"{source.name} has no classes: give --config.classes=a,b,c{column}")
    if templates := templates_of(config.templates):
        asked = asked.ask(templates)
    labels = None if source.labels is None else source.labels.align(asked.names, source.name)
    if labels is not None and (without := int((~labels.known).sum())):
        say(f"note: {source.name}: {without} of {len(source)} images have no label; they are not scored")
    note_unnamed(asked)
    word = "" if source.change is None else source.change.word
    if word and word not in asked.names:
        raise InputError(f"data.perturb={config.data.perturb}: {word!r} is not a class of this design")
    return Task(source, asked, labels, opened.metric)


def chosen(named: str, listed: str) -> Design | None:
    """The design that a config names by its key `design`, or lists by `classes`; None where it does neither."""
    if named and listed:
        raise InputError("config.design and config.classes both name classes; keep one")
    if named:
        return designs.read_design(named)
    if not listed:
        return None
    names = words(listed) if listed[0] in "([" else read_classes(listed)
    return designs.of_classes(names, source="config.classes")


def of_labels(opened: opening.Opened) -> Design | None:
    """A data set's own classes and templates; None where nothing is labelled."""
    labels, stored = opened.source.labels, opened.design
    if labels is None:
        return stored if stored is not None and stored.classes else None
    if stored is not None and stored.names == labels.names:
        return stored
    known = {c.name: c for c in infos.design("imagenet").classes} if labels.source == IMAGENET else {}
    classes = tuple(known.get(name, designs.DesignClass(name)) for name in labels.names)
    templates = stored.templates if stored is not None else (designs.TEMPLATE,)
    source = labels.source or "the data set's own names"
    return Design(opened.source.name, classes, templates, source=source)


def note_unnamed(asked: Design) -> None:
    """Says before any compute that every class is a bare number or an identifier: a model knows neither."""
    texts = [text for prompts in asked.classes for text in prompts.texts if not prompts.asked]
    if texts and (is_numbers(texts) or all(map(WORDNET_ID.fullmatch, texts))):
        say(
            f"note: all classes are numbers or identifiers ({some(texts, 3)}), and the model is asked "
            f"{asked.prompts()[0][0]!r}; name them with --config.data.class_names=FILE (names by position, or "
            "OLD=NEW), unless that is meant"
        )


def templates_of(value: Any) -> tuple[str, ...]:
    """One template, several separated by |, or the lines of a file, each with one {}."""
    listed = read_texts(value, "templates") if isinstance(value, str) and value and "{}" not in value else None
    templates = words(value, "|") if listed is None else tuple(listed)
    for template in templates:
        if template.count("{}") != 1:
            place = re.sub(r"\{\w*\}", "{}", template)
            meant = f": {place!r}" if place.count("{}") == 1 else ""
            where = f"{value}: " if listed is not None else ""
            raise InputError(f"{where}template {template!r}: write {{}} once, where the class name goes{meant}")
    return templates


def check_probability(config: WithProbabilities) -> None:
    """InputError for a kind of probability that does not exist."""
    if config.probability not in ("", *PROBABILITIES):
        raise InputError(f"probability={config.probability!r}: choose {' or '.join(PROBABILITIES)}, or leave it empty")


def check_columns(source: Source) -> None:
    """InputError for a group column that is called as a column of predictions.parquet."""
    if taken := [name for name in source.columns if name in RESULT_COLUMNS]:
        raise InputError(
            f"{source.name}: a group column is called {taken[0]!r}, as a column of predictions.parquet is; rename it "
            "in the table, or leave it out of data.group_columns"
        )


def columns(source: Source, labels: Labels | None, rows: np.ndarray) -> dict[str, Any]:
    """Of predictions.parquet, for these rows: file, what it holds, label (its class name), and every group column."""
    table: dict[str, Any] = {"file": source.files[rows], IMAGE: source.short_digests[rows]}
    if labels is not None:
        table["label"] = labels.texts()[rows]
    return table | {name: values[rows] for name, values in source.columns.items()}
