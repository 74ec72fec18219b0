"""Features of a sealed run as parquet tables, for tools that do not read .npy: key, and the vector as a list."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq

from clipjax.errors import InputError
from clipjax.runs.shards import seal, units
from clipjax.runs.shards.store import Store

GROUP_ROWS = 16_384  # 34 MB of 512 numbers


def export(store: Store, out: Store) -> str:
    """A table per unit: uid, key, features float32 (other programs read float16 wrongly, or not at all)."""
    if out.names(""):
        raise InputError(f"{out.place}: is not empty; name another --out")
    total = 0
    for unit in seal.sealed(store):
        if not unit["rows"]:
            continue
        features = features_of(store, unit["features_file"]).astype(np.float32)
        rows = pq.read_table(io.BytesIO(store.read(unit["rows_file"])), columns=["uid", "key"])
        table = rows.append_column("features", units.vectors(features))
        data = io.BytesIO()
        pq.write_table(table, data, row_group_size=GROUP_ROWS)
        name = unit["features_file"].rpartition("/")[2].removesuffix(".npy")
        out.write(f"{name}.parquet", data.getvalue())
        total += len(table)
    return f"{out.place}: features of {total} images"


def features_of(store: Store, name: str) -> np.ndarray:
    """A unit's features [M, E] as they are stored; of a file on a disk, as a memory map."""
    if (path := store.local(name)) is not None:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    return np.load(io.BytesIO(store.read(name)), allow_pickle=False)
