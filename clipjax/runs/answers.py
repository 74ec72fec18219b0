"""Answers that were computed elsewhere: one class, probabilities or a list of labels per image, from arrays or a table.

Everything is checked here: after `of_arrays` or `read`, answers are of the design's classes and in its order.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from clipjax.analysis.manifest import SkippedFile
from clipjax.analysis.run import IMAGE
from clipjax.data import labels as labels_of
from clipjax.data import tables
from clipjax.data.kinds.shared import group_texts
from clipjax.data.labels import Labels
from clipjax.data.source import Source, as_text, digest
from clipjax.data.tables import Column
from clipjax.design import Design
from clipjax.errors import InputError, brief, nearest, some
from clipjax.probes import zeroshot
from clipjax.runs.feature_files import Given

# bfloat16 rounds each probability by up to 2^-9 of it, and so their sum by up to 0.002; four decimals of 100 classes
# make up to 0.005. Percentages, logits and answers per label are far outside.
SUM_TOLERANCE = 5e-3
PREDICTION, PROBABILITIES, LABELS = "prediction", "probabilities", "labels"  # columns of a table of answers

Label = str | Sequence[Any] | Mapping[str, Any]  # a name, (name, score), or {"name": ..., "score": ...}


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What was answered about N images, in the design's classes.

    source: names (or ids) of the images, their groups, and their true labels, aligned with the design; no pixels.
    predicted: int64 [N], the class of each image; None for lists of labels.
    scores: float32 [N, C], 0 to 1; None where only a class is known.
    names_only: the lists of labels came without scores, so each score is 0 or 1.
    contents: the first 16 hexadecimal digits of the sha256 of each image's bytes, object [N]; None where not known.
    probability: what the scores are: "softmax", over all classes (they sum to 1); "sigmoid", of each by itself; ""
        where it is not known.
    scale, bias, skipped, features: of answers that features gave, the factor of the cosine, the logit bias, the images
        without features, and the features themselves, image by image.
    """

    source: Source
    design: Design
    predicted: np.ndarray | None
    scores: np.ndarray | None
    names_only: bool = False
    contents: np.ndarray | None = None
    probability: str = ""
    scale: float = 1.0
    bias: float | None = None
    skipped: Sequence[SkippedFile] = ()
    features: Given | None = None

    @property
    def sha256(self) -> str:
        """Of all of it: what a finished run is of."""
        known = [self.source.files, *self.source.columns.values(), self.contents]
        labels = [] if self.source.labels is None else [self.source.labels.texts()]
        texts = [text for column in (*known, *labels) if column is not None for text in column]
        numbers = [values.tobytes() for values in (self.predicted, self.scores) if values is not None]
        return digest([self.design.sha256, *self.source.columns, *texts, *numbers])

    def refuse(self, row: int, problem: str) -> NoReturn:
        """InputError about one row."""
        raise InputError(f"{self.source.name} row {row} ({brief(self.source.files[row])}): {problem}")

    def check_sums(self) -> None:
        """InputError where the probabilities of an image do not sum to 1, unless they are of each class by itself."""
        if self.scores is None or self.probability == "sigmoid":
            return
        if len(wrong := _not_of_all_classes(self.scores)):
            total = self.scores[wrong[0]].sum(dtype=np.float64)
            self.refuse(
                int(wrong[0]),
                f"the {self.scores.shape[1]} probabilities sum to {total:.6g}, not to 1 (within {SUM_TOLERANCE:g}), "
                f"and so in {len(wrong)} of {len(self.scores)} rows; divide each row by its sum, give only the class "
                "as `prediction`, count labels by thresholds (--probe=labels), or say that each class has its own "
                "probability (--probability=sigmoid)",
            )


def _not_of_all_classes(scores: np.ndarray) -> np.ndarray:
    """Rows of scores [N, C] that do not sum to 1, within SUM_TOLERANCE."""
    return np.flatnonzero(abs(scores.sum(1, dtype=np.float64) - 1) > SUM_TOLERANCE)


