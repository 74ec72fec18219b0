"""A finished run made again from its manifest, and whether it gives the same numbers."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from clipjax.analysis.records import Record
from clipjax.analysis.run import IMAGE, Run, read_run
from clipjax.errors import InputError, some
from clipjax.keys import flat
from clipjax.runs import config as configs
from clipjax.runs import runner
from clipjax.runs.config import plain
from clipjax.runs.folder import differences

# What a manifest says about the circumstances: where these differ, other numbers have a reason.
CIRCUMSTANCES = ("versions", "git_revision", "device", "arithmetic", "mesh", "model", "design", "data", "counts")
PATHS = ("data.path", "data.csv", "data.train_path", "data.validation_path", "data.test_path")
MAY_BE_FILES = ("model", "design", "classes", "templates", "data.class_names")
FILE = re.compile(r"\.[A-Za-z]{2,11}$")
VALUES = ("value", "low", "high", "p", "p_adjusted", "k", "n")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What differs between a run and the same run made again. `text`: what the second run says of itself."""

    text: str
    records: int
    images: int
    circumstances: list[str]
    numbers: list[str]

    @property
    def same(self) -> bool:
        """Every record and every prediction is equal to the last bit."""
        return not self.numbers


def rerun(path: Path, overrides: Sequence[str], out: Path | None, cached: bool = False) -> Comparison:
    """Runs what `path`'s manifest describes again and compares.

    Args:
        path: a finished run of `clipjax probe`.
        overrides: `--config.key=value`, for what has moved (data.path, model).
        out: where the second run is kept; None: a folder that goes away afterwards.
        cached: take features from the cache; without, the model computes everything again.

    Raises:
        InputError: `path` is not a finished run, or what it was made from is not to be found.
    """
    before = read_run(path, as_written=False)  # a number that was changed since is what may be found
    if before.manifest.computed_by:
        made = ", ".join(file.name for file in before.manifest.ingested) or "arrays"
        raise InputError(
            f"{path}: its answers were computed elsewhere and ingested from {made}, so no model can be run again; "
            "`clipjax ingest` of the same table gives the same records"
        )
    if (path / "plan.json").exists():
        raise InputError(
            f"{path}: is a run in units; compute some of these again: clipjax shards verify {path} --recompute=3"
        )
    if before.manifest.command.startswith("clipjax shards"):
        raise InputError(
            f"{path}: was made by `{before.manifest.command}` from sealed runs and is not made again here; give that "
            "command another --out, and compare"
        )
    config = configs.resume(before.manifest.config, overrides, path / "manifest.json")
    if not cached:
        config.cache_dir = "none"
    try:
        if out is not None:
            return compare(before, *_run(config, out))
        with tempfile.TemporaryDirectory(prefix="clipjax-rerun-") as folder:
            return compare(before, *_run(config, Path(folder) / "run"))
    except InputError as error:
        if not (left := _left_behind(config)):
            raise
        places = " ".join(f"--config.{key}=PATH" for key in left)
        names = some([f"{key}={value}" for key, value in left.items()])
        raise InputError(
            f"{path}: {names}: not in this folder; the run names it from the folder that it was started in. Start "
            f"`clipjax rerun` there, or say where it is: {places} ({error})"
        ) from error


def _left_behind(config: ConfigDict) -> dict[str, str]:
    """Keys of a config that name files relative to the current folder, where they are not."""
    found = {}
    for key, value in flat(plain(config)).items():
        path = str(value).partition("+")[0]
        named = key in PATHS or (key in MAY_BE_FILES and FILE.search(path))
        if named and path and "://" not in path and not Path(path).is_absolute() and not Path(path).exists():
            found[key] = str(value)
    return found


def _run(config: ConfigDict, out: Path) -> tuple[Run, str]:
    made = runner.run(config, out)
    [one] = made.runs
    finished = read_run(one.path)
    _ = finished.predictions  # read now: the folder may go
    return finished, made.text()


