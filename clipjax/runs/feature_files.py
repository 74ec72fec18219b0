"""Features of images and texts of any model, as files hold them: .npz of `clipjax embed`, .parquet, .npy."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clipjax import files
from clipjax.analysis.run import INGESTED_FEATURES
from clipjax.data import tables
from clipjax.errors import InputError, brief, converted, located, nearest
from clipjax.progress import say

FILES, FEATURES, TEXT = "file", "features", "text"  # columns of parquet files
REMEDY = "write it as `clipjax embed` does"
DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
# Scales that models have: CLIP's is 14 at the start of training and 100 at its end, SigLIP's 10 and 118. A number that
# is the logarithm of none of them may be the scale itself.
SMALLEST, LARGEST = 5.0, 200.0


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """Features of one model, from anywhere; checked by `given_features`.

    where: what messages call them. image_features [N, E]; files [N], names of the images; None: those of the table that
    comes with them, row by row. text_features [P, E], texts [P]. scale: the factor of the cosine; bias: the logit bias
    of a model trained with a sigmoid loss. skipped: images that could not be encoded, and why.
    """

    where: str
    image_features: np.ndarray
    files: Sequence[str] | None
    text_features: np.ndarray
    texts: Sequence[str]
    scale: float
    bias: float | None = None
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)


def read(
    images: Path, text_features: Path | None = None, texts: Path | None = None, scale: float | None = None,
    bias: float | None = None,
) -> Given:  # fmt: skip
    """Features of images and texts, of one .npz, or of two files.

    images: .npz as `clipjax embed` writes it; .parquet with the columns `file` and `features`; .npy, [N, E].
    text_features: .parquet with `text` and `features`; .npy, [P, E], whose texts are the lines of `texts`. Not of .npz.
    scale, bias: where the file does not hold them.

    Raises:
        InputError: a file is missing, damaged or of another kind, or does not say its scale.
    """
    suffix = images.suffix.lower()
    if suffix not in (".parquet", ".npy"):
        if text_features is not None or texts is not None:
            raise InputError(f"{images}: an .npz holds the features of texts itself; leave --text-features out")
        return _npz(images, scale, bias)
    if text_features is None:
        raise InputError(f"{images}: has the features of images alone; name those of the prompts: --text-features=FILE")
    if scale is None:
        raise InputError(
            f"{images}: no {suffix} says the scale of its model; give --scale=100, or 1 where the model has none"
        )
    names, values = _parquet(images, FILES) if suffix == ".parquet" else (None, _npy(images))
    if text_features.suffix.lower() == ".parquet":
        if texts is not None:
            raise InputError(f"{text_features}: a .parquet holds its texts itself; leave --texts out")
        lines, of_texts = _parquet(text_features, TEXT)
    else:
        lines, of_texts = _lines(texts, text_features), _npy(text_features)
    return Given(str(images), values, names, of_texts, lines, checked_scale(scale), bias)


def save(given: Given, folder: Path) -> None:
    """The features of a run in its folder, as `clipjax embed` writes them: for the explorer."""
    arrays = {
        "image_features": given.image_features, "files": np.array(given.files, np.str_),
        "text_features": given.text_features, "texts": np.array(given.texts, np.str_), "scale": np.float64(given.scale),
    }  # fmt: skip
    if given.bias is not None:
        arrays["logit_bias"] = np.float64(given.bias)

    def write(path: Path) -> None:
        with open(path, "wb") as file:  # an open file: numpy would add .npz to the temporary name
            np.savez(file, **arrays)

    files.write_atomically(folder / INGESTED_FEATURES, write)


def checked_scale(scale: float) -> float:
    """A factor of cosines. InputError for a number that is none."""
    if not np.isfinite(scale) or scale <= 0:
        raise InputError(f"--scale={scale:g} is not the factor of a cosine; give a number above 0, as 100")
    return float(scale)


def _npz(path: Path, scale: float | None, bias: float | None) -> Given:
    with converted(f"{path}: cannot be read as features", REMEDY, *DAMAGE), open(path, "rb") as file:
        found = np.load(file, allow_pickle=False)
        if not isinstance(found, Mapping):
            raise InputError(f"{path}: is one array, not an .npz of several; {REMEDY}, or call it .npy")
        needed = ("image_features", "files", "text_features", "texts")
        if missing := [name for name in needed if name not in found]:
            raise InputError(f'{path}: has no array "{missing[0]}"{nearest(missing[0], found)}; {REMEDY}')
        arrays: dict[str, np.ndarray] = {name: np.asarray(found[name]) for name in found}
    for name in ("files", "texts"):
        if arrays[name].ndim != 1 or arrays[name].dtype.kind != "U":
            raise InputError(f"{path}: {name} is {arrays[name].dtype} {list(arrays[name].shape)}, not texts; {REMEDY}")
    empty = np.array([], np.str_)
    lost, why = (arrays.get(name, empty).astype(str).ravel().tolist() for name in ("skipped", "skipped_reasons"))
    reasons = dict.fromkeys(lost, "not said") | dict(zip(lost, why, strict=False))
    if "logit_bias" in arrays and bias is None:
        bias = _number(arrays["logit_bias"], "logit_bias", path)
    return Given(
        str(path), arrays["image_features"], arrays["files"].tolist(), arrays["text_features"],
        arrays["texts"].tolist(), _scale(arrays, path, scale), bias, reasons,
    )  # fmt: skip


def _scale(arrays: Mapping[str, np.ndarray], path: Path, given: float | None) -> float:
    """The factor of the cosine. `scale` is the factor itself; `logit_scale` its logarithm, as a model holds it."""
    if given is not None:
        return checked_scale(given)
    if "scale" in arrays:
        with located(path):
            return checked_scale(_number(arrays["scale"], "scale", path))
    if "logit_scale" not in arrays:
        raise InputError(f"{path}: has neither scale nor logit_scale; give --scale=100, or 1 where the model has none")
    number = _number(arrays["logit_scale"], "logit_scale", path)
    factor = float(np.exp(min(number, 700.0)))
    if not SMALLEST <= factor <= LARGEST:
        raise InputError(
            f"{path}: logit_scale is {number:g}, as a logarithm a scale of {factor:.4g}, as a scale itself {number:g}; "
            f"say which is meant: --scale={factor:.6g} or --scale={number:g}"
        )
    say(f"note: {path}: logit_scale {number:g} is a logarithm: the cosine is multiplied by {factor:.6g}")
    return factor


def _number(array: np.ndarray, name: str, path: Path) -> float:
    if array.size != 1 or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise InputError(f"{path}: {name} is {brief(str(array))}, not one number; {REMEDY}")
    return float(np.float32(array.item()))


def _npy(path: Path) -> np.ndarray:
    with converted(f"{path}: cannot be read as features", "write it with numpy.save", *DAMAGE), open(path, "rb") as f:
        found: Any = np.load(f, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise InputError(f"{path}: is an .npz of several arrays; call it so")
    return found


def _parquet(path: Path, key: str) -> tuple[list[str], np.ndarray]:
    """The names in the column `key`, and the lists of `features` as [N, E]."""
    names = ["" if name is None else name for name in tables.read(path, [key])[key].values]
    with tables.opened_parquet(path) as file:
        tables.check_names(path, [FEATURES], file.schema_arrow.names)
        column = file.read(columns=[FEATURES]).column(FEATURES).combine_chunks()
    lists = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not (lists or pa.types.is_fixed_size_list(column.type)) or not pa.types.is_floating(column.type.value_type):
        raise InputError(f'{path}: column "{FEATURES}" holds {column.type}; store a list of floats per row')
    flat = column.flatten()
    lengths = set(column.value_lengths().to_pylist()) if lists else {column.type.list_size}
    if len(lengths) != 1 or column.null_count or flat.null_count:
        raise InputError(f'{path}: the lists of column "{FEATURES}" are not of one length; give every row its features')
    return names, np.asarray(flat).reshape(len(names), -1)


def _lines(path: Path | None, of: Path) -> list[str]:
    if path is None:
        raise InputError(f"{of}: name the file with its texts, one per line: --texts=FILE")
    with converted(f"{path}: is not a text file", "save it as UTF-8", OSError, UnicodeDecodeError):
        return files.lines(path.read_bytes().decode("utf-8-sig"), path)
