"""Tables as written: the same table in csv, tsv, jsonl and parquet gives equal columns, and no cell is guessed.

A cell is text, a tuple of texts (a list in jsonl or parquet), or None where it is missing. Missing are the empty text,
null, NaN that is a number, and -1 of a `ClassLabel`. Words for it ("NA", "nan", "None") are text, for Namibia and Mr
Null are names. Numbers are text as written: "1.10" is not "1.1", and 007 is not 7. Parquet, which holds numbers and no
spelling, gives the shortest text that reads as the same number, dates and times as in ISO 8601, truth values as "True"
and "False". Where a whole number had to share its column with missing values, pandas has written 3.0 for 3: a column of
such numbers, in jsonl or parquet and with missing values, is read as whole numbers again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipjax import signatures, stored
from clipjax.data import delimited
from clipjax.errors import InputError, brief, converted, nearest

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".json")
_PACKABLE = (".csv.gz", ".tsv.gz", ".jsonl.gz", ".json.gz")


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """One column: object [N] of str, tuple[str, ...] or None (missing). Equal texts are one object.

    `declared` are the class names that a Hugging Face `ClassLabel` declares, in its order, whether they occur or not;
    None for all other columns.
    """

    values: np.ndarray
    declared: tuple[str, ...] | None = None


def read(path: Path, names: Sequence[str]) -> dict[str, Column]:
    """The named columns of a table: csv, tsv, jsonl, json (a list of objects; each may be .gz) or parquet.

    `path` is a file, a folder of parquet files or a pattern such as "part-*.csv"; several parts are one table, in the
    order of their names. Raises InputError, naming file, line or row, and value, where the table cannot be read, a
    column is missing or there twice, or parts declare different class names.
    """
    wanted = list(dict.fromkeys(names))
    share: dict[str, str] = {}
    tables = [(part, _reader(part)[0](part, wanted, share)) for part in parts(path)]
    if len(tables) == 1:
        return tables[0][1]
    out = {}
    for name in wanted:
        columns = [(part, table[name]) for part, table in tables]
        for part, column in columns[1:]:
            if column.declared != columns[0][1].declared:
                raise InputError(
                    f'{part}: column "{name}" declares other classes than in {columns[0][0].name}; read them as two'
                    " data sets"
                )
        out[name] = Column(np.concatenate([column.values for _, column in columns]), columns[0][1].declared)
    return out


def columns(path: Path) -> list[str]:
    """The names of all columns, in order. Raises InputError as `read`."""
    part = parts(path)[0]
    return _reader(part)[1](part)


def parts(path: Path) -> list[Path]:
    """The files of a table: `path` itself, the parquet files of a folder, or what a pattern matches, by name."""
    if any(c in path.name for c in "*?[") and not path.exists():
        files = sorted(path.parent.glob(path.name))
    elif path.is_dir():
        files = sorted(p for p in path.iterdir() if p.name.endswith(".parquet") and not p.name.startswith("."))
        if not files:
            raise InputError(f"{path}: no parquet file there; name the table itself, or a pattern such as part-*.csv")
    else:
        files = [path] if path.exists() else []
    if not files:
        raise InputError(f"{path}: no such table; check the path")
    return files


def nested(path: Path, name: str) -> list[Any]:
    """One column as values of JSON, lists and objects inside lists too; a cell of csv or tsv is a text.

    Numbers of jsonl are texts as spelled. Raises InputError as `read`.
    """
    out: list[Any] = []
    for part in parts(path):
        if _reader(part)[0] is _read_delimited:
            out += _read_delimited(part, [name], {})[name].values.tolist()
        elif _reader(part)[0] is _read_json:
            check_names(part, [name], _json_names(part))
            out += [row.get(name) for row in _objects(part)]
        else:
            with opened_parquet(part) as file:
                check_names(part, [name], file.schema_arrow.names)
                out += file.read(columns=[name]).column(name).to_pylist()
    return out


def check_names(path: Path, names: Sequence[str], there: Sequence[str]) -> None:
    """Raises InputError for the first of `names` that is not among the columns `there`, or is there twice."""
    for name in names:
        if name not in there:
            if set(parts := [part.strip() for part in name.split(",")]) <= set(there) and len(parts) > 1:
                raise InputError(
                    f'{path}: "{name}" names {len(parts)} columns where one is read; write the classes of each image '
                    "into one, as cat|dog"
                )
            listed = ", ".join(map(brief, there[:12])) + (", ..." if len(there) > 12 else "")
            raise InputError(
                f'{path} has no column "{name}"{nearest(name, there)}; its columns: {listed}{_headless(there)}'
            )
        if list(there).count(name) > 1:
            raise InputError(f'{path} has several columns called "{name}"; rename all but one')


def _headless(there: Sequence[str]) -> str:
    """A hint where the names of the columns are data: numbers, or names of files."""
    if any(re.fullmatch(r"[-+]?\d+(\.\d+)?|.*\.(jpe?g|png|webp|gif|bmp|tiff?)", name, re.IGNORECASE) for name in there):
        return "; if the first line is data, write a line with the names of the columns above it"
    return ""


_Table = dict[str, Column]


def _reader(path: Path) -> tuple[Callable[[Path, list[str], dict[str, str]], _Table], Callable[[Path], list[str]]]:
    name = path.name.lower()
    suffix = next((s for s in (*SUFFIXES, *_PACKABLE) if name.endswith(s)), "").removesuffix(".gz")
    if suffix in (".csv", ".tsv"):
        return _read_delimited, lambda part: list(delimited.table(part).names)
    if suffix in (".jsonl", ".json"):
        return _read_json, _json_names
    if suffix == ".parquet":
        return _read_parquet, _parquet_names
    raise InputError(f"{path}: a table's suffix is one of {', '.join(SUFFIXES)}; rename it, or save it as one of them")


# csv and tsv


def _read_delimited(path: Path, names: list[str], share: dict[str, str]) -> _Table:
    table = delimited.table(path, names)
    check_names(path, names, table.names)
    wanted = [(table.names.index(name), []) for name in names]
    for row in delimited.rows(table):
        for place, values in wanted:
            cell = row[place]
            values.append(share.setdefault(cell, cell) if cell else None)
    return {name: Column(object_array(values)) for name, (_, values) in zip(names, wanted, strict=True)}


def object_array(values: Sequence[object]) -> np.ndarray:
    """Object [N], also of tuples of one length, of which numpy would make a matrix."""
    return np.fromiter(values, object, len(values))


# jsonl and json


class _Number(str):
    """A number of JSON, spelled as in the file."""


def _read_json(path: Path, names: list[str], share: dict[str, str]) -> _Table:
    cells: list[list[Any]] = [[] for _ in names]
    there: dict[str, None] = {}  # the keys of all rows: an object may leave out what is missing
    for row in _objects(path):
        there.update(dict.fromkeys(row))
        for name, values in zip(names, cells, strict=True):
            values.append(row.get(name))
    check_names(path, names, list(there))
    return {
        name: Column(json_column(values, name, str(path), share)) for name, values in zip(names, cells, strict=True)
    }


def _json_names(path: Path) -> list[str]:
    return list(dict.fromkeys(name for row in _objects(path) for name in row))


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a jsonl file, one a line, or of a JSON list."""
    row = None
    with delimited.text(path).opened() as stream:
        for number, line in enumerate(stream, 1):
            if row is None and line.lstrip().startswith("["):
                values = enumerate(json_value(line + stream.read(), str(path)))
                where = "row"
            elif line.strip():
                values = ((number, json_value(line, f"{path} line {number}")),)
                where = "line"
            else:
                continue
            for number, row in values:
                if not isinstance(row, dict):
                    raise InputError(
                        f"{path} {where} {number} is not an object ({brief(row, 20)}); write one object per line, such"
                        ' as {"file": "a.png"}'
                    )
                yield row
    if row is None:
        raise InputError(f'{path} has no rows; write one object per line, such as {{"file": "a.png"}}')


