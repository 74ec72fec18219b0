"""Attributes: how well race, gender and age, as annotators perceived them, are recognised, and for whom.

The figures of OpenAI's model card ("accuracy >96% across all races for gender ..., ~93% for racial classification and
~63% for age") are linear probes, and race is White against Non-White (CLIP paper, section 7.1, Tables 3 to 5). Accuracy
over all classes, the binary reading and recall per class are three statistics; each record says which it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from clipjax import design
from clipjax.analysis import intervals, rates
from clipjax.analysis.manifest import Outcome
from clipjax.analysis.records import Record
from clipjax.analysis.run import CLASSIFIERS, prediction_column
from clipjax.data import labels as labelling
from clipjax.data.labels import Labels
from clipjax.data.source import Source
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.keys import key
from clipjax.probes import linear as fitting
from clipjax.probes import zeroshot
from clipjax.runs import data as opening
from clipjax.runs import groups, linear, parts
from clipjax.runs import task as tasks
from clipjax.runs.config import Fitted, Grouped, words
from clipjax.runs.features import Features
from clipjax.runs.result import Result
from clipjax.runs.task import Task

UNREAD = ("caption_columns",)  # `data.` keys that change nothing here


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Fitted, Grouped):
    """What is read."""

    attributes: str = key(
        "race=fairface-race,gender=fairface-gender,age=fairface-age", "COLUMN=DESIGN, several by commas"
    )
    binary: str = key("race=White", "COLUMN=VALUE read against all others; the paper's reading of race, footnote 7")
    classifier: str = key("zero-shot,linear", "either or both")


@dataclasses.dataclass(frozen=True)
class AttributesTask:
    """`designs[column]`: the classes of one attribute; `labels[column]` are in their order. `train` only for linear."""

    source: Source
    designs: dict[str, Design]
    labels: dict[str, Labels]
    columns: dict[str, np.ndarray]
    grouped: list[tuple[str, ...]]
    train: Source | None

    @property
    def design(self) -> Design:
        """All questions as one."""
        return design.joined(self.designs)


def prepare(config: Config) -> AttributesTask:
    """The images with their attributes, and for a linear probe a training part."""
    chosen = words(config.classifier)
    if not chosen or not set(chosen) <= set(CLASSIFIERS):
        raise InputError(f"classifier={config.classifier!r} is none of {', '.join(CLASSIFIERS)}")
    named = _pairs(config.attributes)
    if not named or not all(named.values()):
        raise InputError(f"attributes={config.attributes!r} is not COLUMN=DESIGN,... as race=fairface-race")
    asked = {column: design.read_design(name) for column, name in named.items()}
    _binary(config, asked)
    groups.method_of(config)
    source = opening.open_source(config.data).source
    tasks.check_columns(source)
    columns = groups.columns(source, config.data.group_columns, config.bands)
    labels = {column: labels_of(source, column, d) for column, d in asked.items()}
    train = opening.open_part(config.data, "train", config.train_split).source if "linear" in chosen else None
    if train is not None:
        for column, d in asked.items():
            labels_of(train, column, d)
        parts.check_different(train, source)
    return AttributesTask(source, asked, labels, columns, rates.groupings(config.groups, list(columns)), train)


def labels_of(source: Source, column: str, asked: Design) -> Labels:
    """The class of every image by its value in `column`; the design's attribute of that name says which is which."""
    if column not in source.columns:
        raise InputError(f"{source.name} has no column {column!r}; name it in data.group_columns")
    values = [None if value is None else str(value) for value in asked.attribute(column)]
    if None in values:
        raise InputError(f"design {asked.name}: class {asked.names[values.index(None)]!r} does not say its {column}")
    known = [value for value in values if value is not None]
    return labelling.read(source.columns[column], f"{source.name}, {column}").align(known, source.name)


def run(config: Config, features: Features, task: AttributesTask) -> Result:
    """Predictions of every attribute by every classifier, and how often they are right by group."""
    chosen = words(config.classifier)
    predicted: dict[tuple[str, str], np.ndarray] = {}
    outcome = Outcome()
    encoded = features.images(task.source, "proj" if "zero-shot" in chosen else config.feature)
    if "zero-shot" in chosen:
        weights = zeroshot.class_weights(features.texts, list(task.designs.values()))
        for column, w in zip(task.designs, weights, strict=True):
            predicted[column, "zero-shot"] = features.probabilities(encoded.values, w, "softmax").argmax(1)
    if "linear" in chosen:
        from_linear, outcome = _linear(config, features, task)
        predicted |= from_linear
    rows = encoded.rows
    columns = {name: values[rows] for name, values in task.columns.items()}
    method, binary = groups.method_of(config), _binary(config, task.designs)
    records, table = [], tasks.columns(task.source, task.source.labels, rows) | columns
    for (column, classifier), prediction in predicted.items():
        asked, label = task.designs[column], task.labels[column].column[rows]
        records += attribute_records(
            column, classifier, prediction, label, asked, columns, task.grouped, method, binary.get(column)
        )
        table[prediction_column(column, classifier)] = np.array(asked.attribute(column), object)[prediction]
    return Result(records, table, encoded.skipped, task.design, outcome)