def of_arrays(
    files: Sequence[str] | np.ndarray, design: Design, *, prediction: Sequence[str] | np.ndarray | None = None,
    probabilities: Any = None, labels: Sequence[Sequence[Label]] | None = None,
    groups: Mapping[str, Sequence[str] | np.ndarray] | None = None, truth: Labels | None = None,
    contents: Sequence[str] | np.ndarray | None = None, probability: str = "", name: str = "answers",
) -> Answers:  # fmt: skip
    """Answers about the images `files` [N]: `prediction` (names [N]), `probabilities` ([N, C]), both, or `labels`.

    labels: per image a list of names, or of (name, score). groups: columns [N]. truth: the labels of annotators, under
    the names of the design. contents: see `Answers`. probability: what the probabilities are ("softmax" or "sigmoid");
    by default softmax where they sum to 1. name: what messages and the manifest call the answers.

    Raises:
        InputError: one line that names the row, the value and the remedy.
    """
    names = as_text(files)
    if not len(names):
        raise InputError(f"{name} has no rows; every image needs one")
    if missing := [row for row, text in enumerate(names) if not text]:
        raise InputError(f"{name} row {missing[0]} does not say which image it is; fill in its file name or id")
    aligned = None if truth is None else _aligned(truth, names, design, name)
    found = Answers(
        Source(name, names, _no_image, aligned, columns=groups or {}, contents=_digests(names)), design, None, None
    )
    known = None if contents is None else _contents(found, contents)
    if probability not in ("", *zeroshot.PROBABILITIES):
        raise InputError(f"probability={probability!r}: choose {' or '.join(zeroshot.PROBABILITIES)}")
    if probability and probabilities is None:
        raise InputError(f"{name}: has no probabilities, which probability={probability} is about; leave it out")
    if labels is not None:
        scores, names_only = _of_labels(found, labels)
        return dataclasses.replace(found, scores=scores, names_only=names_only, contents=known)
    scores = None if probabilities is None else _checked(found, np.asarray(probabilities))
    predicted = None if prediction is None else _classes(found, prediction)
    if predicted is None:
        if scores is None:
            raise InputError(f"{name}: gives no answers; give prediction, probabilities or labels")
        predicted = scores.argmax(1)  # the first of equals, as every probe
    elif scores is not None:
        _check_likeliest(found, predicted, scores)
    if not probability and scores is not None and not len(_not_of_all_classes(scores)):
        probability = "softmax"
    found = dataclasses.replace(found, predicted=predicted, scores=scores, contents=known, probability=probability)
    if probability == "softmax":
        found.check_sums()
    return found


def read(
    path: Path, design: Design, groups: Sequence[str] = (), id_column: str = "file", label_column: str = "",
    probe: str = "", probability: str = "",
) -> Answers:  # fmt: skip
    """Answers of a csv, tsv, parquet or jsonl table with one row per image; see `of_arrays`.

    The answers are the column `labels`, or `prediction` and `probabilities` (or a column per class of the design). A
    column `image_sha256`, as in predictions.parquet, says what the images hold. `probe` decides where a table has
    `labels` beside the others. Rows count from 0.
    """
    there = tables.columns(path)
    own = [id_column, *groups, *([label_column] if label_column else [])]
    tables.check_names(path, own, there)
    free = [column for column in there if column not in own]
    read_labels, wanted = _answer_columns(path, free, design, probe)
    named = list(dict.fromkeys([*own, *wanted, *([IMAGE] if IMAGE in free else [])]))
    table = tables.read(path, named)
    where = str(path)
    given = described(table, where, groups, label_column) | {"probability": probability}
    if read_labels:
        given["labels"] = [_listed(cell, f"{where} row {row}") for row, cell in enumerate(tables.nested(path, LABELS))]
    if PREDICTION in wanted:
        given["prediction"] = as_text(table[PREDICTION].values)
    if PROBABILITIES in wanted:
        given["probabilities"] = _lists(table[PROBABILITIES].values, len(design.names), where)
    elif not read_labels and set(design.names) <= set(wanted):
        given["probabilities"] = np.stack([_numbers(table[c].values, c, where) for c in design.names], axis=1)
    return of_arrays(ids(table[id_column].values), design, **given)


def described(table: Mapping[str, Column], where: str, groups: Sequence[str], label_column: str) -> dict[str, Any]:
    """What a table says of its images, as arguments of `of_arrays`: groups, true labels, contents."""
    found: dict[str, Any] = {"groups": {column: group_texts(table[column].values) for column in groups}, "name": where}
    if label_column:
        column = table[label_column]
        found["truth"] = labels_of.read(column.values, f'{where}: column "{label_column}"', column.declared)
    if IMAGE in table:
        found["contents"] = as_text(table[IMAGE].values)
    return found


