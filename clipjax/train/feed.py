"""Images and captions for training: an endless stream of batches that is a function of seed and position only.

Epoch after epoch every usable row appears once, shuffled anew by grain. What a host reads is a slice of the global
batch, so neither the number of hosts and threads nor a restart changes what is seen, or how it is augmented.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import numpy as np

from clipjax import image, skipping
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.text.tokenizer import tokenize_with_lengths
from clipjax.train import augment

REPLACEMENTS = 8  # neighbours asked for in place of an image that cannot be read
THREADS = 16
TEXT_STEP = 8  # the batch of tokens is as wide as the longest caption, rounded up to this
COUNTED_TEXTS = 5_000_000  # more captions times templates are not all looked at before the first step


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """N usable images with their captions: row i of `source` is `rows[n]`, its captions `captions[n]`.

    `ids[n]` is equal for images that share `id_column`'s value; without that column -1, and the drawn caption
    itself decides. `without` are files left out because they have no caption.
    """

    source: Source
    rows: np.ndarray
    captions: list[tuple[str, ...]]
    templates: tuple[str, ...]
    ids: np.ndarray
    without: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """arrays: pixels uint8 [b, S, S, 3], tokens int32 [b, T], ids int32 [b]. b = B / hosts.

    files: what was drawn; truncated: how many captions were cut; replaced: (file, reason) of unreadable images, in
    whose place the next readable row stands.
    """

    arrays: dict[str, np.ndarray]
    files: list[str]
    truncated: int
    replaced: list[tuple[str, str]]


def pairs(source: Source, templates: Sequence[str] = ("{}",), id_column: str = "", max_without: float = 0.01) -> Pairs:
    """What can be trained on: rows with captions, or with a label whose class name is the caption.

    A template is applied to every caption ("a photo of a {}." to class names; "{}" leaves captions alone). Rows whose
    captions are all empty are left out and listed. Raises InputError where more than the share `max_without` is left
    out, nothing is captioned at all, or a template has no place for the caption.
    """
    if wrong := [t for t in templates if t.count("{}") != 1]:
        raise InputError(f"template {wrong[0]!r}: write {{}} once, where the caption goes")
    if not templates:
        raise InputError('no templates: "{}" leaves captions as they are')
    if source.captions is not None:
        texts = [tuple(c.strip() for c in row if c.strip()) for row in source.captions]
    elif source.labels is not None:
        texts = source.labels.members()
    else:
        raise InputError(
            f"{source.name} has neither captions nor labels: --config.data.caption_columns=NAME, or "
            "--config.data.label_column=NAME"
        )
    has = np.array([bool(row) for row in texts])
    captioned = np.flatnonzero(has)
    lost = [
        (row, str(source.files[row]), f"{source.files[row]} has no caption") for row in np.flatnonzero(~has).tolist()
    ]
    skipping.check(lost, len(source), max_without, source.name, "--config.data.max_skipped")
    without = tuple(file for _, file, _ in lost)
    ids = _ids(source, captioned, id_column)
    return Pairs(source, captioned, [texts[i] for i in captioned], tuple(templates), ids, without)


def text_length(data: Pairs, context: int) -> int:
    """Columns [T] that a batch of tokens needs: the longest caption in its longest template, at most `context`.

    What follows the end of every text is never read (the mask is causal), so leaving it out is exact; captions of
    a dozen words cost a fifth of 77 tokens. One length for the whole run: one compiled step, the same on every host.
    """
    longest = 0
    distinct = {caption for row in data.captions for caption in row}
    if len(distinct) * len(data.templates) > COUNTED_TEXTS:
        return context
    for template in data.templates:
        lengths = tokenize_with_lengths([template.replace("{}", c) for c in distinct], context, "text")[1]
        longest = max(longest, int(lengths.max(initial=0)))
        if longest >= context:
            break
    return min(context, -(-longest // TEXT_STEP) * TEXT_STEP)


def _ids(source: Source, rows: np.ndarray, column: str) -> np.ndarray:
    if not column:
        return np.full(len(rows), -1, np.int32)
    if column not in source.columns:
        raise InputError(f'data.id_column: {source.name} has no column "{column}"; name it in data.group_columns too')
    values = [str(value) for value in source.columns[column][rows]]
    index = {value: i for i, value in enumerate(dict.fromkeys(values))}
    return np.array([index[value] for value in values], np.int32)


class Feed:
    """Iterates over this host's share of the global batches, decoding in advance in threads.

    `position` is the number of batches returned; setting it goes anywhere in the stream at once. `options` None:
    the evaluation's view, without randomness.
    """

    def __init__(
        self, data: Pairs, batch_size: int, spec: image.Preprocess, context: int, options: augment.Augment | None,
        seed: int, share: tuple[int, int] = (0, 1), threads: int = THREADS,
    ):  # fmt: skip
        process, count = share
        if batch_size < 1 or batch_size % count:
            raise InputError(f"batch_size={batch_size} does not divide over {count} hosts")
        if context < 2:
            raise InputError(f"data.context={context} has no room for start and end of text: 2 or more")
        data.source.check_size(spec)
        self.data, self.global_batch, self.local = data, batch_size, batch_size // count
        self._order = grain.MapDataset.range(len(data)).seed(seed).shuffle().repeat()
        self.length = text_length(data, context)
        self._example = _example(data, self._order, spec, context, self.length, options, seed)
        self._place = lambda q: (q // self.local) * batch_size + process * self.local + q % self.local
        self._threads = threads
        self.iterator = self._start()

    def _start(self) -> Any:
        # Positions fit in 63 bits: grain's ranges are lazy, and a run never reaches the end of this one.
        everything = grain.MapDataset.range(2**62)
        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=2 * self.local)
        examples = everything.map(lambda q: self._example(self._place(q))).to_iter_dataset(options)
        return iter(examples.batch(self.local, batch_fn=_collate))

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
        return len(self.data) / self.global_batch

    def __next__(self) -> Batch:
        return next(self.iterator)

    def __iter__(self) -> Feed:
        return self

    def close(self) -> None:
        """Ends the threads."""
        self.iterator.close()


def _example(
    data: Pairs, order: Any, spec: image.Preprocess, context: int, length: int, options: augment.Augment | None,
    seed: int,
) -> Callable[[int], dict[str, Any]]:  # fmt: skip
    texts: dict[str, int] = {}

    def identity(n: int, caption: str) -> int:
        if data.ids[n] >= 0:
            return int(data.ids[n])
        return texts.setdefault(caption, len(texts))

    if (data.ids < 0).all():
        # Numbered before any thread starts: equal captions have equal numbers in every order of reading.
        for row in data.captions:
            for caption in row:
                texts.setdefault(caption, len(texts))

    def make(position: int) -> dict[str, Any]:
        rng = np.random.default_rng([seed, position])
        n, pixels, replaced = _readable(data, int(order[position]), spec, options, rng)
        captions = data.captions[n]
        caption = captions[int(rng.integers(len(captions)))]
        template = data.templates[int(rng.integers(len(data.templates)))]
        tokens, lengths = tokenize_with_lengths([template.replace("{}", caption)], context, "text")
        return {
            "pixels": pixels, "tokens": tokens[0, :length], "ids": np.int32(identity(n, caption)),
            "file": str(data.source.files[data.rows[n]]), "cut": int(lengths[0] > context),
            "replaced": replaced,
        }  # fmt: skip

    return make


def _readable(
    data: Pairs, n: int, spec: image.Preprocess, options: augment.Augment | None, rng: np.random.Generator
) -> tuple[int, np.ndarray, list[tuple[str, str]]]:
    """(row, its view, what could not be read before it): row n, or the next one that can be read."""
    replaced: list[tuple[str, str]] = []
    for offset in range(min(REPLACEMENTS, len(data))):
        m = (n + offset) % len(data)
        row = int(data.rows[m])
        try:
            whole = data.source.image(row)
            if options is None:
                return m, image.preprocess_uint8(whole, spec, threads=1)[0], replaced
            return m, augment.view(whole, options, spec.image_size, rng), replaced
        except InputError as error:
            replaced.append((str(data.source.files[row]), str(error)))
    raise InputError(f"{data.source.name}: {len(replaced)} images in a row cannot be read; the first: {replaced[0][1]}")


def _collate(examples: Sequence[dict[str, Any]]) -> Batch:
    arrays = {key: np.stack([e[key] for e in examples]) for key in ("pixels", "tokens", "ids")}
    return Batch(
        arrays,
        [e["file"] for e in examples],
        sum(e["cut"] for e in examples),
        [pair for e in examples for pair in e["replaced"]],
    )
