"""JSON Schema (draft 2020-12) of what runs and comparisons write, from the types that read it again."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from clipjax.analysis.manifest import Manifest
from clipjax.analysis.records import Finding, Metrics, PairedRecord, Question, Record


class Difference(msgspec.Struct):
    """A number of both runs that is not a share of images; further keys say what it is, as in metrics.json."""

    metric: str
    n: int
    value_a: float | None
    value_b: float | None
    value: float | None  # B - A
    low: float | msgspec.UnsetType | None = msgspec.UNSET
    high: float | msgspec.UnsetType | None = msgspec.UNSET
    level: float | msgspec.UnsetType = msgspec.UNSET
    method: str | msgspec.UnsetType = msgspec.UNSET


class Comparison(msgspec.Struct):
    """All of compare.json. `annotations`: "equal", or the run whose labels and groups count for both."""

    records: list[PairedRecord]
    findings: list[Finding]
    numbers: list[Difference]
    agreement: list[Record]  # of both runs
    images: int
    same_order: bool
    annotations: str
    columns_only_a: list[str]
    columns_only_b: list[str]


FILES = {"metrics.json": Metrics, "manifest.json": Manifest, "compare.json": Comparison}


def schemas() -> dict[str, Any]:
    """One schema whose definitions hold a type per file; `properties` says which file is of which."""
    found, definitions = msgspec.json.schema_components(FILES.values(), ref_template="#/$defs/{name}")
    paired = definitions["PairedRecord"]
    # Written flat: {"metric": "paired_difference", "set": "person", ...} for the question ("set", "person").
    del paired["properties"]["question"]
    kinds = get_args(Question.__annotations__["kind"]) or ("set", "class", "label", "attribute", "accuracy")
    paired["properties"] |= {"metric": {"const": "paired_difference"}, **{kind: {"type": "string"} for kind in kinds}}
    del definitions["Question"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Files of clipjax",
        "type": "object",
        "properties": dict(zip(FILES, found, strict=True)),
        "$defs": definitions,
    }
