"""Features of images and texts, from the cache or the encoders, on every device and host."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import PIL

from clipjax import download, parallel, skipping
from clipjax.cache import FeatureCache, Skipped, cached_array, key_of
from clipjax.data.pipeline import Batch, batches
from clipjax.data.source import Source
from clipjax.design import Design
from clipjax.encoder import TEXT_LENGTHS
from clipjax.errors import InputError
from clipjax.files import local_path
from clipjax.image import READING, Preprocess
from clipjax.models.config import CLIP, identity
from clipjax.probes import zeroshot
from clipjax.progress import Progress
from clipjax.runs.canary import Canary
from clipjax.runs.config import ProbeConfig
from clipjax.runs.engine import Engine
from clipjax.text import tokenize


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Image features of the rows that could be read, in data-set order, and the rows that could not."""

    rows: np.ndarray
    values: np.ndarray
    skipped: Skipped


def cache_root(config: ProbeConfig) -> Path | None:
    """Where a config keeps its features; None where it keeps nothing."""
    chosen = config.cache_dir
    if chosen == "none":
        return None
    if chosen:
        return local_path(chosen, "--config.cache_dir").expanduser()
    return download.cache_dir() / "features"


def image_key(
    weights_sha256: str, config: CLIP, precision: str, arithmetic: str, spec: Preprocess, fingerprint: str,
    feature: str = "proj",
) -> dict[str, Any]:  # fmt: skip
    """Everything that an image's features depend on; `arithmetic` as in `encoder.arithmetic`."""
    return {
        "weights": weights_sha256,
        "config": identity(config),  # resize, interpolation and fill among it
        "feature": feature,
        "precision": precision,
        "arithmetic": arithmetic,
        "preprocess": [spec.image_size, list(spec.mean), list(spec.std)],
        "reading": READING,
        "pillow": PIL.__version__,  # its releases resample some images differently
        "data": fingerprint,
    }


def images_folder(cache: Path, key: dict[str, Any]) -> Path:
    """The folder of one `image_key` below the root of the caches."""
    return cache / "images" / key_of(**key)[:32]


def text_key(weights_sha256: str, texts: Sequence[str], precision: str, arithmetic: str, truncate: bool = False) -> str:
    """As `image_key`, for the features of these texts in this order."""
    return key_of(
        weights=weights_sha256, texts=list(texts), precision=precision, arithmetic=arithmetic, truncate=truncate
    )


def texts_folder(cache: Path) -> Path:
    """Where text features lie below the root of the caches."""
    return cache / "texts"


