"""Images resized and cropped once, for hosts whose accelerators compute faster than they decode.

A folder: `pixels-00000-of-00049.array_record`, ... (one record per row: the crop as raw uint8 [S, S, 3], empty where
the image could not be read), `table.parquet` with every column of the original, and `info.json`, written last.
Raw bytes, because reading is what this is for: here a record of 224 x 224 pixels took 0.05 ms, with array_record's
zstd 0.17 ms for a tenth less space, as PNG 2.1 ms for a third less, which is a photograph's own decoding.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.parquet as pq

from clipjax import skipping, stored
from clipjax.classes import Naming
from clipjax.data import labels as labelling
from clipjax.data import source
from clipjax.data.contents import SIZE, marked
from clipjax.data.pipeline import Batch, batches
from clipjax.data.source import Source
from clipjax.errors import InputError, brief, converted
from clipjax.files import write_atomically, write_text
from clipjax.image import Preprocess

FORMAT, VERSION = "clipjax-prepared", 3
DIGEST = "own:digest"  # of each original, in hexadecimal
ROLES = ("own", "label", "group", "protocol")  # of the columns of table.parquet
SHARD_ROWS = 1024  # 154 MB at 224 pixels; what a kill loses
READERS = 64  # open shards at a time, far below the usual limit of 1,024 open files; rows come nearly in order
BATCH_ROWS = 64  # a divisor, so that no batch lies in two shards
INFO, PLAN, TABLE = "info.json", "plan.json", "table.parquet"
LARGEST_SIZE = 1 << 14  # pixels a side
REMEDY = "copy the folder again, or prepare it again"


class _Bytes(TypedDict):
    sha256: str
    bytes: stored.Count


class _Shard(_Bytes):
    skipped: list[tuple[stored.Count, str, str]]


class _Info(TypedDict):
    format: str
    version: int
    name: str
    n: stored.Count
    image_size: stored.Count
    shard_rows: stored.Count
    data_set: str
    original: str
    transform: str
    pillow: str
    classes: list[str] | None
    ids: list[str] | None
    columns: dict[str, str]
    skipped: list[tuple[stored.Count, str, str]]
    table_sha256: NotRequired[str]
    shards: dict[str, _Bytes]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared folder, opened: the source, the named data set it was made from ("" for none), and its info."""

    source: Source
    data_set: str
    info: Mapping[str, Any]