def compare(before: Run, after: Run, text: str = "") -> Comparison:
    """Record by record and image by image; exact, since the same program on the same machine is.

    Images are what they hold: other file names are a circumstance.
    """
    manifests = [run.manifest.to_dict() for run in (before, after)]
    circumstances = [
        line
        for name in CIRCUMSTANCES
        for line in differences({name: manifests[0].get(name)}, {name: manifests[1].get(name)})
    ]
    a, b = (run.predictions["file"] for run in (before, after))
    if len(a) == len(b) and (renamed := np.flatnonzero(a != b)).size:
        i = renamed[0]
        circumstances.append(f"files: {len(renamed)} of {len(a)} images have other names ({a[i]} != {b[i]}, ...)")
    numbers = _records(before.records, after.records) + _predictions(before, after)
    return Comparison(text, len(before.records), len(a), circumstances, numbers)


def _records(before: list[Record], after: list[Record]) -> list[str]:
    def keyed(listed: list[Record]) -> dict[str, dict[str, Any]]:
        records = [record.to_dict() for record in listed]
        keys = [json.dumps({k: v for k, v in r.items() if k not in VALUES}, sort_keys=True) for r in records]
        return {f"{key} #{keys[:i].count(key)}": r for i, (key, r) in enumerate(zip(keys, records, strict=True))}

    a, b = keyed(before), keyed(after)
    lines = [f"{key}: only in the first run" for key in a.keys() - b.keys()]
    lines += [f"{key}: only in the second run" for key in b.keys() - a.keys()]
    for key in a.keys() & b.keys():
        lines += [f"{key}: {line}" for line in differences(a[key], b[key])]
    return sorted(lines)


def _predictions(before: Run, after: Run) -> list[str]:
    a, b = before.predictions, after.predictions
    if list(a) != list(b):
        return [f"predictions.parquet: columns {list(a)} and {list(b)}"]
    what = IMAGE if IMAGE in a else "file"  # identities are kept without what would tell people apart
    if not np.array_equal(a[what], b[what]):
        gone, new = (sorted(x["file"][~np.isin(x[what], y[what])]) for x, y in ((a, b), (b, a)))
        order = "" if gone or new else ", the same in another order"
        return [f"predictions.parquet: other images: {len(gone)} gone, {len(new)} new{order} ({(gone + new)[:3]})"]
    lines = []
    for name in [name for name in a if name != "file"]:
        x, y = a[name], b[name]
        if x.dtype.kind == "f" and y.dtype.kind == "f":
            if x.shape != y.shape:
                lines.append(f"predictions.parquet: {name} is {x.shape} and {y.shape}")
            elif not np.array_equal(x, y, equal_nan=True):
                other = ~((x == y) | (np.isnan(x) & np.isnan(y)))
                rows = int(other.reshape(len(x), -1).any(1).sum())
                lines.append(f"predictions.parquet: {name} of {rows} images, by up to {np.nanmax(abs(x - y)):.3g}")
        elif not np.array_equal(x, y):
            rows = np.flatnonzero(x != y)
            first = f"{a['file'][rows[0]]}: {x[rows[0]]} != {y[rows[0]]}"
            lines.append(f"predictions.parquet: {name} of {len(rows)} images, the first {first}")
    return lines


def describe(comparison: Comparison, most: int = 20) -> str:
    """The comparison in lines: the verdict first, then what differs."""
    if comparison.same:
        head = (
            f"Same: {comparison.records} records and the predictions for {comparison.images} images, to the last bit."
        )
    else:
        head = f"Not the same: {len(comparison.numbers)} of {comparison.records} records and columns differ."
    lines = [head, *comparison.numbers[:most]]
    if len(comparison.numbers) > most:
        lines.append(f"... and {len(comparison.numbers) - most} more")
    if comparison.circumstances:
        lines += ["Circumstances that differ:", *(f"  {line}" for line in comparison.circumstances)]
    return "\n".join(lines)
