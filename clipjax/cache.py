"""Features that are never computed twice: append-only logs, safe against kills and against other writers.

One folder per key (weights, preprocessing, precision, data fingerprint), one log per writer. A
record is a header with a checksum, the rows' numbers, their features, and the rows that could not be read. A kill
tears at most the last record, which the next reader drops; two writers at once never share a log, so the worst that
can happen is that both compute the same row.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout

from clipjax import stored
from clipjax.errors import InputError
from clipjax.files import write_atomically

MAGIC = b"CJF1"
HEADER = struct.Struct("<4sIIII")  # magic, rows, width, bytes of JSON, crc32 of what follows

Skipped = list[tuple[int, str, str]]  # (row, file, reason)


def key_of(**parts: Any) -> str:
    """Hex digest of everything a feature depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def sha256_of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Hex digest of names, dtypes and bytes: the same for the same parameters in whatever container."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclasses.dataclass
class Features:
    """What the cache holds for one key: `values[i]` is the feature of row `rows[i]`; `skipped` rows have none.

    rows: int64 [M], sorted; values: float32 [M, E].
    """

    rows: np.ndarray
    values: np.ndarray
    skipped: Skipped


class FeatureCache:
    """The folder of one key, open for reading everything and appending to a log of its own.

    `folder` None keeps nothing: every run computes everything.
    """

    def __init__(self, folder: Path | None, width: int, about: dict[str, Any]):
        self.folder, self.width = folder, width
        self._file: Any = None
        self._lock: Any = None
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "about.json").exists():
                text = json.dumps(about, indent=1, sort_keys=True) + "\n"
                write_atomically(folder / "about.json", lambda path: path.write_text(text))
            self._take_log(folder)
        except OSError as error:
            raise InputError(
                f"{folder}: the feature cache cannot be written ({error.strerror}); choose another --config.cache_dir, "
                "or none to do without"
            ) from error

    def read(self) -> Features:
        """Everything that any writer has finished, each row once."""
        return read_features(self.folder, self.width)

    def append(self, rows: np.ndarray, values: np.ndarray, skipped: Skipped) -> None:
        """Adds finished rows; on the disk when this returns."""
        if self._file is None:
            return
        extra = json.dumps(skipped).encode()
        payload = rows.astype("<i8").tobytes() + values.astype("<f4").tobytes() + extra
        header = HEADER.pack(MAGIC, len(rows), self.width, len(extra), zlib.crc32(payload))
        try:
            rest = memoryview(header + payload)
            while rest:  # unbuffered: a full disk takes what it can, and closing the file has nothing left to write
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(
                f"{self.folder}: the feature cache cannot grow ({error.strerror}); free some space"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the log back to later runs."""
        if self._file is not None and self._lock is not None:
            self._file.close()
            self._lock.release()
            self._file = None

    def _take_log(self, folder: Path) -> None:
        """The first log that no living process writes; its torn end, if any, is cut off."""
        for i in range(10_000):
            lock = FileLock(folder / f"{i:04}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            path = folder / f"{i:04}.log"
            data = path.read_bytes() if path.exists() else b""
            good = max((end for *_, end in _records(data, self.width)), default=0)
            if good < len(data):
                with open(path, "r+b") as file:
                    file.truncate(good)
            self._lock, self._file = lock, open(path, "ab", buffering=0)  # noqa: SIM115 (until close())
            return
        raise InputError(f"{folder}: ten thousand writers; remove the .lock files of those that are gone")


def read_features(folder: Path | None, width: int) -> Features:
    """What every writer of a key's folder has finished, each row once; nothing where there is no such folder."""
    rows, values, skipped = [], [], {}
    for path in sorted(folder.glob("*.log")) if folder else ():
        data = path.read_bytes()
        for part_rows, part_values, part_skipped, _ in _records(data, width):
            rows.append(part_rows)
            values.append(part_values)
            skipped |= {row: (row, file, reason) for row, file, reason in part_skipped}
    if not rows:
        return Features(np.zeros(0, np.int64), np.zeros((0, width), np.float32), list(skipped.values()))
    every, first = np.unique(np.concatenate(rows), return_index=True)
    found = np.concatenate(values)[first]
    return Features(every, found, [skipped[row] for row in sorted(skipped.keys() - set(every.tolist()))])


def _records(data: bytes, width: int):
    """Yields (rows, values, skipped, end) of every whole record; stops at the first that is torn or damaged."""
    at = 0
    while at + HEADER.size <= len(data):
        magic, count, record_width, extra, crc = HEADER.unpack_from(data, at)
        start = at + HEADER.size
        middle = start + 8 * count
        tail = middle + 4 * count * record_width
        end = tail + extra
        if magic != MAGIC or record_width != width or end > len(data) or zlib.crc32(data[start:end]) != crc:
            return
        try:
            skipped = stored.parse(data[tail:end], "", list[tuple[stored.Whole, str, str]])
        except InputError:
            return
        rows = np.frombuffer(data, "<i8", count, start)
        if count and rows.min() < 0:
            return
        values = np.frombuffer(data, "<f4", count * width, middle).reshape(count, width)
        yield rows, values, skipped, end
        at = end


def cached_array(folder: Path | None, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """A small array by key (class weights by weights and prompts): read if there and whole, else made and kept."""
    if folder is None:
        return make()
    path = folder / f"{key}.npz"  # a zip: every byte is under a checksum
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as found:
            return found["value"]
    except Exception:  # numpy and zipfile raise many types on a damaged file, tokenize.TokenError among them
        pass  # not there, or damaged: made again
    value = make()

    def save(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez(file, value=value)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save)
    except OSError as error:
        raise InputError(
            f"{folder}: the cache cannot be written ({error.strerror}); free some space, choose another "
            "--config.cache_dir, or none to do without"
        ) from error
    return value
