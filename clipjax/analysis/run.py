"""A finished run folder, read back."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipjax.design import Design
from clipjax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What `clipjax probe` left: manifest, records, and predictions as columns [N]."""

    path: Path
    manifest: Mapping[str, Any]
    records: list[dict[str, Any]]

    @property
    def probe(self) -> str:
        """The kind of run: rates, labels, zeroshot, ..."""
        return self.manifest["config"]["probe"]

    @functools.cached_property
    def design(self) -> Design | None:
        """The class design, where the probe has one."""
        found = self.manifest["design"]
        known = found.get("classes") and isinstance(found["classes"][0], dict)
        return Design.from_manifest(found) if known else None

    @functools.cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """Columns of predictions.parquet; lists become [N, C]."""
        path = self.path / "predictions.parquet"
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{path}: cannot be read ({error}); run the probe again") from error
        return {name: _array(table[name]) for name in table.column_names}

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Group columns: predictions without what the model said and where the picture lies."""
        own = ("file", "label", "prediction", "probability", "probabilities")
        return {
            name: values
            for name, values in self.predictions.items()
            if name not in own and values.ndim == 1 and not name.startswith(("prediction_", "rank_"))
        }

    @property
    def answers(self) -> np.ndarray:
        """The predicted class of every image as an index of the design's classes [N]."""
        assert self.design is not None
        place = {name: c for c, name in enumerate(self.design.names)}
        try:
            return np.array([place[name] for name in self.predictions["prediction"]], np.int64)
        except KeyError as error:
            raise InputError(
                f"{self.path}: prediction {error} is no class of its own design; run the probe again"
            ) from error

    @property
    def label(self) -> str:
        """Short name for legends: the model and, where there is one, the design."""
        design = self.manifest["design"].get("name")
        model = self.manifest["model"]["name"]
        return f"{model}, {design}" if design else model


def read_run(path: str | Path) -> Run:
    """The run in a folder; InputError where it is none, or not finished."""
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such run; a run is the folder that `clipjax probe ... --out=RUN` made")
    if not (path / "manifest.json").exists():
        inside = sorted(p.parent.name for p in path.glob("*/manifest.json"))
        hint = f"it holds the runs {', '.join(inside[:4])}" if inside else "the same probe command again finishes it"
        raise InputError(f"{path}: holds no finished run (no manifest.json); {hint}")
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        records = json.loads((path / "metrics.json").read_text(encoding="utf-8"))["records"]
        return _checked(Run(path, manifest, records))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: its manifest.json or metrics.json is damaged ({error!r}); run the probe again"
        ) from error


def _checked(run: Run) -> Run:
    for key in ("config", "model", "design", "data", "counts"):
        if key not in run.manifest:
            raise InputError(f"{run.path}: its manifest.json has no {key!r}; run the probe again")
    _ = run.probe, run.label
    return run


def _array(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        rows = column.combine_chunks()
        values = rows.flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(rows), -1)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array(column.to_pylist(), object)
    return column.to_numpy()
