"""One unit of work: its images read, encoded, scored and counted, and its files, the marker last.

Everything that a unit's files hold depends on the unit and the plan alone: batches begin anew in it, and scores come
from a program of fixed shape. Two workers that do the same unit write the same bytes, or the marker decides.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from clipjax import stored
from clipjax.analysis.run import IMAGE
from clipjax.analysis.tallies import Tally, added
from clipjax.cache import FeatureCache, Skipped
from clipjax.data.source import as_path
from clipjax.errors import InputError
from clipjax.runs.shards.plan import DTYPES, Input, Plan
from clipjax.runs.shards.store import Store

GROUP_ROWS, GROUP_BYTES = 65_536, 64_000_000  # of a row group
DIGEST = 32  # bytes of an image's sha256


class File(Struct, frozen=True):
    """A file of a unit."""

    name: str
    sha256: str
    bytes: int


class Marker(Struct, frozen=True):
    """done/000012.json: the unit is complete, and these are its files. A unit without a readable image does not have
    features, rows and predictions. `time`, `seconds` and `worker` are notes for people, not part of a result."""

    unit: int
    identity: str
    arithmetic: str
    rows: int
    skipped: int
    files: dict[str, File]
    worker: str = ""
    seconds: float = 0.0
    time: float = 0.0


class Lost(NamedTuple):
    """An image that cannot be read."""

    key: str
    row: int
    sha256: bytes
    reason: str


class Part(Struct, frozen=True):
    """What a unit's images gave. keys [M], rows [M] (places in the input), digests uint8 [M, 32], features [M, E];
    columns of predictions.parquet [M]."""

    keys: np.ndarray
    rows: np.ndarray
    uids: list[bytes]
    digests: np.ndarray
    features: np.ndarray
    columns: Mapping[str, Any]
    tallies: Sequence[Tally]
    skipped: list[Lost]


def marker_name(unit: int) -> str:
    """The name of a unit's marker."""
    return f"done/{unit:06d}.json"


def read_marker(store: Store, unit: int) -> Marker:
    """A unit's marker. InputError where it is damaged."""
    name = marker_name(unit)
    remedy = "remove it, and its unit is done again: clipjax shards work"
    return stored.parse(store.read(name), store.path(name), Marker, remedy)


def done(store: Store) -> set[int]:
    """The units that have a marker."""
    return {int(name[:-5]) for name in store.names("done") if name.endswith(".json") and name[:-5].isdecimal()}


def rounded(features: np.ndarray, dtype: str, where: str) -> np.ndarray:
    """Features as they are stored, in float32: every number is computed from these."""
    if dtype == "float32":
        return features
    with np.errstate(over="ignore"):
        out = features.astype(np.float16)
    if not np.isfinite(out).all():
        raise InputError(f"{where}: a feature is larger than float16 holds (65504); make the plan with --dtype=float32")
    return out.astype(np.float32)


@contextlib.contextmanager
def fetched(one: Input) -> Iterator[str]:
    """An input file as a local path; of a bucket it is copied first, in one stream, and removed after. InputError where
    it has another size than when the plan was made."""
    if "://" not in one.path:
        _check_size(one, Path(one.path))
        yield one.path
        return
    with tempfile.TemporaryDirectory(prefix="clipjax-unit-") as folder:
        path = Path(folder) / one.path.rpartition("/")[2]
        with as_path(one.path).open("rb") as remote, open(path, "wb") as local:
            shutil.copyfileobj(remote, local, 1 << 20)
        _check_size(one, path)
        yield os.fspath(path)


def _check_size(one: Input, path: Path) -> None:
    size = path.stat().st_size if path.exists() else None
    if size != one.bytes:
        state = "is missing" if size is None else f"has {size} bytes, and had {one.bytes} when the plan was made"
        raise InputError(f"{one.path}: {state}; put it back, or make a new plan")


def of_images(plan: Plan, one: Input, task: Any, asked: Any, features: Any, weights: np.ndarray, module: Any) -> Part:
    """Encodes, scores and counts the images of a task, all of which are one input."""
    source = task.source
    digests = source.all_digests
    width = features.engine.width("proj")
    rows, values, lost = features.encode(source, "proj", np.arange(len(source)), FeatureCache(None, width, {}))
    values = rounded(values, plan.dtype, source.name)
    found = None
    if len(rows):
        found = module.count(asked, task, rows, features.probabilities(values, weights, plan.probability))
    return part_of(one, source.files, digests, rows, values, lost, found)


def part_of(
    one: Input, files: np.ndarray, digests: np.ndarray, rows: np.ndarray, values: np.ndarray, lost: Skipped, found: Any
) -> Part:
    """Of an input's names [N] and digests [N, 32], the rows [M] that could be read, their features and `Counted`."""
    where = one.path if one.stop is None else ""
    keys = files[rows]
    uids = [hashlib.blake2b(f"{where}\0{key}".encode(), digest_size=16).digest() for key in keys]
    skipped = [
        Lost(
            file,
            one.start + row,
            digests[row].tobytes(),
            reason.replace(f" row {row}: ", f" row {one.start + row}: ", 1),
        )
        for row, file, reason in sorted(lost)  # reasons name the rows of the unit
    ]
    columns, tallied = ({}, []) if found is None else (found.columns, found.tallies)
    return Part(keys, one.start + rows, uids, digests[rows], values, columns, tallied, skipped)