def json_value(text: str | bytes, where: str) -> Any:
    """The value of a JSON text with its numbers as spelled; `where` leads the message of the InputError."""
    with converted(f"{where} is not JSON", "write one object per line", ValueError, RecursionError):
        return _DECODER.decode(text if isinstance(text, str) else text.decode("utf-8-sig"))


def _constant(name: str) -> _Number | None:
    return {"Infinity": _Number("inf"), "-Infinity": _Number("-inf")}.get(name)  # NaN is missing


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {brief(next(n for n in names if names.count(n) > 1))} comes twice")
    return content


_DECODER = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_constant, object_pairs_hook=_once)


def json_column(values: list[Any], name: str, where: str, share: dict[str, str] | None = None) -> np.ndarray:
    """Values of JSON -> object [N] as in `Column`. Raises InputError for an object within a cell."""
    share = {} if share is None else share
    numbers = [value for value in values if value is not None and value != ""]
    # 3.0 for 3, as pandas writes whole numbers beside missing ones.
    whole = len(numbers) < len(values) and all(type(v) is _Number and re.fullmatch(r"-?\d+\.0", v) for v in numbers)

    def text(value: object, row: int) -> str | None:
        if value is None or value == "":
            return None
        if isinstance(value, bool):
            return str(value)
        if isinstance(value, str):
            value = str(value)
            return share.setdefault(value, value)
        kind = "an object" if isinstance(value, dict) else "a list within a list"
        raise InputError(f'{where} row {row}: column "{name}" holds {kind} ({brief(value)}); give texts or numbers')

    def cell(value: Any, row: int) -> str | tuple[str, ...] | None:
        if isinstance(value, list):
            return tuple(one for item in value if (one := text(item, row)) is not None)
        return text(value.removesuffix(".0") if whole and value else value, row)

    return object_array([cell(value, row) for row, value in enumerate(values)])


