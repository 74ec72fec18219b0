"""A sealed run in units opened for the explorer: its features from the units, of a sample where images are many.

The sample is the images whose sha256 is smallest: it does not depend on the units or their order.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow.parquet as pq

from clipjax.analysis.run import IMAGE, Run
from clipjax.runs.shards import export, seal
from clipjax.runs.shards import plan as plans
from clipjax.runs.shards.store import Store

MOST = 250_000  # images: half a gigabyte of 512 numbers each


def of_files(run: Run) -> bool:
    """Whether its units are files: images are not looked up in these."""
    return is_sealed(run) and plans.read(Store(run.path)).inputs == "files"


def is_sealed(run: Run) -> bool:
    """Whether a run's features are in units."""
    return (run.path / seal.SHARDS).exists()


def sampled(run: Run, most: int | None = None) -> tuple[Run, np.ndarray, np.ndarray, str]:
    """The run with at most so many of its rows, the features of these, their rows in the source, and a note of it."""
    most = most or MOST
    rows = smallest(run, most)
    store, values, places = Store(run.path), [], []
    for unit in seal.sealed(store):
        start, n = unit["first_row"], unit["rows"]
        own = rows[(rows >= start) & (rows < start + n)] - start
        if len(own):
            values.append(np.asarray(export.features_of(store, unit["features_file"])[own], np.float32))
            with store.open(unit["rows_file"]) as file:
                places.append(pq.read_table(file, columns=["row"])["row"].to_numpy()[own])
    note = ""
    if len(rows) < run.rows:
        note = (
            f"This page counts a sample: {len(rows):,} of the run's {run.rows:,} images, chosen by a hash of what they "
            f"hold. A rate over all images is within {100 * 0.98 / math.sqrt(len(rows)):.2g} points of the sample's "
            "(95%); that of a group may be further off. To count all images (of a run of rates), save the design: "
            f"clipjax shards count {run.path} --design=FILE --out=RUN"
        )
    return run.picked(rows), np.concatenate(values), np.concatenate(places), note


def smallest(run: Run, most: int) -> np.ndarray:
    """The rows of so many images, sorted: those with the smallest sha256, of equal ones the first."""
    sums, rows, start = np.zeros(0, np.uint64), np.zeros(0, np.int64), 0
    for block in run.blocks([IMAGE]):
        ids = block.predictions[IMAGE]
        own = np.frombuffer(bytes.fromhex("".join(ids.tolist())), ">u8").astype(np.uint64)
        sums, rows = np.concatenate([sums, own]), np.concatenate([rows, start + np.arange(len(own))])
        kept = np.lexsort((rows, sums))[:most]
        sums, rows, start = sums[kept], rows[kept], start + len(own)
    return np.sort(rows)