class Features:
    """Gives a probe the features of its images and texts. Every host holds all features of a finished stage.

    log: where progress is logged; None on hosts that do not write. quiet: progress is not shown.
    """

    def __init__(self, engine: Engine, config: ProbeConfig, log: Path | None = None, quiet: bool = False):
        self.engine, self.config = engine, config
        self.model, self.encoder = engine.model, engine.encoder
        self._log, self._quiet = log, True if quiet else None

    @functools.cached_property
    def canary(self) -> Canary:
        """Stops the run where the compiled model is not what its weights say."""
        folder = self.cache / "canary" if self.cache else None
        return Canary(self.model, self.encoder, self.engine.weights_sha256, self.config.precision, folder)

    @property
    def cache(self) -> Path | None:
        """The root of the caches, or None where nothing is kept."""
        return cache_root(self.config)

    def images(self, source: Source, feature: str = "proj") -> Encoded:
        """Features of every readable image of `source`; only rows that no one has are encoded.

        A row's work is shared by hosts as rows[process::count]; each appends to its own log after every batch, so a
        kill loses the batch that is worked on and the one on its way. All hosts make the same number of steps,
        whatever they find.
        """
        key = image_key(
            self.engine.weights_sha256, self.model.config, self.config.precision, self.engine.arithmetic,
            self.model.preprocessing, source.fingerprint, feature,
        )  # fmt: skip
        width = self.encoder.width(feature)
        folder = images_folder(self.cache, key) if self.cache else None
        with FeatureCache(folder, width, key) as cache:
            known = cache.read()
            here = known.rows[known.rows < len(source)]
            done = np.zeros(len(source), bool)
            done[parallel.gather(here)] = True
            mine = np.flatnonzero(~done)[jax.process_index() :: jax.process_count()]
            rows, values, skipped = self._encode(source, feature, mine, cache, int(done.sum()))
        kept = np.isin(known.rows, self._only_mine(here, len(source)))
        rows = parallel.gather(np.concatenate([known.rows[kept], rows]))
        values = parallel.gather(np.concatenate([known.values[kept], values]))
        everywhere: Skipped = sorted(tuple(s) for part in parallel.gather_json(skipped) for s in part)
        order = np.argsort(rows, kind="stable")
        self.check_skipped(source, everywhere)
        return Encoded(rows[order], values[order], everywhere)

    @staticmethod
    def _only_mine(rows: np.ndarray, n: int) -> np.ndarray:
        """Of the rows in this host's cache, those that no host before this one has too."""
        owner = np.full(n, jax.process_count(), np.int64)
        for process, part in enumerate(parallel.gather_json(rows.tolist())):
            part = np.asarray(part, np.int64)
            owner[part] = np.minimum(owner[part], process)
        return rows[owner[rows] == jax.process_index()]

    def _encode(self, source: Source, feature: str, mine: np.ndarray, cache: FeatureCache, start: int):
        feed, steps = self._feed(source, mine)
        rows: list[np.ndarray] = [np.zeros(0, np.int64)]
        values: list[np.ndarray] = [np.zeros((0, self.encoder.width(feature)), np.float32)]
        skipped: Skipped = []
        image_size = self.model.config.image.image_size
        with Progress("encode", len(source), "images", log=self._log, start=start, quiet=self._quiet) as bar:

            def keep(batch: Batch, out: np.ndarray) -> None:
                if not np.isfinite(out).all():
                    bad = batch.rows[~np.isfinite(out).all(1)][0]
                    raise InputError(
                        f"{source.files[bad]}: its features are not finite; the weights or --config.precision "
                        f"are at fault (model {self.model.name})"
                    )
                lost = [(int(row), str(file), reason) for row, file, reason in batch.skipped]
                rows.append(batch.rows)
                values.append(out)
                skipped.extend(lost)
                # Logged first: after a kill between the two, the log still counts every image that the encoder saw.
                bar.update(len(batch.rows) + len(lost), encoded=len(batch.rows), skipped=len(lost))
                cache.append(batch.rows, out, lost)
                self.check_skipped(source, skipped)

            def end(batch: Batch | None, finish: Callable[[], np.ndarray]) -> None:
                out = finish()
                if batch is not None:
                    keep(batch, out)

            before = None
            for _ in range(steps):
                batch = next(feed, None)
                pixels = np.zeros((0, image_size, image_size, 3), np.uint8) if batch is None else batch.pixels
                finish = self.canary.start(pixels, feature)
                if before is not None:
                    end(*before)
                before = batch, finish
            if before is not None:
                end(*before)
        return np.concatenate(rows), np.concatenate(values), skipped

    def _feed(self, source: Source, mine: np.ndarray) -> tuple[Iterator[Batch | None], int]:
        """The batches of this host's rows, and how many steps every host makes: as many as the one with most.

        The first batch leaves one row a device to the canary.
        """
        size = self.encoder.rows_per_step
        first = size - self.encoder.mesh.local_mesh.size
        most = int(parallel.gather(np.array([len(mine)], np.int64)).max())
        spec = self.model.preprocessing
        head = batches(source, mine[:first], spec, first, dtype=np.uint8) if first else [None]
        feed = itertools.chain(head, batches(source, mine[first:], spec, size, dtype=np.uint8))
        return feed, 1 + -(-max(most - first, 0) // size) if most else 0

    def check_skipped(self, source: Source, skipped: Skipped) -> None:
        """InputError where more images are skipped than data.max_skipped allows."""
        share = self.config.data.max_skipped
        skipping.check(skipped, len(source), share, source.name, "--config.data.max_skipped")

    def texts(self, texts: Sequence[str], truncate: bool = False) -> np.ndarray:
        """Raw features float32 [N, E]; a text that comes twice is encoded once, and their order changes nothing."""
        distinct = sorted(set(texts))
        index = {text: i for i, text in enumerate(distinct)}
        tokens = tokenize(distinct, self.model.config.text.context_length, truncate=truncate)
        key = text_key(self.engine.weights_sha256, distinct, self.config.precision, self.engine.arithmetic, truncate)
        folder = self._texts_folder
        features = self._agreed(cached_array(folder, key, lambda: self._encode_texts(tokens)))
        return features[[index[text] for text in texts]]

    @property
    def _texts_folder(self) -> Path | None:
        # Several hosts would have to agree on who has a cached array before they enter the encoders together.
        return texts_folder(self.cache) if self.cache and jax.process_count() == 1 else None

    def _encode_texts(self, tokens: np.ndarray) -> np.ndarray:
        """Each length for itself: a text costs what it needs, and its features depend on no other text."""
        out = np.zeros((len(tokens), self.model.config.embed_dim), np.float32)
        lengths = -(-self.model.config.text.lengths(tokens) // TEXT_LENGTHS) * TEXT_LENGTHS
        step = self.encoder.rows_per_step * jax.process_count()
        self.canary.check_text(lengths)
        with Progress("texts", len(tokens), "texts", quiet=self._quiet) as bar:
            for length in np.unique(lengths):
                same = np.flatnonzero(lengths == length)
                for start in range(0, len(same), step):
                    rows = same[start : start + step]
                    mine = rows[jax.process_index() :: jax.process_count()]
                    part = tokens[mine] if len(mine) else tokens[rows[:1]]  # every host makes every step
                    encoded = self.encoder.texts(part)[: len(mine)]
                    out[parallel.gather(mine)] = parallel.gather(encoded)
                    bar.update(len(rows))
        return out

    @staticmethod
    def _agreed(array: np.ndarray) -> np.ndarray:
        if not np.isfinite(array).all():
            raise InputError("text features are not finite; the weights or --config.precision are at fault")
        return array

    def class_weights(self, design: Design) -> np.ndarray:
        """Class weights [C, E] of unit length: the mean over all prompts of a class."""
        return zeroshot.class_weights(self.texts, [design])[0]
