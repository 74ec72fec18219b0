"""Features of images and texts, from the cache or the encoders, on every device and host."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from clipjax import parallel, skipping
from clipjax.cache import FeatureCache, Skipped, cached_array
from clipjax.data.pipeline import Batch
from clipjax.data.source import Source
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.probes import zeroshot
from clipjax.progress import Progress
from clipjax.runs.cache_keys import cache_root, images_folder, texts_folder
from clipjax.runs.config import ProbeConfig
from clipjax.runs.interface import Engine, Known, Texts

Probability = Literal["softmax", "sigmoid"]


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Image features of the rows that could be read, in data-set order, and the rows that could not."""

    rows: np.ndarray
    values: np.ndarray
    skipped: Skipped


def _of_this_host(rows: np.ndarray) -> np.ndarray:
    """The rows that this host works on: one of as many parts as there are hosts, equally long but for one row."""
    return np.array_split(rows, jax.process_count())[jax.process_index()]


class Features:
    """Gives a probe the features of its images and texts. Every host holds all features of a finished stage.

    log: where progress is logged; None on hosts that do not write. quiet: progress is not shown.
    """

    def __init__(self, engine: Engine, config: ProbeConfig, log: Path | None = None, quiet: bool = False):
        self.engine, self.config = engine, config
        self._cache = cache_root(config)
        self._log, self._quiet = log, True if quiet else None

    @functools.cached_property
    def known(self) -> Known:
        """Stops the run where the model does not compute what it should."""
        return self.engine.known()

    def images(self, source: Source, feature: str = "proj") -> Encoded:
        """Features of every readable image of `source`; only rows that no one has are encoded.

        Each host hashes and encodes rows that follow each other, and so opens its own part of tar and parquet files
        alone; it appends to its own log after every batch, so a kill loses the batch that is worked on and the one on
        its way. All hosts make the same number of steps, whatever they find.
        """
        if jax.process_count() > 1:
            source.set_digests(parallel.gather(source.digests(_of_this_host(np.arange(len(source))))))
        key = self.engine.image_key(source.fingerprint, feature)
        width = self.engine.width(feature)
        folder = images_folder(self._cache, key) if self._cache else None
        with FeatureCache(folder, width, key) as cache:
            known = cache.read()
            here = known.rows[known.rows < len(source)]
            done = np.zeros(len(source), bool)
            done[parallel.gather(here)] = True
            mine = _of_this_host(np.flatnonzero(~done))
            rows, values, skipped = self.encode(source, feature, mine, cache, int(done.sum()))
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

    def encode(
        self, source: Source, feature: str, mine: np.ndarray, cache: FeatureCache, start: int = 0
    ) -> tuple[np.ndarray, np.ndarray, Skipped]:
        """Rows that could be read, in their order, their features, and those that could not; `start` are done already.

        The first batch has the known image, whatever was encoded before.
        """
        feed, steps = self._feed(source, mine)
        rows: list[np.ndarray] = [np.zeros(0, np.int64)]
        values: list[np.ndarray] = [np.zeros((0, self.engine.width(feature)), np.float32)]
        skipped: Skipped = []
        with Progress("encode", len(source), "images", log=self._log, start=start, quiet=self._quiet) as bar:

            def keep(batch: Batch, out: np.ndarray) -> None:
                if not np.isfinite(out).all():
                    bad = batch.rows[~np.isfinite(out).all(1)][0]
                    raise InputError(
                        f"{source.files[bad]}: its features are not finite; the weights or --config.precision "
                        f"are at fault (model {self.engine.model.name})"
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
                finish = self.known.start(None if batch is None else batch.pixels, feature)
                if before is not None:
                    end(*before)
                before = batch, finish
            if before is not None:
                end(*before)
        return np.concatenate(rows), np.concatenate(values), skipped

    def _feed(self, source: Source, mine: np.ndarray) -> tuple[Iterator[Batch | None], int]:
        """The batches of this host's rows, and how many steps every host makes: as many as the one with most.

        The first batch leaves rows to the known image.
        """
        size = self.engine.rows_per_step
        first = size - self.engine.known_rows
        most = int(parallel.gather(np.array([len(mine)], np.int64)).max())
        head = self.engine.batches(source, mine[:first], first) if first else [None]
        feed = itertools.chain(head, self.engine.batches(source, mine[first:], size))
        return feed, 1 + -(-max(most - first, 0) // size) if most else 0

    def check_skipped(self, source: Source, skipped: Skipped) -> None:
        """InputError where more images are skipped than data.max_skipped allows."""
        share = self.config.data.max_skipped
        skipping.check(skipped, len(source), share, source.name, "--config.data.max_skipped")

    def texts(self, texts: Sequence[str], truncate: bool = False) -> np.ndarray:
        """Raw features float32 [N, E]; a text that comes twice is encoded once, and their order changes nothing."""
        distinct = sorted(set(texts))
        index = {text: i for i, text in enumerate(distinct)}
        read = self.engine.read_texts(distinct, truncate)
        key = self.engine.text_key(distinct, truncate)
        features = self._agreed(cached_array(self._texts_folder, key, lambda: self._encode_texts(read)))
        return features[[index[text] for text in texts]]

    @property
    def _texts_folder(self) -> Path | None:
        # Several hosts would have to agree on who has a cached array before they enter the encoders together.
        return texts_folder(self._cache) if self._cache and jax.process_count() == 1 else None

    def _encode_texts(self, texts: Texts) -> np.ndarray:
        """Each group for itself; every host makes every step."""
        n = len(texts.inputs)
        out = np.zeros((n, self.engine.width("proj")), np.float32)
        step = self.engine.rows_per_step * jax.process_count()
        self.known.check_texts(texts)
        with Progress("texts", n, "texts", quiet=self._quiet) as bar:
            for group in np.unique(texts.groups):
                same = np.flatnonzero(texts.groups == group)
                for start in range(0, len(same), step):
                    rows = same[start : start + step]
                    mine = rows[jax.process_index() :: jax.process_count()]
                    encoded = self.engine.texts(texts.inputs[mine if len(mine) else rows[:1]])[: len(mine)]
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

    def probability(self, chosen: str, several: bool) -> Probability:
        """Which probabilities are meant: those that are chosen; else softmax, but what the model was trained for where
        an image may have several classes. InputError for "sigmoid" of a model that was not trained for it."""
        meant = chosen or ("sigmoid" if several and self.engine.model.bias is not None else "softmax")
        zeroshot.bias_of(meant, self.engine.model.bias)
        return "sigmoid" if meant == "sigmoid" else "softmax"

    def probabilities(self, images: np.ndarray, weights: np.ndarray, probability: Probability) -> np.ndarray:
        """Raw image features [N, E], class weights [C, E] -> probabilities [N, C]."""
        bias = zeroshot.bias_of(probability, self.engine.model.bias)
        return zeroshot.probabilities(images, weights, self.engine.model.scale, bias)
