"""Features of any model, in the file that `clipjax embed` writes, and a table of the images -> answers to a design."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clipjax.analysis.manifest import SkippedFile
from clipjax.analysis.run import IMAGE
from clipjax.data import tables
from clipjax.design import Design
from clipjax.errors import InputError, brief, converted, located, nearest, some
from clipjax.probes import zeroshot
from clipjax.runs import answers
from clipjax.runs.answers import Answers

NEEDED = ("image_features", "files", "text_features", "texts", "logit_scale")
SKIPPED = ("skipped", "skipped_reasons")
REMEDY = "write it as `clipjax embed` does"


def read(
    features: Path, table: Path, design: Design, groups: Sequence[str] = (), id_column: str = "file",
    label_column: str = "",
) -> Answers:  # fmt: skip
    """Probabilities of the design's classes for every image of a table (`answers.read` without its answers).

    features: an .npz with image_features [N, E], files [N], text_features [P, E], texts [P] and logit_scale (the
    parameter, a logarithm). Images of the table that the file names under `skipped` are counted as skipped.

    Raises:
        InputError: a prompt is not among the texts, or table and features are of different images.
    """
    arrays = _load(features)
    there = tables.columns(table)
    own = [id_column, *groups, *([label_column] if label_column else [])]
    columns = tables.read(table, list(dict.fromkeys([*own, *([IMAGE] if IMAGE in there else [])])))
    names = answers.ids(columns[id_column].values)
    rows, kept, skipped = _matched(names, arrays, features, table)
    scale = float(np.exp(arrays["logit_scale"].astype(np.float32)))
    with located(features):  # a row without direction
        weights = zeroshot.class_weights(lambda texts: _of_texts(texts, arrays, features), [design])[0]
        odds = zeroshot.probabilities(arrays["image_features"][rows], weights, scale)
    kept_columns = {name: tables.Column(column.values[kept], column.declared) for name, column in columns.items()}
    given = answers.described(kept_columns, str(table), groups, label_column)
    found = answers.of_arrays([names[row] for row in kept], design, probabilities=odds, **given)
    return dataclasses.replace(found, scale=scale, skipped=skipped)


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays, checked: kinds, shapes that fit each other, and names that are there once."""
    damage = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
    with converted(f"{path}: cannot be read as features", REMEDY, *damage), open(path, "rb") as file:
        found = np.load(file, allow_pickle=False)
        if not isinstance(found, Mapping):
            raise InputError(f"{path}: is one array, not an .npz of several; {REMEDY}")
        if missing := [name for name in NEEDED if name not in found]:
            raise InputError(f'{path}: has no array "{missing[0]}"{nearest(missing[0], found)}; {REMEDY}')
        arrays = {name: np.asarray(found[name]) for name in (*NEEDED, *SKIPPED) if name in found}
    for values, names in (("image_features", "files"), ("text_features", "texts")):
        x, of = arrays[values], arrays[names]
        if x.ndim != 2 or x.dtype.kind != "f" or of.ndim != 1 or of.dtype.kind != "U" or len(x) != len(of):
            raise InputError(
                f"{path}: {values} {x.dtype} {list(x.shape)} and {names} {of.dtype.kind} {list(of.shape)} are not "
                f"numbers with one text per row; {REMEDY}"
            )
        distinct, n = np.unique(of, return_counts=True)
        if (n > 1).any():
            raise InputError(f"{path}: {names} has {brief(str(distinct[n > 1][0]))} twice; keep one of them")
    if arrays["image_features"].shape[1] != arrays["text_features"].shape[1]:
        shapes = " and ".join(str(list(arrays[name].shape)) for name in ("image_features", "text_features"))
        raise InputError(f"{path}: image and text features are {shapes}, of different widths; are they of one model?")
    scale = arrays["logit_scale"]
    if scale.shape != () or scale.dtype.kind != "f" or not -10 <= float(scale) <= 10:
        raise InputError(
            f"{path}: logit_scale is {brief(str(scale))}, not the logarithm of a scale (4.6052 for a scale of 100)"
        )
    return arrays


def _matched(
    names: Sequence[str], arrays: Mapping[str, np.ndarray], features: Path, table: Path
) -> tuple[np.ndarray, list[int], list[SkippedFile]]:
    """Rows of the features in the table's order, the rows of the table that have some, and images without."""
    place = {str(name): row for row, name in enumerate(arrays["files"])}
    skipped, why = (arrays.get(name, np.array([], np.str_)).astype(str).ravel().tolist() for name in SKIPPED)
    reasons = dict.fromkeys(skipped, "not said") | dict(zip(skipped, why, strict=False))
    unknown = [row for row, name in enumerate(names) if name not in place and name not in reasons]
    if unknown:
        raise InputError(
            f"{table} row {unknown[0]}: {brief(names[unknown[0]])!r} is not among the {len(place)} files of {features}"
            f"{nearest(names[unknown[0]], place)} ({len(unknown)} of {len(names)} rows); write names as `files` has "
            "them, or embed the images"
        )
    asked = set(names)
    if left := [name for name in place if name not in asked]:
        raise InputError(
            f"{features}: {len(left)} of its {len(place)} files have no row in {table} ({some(left, 3)}); add them, or "
            "embed only the images of the table"
        )
    kept = [row for row, name in enumerate(names) if name in place]
    lost = [SkippedFile(name, reasons[name]) for name in names if name not in place]
    return np.array([place[names[row]] for row in kept], np.int64), kept, lost


def _of_texts(texts: Sequence[str], arrays: Mapping[str, np.ndarray], features: Path) -> np.ndarray:
    """Features [T, E] of prompts."""
    place = {str(text): row for row, text in enumerate(arrays["texts"])}
    if lacking := [text for text in texts if text not in place]:
        raise InputError(
            f"{features}: {len(lacking)} of the design's {len(texts)} prompts are not among its {len(place)} texts "
            f"({some([repr(brief(text)) for text in lacking], 3)}{nearest(lacking[0], place)}); embed every prompt"
        )
    return arrays["text_features"][[place[text] for text in texts]]