# parquet


def _read_parquet(path: Path, names: list[str], share: dict[str, str]) -> _Table:
    with opened_parquet(path) as file:
        check_names(path, names, file.schema_arrow.names)
        declared = {name: classes for name, classes in _class_names(file.schema_arrow).items() if name in names}
        table = file.read(columns=names)
        count = file.metadata.num_rows
    out = {}
    for name in names:
        column = table.column(name)
        if len(column) != count:
            raise InputError(f'{path}: column "{name}" has {len(column)} of {count} rows; fetch it again')
        with parquet_errors(path):
            values = _cells(column, name, path, declared.get(name), share)
        out[name] = Column(values, declared.get(name))
    return out


def _parquet_names(path: Path) -> list[str]:
    with opened_parquet(path) as file:
        return list(file.schema_arrow.names)


@contextlib.contextmanager
def opened_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """A parquet file for as long as it is read."""
    with parquet_errors(path), path.open("rb") as file:
        if leftover := signatures.refusal(file.read(signatures.HEAD), os.fspath(path), "a parquet file"):
            raise leftover
        file.seek(0)
        yield pq.ParquetFile(file)


def parquet_errors(path: Path) -> contextlib.AbstractContextManager[None]:
    """What Arrow finds wrong with a file, of many types: damaged text, a date outside the calendar, ..."""
    damage = (pa.ArrowException, OSError, LookupError, ArithmeticError, ValueError)
    return converted(f"{path} is not a parquet file, or is cut off", "fetch it again", *damage)


class _Features(TypedDict):
    info: dict[str, Any]