def joined(parts: Sequence[Part]) -> Part:
    """The inputs of one unit, one after the other; their rows are counted on."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(p.rows) + len(p.skipped) for p in parts)])
    counted = [p for p in parts if p.columns]
    names = counted[0].columns if counted else {}
    return Part(
        np.concatenate([p.keys for p in parts]),
        np.concatenate([start + p.rows for start, p in zip(starts, parts, strict=False)]),
        [uid for p in parts for uid in p.uids],
        np.concatenate([p.digests for p in parts]),
        np.concatenate([p.features for p in parts]),
        {name: np.concatenate([p.columns[name] for p in counted]) for name in names},
        [added(kind) for kind in zip(*(p.tallies for p in counted), strict=True)],
        [one._replace(row=int(start) + one.row) for start, p in zip(starts, parts, strict=False) for one in p.skipped],
    )


def write(store: Store, plan: Plan, unit: int, part: Part, arithmetic: str, worker: str, began: float) -> bool:
    """Writes a unit's files, then its marker; whether it was this worker's that counts."""
    files = {
        kind: _file(store, plan, kind, unit, data, suffix)
        for kind, data, suffix in contents(plan, part)
        if data is not None
    }
    now = time.time()
    marker = Marker(
        unit, plan.identity, arithmetic, len(part.rows), len(part.skipped), files, worker, round(now - began, 3),
        round(now, 3),
    )  # fmt: skip
    if store.create(marker_name(unit), msgspec.json.encode(marker)):
        return True
    kept = {file.name for file in read_marker(store, unit).files.values()}
    for file in files.values():
        if file.name not in kept:
            store.remove(file.name)
    return False


def contents(plan: Plan, part: Part) -> Iterator[tuple[str, bytes | None, str]]:
    """Kind, bytes (None: not there) and suffix of a unit's files."""
    some = len(part.rows) > 0
    yield "features", npy(part.features, plan.dtype) if some else None, "npy"
    yield "rows", parquet(_rows(part)) if some else None, "parquet"
    yield "predictions", parquet(_predictions(plan, part)) if some and part.columns else None, "parquet"
    stats = {"images": len(part.rows), "skipped": len(part.skipped), "tallies": [t.to_json() for t in part.tallies]}
    yield "stats", json.dumps(stats, ensure_ascii=False).encode(), "json"
    yield "skipped", parquet(_skipped(part)) if part.skipped else None, "parquet"


def _file(store: Store, plan: Plan, kind: str, unit: int, data: bytes, suffix: str) -> File:
    sha256 = hashlib.sha256(data).hexdigest()
    name = plan.name(kind, unit, sha256, suffix)
    store.write(name, data)
    return File(name, sha256, len(data))


def npy(features: np.ndarray, dtype: str) -> bytes:
    """A 2-D array as numpy's own file, little-endian, rows one after the other."""
    out = io.BytesIO()
    np.save(out, np.ascontiguousarray(features, DTYPES[dtype]), allow_pickle=False)
    return out.getvalue()


def parquet(table: pa.Table) -> bytes:
    """A table as a file; equal tables are equal bytes."""
    out = io.BytesIO()
    rows = max(1, min(GROUP_ROWS, GROUP_BYTES * len(table) // max(table.nbytes, 1)))
    pq.write_table(table, out, compression="zstd", row_group_size=rows)
    return out.getvalue()


def _rows(part: Part) -> pa.Table:
    own = {name: values for name, values in part.columns.items() if name not in ANSWERS}
    return pa.table({
        "uid": pa.array(part.uids, pa.binary(16)),
        "key": pa.array(part.keys.tolist(), pa.string()),
        "row": pa.array(part.rows, pa.int64()),
        "sha256": pa.array([digest.tobytes() for digest in part.digests], pa.binary(DIGEST)),
        **{name: _texts(values) for name, values in own.items()},
    })  # fmt: skip


ANSWERS = ("file", IMAGE, "prediction", "probability", "probabilities")  # columns that only predictions have


def _predictions(plan: Plan, part: Part) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for name, values in part.columns.items():
        if name == "probabilities":
            if plan.probabilities:
                columns[name] = vectors(values)
        else:
            columns[name] = _texts(values)
    return pa.table(columns)


def vectors(values: np.ndarray) -> pa.Array:
    """float32 [M, C] as lists of one length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _texts(values: np.ndarray) -> pa.Array:
    return pa.array(values.tolist(), pa.string()) if values.dtype == object else pa.array(values)


def _skipped(part: Part) -> pa.Table:
    keys, rows, digests, reasons = zip(*part.skipped, strict=True)
    return pa.table({
        "key": pa.array(keys, pa.string()), "row": pa.array(rows, pa.int64()),
        "sha256": pa.array(digests, pa.binary(DIGEST)), "reason": pa.array(reasons, pa.string()),
    })  # fmt: skip
