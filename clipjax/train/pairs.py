"""What can be trained on: images with their captions, which of them belong together, and what is said of them first."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence

import numpy as np

from clipjax import skipping
from clipjax.data.contents import UNREADABLE
from clipjax.data.source import Source
from clipjax.errors import InputError, brief, some
from clipjax.text.tokenizer import tokenize_with_lengths

TEXT_STEP = 8  # the batch of tokens is as wide as the longest caption, rounded up to this
COUNTED_TEXTS = 1_000_000  # more captions times templates are not all looked at before the first step


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

    @functools.cached_property
    def images(self) -> np.ndarray:
        """int32 [N]: equal for images of equal contents, whatever their files are called."""
        digests = self._digests
        _, index = np.unique(digests, axis=0, return_inverse=True)
        index = index.reshape(-1).astype(np.int32)
        unreadable = (digests == np.frombuffer(UNREADABLE, np.uint8)).all(1)  # of which nothing is known
        index[unreadable] = len(self) + np.flatnonzero(unreadable)
        return index

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of the images' contents, their captions and what belongs together, in their order."""
        told = json.dumps([self.captions, self.templates, self.ids.tolist()])
        return hashlib.sha256(b"pairs" + self._digests.tobytes() + told.encode()).hexdigest()

    @functools.cached_property
    def _digests(self) -> np.ndarray:
        return self.source.digests(self.rows)


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Of `seen` different captions (`whole`: all of them) the longest has `longest` tokens, and `cut` are too long."""

    longest: int
    seen: int
    whole: bool
    cut: tuple[str, ...]


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


def _ids(source: Source, rows: np.ndarray, column: str) -> np.ndarray:
    if not column:
        return np.full(len(rows), -1, np.int32)
    if column not in source.columns:
        raise InputError(f'data.id_column: {source.name} has no column "{column}"; name it in data.group_columns too')
    values = [str(value) for value in source.columns[column][rows]]
    if values.count("") > 1:
        file = source.files[rows[values.index("")]]
        raise InputError(
            f"data.id_column: {values.count('')} of {len(values)} rows of {source.name} have no {column}, so that they "
            f"would be positives of each other, the first: {file}; give each a value of its own"
        )
    index = {value: i for i, value in enumerate(dict.fromkeys(values))}
    return np.array([index[value] for value in values], np.int32)


def lengths(data: Pairs, context: int) -> Lengths:
    """How long captions are in their longest template; of more than `COUNTED_TEXTS`, of the first so many."""
    distinct = list(dict.fromkeys(caption for row in data.captions for caption in row))
    seen = distinct[: max(1, COUNTED_TEXTS // len(data.templates))]
    longest = np.zeros(len(seen), np.int64)
    for template in data.templates:
        texts = [template.replace("{}", c) for c in seen]
        longest = np.maximum(longest, tokenize_with_lengths(texts, context, "text")[1])
    cut = tuple(seen[i] for i in np.flatnonzero(longest > context))
    return Lengths(int(longest.max(initial=0)), len(seen), len(seen) == len(distinct), cut)


def text_length(found: Lengths, context: int) -> int:
    """Columns [T] that a batch of tokens needs: the longest caption in its longest template, at most `context`.

    What follows the end of every text is never read (the mask is causal), so leaving it out is exact; captions of
    a dozen words cost a fifth of 77 tokens. One length for the whole run: one compiled step, the same on every host.
    """
    if not found.whole:
        return context
    return min(context, -(-found.longest // TEXT_STEP) * TEXT_STEP)


def notes(data: Pairs, found: Lengths, context: int, soft_targets: bool) -> list[str]:
    """What a person should know of the data before the first step, a line each."""
    said, captions = [], sum(map(len, data.captions))
    if data.without:
        said.append(f"{len(data.without)} rows have no caption and are left out: {some(data.without, 3)}")
    if captions > len(data):
        said.append(
            f"{len(data)} images have {captions} captions: an epoch shows every image once, with one of its captions"
        )
    if found.cut:
        said.append(
            f"{len(found.cut)} of {'' if found.whole else 'the first '}{found.seen} different captions are longer than "
            f"{context} tokens and are cut there, the first: {brief(found.cut[0], 50)!r}"
        )
    effect = "are not negatives of each other" if soft_targets else "are negatives of each other (soft_targets=False)"
    if copies := len(data) - len(set(data.images.tolist())):
        said.append(f"{copies} of {len(data)} images are copies of others under other names; copies {effect}")
    if not soft_targets and captions > (different := len({c for row in data.captions for c in row})):
        said.append(f"{captions - different} of {captions} captions repeat another; pairs with equal captions {effect}")
    return said