def _answer_columns(path: Path, free: Sequence[str], design: Design, probe: str) -> tuple[bool, list[str]]:
    """Whether the answers are lists of labels; else which columns hold them."""
    single = [column for column in (PREDICTION, PROBABILITIES) if column in free]
    classes = [name for name in design.names if name in free]
    if LABELS in free and (probe == LABELS or not (single or classes)):
        return True, []
    if LABELS in free and not probe:
        raise InputError(
            f'{path}: has the columns "{LABELS}" and "{(single or classes)[0]}"; say which answers are meant: '
            "--probe=labels for the lists of labels, --probe=rates or zeroshot for one class per image"
        )
    if PROBABILITIES in free:
        return False, single
    if len(classes) == len(design.names):
        return False, [*single, *classes]
    if single:
        return False, single
    if classes:
        lacking = next(name for name in design.names if name not in free)
        raise InputError(
            f"{path}: has columns of {len(classes)} of the {len(design.names)} classes of design {design.name}, and "
            f'none for "{lacking}"{nearest(lacking, [c for c in free if c not in classes])}; add it, or take the class '
            "out of the design"
        )
    raise InputError(
        f'{path}: has no answers: no column "{PREDICTION}", "{PROBABILITIES}" or "{LABELS}", and none is called as a '
        f"class of design {design.name} ({some(list(design.names), 3)}); its other columns: "
        f"{some(list(free), 8) or 'none'}"
    )


def _no_image(row: int) -> NoReturn:
    raise AssertionError("ingested answers have no images")


def _digests(names: np.ndarray):
    """Of the names: they are all that is known of the images."""

    def of(rows: np.ndarray) -> np.ndarray:
        found = [hashlib.sha256(names[row].encode()).digest() for row in rows]
        return np.frombuffer(b"".join(found), np.uint8).reshape(-1, 32)

    return of


def ids(values: np.ndarray) -> list[str]:
    """A column of file names or ids as text, "" where it is empty."""
    return ["|".join(value) if isinstance(value, tuple) else value or "" for value in values]


def _clean(text: object) -> str:
    return unicodedata.normalize("NFC", str(text)).strip()


def _class(found: Answers, places: Mapping[str, int], row: int, text: object) -> int:
    place = places.get(name := _clean(text))
    if place is None:
        known = found.design.names
        what = (
            f"{brief(name)!r} is none of the {len(known)} classes of design {found.design.name}{nearest(name, known)}"
        )
        found.refuse(row, f"{what}; correct the table, or add the class to the design")
    return place


def _places(design: Design) -> dict[str, int]:
    return {_clean(name): c for c, name in enumerate(design.names)}


def _classes(found: Answers, prediction: Sequence[str] | np.ndarray) -> np.ndarray:
    """Class names [N] -> int64 [N]."""
    _check_count(found, len(prediction), "predictions")
    places = _places(found.design)
    if empty := [row for row, text in enumerate(prediction) if not text]:
        found.refuse(empty[0], "has no prediction; fill it in, or leave the image out")
    return np.array([_class(found, places, row, text) for row, text in enumerate(prediction)], np.int64)


def _check_count(found: Answers, n: int, what: str) -> None:
    if n != len(found.source):
        raise InputError(f"{found.source.name}: {n} {what} for {len(found.source)} images; give one per image")


def _checked(found: Answers, scores: np.ndarray) -> np.ndarray:
    """Probabilities as float32 [N, C], as in every run. InputError for another shape, nan, and outside 0 to 1."""
    _check_count(found, len(scores), "rows of probabilities")
    classes = len(found.design.names)
    if scores.ndim != 2 or scores.shape[1] != classes or scores.dtype.kind not in "fiu":
        raise InputError(
            f"{found.source.name}: probabilities are {scores.dtype} {list(scores.shape)}; give numbers "
            f"[{len(found.source)}, {classes}], one column per class of design {found.design.name}"
        )
    outside = ~((scores >= 0) & (scores <= 1 + SUM_TOLERANCE))  # nan is neither
    if outside.any():
        row, c = (int(place[0]) for place in np.nonzero(outside))
        value = f"{scores[row, c]:.6g}"
        remedy = "divide percentages by 100" if scores[row, c] > 1 else "logits need a softmax first"
        found.refuse(row, f"the probability of {found.design.names[c]!r} is {value}, not between 0 and 1; {remedy}")
    return scores.astype(np.float32)


def _check_likeliest(found: Answers, predicted: np.ndarray, scores: np.ndarray) -> None:
    """InputError where a prediction is not the class (or one of the classes) with the highest probability."""
    rows = np.arange(len(predicted))
    if len(wrong := np.flatnonzero(scores[rows, predicted] < scores.max(1))):
        row, names = int(wrong[0]), found.design.names
        best = int(scores[row].argmax())
        found.refuse(
            row,
            f"the prediction {names[predicted[row]]!r} has probability {scores[row, predicted[row]]:.4g}, and "
            f"{names[best]!r} has {scores[row, best]:.4g}; correct one of them, or their order",
        )


