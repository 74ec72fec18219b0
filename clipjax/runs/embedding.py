"""Raw features of image files, read as a probe reads them: in threads, in bounded memory, broken ones skipped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from clipjax import skipping
from clipjax.custom import CustomModel
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.model import Model
from clipjax.progress import Progress
from clipjax.runs import engine
from clipjax.runs.interface import Engine
from clipjax.skipping import Skipped

BATCH = 32  # images per device, as in a probe's config


@dataclasses.dataclass(frozen=True)
class Embedded:
    """Features float32 [N, E] of the files that could be read, in their order, and the files that could not."""

    files: list[str]
    features: np.ndarray
    skipped: list[Skipped]


def embed_images(
    named: str, model: Model | CustomModel, files: Sequence[str], where: str, share: float, option: str
) -> Embedded:
    """Encodes every readable file once; a file that is named twice has two equal rows.

    From one full batch on, features are those of a probe over the same files to the last bit. `skipped` counts places
    in `files`. Raises InputError as `skipping.check` (`where` names the images, `option` the limit), and where a
    feature is not finite.
    """
    distinct = list(dict.fromkeys(files))
    encoding = engine.of_model(named, model, len(distinct), BATCH)
    source = Source(where, distinct, lambda i: Path(distinct[i]))
    with Progress("embed", len(distinct), "images") as progress:
        rows, values, lost = encode(encoding, source, np.arange(len(distinct)), share, option, progress)
    found = np.zeros((len(distinct), encoding.width("proj")), np.float32)
    found[rows] = values
    reasons = {file: reason for _, file, reason in lost}
    index = {file: i for i, file in enumerate(distinct)}
    kept = [file for file in files if file not in reasons]
    skipped = [Skipped(i, file, reasons[file]) for i, file in enumerate(files) if file in reasons]
    return Embedded(kept, found[[index[file] for file in kept]], skipped)


def encode(
    encoding: Engine, source: Source, wanted: np.ndarray, share: float, option: str, progress: Progress
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, str, str]]]:
    """The rows that could be read, in their order, their features [M, E], and those that could not."""
    rows: list[np.ndarray] = [np.zeros(0, np.int64)]
    values: list[np.ndarray] = [np.zeros((0, encoding.width("proj")), np.float32)]
    lost: list[tuple[int, str, str]] = []
    before = None
    for batch in encoding.batches(source, wanted, encoding.rows_per_step):
        lost += batch.skipped
        skipping.check(lost, len(wanted), share, source.name, option)
        now = batch.rows, encoding.start(batch.pixels)
        if before is not None:  # collected while the next one is worked on
            rows.append(before[0])
            values.append(_finite(*before, source, encoding.model.name))
        before = now
        progress.update(len(batch.rows) + len(batch.skipped))
    if before is not None:
        rows.append(before[0])
        values.append(_finite(*before, source, encoding.model.name))
    return np.concatenate(rows), np.concatenate(values), lost


def _finite(rows: np.ndarray, finish: Callable[[], np.ndarray], source: Source, model: str) -> np.ndarray:
    features = finish()
    if not np.isfinite(features).all():
        bad = source.files[rows[~np.isfinite(features).all(1)][0]]
        raise InputError(f"{bad}: its features are not finite; the weights are at fault (model {model})")
    return features