def write(
    original: Source,
    image_size: int,
    out: Path,
    data_set: str = "",
    max_skipped: float = 0.01,
    threads: int | None = None,
    progress: Callable[[int, int], object] = lambda n, lost: None,
) -> dict[str, Any]:
    """Writes `original` for models of `image_size` pixels into the folder `out`; returns what info.json says.

    A killed call goes on at the first unfinished shard; a finished folder is left as it is. Raises InputError where
    the folder holds something else, or more than the share `max_skipped` of the images cannot be read.
    """
    if original.size is not None:
        raise InputError(f"{original.name} is prepared already (for {original.size} pixels); name the originals")
    plan = _plan(original, image_size, data_set)
    if (out / INFO).exists():
        info = stored.read(out / INFO, _Info, REMEDY)
        _check_plan(out, info, plan)
        _tidy(out)
        return info
    _claim(out, plan)
    names = _shard_names(len(original))
    todo = [k for k, name in enumerate(names) if not (out / f"{name}.json").exists()]
    rows = np.concatenate([np.zeros(0, np.int64), *(_rows_of(k, len(original)) for k in todo)])
    spec = Preprocess(image_size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    feed = batches(original, rows, spec, BATCH_ROWS, threads, np.uint8)
    done = [name for k, name in enumerate(names) if k not in todo]
    lost = sum(len(stored.read(out / f"{name}.json", _Shard, REMEDY)["skipped"]) for name in done)
    progress(len(original) - len(rows), lost)

    def check(skipped: Sequence[tuple[int, str, str]]) -> None:
        nonlocal lost
        lost += len(skipped)
        if lost > skipping.allowed(len(original), max_skipped):
            raise InputError(
                f"{original.name}: {lost} of {len(original)} images cannot be read; the last: "
                f"{skipped[-1][2] if skipped else 'in an earlier call'}. {skipping.remedy(lost, len(original))}"
            )

    check([])
    for k in todo:
        _write_shard(out / names[k], _rows_of(k, len(original)), feed, progress, check)
    return _finish(original, out, names, plan)


def open_prepared(path: str | os.PathLike) -> Prepared:
    """The source of a folder that `write` made: every column and class of the original, images of one size.

    Its images are known by the originals' digests: a prepared data set has the original's fingerprint, unless another
    Pillow made the crops than would make them here. Raises InputError where the folder is none, is unfinished, or a
    shard is missing or cut off.
    """
    path = source.as_path(path)
    if "://" in os.fspath(path):
        raise InputError(f"{path}: prepared images are read from a disk; mount the bucket, or copy the folder")
    if not (path / INFO).exists():
        hint = "unfinished: run clipjax prepare again" if (path / PLAN).exists() else "made by clipjax prepare --out"
        raise InputError(f"{path} holds no {INFO}; give a finished folder of prepared images ({hint})")
    info = stored.read(path / INFO, dict, REMEDY)
    if (info.get("format"), info.get("version")) != (FORMAT, VERSION):
        raise InputError(f"{path / INFO} is not of {FORMAT} version {VERSION}; prepare the originals again")
    info = stored.check(info, _Info, str(path / INFO), REMEDY)
    _check_info(path, info)
    columns = _read_table(path / TABLE, info["columns"], info.get("table_sha256"))
    digests = _digests(path, columns)
    if info["pillow"] != PIL.__version__:
        digests = marked(digests, f"{FORMAT} by Pillow {info['pillow']}")
    role = {name: {c.partition(":")[2]: v for c, v in columns.items() if c.startswith(f"{name}:")} for name in ROLES}
    index, present, labels = role["label"].get("index"), role["label"].get("present"), None
    if info["classes"] is not None and (index is not None or present is not None):
        labels = labelling.Labels(tuple(info["classes"]), index, present, tuple(info["ids"] or ()))
    crops = Source(
        info["name"], columns["file"], _Shards(path, info).read, labels, role["own"].get("captions"), role["group"],
        role["protocol"], info["image_size"], contents=lambda rows: digests[rows],
    )  # fmt: skip
    return Prepared(crops, info["data_set"], info)


def _digests(path: Path, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The originals' digests, uint8 [N, 32]."""
    with converted(f"{path / TABLE} holds no digests of the originals", REMEDY, KeyError, ValueError):
        digests = np.frombuffer(bytes.fromhex("".join(columns[DIGEST])), np.uint8)
        return digests.reshape(len(columns["file"]), SIZE)


def renamed(folder: Prepared, naming: Naming) -> Prepared:
    """The same images with labels called otherwise; `naming` is of their names, or of what these stand for."""
    labels = folder.source.labels
    if labels is None:
        raise InputError(f"{folder.source.name} has no labels, and data.class_names names some; leave it out")
    by_id = bool(naming.listed) or not naming.mapping.keys() <= set(labels.names)
    own = dataclasses.replace(labels, ids=labels.ids if by_id else labels.names)
    again = own.renamed(naming, folder.source.name)
    return dataclasses.replace(folder, source=dataclasses.replace(folder.source, labels=again))


def _check_info(path: Path, info: Mapping[str, Any]) -> None:
    """Raises InputError where info.json contradicts itself or the shards."""
    rows, shards = info["shard_rows"], info["shards"]
    if "file" not in info["columns"]:
        raise InputError(f"{path / INFO} names no column of files; {REMEDY}")
    if not 0 < info["image_size"] <= LARGEST_SIZE or rows < 1 or -(-info["n"] // rows) != len(shards):
        raise InputError(f"{path / INFO}: {len(shards)} shards of {rows} rows are not {info['n']} images; {REMEDY}")
    for name, shard in shards.items():
        if Path(name).name != name or "\0" in name:
            raise InputError(f"{path / INFO} names {brief(name)!r}, which is not a file of its folder; {REMEDY}")
        size = (path / name).stat().st_size if (path / name).exists() else None
        if size != shard["bytes"]:
            state = "is missing" if size is None else f"has {size} of {shard['bytes']} bytes"
            raise InputError(f"{path / name} {state}; {REMEDY}")


class _Shards:
    """Random access to the records of all shards, from any number of threads."""

    def __init__(self, path: Path, info: Mapping[str, Any]):
        self.path, self.names = path, list(info["shards"])
        self.size, self.rows = info["image_size"], info["shard_rows"]
        self.reasons = {row: reason for row, _, reason in info["skipped"]}
        self._lock = threading.Lock()
        self._reader = functools.lru_cache(READERS)(self._open)

    def read(self, i: int) -> np.ndarray:
        """The crop of one row."""
        if i in self.reasons:
            raise InputError(self.reasons[i])
        shard, record = divmod(i, self.rows)
        with self._lock:
            reader = self._reader(shard)
        damage = (RuntimeError, ValueError, IndexError)
        with converted(f"{self.path / self.names[shard]} is damaged at record {record}", "copy it again", *damage):
            data = reader.read([record])[0]
        if len(data) != self.size * self.size * 3:
            raise InputError(f"{self.path / self.names[shard]} record {record} has {len(data)} bytes; prepare it again")
        return np.frombuffer(data, np.uint8).reshape(self.size, self.size, 3)

    def _open(self, shard: int) -> Any:
        from array_record.python import array_record_module  # half a second that other sources do without

        # No read-ahead: rows are asked for one by one, by many threads, and on a host of several with gaps.
        options = "readahead_buffer_size:0,max_parallelism:0"
        return array_record_module.ArrayRecordReader(os.fspath(self.path / self.names[shard]), options)


def _plan(original: Source, image_size: int, data_set: str) -> dict[str, Any]:
    """What decides the bytes: a folder is only gone on with where all of it is the same."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": original.name,
        "data_set": data_set,
        "original": original.fingerprint,
        "n": len(original),
        "image_size": image_size,
        "transform": "shortest side, bicubic, centre crop, RGB: OpenAI's, before normalisation",
        "pillow": PIL.__version__,
        "shard_rows": SHARD_ROWS,
    }


def _write_shard(
    path: Path, rows: np.ndarray, feed: Iterator[Batch], progress: Callable[[int, int], object], check: Callable
) -> None:
    from array_record.python import array_record_module

    digest, skipped = hashlib.sha256(), []

    def write_records(temporary: Path) -> None:
        # group_size:1, so that one row is read without its neighbours
        writer = array_record_module.ArrayRecordWriter(os.fspath(temporary), "group_size:1,uncompressed")
        done = 0
        while done < len(rows):
            batch = next(feed)
            crops = dict(zip(batch.rows.tolist(), batch.pixels, strict=True))
            for row in rows[done : done + BATCH_ROWS].tolist():
                data = crops[row].tobytes() if row in crops else b""
                digest.update(b"%d:" % len(data) + data)
                with _writing(path):
                    writer.write(data)
            skipped.extend(batch.skipped)
            done += len(batch.rows) + len(batch.skipped)
            progress(len(batch.rows) + len(batch.skipped), len(batch.skipped))
            check(batch.skipped)
        with _writing(path):
            writer.close()

    write_atomically(path, write_records)
    about = {"sha256": digest.hexdigest(), "bytes": path.stat().st_size, "skipped": skipped}
    write_text(path.with_name(f"{path.name}.json"), json.dumps(about))


def _writing(path: Path) -> contextlib.AbstractContextManager[None]:
    """array_record says of a full disk what riegeli says of it, as a RuntimeError."""
    return converted(f"{path}: cannot be written", "make room, or choose another --out", RuntimeError)


def _finish(original: Source, out: Path, names: list[str], plan: dict) -> dict[str, Any]:
    table = {key: values for key, values in _columns_of(original).items() if values is not None}
    columns = {key: _to_arrow(values) for key, values in table.items()}
    write_atomically(out / TABLE, lambda temporary: pq.write_table(pa.table(columns), temporary, compression="zstd"))
    shards = {name: stored.read(out / f"{name}.json", _Shard, REMEDY) for name in names}
    info = plan | {
        "classes": None if original.labels is None else list(original.labels.names),
        "ids": None if original.labels is None else list(original.labels.ids),
        "columns": {key: str(values.dtype) for key, values in table.items()},
        "skipped": [row for shard in shards.values() for row in shard["skipped"]],
        "shards": {name: {k: s[k] for k in ("sha256", "bytes")} for name, s in shards.items()},
        "table_sha256": hashlib.sha256((out / TABLE).read_bytes()).hexdigest(),
    }
    write_text(out / INFO, json.dumps(info, indent=1, ensure_ascii=False) + "\n")
    _tidy(out)
    return info


def _columns_of(original: Source) -> dict[str, Any]:
    """Every column of a source under its role: "label:index", "group:race"; no name of a user's column is special."""
    labels = original.labels
    digests = np.array([digest.tobytes().hex() for digest in original.digests(np.arange(len(original)))], object)
    table = {"file": original.files, DIGEST: digests, "own:captions": original.captions}
    if labels is not None:
        table |= {"label:index": labels.index, "label:present": labels.present}
    table |= {f"group:{key}": values for key, values in original.columns.items()}
    return table | {f"protocol:{key}": values for key, values in original.protocol.items()}


def _tidy(out: Path) -> None:
    """Removes files that only an unfinished folder needs, and temporary files of killed calls."""
    for left in (out / PLAN, *out.glob("pixels-*.array_record.json"), *out.glob(".*.tmp")):
        left.unlink(missing_ok=True)


def _claim(out: Path, plan: dict[str, Any]) -> None:
    with converted(f"{out}: cannot be written", "choose another --out", OSError):
        out.mkdir(parents=True, exist_ok=True)
    if (out / PLAN).exists():
        _check_plan(out, stored.read(out / PLAN, dict, REMEDY), plan)
        return
    if others := sorted(p.name for p in out.iterdir() if not p.name.endswith(".tmp")):
        raise InputError(f"{out}: is not empty ({others[0]}); choose another --out")
    write_text(out / PLAN, json.dumps(plan, indent=1, ensure_ascii=False) + "\n")


def _check_plan(out: Path, there: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    differs = [f"{key}: {there.get(key)} there, {plan[key]} asked for" for key in plan if there.get(key) != plan[key]]
    if differs:
        raise InputError(f"{out}: holds another preparation ({'; '.join(differs[:3])}); choose another --out")


def _shard_names(n: int) -> list[str]:
    count = -(-n // SHARD_ROWS)
    return [f"pixels-{k:05d}-of-{count:05d}.array_record" for k in range(count)]


def _rows_of(shard: int, n: int) -> np.ndarray:
    return np.arange(shard * SHARD_ROWS, min((shard + 1) * SHARD_ROWS, n))


def _to_arrow(values: np.ndarray) -> pa.Array:
    return pa.array(values.tolist() if values.ndim > 1 or values.dtype == object else values)


def _read_table(path: Path, kinds: Mapping[str, str], sha256: str | None) -> dict[str, np.ndarray]:
    """The columns as they were written: text stays text, numbers keep their width."""
    table: dict[str, np.ndarray] = {}
    damage = (OSError, pa.ArrowException, KeyError, TypeError, ValueError, OverflowError)
    with converted(f"{path} cannot be read", REMEDY, *damage):
        data = path.read_bytes()
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise InputError(f"{path} has changed since it was written (its sha256 is another); {REMEDY}")
        columns = pq.read_table(pa.BufferReader(data))
        for key, kind in kinds.items():
            if np.dtype(kind).kind not in "biufO":
                raise InputError(f"{path} has no columns of {brief(kind)}; {REMEDY}")
            values = columns.column(key).to_pylist()
            if np.dtype(kind) != object:
                table[key] = np.asarray(values, kind)
            else:
                rows = (tuple(v) if isinstance(v, list) else v for v in values)
                table[key] = np.fromiter(rows, object, len(values))
    return table
