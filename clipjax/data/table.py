"""Any table of pictures: csv, tsv, parquet or jsonl with a file column, or rows that other code has read."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from clipjax.data import source
from clipjax.data.source import Source
from clipjax.errors import InputError, brief, one_line

# Written so that nothing is lost: 007 and 00.5 are names, not numbers.
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
_NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")


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

    Only the named columns are read. Columns of numbers stay numbers, all else is text as written ("NA" and "007"
    included). Labels: see `source.class_index`. Where caption columns are named, rows that repeat a file add their
    captions to it (one caption per row is how Flickr and COCO tables look); otherwise a repeated file is an error.
    Rows count from 0, the first line after a header. Raises InputError where a column is missing (with the nearest
    name), the table cannot be read or is empty, a label or file is missing, a label has no class, or none of the
    files is there. A few missing files are the run's business: they are skipped and named.
    """
    path = source.as_path(path)
    named = [image_column, *([label_column] if label_column else []), *caption_columns, *group_columns]
    if twice := [name for i, name in enumerate(named) if name in named[:i]]:
        raise InputError(f'{path}: column "{twice[0]}" is asked for twice; name it in one place')
    columns = _read(path, list(dict.fromkeys(named)))
    files = [str(file) for file in _as_text(columns.pop(image_column))]
    if not files:
        raise InputError(f"{path} has no rows; every picture needs one")
    if "" in files:
        raise InputError(f'{path}: row {files.index("")} has nothing in column "{image_column}"; name its file')
    table: dict[str, Any] = {}
    if label_column:
        values = columns.pop(label_column)
        table["label"], classes = source.class_index(values, classes, str(path), files)
    captions = [columns.pop(name) for name in caption_columns]
    if captions:
        table["captions"] = [join_captions(row) for row in zip(*captions, strict=True)]
    for name, values in columns.items():
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


def _read(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    readers = {".csv": _read_csv, ".tsv": _read_csv, ".parquet": _read_parquet, ".jsonl": _read_jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} is no table by its suffix; give one of {', '.join(readers)}")
    if not path.exists():
        raise InputError(f"{path}: no such table; check the path")
    try:
        return reader(path, names)
    except (pa.ArrowException, ValueError, ArithmeticError, OSError) as error:
        if isinstance(error, InputError):
            raise
        reason = one_line(error)
        raise InputError(f"{path} cannot be read as {path.suffix[1:]} in UTF-8 ({reason}); save it again") from error


def find(path: Path, names: Sequence[str], there: Sequence[str]) -> None:
    """Raises InputError for the first of `names` that is not among the columns `there`, or is there twice."""
    for name in names:
        if name not in there:
            listed = ", ".join(map(brief, there[:12])) + (", ..." if len(there) > 12 else "")
            raise InputError(f'{path} has no column "{name}"{source.nearest(name, there)}; its columns: {listed}')
        if list(there).count(name) > 1:
            raise InputError(f'{path} has several columns called "{name}"; rename all but one')


def _read_csv(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    parse = pa.csv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True)
    with path.open("rb") as file:
        if not file.read(1):
            raise InputError(f"{path} is empty (0 bytes); fetch or copy it again")
    with path.open("rb") as file:
        there = pa.csv.open_csv(file, parse_options=parse).schema.names
    find(path, names, there)
    # Everything as text first: Arrow would make a date of a text and a number of an identifier like 007.
    convert = pa.csv.ConvertOptions(include_columns=names, column_types=dict.fromkeys(names, pa.string()))
    with path.open("rb") as file:
        table = pa.csv.read_csv(file, parse_options=parse, convert_options=convert)
    return {name: _numbers_or_text(table.column(name)) for name in names}


def _numbers_or_text(column: pa.ChunkedArray) -> np.ndarray:
    """A csv column: whole numbers that are written as Python writes them, else decimal numbers, else text."""
    different, text = _shared_text(column)
    if len(different) and all(map(_WHOLE.fullmatch, different)):
        return column.cast(pa.int64()).to_numpy()
    if len(different) and all(map(_NUMBER.fullmatch, different)):
        return column.cast(pa.float64()).to_numpy()
    return text


def _shared_text(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The different values, and the column of them: a million rows share a few str objects. Null becomes ""."""
    coded = column.dictionary_encode().combine_chunks()
    if isinstance(coded, pa.ChunkedArray):  # a column without rows
        return np.empty(0, object), np.empty(0, object)
    different = np.fromiter((value.as_py() for value in coded.dictionary), object, len(coded.dictionary))
    index = coded.indices
    if index.null_count:
        different = np.append(different, "")
        index = index.fill_null(len(different) - 1)
    return different, different[index.to_numpy(zero_copy_only=False)]


def _read_parquet(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        parquet = pq.ParquetFile(file)
        find(path, names, parquet.schema_arrow.names)
        table = parquet.read(columns=names)
    return {name: arrow_column(table.column(name)) for name in names}


def arrow_column(column: pa.ChunkedArray) -> np.ndarray:
    """A typed column as numpy: numbers and truth values as they are, text and dates as str, lists as tuples."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _shared_text(column)[1]
    if (pa.types.is_integer(kind) or pa.types.is_boolean(kind)) and not column.null_count:
        return column.to_numpy()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.cast(pa.float64()).to_numpy()
    values = column.to_pylist()
    rows = (tuple(map(str, v)) if isinstance(v, list) else "" if v is None else str(v) for v in values)
    return np.fromiter(rows, object, len(values))


def _read_jsonl(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    columns: dict[str, list] = {name: [] for name in names}
    for row, record in enumerate(_json_lines(path)):
        if row == 0:
            find(path, names, list(record))
        for name in names:
            if name not in record:
                raise InputError(f'{path}: row {row} has no "{name}"; every line needs it')
            value = record[name]
            columns[name].append(tuple(map(str, value)) if isinstance(value, list) else value)
    return {name: _json_column(values) for name, values in columns.items()}


def _json_lines(path: Path) -> Iterator[dict]:
    with path.open("r", encoding="utf-8-sig") as file:
        row = 0
        for line in file:
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path}: row {row} is not JSON ({one_line(error, 80)}); one object per line"
                ) from error
            if not isinstance(record, dict):
                raise InputError(f"{path}: row {row} is {type(record).__name__}, not an object; one object per line")
            yield record
            row += 1


def _json_column(values: list) -> np.ndarray:
    kinds = {type(value) for value in values}
    if kinds and (kinds <= {int} or kinds <= {bool} or kinds <= {int, float}):
        return np.asarray(values)
    rows = (v if isinstance(v, tuple) else "" if v is None else str(v) for v in values)
    return np.fromiter(rows, object, len(values))


def _as_text(values: np.ndarray) -> list[str]:
    return [value if isinstance(value, str) else str(value) for value in values.tolist()]


def join_captions(row: Sequence[Any]) -> tuple[str, ...]:
    """The captions of one row over the caption columns, empty cells left out."""
    nested = (value if isinstance(value, tuple) else (str(value),) for value in row)
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
