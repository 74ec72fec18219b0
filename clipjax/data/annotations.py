"""What the readers of named data sets share: finding the files, choosing the split, labels by name.

Labels always go by name (`Prompts.index`), never by position: OpenAI's class order differs from the data sets' own in
Pets, Caltech101, VOC2007 and EuroSAT, and accuracy falls to chance where that is missed (openai/CLIP#346).
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.data import source, table
from clipjax.data.info import Info, Prompts, plain, prompts
from clipjax.data.source import Source
from clipjax.errors import InputError


def choose(split: str | None, known: Sequence[str], info: Info, default: str = "test") -> str:
    """The split asked for, or the one that published numbers are about. InputError for an unknown one."""
    split = default if split is None else split
    if split not in known:
        raise InputError(
            f'{info.name} has no split "{split}"{source.nearest(split, known)}; its splits: {", ".join(known)}'
        )
    return split


def home(path: str | os.PathLike, info: Info, marker: str, *folders: str) -> Path:
    """The folder that holds `marker`: `path` itself, or one of `folders` below it. InputError names what is missing."""
    path = source.as_path(path)
    for candidate in (path, *(path / folder for folder in folders)):
        if (candidate / marker).exists():
            return candidate
    usual = "/".join((folders[-1], marker)) if folders else marker
    raise InputError(
        f"{path} does not hold {info.name}: {usual} is missing; `clipjax datasets {info.key}` shows the layout"
    )


def lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, blank ones left out. InputError where it is missing, unreadable or empty."""
    found = [line.strip() for line in text(path).splitlines()]
    found = [line for line in found if line]
    if not found:
        raise InputError(f"{path} is empty; fetch or unpack the data set again")
    return found


def fields(path: Path, at_least: int) -> Iterator[list[str]]:
    """The lines of a text file, split at blanks; InputError names the first line with fewer than `at_least` fields."""
    for number, line in enumerate(lines(path), 1):
        parts = line.split()
        if len(parts) < at_least:
            raise InputError(f"{path} line {number}: {line!r} has {len(parts)} fields of {at_least}; fetch it again")
        yield parts


def records(path: Path, needed: Sequence[str], delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a delimited table with a header. InputError names a missing column or a short row."""
    reader = csv.DictReader(io.StringIO(text(path), newline=""), delimiter=delimiter)
    for name in needed:
        if name not in (reader.fieldnames or ()):
            raise InputError(
                f'{path} has no column "{name}"{source.nearest(name, reader.fieldnames or ())}; fetch it again'
            )
    rows = []
    for number, row in enumerate(reader, 2):
        if any(row[name] is None for name in needed):
            raise InputError(f"{path} line {number} is cut short; fetch it again")
        rows.append(row)
    return rows


def text(path: Path) -> str:
    """A whole UTF-8 file. InputError where it is missing or not readable as text."""
    try:
        return raw(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); fetch or unpack it again") from error


def raw(path: Path) -> bytes:
    """A whole file. InputError where it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); unpack the data set again") from error


def mat(path: Path, *names: str) -> list[np.ndarray]:
    """Variables of a MATLAB file (up to version 7), single dimensions squeezed. InputError names what is missing."""
    from scipy import io as scipy_io

    data = raw(path)
    try:
        found = scipy_io.loadmat(io.BytesIO(data), squeeze_me=True)
    except Exception as error:  # scipy raises many types on a damaged file, struct.error and zlib.error among them
        raise InputError(f"{path} is no MATLAB file of version 4 to 7 ({error}); fetch or unpack it again") from error
    for name in names:
        if name not in found:
            raise InputError(f'{path} holds no variable "{name}"; is it the file of another data set?')
    return [np.atleast_1d(found[name]) for name in names]


def labels(own: Sequence[str], key: str, where: str | os.PathLike) -> np.ndarray:
    """The data set's own class names, one per picture -> int64 [N] labels in the order of the stored prompts."""
    index = prompts(key).index()
    found = np.empty(len(own), np.int64)
    for row, name in enumerate(own):
        position = index.get(plain(name))
        if position is None:
            known = prompts(key).own or prompts(key).classes
            raise InputError(
                f'{where}: "{name}" is none of the {len(known)} classes of {key}{source.nearest(name, known)}; '
                "remove it, or check that this is the data set it seems to be"
            )
        found[row] = position
    return found


def from_files(
    info: Info, root: Path, files: Sequence[str], own: Sequence[str], where: str | os.PathLike, **columns: Any
) -> Source:
    """A source over `files` (relative to `root`), labelled by the own class name of each."""
    found = {"label": labels(own, info.key, where), **columns}
    paths = [os.path.join(os.fspath(root), file) for file in files]
    return table.from_rows(info.key, paths, found, classes=prompts(info.key).classes, root=root)


def class_folders(root: Path) -> tuple[list[str], list[str]]:
    """Every picture of a folder of class folders: relative paths and class folder names, both sorted."""
    from clipjax import image

    files, own = [], []
    for folder in sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        for name in sorted(entry.name for entry in (root / folder).iterdir()):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in image.SUFFIXES:
                files.append(f"{folder}/{name}")
                own.append(folder)
    if not files:
        raise InputError(f"{root} holds no class folders with pictures; check the path, or unpack the data set again")
    return files, own


def prepared(info: Info, path: str | os.PathLike, split: str) -> Source | None:
    """The data set as prepared by TFDS, its labels put into the order of the stored prompts; None for other folders.

    `path` is a version folder (dataset_info.json, features.json and the records) or the `data_dir` above it; `split`
    is TFDS's own name, a slice such as "train[80%:]" included.
    """
    path = source.as_path(path)
    if info.tfds is None:
        return None
    name = info.tfds.split("/")[0]
    if not (path / "dataset_info.json").exists() and not list(path.glob(f"{name}/**/dataset_info.json")):
        return None
    from clipjax.data import tfds

    return relabel(tfds.load(info.tfds, path, split), prompts(info.key))


def relabel(found: Source, wanted: Prompts) -> Source:
    """The same pictures, with labels in the order of `wanted`, matched by name."""
    index = wanted.index()
    unknown = [name for name in found.classes or () if plain(name) not in index]
    if found.classes is None or unknown:
        missing = f'"{unknown[0]}" is not among the {len(index)} classes' if unknown else "it has no labels"
        raise InputError(f"{found.name}: {missing}; check that this is the data set it seems to be")
    order = np.array([index[plain(name)] for name in found.classes], np.int64)
    columns: Mapping[str, Any] = {**found.table, "label": order[found.table["label"]]}
    return dataclasses.replace(found, table=columns, classes=wanted.classes)


def tfds_order(keys: Sequence[str], salt: str) -> np.ndarray:
    """The order in which TFDS writes examples with these keys: by md5(salt + key). int64 [N] positions.

    VTAB's splits of data sets that come without one are slices of this order (tensorflow_datasets/core/hashing.py),
    so they can be cut from the pictures themselves; `salt` is the name of TFDS's split.
    """
    digests = [hashlib.md5((salt + key).encode(), usedforsecurity=False).digest() for key in keys]
    return np.array(sorted(range(len(keys)), key=digests.__getitem__), np.int64)


def vtab_rows(keys: Sequence[str], split: str) -> np.ndarray:
    """Rows of VTAB's train (first 60%), val (next 20%) or test (last 20%) of TFDS's only split, "train"."""
    order, n = tfds_order(keys, "train"), len(keys)
    # TFDS rounds the bounds of percent slices to the closest whole number.
    low, high = round(n * 0.6), round(n * 0.8)
    return {"train": order[:low], "val": order[low:high], "test": order[high:], "all": np.arange(n)}[split]