def _of_labels(found: Answers, labels: Sequence[Sequence[Label]]) -> tuple[np.ndarray, bool]:
    """Lists of labels -> scores [N, C], 0 for labels that were not given; and whether no label had a score."""
    _check_count(found, len(labels), "lists of labels")
    places, scores, names_only = (
        _places(found.design),
        np.zeros((len(labels), len(found.design.names)), np.float32),
        True,
    )
    for row, listed in enumerate(labels):
        seen: set[int] = set()
        for label in listed:
            if isinstance(label, str):
                name, score = label, 1.0
            else:
                name, score = _pair(found, row, label)
                names_only = False
            c = _class(found, places, row, name)
            if c in seen:
                found.refuse(row, f"the label {brief(_clean(name))!r} is given twice; keep one of them")
            seen.add(c)
            scores[row, c] = score
    return scores, names_only


def _pair(found: Answers, row: int, label: Any) -> tuple[str, float]:
    """[name, score] or {"name": ..., "score": ...}."""
    pair: Any = (label.get("name"), label.get("score")) if isinstance(label, Mapping) else label
    try:
        name, score = pair
        number = float(score)
    except (TypeError, ValueError):
        found.refuse(
            row, f'{brief(label)} is not a label; write "name", ["name", 0.9] or {{"name": ..., "score": 0.9}}'
        )
    if not isinstance(name, str) or not 0 <= number <= 1:
        found.refuse(
            row, f"the label {brief(name)} has the score {score}; scores are from 0 to 1: divide percentages by 100"
        )
    return name, number


def _contents(found: Answers, contents: Sequence[str] | np.ndarray) -> np.ndarray:
    values = as_text(contents)
    _check_count(found, len(values), f"values of {IMAGE}")
    for row, text in enumerate(values):
        if not re.fullmatch("[0-9a-f]{16}", text):
            found.refuse(
                row,
                f"{IMAGE} is {brief(text)!r}, not the first 16 hexadecimal digits (lower case) of the sha256 of the "
                "image's bytes; correct it, or leave the column out",
            )
    return values


def _aligned(truth: Labels, files: np.ndarray, design: Design, name: str) -> Labels:
    """By name only: numbers could be positions in any list."""
    known = {_clean(one) for one in design.names}
    for row, members in enumerate(truth.members()):
        if unknown := [one for one in members if one not in known]:
            raise InputError(
                f"{name} row {row} ({brief(files[row])}): the label {brief(unknown[0])!r} is none of the "
                f"{len(design.names)} classes of design {design.name}{nearest(unknown[0], design.names)}; write labels "
                "as the design names its classes"
            )
    if not truth.known.any():
        raise InputError(f"{name}: no image has a label; fill in the column, or name none")
    return truth.align(design.names, name)


# What a table holds


def _numbers(values: np.ndarray, column: str, where: str) -> np.ndarray:
    """float64 [N] of a column of class probabilities."""
    out = np.empty(len(values), np.float64)
    for row, text in enumerate(values):
        out[row] = _number(text, f'{where} row {row}: column "{column}"')
    return out


def _number(text: object, where: str) -> float:
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        shown = "is empty" if text is None else f"holds {brief(text)}, not a number"
        raise InputError(f"{where} {shown}; give a probability from 0 to 1, with a decimal point") from None


def _lists(values: np.ndarray, classes: int, where: str) -> np.ndarray:
    """float64 [N, C] of lists, as jsonl and parquet hold them, or as a text of numbers between commas or spaces."""
    out = np.empty((len(values), classes), np.float64)
    for row, cell in enumerate(values):
        at = f'{where} row {row}: column "{PROBABILITIES}"'
        listed = cell if isinstance(cell, tuple) else re.findall(r"[^\s,;]+", (cell or "").strip("[]() "))
        if len(listed) != classes:
            raise InputError(
                f"{at} has {len(listed)} numbers for {classes} classes; give one per class (no NaN), in the design's "
                "order, with a decimal point"
            )
        out[row] = [_number(text, at) for text in listed]
    return out


def _listed(cell: Any, where: str) -> Sequence[Label]:
    """A cell of the column `labels`: a list, the text of a JSON list, or names between |."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        cell = tables.json_value(cell, where)
    if isinstance(cell, str):
        return [part for part in map(str.strip, cell.split("|")) if part]
    if cell is not None and not isinstance(cell, list):
        raise InputError(f'{where}: column "{LABELS}" holds {brief(cell)}, not a list; write ["a", "b"] or a|b')
    return cell or []
