"""What a probe brings back, before it is written."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from clipjax.cache import Skipped
from clipjax.runs import sources

RESERVED = ("file", "label", "labels", "difficult", "captions", "split", "video", "anchor", "lexicon")


@dataclasses.dataclass(frozen=True)
class Result:
    """Records for metrics.json, columns of predictions.parquet, unreadable pictures, the class design in full.

    `seen` is the number of pictures that were read, where that is not the number of predictions.
    """

    records: list[dict[str, Any]]
    columns: dict[str, Any]
    skipped: Skipped
    design: dict[str, Any]
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    seen: int | None = None


def picture_columns(task: sources.Task, rows: np.ndarray) -> dict[str, Any]:
    """file, label (its class name), and every group column, for these rows."""
    table = task.source.table
    columns: dict[str, Any] = {"file": table["file"][rows]}
    if "label" in table and task.source.classes:
        columns["label"] = np.array(task.source.classes, object)[table["label"][rows]]
        if task.prompts_from not in ("config", "none"):
            columns["label"] = np.array(task.classes, object)[table["label"][rows]]
    if "labels" in table:
        names = np.array(task.classes, object)
        columns["label"] = np.array([", ".join(names[row]) for row in table["labels"][rows]], object)
    groups = {name: values for name, values in table.items() if name not in RESERVED}
    return columns | {name: values[rows] for name, values in groups.items()}