def attribute_records(
    attribute: str,
    classifier: str,
    prediction: np.ndarray,
    label: np.ndarray,
    asked: Design,
    columns: rates.Columns,
    grouped: Sequence[Sequence[str]],
    method: rates.Method,
    positive: str | None,
) -> list[Record]:
    """top1 over all classes by group, its unweighted mean over each column's groups, recall per class, and the
    binary reading: the likeliest of all classes, then `positive` against every other."""
    values = np.array(asked.attribute(attribute), object)
    known = label >= 0
    prediction, label, columns = prediction[known], label[known], {name: v[known] for name, v in columns.items()}
    right = prediction == label
    readings = {f"{len(values)}-way": right}
    if positive is not None:
        chosen = values.tolist().index(positive)
        readings[f"binary {positive}/Non-{positive}"] = (prediction == chosen) == (label == chosen)
    out = []
    for reading, hits in readings.items():
        for grouping in grouped:
            cells = rates.cells(grouping, columns, len(hits))
            inside = cells.of >= 0
            n = np.bincount(cells.of[inside], minlength=len(cells.groups))
            k = np.bincount(cells.of[inside], hits[inside], minlength=len(cells.groups)).astype(np.int64)
            for g, group in enumerate(cells.groups):
                (number,) = rates.numbers("top1", k[g], n[g], method)
                out.append(replace(number, reading=reading, group=group))
            if len(grouping) == 1 and len(n) > 1:
                out.append(_mean(reading, grouping[0], k, n, method))
    for c, value in enumerate(values):
        n = int((label == c).sum())
        if n:
            k = int((right & (label == c)).sum())
            (number,) = rates.numbers("recall", k, n, method)
            out.append(replace(number, class_=value, group={}))
    return [replace(record, attribute=attribute, classifier=classifier) for record in out]


def _mean(reading: str, over: str, k: np.ndarray, n: np.ndarray, method: rates.Method) -> Record:
    """The paper's column "Average": groups weigh the same whatever their size."""
    order = np.lexsort((k, n))  # what the groups are called decides nothing
    k, n = k[order], n[order]
    shares = k / n
    drawn = np.random.default_rng(method.seed).binomial(n, shares, (intervals.RESAMPLES, len(n))) / n
    low, high = intervals.percentile(drawn.mean(1), method.level)
    return Record(
        metric="top1_mean_of_groups", reading=reading, over=over, groups=len(n), group={}, n=int(n.sum()),
        value=float(shares.mean()), low=low, high=high, level=method.level, method="bootstrap within groups",
    )  # fmt: skip


def _linear(
    config: Config, features: Features, task: AttributesTask
) -> tuple[dict[tuple[str, str], np.ndarray], Outcome]:
    """One logistic regression per attribute (CLIP paper, A.3): classes [N] of every attribute, and how it went."""
    assert task.train is not None
    test, n = features.images(task.source, config.feature), 0
    predicted, chosen = {}, {}
    for column, asked in task.designs.items():
        part = Task(task.train, asked, labels_of(task.train, column, asked))
        train, _, n = linear.fitted(features, part, config.feature)
        w, b, chosen[column], _ = linear.fit(config, train, None)
        predicted[column, "linear"] = fitting.scores(test.values, w, b).argmax(1)
    return predicted, Outcome(feature=config.feature, C=chosen, n_train=n, train=task.train.fingerprint)


def _pairs(text: str) -> dict[str, str]:
    """ "race=White,age=3-9" -> {"race": "White", "age": "3-9"}"""
    return {key: value for key, _, value in (part.partition("=") for part in words(text))}


def _binary(config: Config, asked: dict[str, Design]) -> dict[str, str]:
    """The value of each attribute that is read against all others, {"race": "White"}, checked against its design."""
    positive = _pairs(config.binary)
    for column, value in positive.items():
        if column not in asked or value not in asked[column].attribute(column):
            raise InputError(f"binary={config.binary!r}: {value!r} is not a class of the attribute {column!r}")
    return positive
