"""Images and captions for training: an endless stream of batches that is a function of seed and position only.

`order` decides which pair comes when. What a host reads is a slice of the global batch, so neither the number of hosts
and threads nor a restart changes what is seen, or how it is augmented.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from clipjax import image
from clipjax.errors import InputError
from clipjax.train import augment
from clipjax.train.order import of_weights
from clipjax.train.pairs import Pairs, lengths, text_length
from clipjax.train.texts import OPENAI, Texts

REPLACEMENTS = 8  # neighbours asked for in place of an image that cannot be read
THREADS = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """arrays: pixels uint8 [b, S, S, 3], tokens int32 [b, T], ids int32 [b, 2]. b = B / hosts.

    With hard negatives also hard_negatives int32 [b, T], and texts int32 [b, 2]: equal for equal texts, of the caption
    and of its hard negative, -1 where there is none.
    ids: of the caption (or of `id_column`'s value) and of the image's contents; pairs with one in common belong
    together. files: what was drawn; truncated: how many captions were cut; replaced: (file, reason) of unreadable
    images, in whose place the next readable row stands. tables: how many pairs are of each table.
    """

    arrays: dict[str, np.ndarray]
    files: list[str]
    truncated: int
    replaced: list[tuple[str, str]]
    tables: np.ndarray


class Feed:
    """Iterates over this host's share of the global batches, decoding in advance in threads.

    `position` is the number of batches returned; setting it goes anywhere in the stream at once. `options` None:
    the evaluation's view, without randomness.
    """

    def __init__(
        self, data: Pairs, batch_size: int, spec: image.Preprocess, context: int, options: augment.Augment | None,
        seed: int, share: tuple[int, int] = (0, 1), threads: int = THREADS, last_batch: str = "drop",
        texts: Texts = OPENAI,
    ):  # fmt: skip
        process, count = share
        if batch_size < 1 or batch_size % count:
            raise InputError(f"batch_size={batch_size} does not divide over {count} hosts")
        if context < 2:
            raise InputError(f"data.context={context} has no room for start and end of text: 2 or more")
        data.source.check_size(spec)
        self.data, self.context = data, context
        self.global_batch, self.local = batch_size, batch_size // count
        self.order = of_weights(data.weights, batch_size, seed, last_batch)
        self.lengths = lengths(data, context, texts)
        self.length = context if texts.whole else text_length(self.lengths, context)
        self._example = _example(data, self.order, spec, context, self.length, options, seed, texts)
        self._place = lambda q: (q // self.local) * batch_size + process * self.local + q % self.local
        self._threads = threads
        self.iterator = self._start()

    def _start(self) -> Any:
        # Positions fit in 63 bits: grain's ranges are lazy, and a run never reaches the end of this one.
        everything = grain.MapDataset.range(2**62)
        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=2 * self.local)
        examples = everything.map(lambda q: self._example(self._place(q))).to_iter_dataset(options)
        collate = functools.partial(_collate, tables=len(self.data.tables))
        return iter(examples.batch(self.local, batch_fn=collate))

    @property
    def position(self) -> int:
        """Batches returned so far."""
        return self.iterator.get_state()["next_index"] // self.local

    @position.setter
    def position(self, batches: int) -> None:
        self.iterator.close()
        self.iterator = self._start()
        self.iterator.set_state({"next_index": batches * self.local})

    def get_state(self) -> dict[str, int]:
        """The iterator's state in examples of the global batches: any number of hosts can go on from it.

        grain's own state counts the examples of one host, and Orbax keeps it per host.
        """
        return {"next_index": self.position * self.global_batch}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Goes where `get_state` was called."""
        self.position = state["next_index"] // self.global_batch

    @property
    def epoch_batches(self) -> float:
        """Batches in one pass over the data."""
        return self.order.epoch_batches

    def __next__(self) -> Batch:
        return next(self.iterator)

    def __iter__(self) -> Feed:
        return self

    def close(self) -> None:
        """Ends the threads."""
        self.iterator.close()


def _example(
    data: Pairs, order: Callable[[int], int], spec: image.Preprocess, context: int, length: int,
    options: augment.Augment | None, seed: int, texts: Texts,
) -> Callable[[int], dict[str, Any]]:  # fmt: skip
    # Numbered before any thread starts: equal captions have equal numbers in every order of reading.
    first = int(data.ids.max()) + 1
    unnamed = (caption for n in np.flatnonzero(data.ids < 0) for caption in data.captions[n])
    known = {caption: first + i for i, caption in enumerate(dict.fromkeys(unnamed))}
    said = dict.fromkeys(text for n in range(len(data)) for text in data.texts(n)) if data.hard_negatives else {}
    numbers = {text: i for i, text in enumerate(said)}

    def tokens(template: str, caption: str) -> tuple[np.ndarray, int]:
        ids, lengths = texts([template.replace("{}", caption)], context)
        return ids[0, :length], int(lengths[0] > context)

    def against(n: int, k: int, template: str, rng: np.random.Generator) -> dict[str, Any]:
        """A hard negative beside caption k of pair n."""
        if data.hard_negatives is None:
            return {}
        given = data.hard_negatives[n][k]
        drawn = given[int(rng.integers(len(given)))] if given else ""
        numbered = [numbers[data.captions[n][k]], numbers[drawn] if given else -1]
        return {"hard_negatives": tokens(template, drawn)[0], "texts": np.array(numbered, np.int32)}

    said_of = [any(map(augment.names_side, table.templates)) for table in data.tables]

    def options_of(n: int) -> augment.Augment | None:
        if options is None or not options.flip_safe:
            return options
        still = said_of[data.table[n]] or any(map(augment.names_side, data.texts(n)))
        return dataclasses.replace(options, flip=0.0) if still else options

    def make(position: int) -> dict[str, Any]:
        rng = np.random.default_rng([seed, position])
        n, pixels, replaced = _readable(data, order(position), spec, options_of, rng)
        captions = data.captions[n]
        k = int(rng.integers(len(captions)))
        templates = data.tables[data.table[n]].templates
        template = templates[int(rng.integers(len(templates)))]
        identity = known[captions[k]] if data.ids[n] < 0 else data.ids[n]
        ids, cut = tokens(template, captions[k])
        return {
            "pixels": pixels, "tokens": ids, **against(n, k, template, rng),
            "ids": np.array([identity, data.images[n]], np.int32),
            "file": str(data.source.files[data.rows[n]]), "cut": cut,
            "replaced": replaced, "table": data.table[n],
        }  # fmt: skip

    return make


def _readable(
    data: Pairs, n: int, spec: image.Preprocess, options_of: Callable[[int], augment.Augment | None],
    rng: np.random.Generator,
) -> tuple[int, np.ndarray, list[tuple[str, str]]]:  # fmt: skip
    """(row, its view, what could not be read before it): row n, or the next one that can be read."""
    replaced: list[tuple[str, str]] = []
    for offset in range(min(REPLACEMENTS, len(data))):
        m = (n + offset) % len(data)
        row = int(data.rows[m])
        try:
            whole = data.source.image(row)
            if (options := options_of(m)) is None:
                return m, image.preprocess_uint8(whole, spec, threads=1)[0], replaced
            return m, augment.view(whole, options, spec.image_size, rng), replaced
        except InputError as error:
            replaced.append((str(data.source.files[row]), str(error)))
    raise InputError(f"{data.source.name}: {len(replaced)} images in a row cannot be read; the first: {replaced[0][1]}")


def _collate(examples: Sequence[dict[str, Any]], tables: int) -> Batch:
    keys = [key for key in ("pixels", "tokens", "ids", "hard_negatives", "texts") if key in examples[0]]
    arrays = {key: np.stack([e[key] for e in examples]) for key in keys}
    return Batch(
        arrays,
        [e["file"] for e in examples],
        sum(e["cut"] for e in examples),
        [pair for e in examples for pair in e["replaced"]],
        np.bincount([e["table"] for e in examples], minlength=tables),
    )
