"""Parquet files with the images inside, as Hugging Face writes them: a struct of "bytes" and "path" per row."""

import dataclasses
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from clipjax.data import source, tables
from clipjax.data.contents import Packed
from clipjax.data.kinds import shared
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.keys import key

# Arrow reads a row group or nothing. Rows come nearly in order, so that two groups at a time are enough: the one
# that is ending and the one that is beginning.
_GROUPS = 2


@dataclasses.dataclass(frozen=True)
class Keys(shared.SeveralLabels, shared.Split):
    """What is read of `data.`."""

    path: str = key("", 'a parquet file, a folder of them, or "data/test-*.parquet"; {split} stands for the split')


PART = "path"  # the key that `data.train_path` and `data.test_path` stand for
LAYOUTS = ("{path}/{split}-*.parquet", "{path}/data/{split}-*.parquet", "{path}/{split}/*.parquet")


def open_source(keys: Keys) -> Source:
    """The rows of the files, or of those of `split`."""
    return open_files(_pattern(keys), shared.Columns.of_keys(keys))


def inputs(keys: Keys) -> list[Path]:
    """The files, each of which is a source by itself."""
    return _parts(source.as_path(_pattern(keys)))


def _pattern(keys: Keys) -> str:
    path = shared.given(keys.path, "parquet", "the files: --config.data.path=FILE_OR_FOLDER")
    return shared.of_split(path, keys.split, LAYOUTS)


def open_files(path: str | os.PathLike, columns: shared.Columns = shared.NO_COLUMNS) -> Source:
    """One parquet file, a folder of them (sorted by name) or a pattern such as "data/test-*.parquet".

    columns: where `image` is empty, "image", or the only column that holds images; where `label` is empty, "label" if
    there is such a column. Class names are those that Hugging Face's `datasets` noted in the file, else those of
    `naming.find`, else the labels themselves. Files are called by the images' own paths where these are unique, else
    "test.parquet/000012". Two row groups are held in memory: write groups of a hundred rows. Raises InputError where
    no file is found, one cannot be read, a column is missing or holds no images.
    """
    path = source.as_path(path)
    parts = _parts(path)
    label = columns.label or ("label" if "label" in tables.columns(parts[0]) else "")
    columns = dataclasses.replace(columns, image=columns.image or _image_column(parts[0]), label=label)
    groups = _Groups(parts, columns.image, columns.described)
    table = tables.read(path, columns.described) if columns.described else {}
    name = parts[0].parent.name if len(parts) > 1 else parts[0].name
    places = [parts[0].parent, parts[0].parent.parent]
    return shared.source_of(
        columns, table, name, groups.names(), groups.read, name, places, shared.captions_of(columns, table),
        groups.packed(),
    )  # fmt: skip


class _Groups:
    """Random access to the images of several parquet files, from any number of threads."""

    def __init__(self, parts: Sequence[Path], column: str, named: Sequence[str]):
        self.parts, self.column = parts, column
        self.starts: list[int] = []  # first row of every row group, over all files
        self.places: list[tuple[int, int]] = []  # (part, row group) of each
        self.leaf = ""
        self.paths = False
        total = 0
        for number, part in enumerate(parts):
            with tables.opened_parquet(part) as parquet:
                tables.check_names(part, [column, *named], parquet.schema_arrow.names)
                self._check(part, parquet.schema_arrow.field(column).type)
                for group in range(parquet.metadata.num_row_groups):
                    self.starts.append(total)
                    self.places.append((number, group))
                    total += parquet.metadata.row_group(group).num_rows
        self.total = total
        self._held: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[int, threading.Lock] = {}

    def _check(self, part: Path, kind: pa.DataType) -> None:
        if pa.types.is_struct(kind) and "bytes" in kind.names:
            self.leaf, self.paths = f"{self.column}.bytes", "path" in kind.names
        elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            self.leaf, self.paths = self.column, False
        else:
            raise InputError(f'{part}: column "{self.column}" is {kind}; it should hold the bytes of images')

    def packed(self) -> list[Packed]:
        """The rows of each file."""
        out, start = [], 0
        for number, part in enumerate(self.parts):
            stop = start + sum(self._size(g) for g, (p, _) in enumerate(self.places) if p == number)
            out.append(Packed(os.fspath(part), start, stop))
            start = stop
        return out

    def names(self) -> list[str]:
        """A name for every image: its own path where all have one and no two the same."""
        own: list[str] = []
        if self.paths:
            for part in self.parts:
                with tables.opened_parquet(part) as parquet:
                    column = parquet.read(columns=[f"{self.column}.path"]).column(self.column)
                    own += [(row and row["path"]) or "" for row in column.to_pylist()]
            if all(own) and len(set(own)) == len(own):
                return own
        out = []
        for number, part in enumerate(self.parts):
            rows = sum(self._size(g) for g, (p, _) in enumerate(self.places) if p == number)
            out += [f"{part.name}/{i:06d}" for i in range(rows)]
        return out

    def read(self, i: int) -> bytes:
        """The bytes of one image."""
        group = int(np.searchsorted(self.starts, i, side="right")) - 1
        part, _ = self.places[group]
        with tables.parquet_errors(self.parts[part]):
            value = self._group(group)[i - self.starts[group]].as_py()
        if not value:
            raise InputError(f"{self.parts[part].name} row {i} has no bytes in column {self.column}")
        return value

    def _group(self, group: int) -> pa.ChunkedArray:
        with self._lock:
            if group in self._held:
                self._held.move_to_end(group)
                return self._held[group]
            loading = self._loading.setdefault(group, threading.Lock())
        with loading:  # a second thread waits for the first; threads that read other groups go on
            with self._lock:
                if group in self._held:
                    return self._held[group]
            part, inside = self.places[group]
            with tables.opened_parquet(self.parts[part]) as parquet:
                read = parquet.read_row_group(inside, columns=[self.leaf], use_threads=False)
            column = read.column(self.column)
            if pa.types.is_struct(column.type):
                column = pa.chunked_array([chunk.flatten()[0] for chunk in column.chunks])
            with self._lock:
                self._held[group] = column
                self._loading.pop(group, None)
                while len(self._held) > _GROUPS:
                    self._held.popitem(last=False)
            return column

    def _size(self, group: int) -> int:
        end = self.starts[group + 1] if group + 1 < len(self.starts) else self.total
        return end - self.starts[group]


def _image_column(part: Path) -> str:
    with tables.opened_parquet(part) as parquet:
        schema = parquet.schema_arrow
    structs = [f.name for f in schema if pa.types.is_struct(f.type) and "bytes" in [inside.name for inside in f.type]]
    return structs[0] if len(structs) == 1 and "image" not in schema.names else "image"


def _parts(path: Path) -> list[Path]:
    if any(c in path.name for c in "*?["):
        parts = sorted(path.parent.glob(path.name))
    elif path.is_dir():
        parts = sorted(entry for entry in path.iterdir() if entry.name.endswith(".parquet"))
        shared.check_one_part(path, [part.name for part in parts], "*.parquet")
    else:
        parts = [path] if path.exists() else []
    if not parts:
        raise InputError(f"{path}: no parquet file there; give a file, a folder of them or a pattern")
    return parts
