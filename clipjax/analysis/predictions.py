"""The table of a run's predictions, whole or block by block: numbers that are sums over images need one block.

It is predictions.parquet, or of a run in units that was sealed without it the tables of its units, one after the other.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipjax.errors import InputError

FILE, SHARDS = "predictions.parquet", "shards.parquet"
ROWS = 1 << 16  # of a block
BUFFER = 1 << 20  # bytes of a column that are read at once; without it all those of a row group
Columns = dict[str, np.ndarray]  # [N], lists [N, C]


def names(run: Path) -> list[str]:
    """The columns of a run's predictions, without reading them."""
    return next(_parts(run, None, 1)).column_names


def count(run: Path) -> int:
    """How many rows they have."""
    if (run / FILE).exists():
        return pq.read_metadata(run / FILE).num_rows
    return sum(pq.read_table(run / SHARDS, columns=["rows"])["rows"].to_pylist())


def tables(run: Path, columns: Sequence[str] | None = None, rows: int = ROWS) -> Iterator[pa.Table]:
    """So many rows at a time, the last ones fewer: at least one table, whatever files and row groups there are."""
    held, n, given = [], 0, False
    for part in _parts(run, columns, rows):
        held.append(part)
        n += len(part)
        while n >= rows:
            whole = pa.concat_tables(held)
            yield whole.slice(0, rows)
            held, n, given = [whole.slice(rows)], n - rows, True
    if n or not given:
        yield pa.concat_tables(held)


def arrays(table: pa.Table) -> Columns:
    """Columns as arrays; equal texts of a table are one object. ValueError for a value that is missing or of another
    kind than a run writes."""
    return {name: _array(table[name]) for name in table.column_names}


def _parts(run: Path, columns: Sequence[str] | None, rows: int) -> Iterator[pa.Table]:
    """At most so many rows of one file at a time; of no rows, an empty table."""
    for file in _files(run):
        with pq.ParquetFile(file, buffer_size=BUFFER) as opened:
            wanted = opened.schema_arrow.names if columns is None else list(columns)
            if not opened.metadata.num_rows:
                yield opened.schema_arrow.empty_table().select(wanted)
            for batch in opened.iter_batches(rows, columns=wanted):
                yield pa.Table.from_batches([batch]).select(wanted)


def _files(run: Path) -> Iterator[Path | io.BytesIO]:
    if (run / FILE).exists() or not (run / SHARDS).exists():
        yield run / FILE
        return
    for unit in pq.read_table(run / SHARDS, columns=["predictions_file", "predictions_sha256"]).to_pylist():
        if name := unit["predictions_file"]:
            data = (run / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != unit["predictions_sha256"]:
                raise InputError(
                    f"{run / name} is not what was sealed; find all such units and have them done again: clipjax "
                    f"shards verify {run} --repair"
                )
            yield io.BytesIO(data)


def _array(column: pa.ChunkedArray) -> np.ndarray:
    if column.null_count:
        raise ValueError("a value is missing")
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        rows = column.combine_chunks()
        values = rows.flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(rows), -1)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.concatenate([np.zeros(0, object), *map(_texts, column.chunks)])
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise ValueError(f"a column is {kind}, not text or numbers")
    return column.to_numpy()


def _texts(chunk: pa.Array) -> np.ndarray:
    coded = chunk.dictionary_encode()
    return np.array(coded.dictionary.to_pylist(), object)[coded.indices.to_numpy()]