def _class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """The class names that Hugging Face's `datasets` notes in a file, by column: of ClassLabel and of lists of it."""
    try:
        features = stored.parse((schema.metadata or {}).get(b"huggingface", b"{}"), "huggingface", _Features)
        features = features["info"].get("features")
    except InputError:
        return {}  # not written by `datasets`
    out = {}
    for name, kind in features.items() if isinstance(features, dict) else ():
        while isinstance(kind, list | dict) and (isinstance(kind, list) or "feature" in kind):
            kind = (kind[0] if kind else None) if isinstance(kind, list) else kind["feature"]
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel":
            names = kind.get("names")
            if isinstance(names, list) and all(isinstance(one, str) for one in names):
                out[name] = tuple(names)
    return out


def _cells(
    column: pa.ChunkedArray, name: str, path: Path, declared: tuple[str, ...] | None, share: dict[str, str]
) -> np.ndarray:
    if not len(column):
        return object_array([])
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)  # its parts may have dictionaries of their own
    if pa.types.is_string(column.type):
        column = column.cast(pa.large_string())  # more than 2 GiB of captions
    array = column.combine_chunks()
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = array.value_lengths().to_pylist()
        inside = array.flatten()
        rows = np.repeat(np.arange(len(lengths)), [length or 0 for length in lengths])
        texts = iter(_texts(inside, name, path, declared, share, rows))
        return object_array(
            [
                None if length is None else tuple(t for _ in range(length) if (t := next(texts)) is not None)
                for length in lengths
            ]
        )
    return _texts(array, name, path, declared, share, np.arange(len(array)))


def _texts(
    array: pa.Array,
    name: str,
    path: Path,
    declared: tuple[str, ...] | None,
    share: dict[str, str],
    rows: np.ndarray,
) -> np.ndarray:
    """Object [N] of str or None; equal values share one object. `rows[i]` is the row of value i, for messages."""
    if pa.types.is_null(array.type):
        return np.full(len(array), None, object)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not _has_text(array.type):
        kind = brief(str(array.type))
        raise InputError(f'{path}: column "{name}" is {kind}, not text, numbers or lists of them; name another column')
    coded = array.dictionary_encode()
    indices = coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)
    different = _spelled(coded.dictionary, path)
    if declared is not None and pa.types.is_integer(coded.dictionary.type):
        numbers = coded.dictionary.to_pylist()
        used = set(np.unique(indices).tolist())
        for code, number in enumerate(numbers):
            if code in used and number is not None and not -1 <= number < len(declared):
                row = rows[int((indices == code).argmax())]
                raise InputError(
                    f'{path} row {row}: column "{name}" has class {number}, and the file declares {len(declared)}'
                    f" (0 to {len(declared) - 1}); write the file again"
                )
        different = [
            declared[number] if number is not None and 0 <= number < len(declared) else None for number in numbers
        ]
    elif pa.types.is_floating(coded.dictionary.type):
        values = [text for text in different if text is not None]
        missing = coded.null_count > 0 or len(values) < len(different)
        if missing and all(re.fullmatch(r"-?\d+\.0", text) for text in values):
            different = [text and text.removesuffix(".0") for text in different]
    shared = [share.setdefault(text, text) if text else None for text in different]
    return object_array([*shared, None])[indices]


def _has_text(kind: pa.DataType) -> bool:
    types = pa.types
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind)
    return text or number or types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind)


def _spelled(values: pa.Array, path: Path) -> list[str | None]:
    """Each value as text; None for null, NaN and the empty text."""
    kind = values.type
    with parquet_errors(path):
        if pa.types.is_floating(kind):
            numbers = values.to_numpy(zero_copy_only=False)  # numpy spells float32 as shortly as it can be
            return [None if number != number else str(number) for number in numbers]
        if pa.types.is_timestamp(kind) and kind.unit == "ns":
            values = values.cast(pa.timestamp("us", kind.tz), safe=False)
        spell = datetime.datetime.isoformat if pa.types.is_timestamp(kind) else str  # str(date) is ISO 8601
        return [None if value is None else spell(value) for value in values.to_pylist()]
