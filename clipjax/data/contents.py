"""The identity of images, independent of file names and places: the sha256 of each one's bytes.

A data set's fingerprint is made of these, so a copied, renamed or repacked data set has the fingerprint of the
original, and a changed image another. Files are hashed once: their digests are kept with size and times, as git keeps
those of its index, and used as long as these are the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from clipjax.errors import InputError
from clipjax.files import cache_dir

SIZE = 32  # bytes of a digest
THREADS = 16  # hashing releases the interpreter lock; a network disk answers many questions at once
CHUNK = 256  # images of one piece of work
UNREADABLE = bytes(SIZE)


@dataclasses.dataclass(frozen=True)
class Packed:
    """Consecutive images [start, stop) that lie in one file."""

    path: str
    start: int
    stop: int


def digests(read: Callable[[int], Any], rows: np.ndarray, packed: Sequence[Packed] = ()) -> np.ndarray:
    """Digests uint8 [M, 32] of the images of `rows`, of what `read` gives; zeros for one that cannot be read.

    packed: the files of many images, in order; all digests of such a file are kept under the file's size and times.
    """
    out = np.zeros((len(rows), SIZE), np.uint8)
    with _Kept() as kept:
        left = np.ones(len(rows), bool)
        for part in packed:
            inside = np.flatnonzero((rows >= part.start) & (rows < part.stop))
            if not len(inside):
                continue
            stamp = _stamp_if_there(part.path)  # before it is read: what changes meanwhile is hashed again
            packed_digests = kept.get(part.path, stamp, (part.stop - part.start) * SIZE)
            if packed_digests is None and len(inside) == part.stop - part.start:
                parts = list(_hashed(read, range(part.start, part.stop), threads=1))  # in order, as it lies
                packed_digests = b"".join(parts)
                if stamp and UNREADABLE not in parts:  # a disk may answer again
                    kept.put(part.path, stamp, packed_digests)
            if packed_digests is not None:
                every = np.frombuffer(packed_digests, np.uint8).reshape(-1, SIZE)
                out[inside], left[inside] = every[rows[inside] - part.start], False
        for at, digest in zip(np.flatnonzero(left), _hashed(read, rows[left].tolist(), kept=kept), strict=True):
            out[at] = np.frombuffer(digest, np.uint8)
    return out


def marked(digests: np.ndarray, mark: str) -> np.ndarray:
    """Digests uint8 [M, 32] of images that something was done to, which `mark` names."""
    parts = (hashlib.sha256(digest.tobytes() + mark.encode()).digest() for digest in digests)
    return np.frombuffer(b"".join(parts), np.uint8).reshape(len(digests), SIZE)


def _hashed(
    read: Callable[[int], Any], rows: Sequence[int], threads: int = THREADS, kept: _Kept | None = None
) -> Iterator[bytes]:
    def work(part: Sequence[int]) -> list[bytes]:
        return [_digest(read, row, kept) for row in part]

    parts = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
    if threads == 1 or len(parts) < 2:
        yield from (digest for part in parts for digest in work(part))
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in pool.map(work, parts):
            yield from done


def _digest(read: Callable[[int], Any], row: int, kept: _Kept | None) -> bytes:
    try:
        content = read(int(row))
        if isinstance(content, bytes | bytearray | memoryview):
            return hashlib.sha256(content).digest()
        if isinstance(content, Image.Image):
            return hashlib.sha256(f"{content.mode} {content.size}".encode() + content.tobytes()).digest()
        if isinstance(content, np.ndarray):
            head = f"{content.dtype} {list(content.shape)}".encode()
            return hashlib.sha256(head + np.ascontiguousarray(content).tobytes()).digest()
        return _of_file(os.fspath(content), kept)
    except (InputError, OSError):
        return UNREADABLE  # it is skipped and named when its turn comes; here it is one more state of the data set


def _of_file(path: str, kept: _Kept | None) -> bytes:
    stamp = _stamp(path)
    if kept is not None and (known := kept.get(path, stamp, SIZE)) is not None:
        return known
    if "://" in path:
        # A bucket's own checksum of an object: reading all of it twice would double the cost of a run.
        digest = hashlib.sha256(stamp.encode()).digest()
    else:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    if kept is not None:
        kept.put(path, stamp, digest)
    return digest


def _stamp(path: str) -> str:
    """Size and times of a file, which change with its bytes. OSError where the file does not exist."""
    if "://" in path:
        import fsspec

        file_system, inside = fsspec.core.url_to_fs(path)
        info = file_system.info(inside)
        marks = [str(info[key]) for key in ("md5Hash", "ETag", "etag", "crc32c", "content_md5") if info.get(key)]
        # Without a checksum the path is part of it: many objects have one size and were uploaded in one second.
        return " ".join(marks[:1]) or f"{path} {info.get('size')} {info.get('mtime') or info.get('created')}"
    status = os.stat(path)
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _stamp_if_there(path: str) -> str:
    """As `_stamp`; "" for a missing file, whose images fail when they are read."""
    try:
        return _stamp(path)
    except OSError:
        return ""


class _Kept:
    """Digests by path and stamp. A cache: where it cannot be opened, read or written, everything is hashed."""

    def __init__(self) -> None:
        self._new: dict[str, tuple[str, bytes]] = {}
        self._file = cache_dir().absolute() / "contents.sqlite"
        self._lock = threading.Lock()
        self._base: sqlite3.Connection | None = None
        with contextlib.suppress(sqlite3.Error):
            self._base = self._connect("ro")

    def __enter__(self) -> _Kept:
        return self

    def get(self, path: str, stamp: str, size: int) -> bytes | None:
        """The digest or digests of a file as it is now, `size` bytes; None where they are not known."""
        row = None
        with self._lock, contextlib.suppress(sqlite3.Error):
            if self._base is not None:
                row = self._base.execute("SELECT stamp, value FROM contents WHERE path = ?", [_key(path)]).fetchone()
        return row[1] if row and row[0] == stamp and isinstance(row[1], bytes) and len(row[1]) == size else None

    def put(self, path: str, stamp: str, value: bytes) -> None:
        """Keeps what was hashed."""
        self._new[_key(path)] = (stamp, value)

    def __exit__(self, *error: object) -> None:
        if self._base is not None:
            self._base.close()
        if not self._new:
            return
        rows = [(path, stamp, value) for path, (stamp, value) in self._new.items()]
        with contextlib.suppress(sqlite3.Error, OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(self._connect("rwc")) as base, base:
                base.execute("CREATE TABLE IF NOT EXISTS contents (path TEXT PRIMARY KEY, stamp TEXT, value BLOB)")
                base.executemany("INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", rows)

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._file.as_uri()}?mode={mode}", uri=True, timeout=5, check_same_thread=False)


def _key(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)
