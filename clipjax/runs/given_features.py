"""Features of any model and a table of the images (or arrays) -> answers to a design."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.analysis.manifest import SkippedFile
from clipjax.analysis.run import IMAGE
from clipjax.data import tables
from clipjax.data.labels import Labels
from clipjax.design import Design
from clipjax.errors import InputError, brief, located, nearest, some
from clipjax.probes import zeroshot
from clipjax.runs import answers
from clipjax.runs.answers import LABELS, Answers
from clipjax.runs.feature_files import Given, checked_scale


def of_table(
    given: Given, table: Path, design: Design, groups: Sequence[str] = (), id_column: str = "file",
    label_column: str = "", probability: str = "", probe: str = "",
) -> Answers:  # fmt: skip
    """Probabilities of the design's classes for every image of a table (`answers.read` without its answers).

    Images of the table that `given` names as skipped are counted as skipped. probability: "softmax" or "sigmoid"; by
    default softmax, and for the probe `labels` what the model was trained for.

    Raises:
        InputError: a prompt is not among the texts, or table and features are of different images.
    """
    there = tables.columns(table)
    own = [id_column, *groups, *([label_column] if label_column else [])]
    columns = tables.read(table, list(dict.fromkeys([*own, *([IMAGE] if IMAGE in there else [])])))
    names = answers.ids(columns[id_column].values)
    _check(given)
    if given.files is None and len(names) != len(given.image_features):
        raise InputError(
            f"{given.where}: has {len(given.image_features)} rows and {table} has {len(names)}; row by row they are of "
            "the same images, so give as many"
        )
    rows, kept, skipped = _matched(names, given, table)
    kind = probability or ("sigmoid" if probe == LABELS and given.bias is not None else "softmax")
    odds = _probabilities(given, rows, design, kind)
    kept_columns = {name: tables.Column(column.values[kept], column.declared) for name, column in columns.items()}
    described = answers.described(kept_columns, str(table), groups, label_column)
    found = answers.of_arrays([names[row] for row in kept], design, probabilities=odds, probability=kind, **described)
    return dataclasses.replace(_with(found, given, rows), skipped=skipped)


def of_arrays(
    files: Sequence[str] | np.ndarray, image_features: Any, texts: Sequence[str], text_features: Any, design: Design, *,
    scale: float, bias: float | None = None, probability: str = "softmax",
    groups: Mapping[str, Sequence[str] | np.ndarray] | None = None, truth: Labels | None = None,
    contents: Sequence[str] | np.ndarray | None = None, name: str = "features",
) -> Answers:  # fmt: skip
    """Answers about the images `files` [N] from image features [N, E] and the features [P, E] of `texts` [P].

    scale: the factor of the cosine, 100 for all of OpenAI's models. bias: the logit bias of a model trained with a
    sigmoid loss; "sigmoid" probabilities need it. The rest as in `answers.of_arrays`.
    """
    images, prompts = np.asarray(image_features), np.asarray(text_features)
    given = Given(name, images, [str(file) for file in files], prompts, list(texts), checked_scale(scale), bias)
    _check(given)
    odds = _probabilities(given, np.arange(len(images)), design, probability)
    found = answers.of_arrays(
        files, design, probabilities=odds, probability=probability, groups=groups, truth=truth, contents=contents,
        name=name,
    )  # fmt: skip
    return _with(found, given, np.arange(len(images)))


def _with(found: Answers, given: Given, rows: np.ndarray) -> Answers:
    """The answers with the features that gave them, of these rows."""
    own = dataclasses.replace(given, image_features=given.image_features[rows], files=found.source.files.tolist())
    return dataclasses.replace(found, scale=given.scale, bias=given.bias, features=own)


def _check(given: Given) -> None:
    """Kinds, shapes that fit each other, and names that are there once."""
    pairs = (("image", given.image_features, given.files), ("text", given.text_features, given.texts))
    for what, values, names in pairs:
        if values.ndim != 2 or values.dtype.kind != "f" or not values.shape[1]:
            raise InputError(
                f"{given.where}: {what} features are {values.dtype} {list(values.shape)}; give floats, one row each"
            )
        if names is None:
            continue
        if len(values) != len(names):
            raise InputError(f"{given.where}: {len(values)} {what} features and {len(names)} names; give one per row")
        distinct, n = np.unique(np.array(names, np.str_), return_counts=True)
        if (n > 1).any():
            twice = brief(str(distinct[n > 1][0]))
            raise InputError(f"{given.where}: {'files' if what == 'image' else 'texts'} has {twice} twice; keep one")
    widths = [values.shape[1] for _, values, _ in pairs]
    if widths[0] != widths[1]:
        raise InputError(
            f"{given.where}: image and text features have {widths[0]} and {widths[1]} numbers, of different widths; "
            "are they of one model?"
        )


def _probabilities(given: Given, rows: np.ndarray, design: Design, kind: str) -> np.ndarray:
    with located(given.where):  # a row without direction, or a sigmoid without a bias
        weights = zeroshot.class_weights(lambda texts: of_texts(texts, given), [design])[0]
        bias = zeroshot.bias_of(kind, given.bias)
        return zeroshot.probabilities(given.image_features[rows], weights, given.scale, bias)


def _matched(names: Sequence[str], given: Given, table: Path) -> tuple[np.ndarray, list[int], list[SkippedFile]]:
    """Rows of the features in the table's order, the rows of the table that have some, and images without."""
    if given.files is None:
        return np.arange(len(names)), list(range(len(names))), []
    place = {name: row for row, name in enumerate(given.files)}
    unknown = [row for row, name in enumerate(names) if name not in place and name not in given.skipped]
    if unknown:
        raise InputError(
            f"{table} row {unknown[0]}: {brief(names[unknown[0]])!r} is not among the {len(place)} files of "
            f"{given.where}{nearest(names[unknown[0]], place)} ({len(unknown)} of {len(names)} rows); write names as "
            "the features have them, or embed the images"
        )
    asked = set(names)
    if left := [name for name in place if name not in asked]:
        raise InputError(
            f"{given.where}: {len(left)} of its {len(place)} files have no row in {table} ({some(left, 3)}); add them, "
            "or embed only the images of the table"
        )
    kept = [row for row, name in enumerate(names) if name in place]
    lost = [SkippedFile(name, given.skipped[name]) for name in names if name not in place]
    return np.array([place[names[row]] for row in kept], np.int64), kept, lost


def of_texts(texts: Sequence[str], given: Given) -> np.ndarray:
    """Features [T, E] of prompts. InputError for one that is not among the texts."""
    place = {text: row for row, text in enumerate(given.texts)}
    if lacking := [text for text in texts if text not in place]:
        raise InputError(
            f"{given.where}: {len(lacking)} of the design's {len(texts)} prompts are not among its {len(place)} texts "
            f"({some([repr(brief(text)) for text in lacking], 3)}{nearest(lacking[0], place)}); embed every prompt"
        )
    return given.text_features[[place[text] for text in texts]]
