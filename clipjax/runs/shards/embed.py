"""Features of image files in units of rows, as `clipjax embed --out=FOLDER/` writes them: one unit is in memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from clipjax import skipping
from clipjax.analysis.manifest import AskedDesign
from clipjax.custom import CustomModel
from clipjax.data.source import Source
from clipjax.model import Model
from clipjax.progress import Progress
from clipjax.runs import config as configs
from clipjax.runs import embedding, engine
from clipjax.runs.shards import plan as plans
from clipjax.runs.shards import seal, units, work
from clipjax.runs.shards.plan import Input, Plan
from clipjax.runs.shards.store import Store

NOTHING = AskedDesign("", "", "", "features", [], [])


def embed(
    named: str, model: Model | CustomModel, files: Sequence[str], where: str, share: float, option: str, store: Store,
    dtype: Literal["float32", "float16"] = "float32", rows: int = plans.ROWS,
) -> tuple[int, list[skipping.Skipped]]:  # fmt: skip
    """Encodes every readable file, each once; the same call continues a stopped one. Returns how many, and the others.

    InputError as `embedding.embed_images`, and where the folder holds other features.
    """
    files = list(dict.fromkeys(files))
    source = Source(where, files, lambda i: Path(files[i]))
    # Full batches, of however few files: a row's features do not depend on the number of units.
    encoding = engine.of_model(named, model, sys.maxsize, embedding.BATCH)
    starts = range(0, len(files), rows)
    inputs = [Input(i, where, start, min(start + rows, len(files))) for i, start in enumerate(starts)]
    made = Plan(
        format=plans.FORMAT, version=plans.VERSION, units=len(inputs), inputs="rows", dtype=dtype,
        config={"probe": "", "verb": "embed", "model": named, "images": where}, probabilities=False, mixed=False,
        data=where, changed="", metric="", group_columns=[], sides=[], design=NOTHING, probability="softmax",
        rows_sha256=configs.digest(files), labelled=False, model=encoding.about, encoding=plans.encoding_of(encoding),
        class_weights_sha256="",
        precision=encoding.circumstances["precision"],
        inputs_sha256=configs.digest([msgspec.to_builtins(one) for one in inputs]),
    )  # fmt: skip
    plans.write(store, made, {plans.INPUTS: plans.table_of(inputs)})
    done = units.done(store)
    arithmetic, worker = encoding.circumstances["arithmetic"], work.Worker(0, 1)
    before = sum((one.stop or 0) - one.start for one in inputs if one.unit in done)
    with Progress("embed", len(files), "images", start=before) as progress:
        for one in inputs:
            if one.unit in done:
                continue
            began, unit = time.time(), source.select(np.arange(one.start, one.stop or 0))
            limit = max(share, work.PLAINLY_BROKEN)
            found, values, lost = embedding.encode(encoding, unit, np.arange(len(unit)), limit, option, progress)
            values = units.rounded(values, dtype, where)
            part = units.part_of(one, unit.files, unit.all_digests, found, values, lost, None)
            units.write(store, made, one.unit, part, arithmetic, worker.name, began)
    markers = seal.complete(store, made)
    skipped = [skipping.Skipped(0, one.file, one.reason) for one in seal.named(store, markers)]
    missing = sum(marker.skipped for marker in markers)
    total = sum(marker.rows for marker in markers)
    if not total or missing > skipping.allowed(total + missing, share):
        skipping.check(skipped, total + missing, share, where, option)
    seal.close(store, markers)
    return total, skipped
