"""The folder of one run: what is promised about it, and how files get there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

import clipjax
from clipjax import stored
from clipjax.analysis import findings
from clipjax.analysis.records import Record
from clipjax.analysis.run import COMPLETE, LOG, SUMS, changed
from clipjax.analysis.tables import csv_text, markdown_lines, tidy
from clipjax.errors import InputError
from clipjax.files import write_atomically
from clipjax.progress import say

FINAL = ("manifest.json", "metrics.json", "predictions.parquet")
LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "pillow", "safetensors", "regex", "ftfy")


class RunFolder:
    """RUN, held by one process at a time; on several hosts only process 0 opens it for writing.

    `config.json` is written first and says what the folder is for; `manifest.json` is written last and says that
    everything is there, and SHA256SUMS just before it says what that is. A finished run with another config is
    refused, with the difference. `holds` names what else may lie in the folder.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], writes: bool = True, holds: Sequence[str] = ()):
        self.path, self.config, self.writes, self.holds = path, dict(config), writes, tuple(holds)
        self._lock = None
        self._sums: dict[str, str] = {}
        if not writes:
            return
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(path / ".lock")
            self._lock.acquire(blocking=False)
        except Timeout:
            raise InputError(
                f"{path}: another process is writing this run; wait for it or choose another --out"
            ) from None
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error
        try:
            self._claim()
        except InputError:
            self.close()
            raise

    def _claim(self) -> None:
        """An unfinished run holds no numbers (features lie in the cache): it gives way to any config."""
        if (self.path / "manifest.json").exists():
            if differs := differences(read_config(self.path), self.config):
                raise InputError(
                    f"{self.path}: holds a finished run with another config ({'; '.join(differs[:5])}); "
                    "choose another --out or remove it"
                )
            (self.path / "manifest.json").unlink()  # this very run, with files missing: not finished after all
        known = (
            "config.json", SUMS, ".lock", LOG, "predictions.parquet", "metrics.json", "tables",
            "figures", "report.html", "model_card.md",  # what `clipjax report` adds
            *self.holds,
        )  # fmt: skip
        if others := sorted(p.name for p in self.path.iterdir() if p.name not in known and not p.name.endswith(".tmp")):
            raise InputError(f"{self.path}: is not empty and not a run ({others[0]}); choose another --out")
        for left in (*self.path.glob(".*.tmp"), *self.path.glob("tables/.*.tmp")):  # by processes that were killed
            left.unlink(missing_ok=True)
        self.write_json("config.json", self.config)

    @property
    def log(self) -> Path | None:
        """Where progress is logged; None on hosts that do not write."""
        return self.path / LOG if self.writes else None

    def close(self) -> None:
        """Lets another process have the folder."""
        if self._lock is not None:
            self._lock.release()

    def write_json(self, name: str, value: Any) -> None:
        """Sorted, indented, no NaN: readable and the same bytes for the same value."""
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        self.write_text(name, text)

    def write_text(self, name: str, text: str) -> None:
        """Makes folders on the way."""
        if self.writes:
            self._sums[name] = hashlib.sha256(text.encode()).hexdigest()
            if name == "manifest.json":
                sums = {name: self._sums[name] for name in sorted((*FINAL, "config.json")) if name in self._sums}
                self._put(SUMS, lambda path: path.write_text("".join(f"{sums[name]}  {name}\n" for name in sums)))
            self._put(name, lambda path: path.write_text(text, encoding="utf-8"))
            if name == "manifest.json":
                event = {"time": round(time.time(), 3), "stage": COMPLETE}
                with open(self.path / LOG, "ab") as file:
                    file.write(json.dumps(event).encode() + b"\n")

    def write_table(self, name: str, columns: Mapping[str, Any], classes: Sequence[str]) -> None:
        """A parquet table, one row per image; equal columns give equal bytes. `classes`, whose probabilities the column
        `probabilities` holds in this order, are a JSON list under the key "classes" of the file's metadata."""
        if self.writes:
            table = pa.table({k: _arrow(v) for k, v in columns.items()})
            if "probabilities" in columns:
                table = table.replace_schema_metadata({"classes": json.dumps(list(classes), ensure_ascii=False)})

            def write(path: Path) -> None:
                pq.write_table(table, path, compression="zstd")
                with open(path, "rb") as file:
                    self._sums[name] = hashlib.file_digest(file, "sha256").hexdigest()

            self._put(name, write)

    def note(self, name: str) -> None:
        """A file of the run that was written by other means: its sum is one of the run's."""
        with open(self.path / name, "rb") as file:
            self._sums[name] = hashlib.file_digest(file, "sha256").hexdigest()

    def _put(self, name: str, write: Callable[[Path], Any]) -> None:
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error
        write_atomically(path, write)

    def write_records(self, records: Sequence[Record]) -> None:
        """metrics.json: a tidy record per number, and what they show between groups; tables/metrics.csv and .md, with a
        column per group column."""
        written = [record.to_dict() for record in records]
        shown = [finding.to_dict() for finding in findings.of_records(records)]
        self.write_json("metrics.json", {"records": written, "findings": shown})
        rows = [row[1:] for row in tidy([("", written)])]  # without the name of the run, which is the folder's
        self.write_text("tables/metrics.csv", csv_text(rows, typed=True))
        shorter = [[f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows]
        self.write_text("tables/metrics.md", "\n".join(markdown_lines(shorter)) + "\n")


def finished(path: Path, config: Mapping[str, Any]) -> bool:
    """Whether a finished run of this very config is there; no, where its files are not what it wrote."""
    if not all((path / name).exists() for name in FINAL) or read_config(path) != dict(config):
        return False
    if damaged := changed(path):
        say(f"{path}: {damaged[0]} is not what the run wrote; it is made again")
        return False
    return True


def read_config(path: Path) -> dict[str, Any]:
    """The config a run folder was made for."""
    return stored.read(path / "config.json", dict[str, Any], "remove the folder")


def _arrow(values: Any) -> pa.Array:
    array = np.asarray(values)
    if array.ndim == 2:
        flat = _arrow(array.reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, array.shape[1]).cast(pa.list_(flat.type))
    # `pa.array` does this too, but imports pandas first, which takes half a second.
    if array.dtype.kind in "iuf":
        buffers = [None, pa.py_buffer(np.ascontiguousarray(array))]
        return pa.Array.from_buffers(pa.from_numpy_dtype(array.dtype), len(array), buffers)
    values = array.tolist()
    if array.dtype.kind != "U" and not (values and all(isinstance(value, str) for value in values)):
        return pa.array(values if array.dtype == object else array)
    texts = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, texts)])
    if ends[-1] > np.iinfo(np.int32).max:
        return pa.array(values)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(texts)))


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Keys whose values differ, as `data.limit: 10 != 20`."""
    out = []
    for key in sorted(a.keys() | b.keys()):
        x, y = a.get(key), b.get(key)
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            out += differences(x, y, f"{prefix}{key}.")
        elif x != y:
            out.append(f"{prefix}{key}: {x} != {y}")
    return out


def program() -> dict[str, Any]:
    """Versions and source revision."""
    return {
        "versions": {"clipjax": clipjax.__version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in LIBRARIES},
        "git_revision": _revision(),
    }


def environment(mesh: Any) -> dict[str, Any]:
    """Versions, source revision and devices of this process."""
    import jax

    device = mesh.devices.flat[0]
    return program() | {
        "device": {"platform": device.platform, "kind": device.device_kind},
        "mesh": {"axes": dict(mesh.shape), "processes": jax.process_count()},
    }


def _revision() -> str | None:
    """The commit of a clone; None for an installed wheel."""
    root = Path(clipjax.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        out = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return out.stdout.strip()
