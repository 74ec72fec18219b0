"""Any table of images: csv, tsv, parquet or jsonl with a file column, or rows that other code has read."""

import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.data import labels as labelling
from clipjax.data import source, tables
from clipjax.data.kinds import shared
from clipjax.data.labels import Labels
from clipjax.data.source import Source
from clipjax.errors import InputError, brief


def load(
    path: str | os.PathLike,
    image_column: str = "file",
    label_column: str | None = None,
    caption_columns: Sequence[str] = (),
    group_columns: Sequence[str] = (),
    images: str | os.PathLike | None = None,
    find: Callable[[tuple[str, ...]], labelling.Naming | None] = lambda ids: None,
    separator: str = "",
    rows: tuple[str, str] | None = None,
) -> Source:
    """The images that a csv, tsv, parquet or jsonl table names, relative to `images` or to the table's own folder.

    Only the named columns are read, and every value is text as written (`tables.read`). find, separator: what labels
    are called, and what stands between several of one image (`labels.read`). rows: (column, value) that rows have.
    Where caption columns are named, rows that repeat a file add their captions to it (one caption per row is how
    Flickr and COCO tables look); otherwise a repeated file is an error. A row without a file and a file that is
    missing keep their rows, which fail when they are read: they are skipped and named by the run. Rows count from 0,
    the first line after a header. Raises InputError where a column is missing (with the nearest name), the table
    cannot be read or is empty, or none of the files is there.
    """
    path = source.as_path(path)
    named = [image_column, *([label_column] if label_column else []), *caption_columns, *group_columns]
    read = tables.read(path, list(dict.fromkeys([*named, *(rows[:1] if rows else ())])))
    columns = {name: column.values for name, column in read.items()}
    if not len(columns[image_column]):
        raise InputError(f"{path} has no rows; every image needs one")
    _check_files(columns[image_column], image_column, path)
    files = [file or f"{path.name}#{row}" for row, file in enumerate(columns[image_column])]
    nameless = {row for row, file in enumerate(columns[image_column]) if not file}
    captions = [columns[name] for name in caption_columns]
    table = {"captions": [shared.captions_of(row) for row in zip(*captions, strict=True)]} if captions else {}
    table |= {("label", name): columns[name] for name in filter(None, [label_column])}
    table |= {("group", name): columns[name] for name in group_columns}
    table |= {("rows", name): columns[name] for name in (rows or ())[:1]}
    if captions and len(set(files)) < len(files):
        files, table = _merged(files, table, path)
    found = None
    if label_column:
        declared = read[label_column].declared
        found = labelling.read(table.pop(("label", label_column)), str(path), declared, find, separator)
    kept = None
    if rows:
        values = table.pop(("rows", rows[0]))
        kept = np.flatnonzero(values == rows[1])
        if not len(kept):
            there = ", ".join(brief(v) for v in sorted({str(v) for v in values})[:8])
            raise InputError(
                f"{path}: no row has {rows[0]} {rows[1]!r}; it has {there}: name one, as --config.data.split, or "
                "the parts as --config.train_split and --config.test_split; another column: --config.data.split_column"
            )
    root = path.parent if images is None else source.as_path(images)
    remedy = f"; they are looked for below {root}: name another folder with --config.data.path=FOLDER"
    groups = {key[1]: shared.texts_of(values) for key, values in table.items() if key != "captions"}
    whole = _source(path.name, files, found, table.get("captions"), groups, {}, root, remedy, nameless)
    return whole if kept is None else whole.select(kept)


def from_rows(
    name: str,
    files: Sequence[str | os.PathLike],
    columns: Mapping[str, Any],
    classes: Sequence[str] | None = None,
    root: str | os.PathLike | None = None,
) -> Source:
    """A source over `files`, for data sets that have read their own annotation files.

    `columns` are those of `source.of_columns` without "file", which becomes each path relative to `root` (None: the
    folder that all files have in common). Raises InputError for no files, or where none of them is there.
    """
    if not len(files):
        raise InputError(f"{name} holds no images; check the path and the split")
    paths = source.absolute(files)
    if root is None:
        root = source.common_folder(paths)
    names = [source.relative(path, *source.absolute([root])) for path in paths]
    known = source.of_columns(name, {**columns, "file": names}, classes, lambda i: Path(names[i]))
    return _source(
        name, names, known.labels, known.captions, known.columns, known.protocol, source.as_path(root),
        "; check where the data set lies",
    )  # fmt: skip


def _source(
    name: str, files: list[str], labels: Labels | None, captions: Any, columns: Mapping[str, Any],
    protocol: Mapping[str, Any], root: Path, remedy: str, nameless: set[int] | frozenset = frozenset(),
) -> Source:  # fmt: skip
    base = os.fspath(root)
    _check_paths(name, files)
    if not any(_place(base, file).exists() for row, file in enumerate(files) if row not in nameless):
        if "\\" in files[0]:
            remedy = "; write paths relative to the folder of the images, with / between folders"
        raise InputError(f"{name}: none of its {len(files)} files is there, the first is {root / files[0]}{remedy}")

    def read(i: int) -> Path:
        if i in nameless:
            raise InputError(f"{files[i]} has no file name in its row")
        return _place(base, files[i])

    return Source(name, files, read, labels, captions, columns, protocol)


def _check_files(values: np.ndarray, column: str, path: Path) -> None:
    """Raises InputError where a row has a list of files."""
    for row, value in enumerate(values):
        if isinstance(value, tuple):
            raise InputError(
                f'{path} row {row}: column "{column}" holds a list ({brief(value)}); give one file per row, or name '
                "another column: --config.data.image_column=NAME"
            )


def _place(base: str, file: str) -> Path:
    """Where a file lies: as written, or with Windows' separators as folders, or accents as another system's."""
    path = source.as_path(os.path.join(base, file))
    if ("\\" in file or not file.isascii()) and not path.exists():
        plain = file.replace("\\", "/")
        for one in (plain, unicodedata.normalize("NFC", plain), unicodedata.normalize("NFD", plain)):
            if (other := source.as_path(os.path.join(base, one))).exists():
                return other
    return path


def _check_paths(name: str, files: Sequence[str]) -> None:
    """Raises InputError for what no file can be called."""
    for row, file in enumerate(files):
        if "\0" in file or "://" in file or (not file.isascii() and any("\ud800" <= c <= "\udfff" for c in file)):
            raise InputError(
                f"{name}: row {row} names {brief(file)!r}, which is not a path below a folder; write paths relative to "
                "the folder of the images"
            )


def _merged(files: list[str], table: dict[Any, Any], path: Path) -> tuple[list[str], dict[Any, Any]]:
    """One row per file, in order of first appearance, with the captions of all its rows."""
    first: dict[str, int] = {}
    captions: dict[str, tuple[str, ...]] = {}
    for row, file in enumerate(files):
        before = first.setdefault(file, row)
        captions[file] = captions.get(file, ()) + table["captions"][row]
        for name, values in table.items():
            if name != "captions" and values[row] != values[before]:
                raise InputError(
                    f'{path}: rows {before} and {row} give {file} different values in column "{name[1]}"'
                    f" ({values[before]} and {values[row]}); captions may differ, the rest may not"
                )
    rows = list(first.values())
    merged = {name: values[rows] for name, values in table.items() if name != "captions"}
    return list(first), {"captions": list(captions.values()), **merged}
