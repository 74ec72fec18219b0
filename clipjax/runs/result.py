"""What a probe brings back, before it is written."""

from __future__ import annotations

import dataclasses
from typing import Any

from clipjax.analysis.manifest import Outcome
from clipjax.analysis.records import Record
from clipjax.analysis.tallies import Tally
from clipjax.cache import Skipped
from clipjax.design import Design


@dataclasses.dataclass(frozen=True)
class Result:
    """Records for metrics.json, columns of predictions.parquet, skipped images, and what was asked.

    `outcome` is what else the manifest says of the probe; `seen` is the number of images that were read, where that is
    not the number of predictions; `tables` are further files of the folder tables, by name.
    """

    records: list[Record]
    columns: dict[str, Any]
    skipped: Skipped
    design: Design
    outcome: Outcome = dataclasses.field(default_factory=Outcome)
    seen: int | None = None
    tables: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Counted:
    """Of some of the images: columns of predictions.parquet, and counts that add up to those of all images."""

    columns: dict[str, Any]
    tallies: list[Tally]
