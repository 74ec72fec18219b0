"""Any table of images: csv, tsv, parquet or jsonl with a file column, or rows that other code has read."""

import os
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.data import source, tables
from clipjax.data.kinds import shared
from clipjax.data.kinds.shared import NO_COLUMNS, Columns
from clipjax.data.source import Source
from clipjax.data.tables import Column
from clipjax.errors import InputError, brief


def open_table(
    path: str | os.PathLike,
    columns: Columns = NO_COLUMNS,
    images: str | os.PathLike | None = None,
    rows: tuple[str, str] | None = None,
    places: Sequence[Path] = (),
) -> Source:
    """The images that a csv, tsv, parquet or jsonl table names, relative to `images` or to the table's own folder.

    columns: where `image` is empty, "file". rows: (column, value) that rows have. places: folders where names of the
    labels may lie; none: the table's own. Only the named columns are read, and every value is text as written
    (`tables.read`). Where caption columns are named, rows that repeat a file add their captions to it (one caption per
    row is how Flickr and COCO tables look); otherwise a repeated file is an error. A row without a file and a file
    that is missing keep their rows, which fail when they are read: they are skipped and named by the run. Rows count
    from 0, the first line after a header. Raises InputError where a column is missing (with the nearest name), the
    table cannot be read or is empty, or none of the files is there.
    """
    path = source.as_path(path)
    image = columns.image or "file"
    named = [image, *columns.described, *(rows[:1] if rows else ())]
    table = tables.read(path, list(dict.fromkeys(named)))
    cells = table[image].values
    if not len(cells):
        raise InputError(f"{path} has no rows; every image needs one")
    _check_files(cells, image, path)
    files = [file or f"{path.name}#{row}" for row, file in enumerate(cells)]
    nameless = {file for file, cell in zip(files, cells, strict=True) if not cell}
    captions = shared.captions_of(columns, table)
    if captions and len(set(files)) < len(files):
        equal = dict.fromkeys([columns.label, *columns.groups, *(rows[:1] if rows else ())])
        alike = {name: table[name].values for name in equal if name}
        kept, captions = _merged(files, captions, alike, path)
        files = [files[row] for row in kept]
        table = {name: Column(column.values[kept], column.declared) for name, column in table.items()}
    root = path.parent if images is None else source.as_path(images)
    remedy = f"; they are looked for below {root}: name another folder with --config.data.path=FOLDER"
    read = _reader(path.name, files, root, remedy, nameless)
    whole = shared.source_of(
        columns, table, path.name, files, read, str(path), places or [path.parent], captions
    )  # fmt: skip
    return whole.select(_rows_with(table[rows[0]].values, *rows, path)) if rows else whole


def _rows_with(values: np.ndarray, column: str, value: str, path: Path) -> np.ndarray:
    """The rows with this value. InputError that lists the values where there are none."""
    rows = np.flatnonzero(values == value)
    if not len(rows):
        there = ", ".join(brief(v) for v in sorted({str(v) for v in values})[:8])
        raise InputError(
            f"{path}: no row has {column} {value!r}; it has {there}: name one, as --config.data.split, or "
            "the parts as --config.train_split and --config.test_split; another column: --config.data.split_column"
        )
    return rows


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
    read = _reader(name, names, source.as_path(root), "; check where the data set lies")
    return source.of_columns(name, {**columns, "file": names}, classes, read)


def _reader(
    name: str, files: Sequence[str], root: Path, remedy: str, nameless: Collection[str] = ()
) -> Callable[[int], Path]:
    """What gives the path of a row. InputError where none of the files is there, or one cannot be a file's name."""
    base = os.fspath(root)
    _check_paths(name, files)
    if not any(_place(base, file).exists() for file in files if file not in nameless):
        if "\\" in files[0]:
            remedy = "; write paths relative to the folder of the images, with / between folders"
        raise InputError(f"{name}: none of its {len(files)} files is there, the first is {root / files[0]}{remedy}")

    def read(i: int) -> Path:
        if files[i] in nameless:
            raise InputError(f"{files[i]} has no file name in its row")
        return _place(base, files[i])

    return read


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


def _merged(
    files: Sequence[str], captions: Sequence[tuple[str, ...]], alike: Mapping[str, np.ndarray], path: Path
) -> tuple[list[int], list[tuple[str, ...]]]:
    """The first row of every file, and the captions of all its rows; the columns `alike` are equal in all of them."""
    first: dict[str, int] = {}
    merged: dict[str, tuple[str, ...]] = {}
    for row, file in enumerate(files):
        before = first.setdefault(file, row)
        merged[file] = merged.get(file, ()) + captions[row]
        for name, values in alike.items():
            if values[row] != values[before]:
                raise InputError(
                    f'{path}: rows {before} and {row} give {file} different values in column "{name}"'
                    f" ({values[before]} and {values[row]}); captions may differ, the rest may not"
                )
    return list(first.values()), list(merged.values())
