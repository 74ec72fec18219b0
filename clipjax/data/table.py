"""Any table of pictures: csv, tsv, parquet or jsonl with a file column, or rows that other code has read."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.data import source, tables
from clipjax.data.source import Source
from clipjax.errors import InputError, brief

# A class index is written so that nothing is lost by reading it: 007 is a name.
_INDEX = re.compile(r"(0|-?[1-9][0-9]{0,17})(\.0)?")


def load(
    path: str | os.PathLike,
    image_column: str = "file",
    label_column: str | None = None,
    caption_columns: Sequence[str] = (),
    group_columns: Sequence[str] = (),
    images: str | os.PathLike | None = None,
    classes: Sequence[str] | None = None,
) -> Source:
    """The pictures that a csv, tsv, parquet or jsonl table names, relative to `images` or to the table's own folder.

    Only the named columns are read, as text (see `tables`); missing values of groups are "". Labels: see `labels`. Where caption columns are named, rows that repeat a file add their
    captions to it (one caption per row is how Flickr and COCO tables look); otherwise a repeated file is an error.
    Rows count from 0, the first line after a header. Raises InputError where a column is missing (with the nearest
    name), the table cannot be read or is empty, a label or file is missing, a label has no class, or none of the
    files is there. A few missing files are the run's business: they are skipped and named.
    """
    path = source.as_path(path)
    named = [image_column, *([label_column] if label_column else []), *caption_columns, *group_columns]
    if twice := [name for i, name in enumerate(named) if name in named[:i]]:
        raise InputError(f'{path}: column "{twice[0]}" is asked for twice; name it in one place')
    columns = tables.read(path, named)
    files = columns.pop(image_column).values.tolist()
    if not files:
        raise InputError(f"{path} has no rows; every picture needs one")
    for row, file in enumerate(files):
        if not isinstance(file, str):
            has = "nothing" if file is None else "a list"
            raise InputError(f'{path}: row {row} has {has} in column "{image_column}"; name its file')
    table: dict[str, Any] = {}
    if label_column:
        table["label"], classes = labels(columns.pop(label_column), classes, str(path), files)
    captions = [columns.pop(name).values for name in caption_columns]
    if captions:
        table["captions"] = [join_captions(row) for row in zip(*captions, strict=True)]
    for name, column in columns.items():
        values = groups(column)
        if name in ("file", "label", "labels", "difficult", "captions"):
            raise InputError(f'{path}: a group column cannot be called "{name}"; rename it in the table')
        table[name] = values
        if name.lower() == "age":
            source.check_ages(values, str(path), files)
    if captions and len(set(files)) < len(files):
        files, table = _merged(files, table, path)
    root = path.parent if images is None else source.as_path(images)
    return _source(path.name, files, table, classes, root, f"; give images= if they are not under {root}")


def from_rows(
    name: str,
    files: Sequence[str | os.PathLike],
    columns: Mapping[str, Any],
    classes: Sequence[str] | None = None,
    root: str | os.PathLike | None = None,
) -> Source:
    """A source over `files`, for data sets that have read their own annotation files.

    `columns` are `Source.table`'s without "file", which becomes each path relative to `root` (None: the folder that
    all files have in common). Raises InputError for no files, or where none of them is there.
    """
    if not len(files):
        raise InputError(f"{name} holds no pictures; check the path and the split")
    paths = source.absolute(files)
    if root is None:
        root = source.common_folder(paths)
    names = [source.relative(path, *source.absolute([root])) for path in paths]
    return _source(name, names, dict(columns), classes, source.as_path(root), "; check where the data set lies")


def _source(
    name: str, files: list[str], table: dict[str, Any], classes: Sequence[str] | None, root: Path, remedy: str
) -> Source:
    base = os.fspath(root)
    _check_paths(name, files)
    stamps = source.stamp_files([os.path.join(base, file) for file in files])
    if not any(stamps):
        raise InputError(f"{name}: none of its {len(files)} files is there, the first is {root / files[0]}{remedy}")
    # Files given by absolute paths are identified from the folder they share, so that they may move together.
    identity = files
    if any(os.path.isabs(file) or "://" in file for file in files):
        whole = [os.path.join(base, file) for file in files]
        common = source.common_folder(whole)
        identity = [source.relative(file, common) for file in whole]
    return Source(
        name=name,
        table={"file": files, **table},
        classes=None if classes is None else tuple(classes),
        read=lambda i: source.as_path(os.path.join(base, files[i])),
        fingerprint=source.fingerprint("files", identity, stamps),
    )


def _check_paths(name: str, files: Sequence[str]) -> None:
    """Raises InputError for what no file can be called."""
    for row, file in enumerate(files):
        if "\0" in file or "://" in file or (not file.isascii() and any("\ud800" <= c <= "\udfff" for c in file)):
            raise InputError(
                f"{name}: row {row} names {brief(file)!r}, which is no path; paths are relative to images="
            )


def labels(
    column: tables.Column, classes: Sequence[str] | None, where: str, files: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """A label column -> (int64 [N] indices, class names), see `source.class_index`.

    Whole numbers are indices. Names that a ClassLabel declares are the classes; given ones go by name, and by position
    where they are as many and other names.
    """
    values, declared = column.values, column.declared
    if declared is not None and classes is not None and not set(declared) <= set(classes):
        if len(classes) == len(declared):
            position = dict(zip(declared, classes, strict=True))
            values = np.fromiter((value and position[value] for value in values), object, len(values))
    elif declared is None and len(values) and all(isinstance(v, str) and _INDEX.fullmatch(v) for v in set(values)):
        values = np.fromiter((int(value.removesuffix(".0")) for value in values), np.int64, len(values))
    return source.class_index(values, declared if classes is None else classes, where, files)


def groups(column: tables.Column) -> np.ndarray:
    """A group column: object [N], "" where it is missing."""
    return np.fromiter(("" if value is None else value for value in column.values), object, len(column.values))


def join_captions(row: Sequence[str | tuple[str, ...] | None]) -> tuple[str, ...]:
    """The captions of one row over the caption columns, empty cells left out."""
    nested = (value if isinstance(value, tuple) else (value,) for value in row)
    return tuple(caption for values in nested for caption in values if caption)


def _merged(files: list[str], table: dict[str, Any], path: Path) -> tuple[list[str], dict[str, Any]]:
    """One row per file, in order of first appearance, with the captions of all its rows."""
    first: dict[str, int] = {}
    captions: dict[str, tuple[str, ...]] = {}
    for row, file in enumerate(files):
        before = first.setdefault(file, row)
        captions[file] = captions.get(file, ()) + table["captions"][row]
        for name, values in table.items():
            if name != "captions" and values[row] != values[before]:
                raise InputError(
                    f'{path}: rows {before} and {row} give {file} different values in column "{name}"'
                    f" ({values[before]} and {values[row]}); captions may differ, the rest may not"
                )
    rows = list(first.values())
    merged = {name: values[rows] for name, values in table.items() if name != "captions"}
    return list(first), {"captions": list(captions.values()), **merged}
