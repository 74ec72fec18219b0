"""Raw features of image files, read as a probe reads them: in threads, in bounded memory, broken ones skipped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from clipjax import parallel, skipping
from clipjax.data.pipeline import batches
from clipjax.data.source import Source
from clipjax.encoder import Encoder
from clipjax.errors import InputError
from clipjax.model import Model
from clipjax.progress import Progress
from clipjax.skipping import Skipped

BATCH = 32  # images per device, as in a probe's config


@dataclasses.dataclass(frozen=True)
class Embedded:
    """Features float32 [N, E] of the files that could be read, in their order, and the files that could not."""

    files: list[str]
    features: np.ndarray
    skipped: list[Skipped]


def embed_images(model: Model, files: Sequence[str], where: str, share: float, option: str) -> Embedded:
    """Encodes every readable file once; a file that is named twice has two equal rows.

    From one full batch on, features are those of a probe over the same files to the last bit. `skipped` counts places
    in `files`. Raises InputError as `skipping.check` (`where` names the images, `option` the limit), and where a
    feature is not finite.
    """
    distinct = list(dict.fromkeys(files))
    devices = parallel.data_mesh()
    encoder = Encoder(
        model.config, model.params, dtype=model.dtype, batch_size=BATCH, mesh=devices,
        full_batches=len(distinct) >= BATCH * devices.size,
    )  # fmt: skip
    source = Source(where, distinct, lambda i: Path(distinct[i]))
    found = np.zeros((len(distinct), model.config.embed_dim), np.float32)
    lost: list[tuple[int, str, str]] = []
    with Progress("embed", len(distinct), "images") as progress:
        before = None
        for batch in batches(source, range(len(distinct)), model.preprocessing, encoder.rows_per_step, dtype=np.uint8):
            lost += batch.skipped
            skipping.check(lost, len(distinct), share, where, option)
            now = batch.rows, encoder.start(batch.pixels)
            if before is not None:  # collected while the next one is worked on
                found[before[0]] = _finite(*before, source, model)
            before = now
            progress.update(len(batch.rows) + len(batch.skipped))
        if before is not None:
            found[before[0]] = _finite(*before, source, model)
    reasons = {file: reason for _, file, reason in lost}
    index = {file: i for i, file in enumerate(distinct)}
    kept = [file for file in files if file not in reasons]
    skipped = [Skipped(i, file, reasons[file]) for i, file in enumerate(files) if file in reasons]
    return Embedded(kept, found[[index[file] for file in kept]], skipped)


def _finite(rows: np.ndarray, finish: Callable[[], np.ndarray], source: Source, model: Model) -> np.ndarray:
    features = finish()
    if not np.isfinite(features).all():
        bad = source.files[rows[~np.isfinite(features).all(1)][0]]
        raise InputError(f"{bad}: its features are not finite; the weights are at fault (model {model.name})")
    return features
