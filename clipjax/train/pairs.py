"""What can be trained on: images with their captions, which of them belong together, and what is said of them first."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clipjax import skipping
from clipjax.data.contents import UNREADABLE
from clipjax.data.source import ImageData, Source
from clipjax.errors import InputError, brief, some
from clipjax.train import hard_negatives, weighing
from clipjax.train.texts import OPENAI, Texts

TEXT_STEP = 8  # the batch of tokens is as wide as the longest caption, rounded up to this
COUNTED_TEXTS = 1_000_000  # more captions times templates are not all looked at before the first step


class Table(NamedTuple):
    """One of the tables that pairs come from; its captions are put into one of its templates."""

    name: str
    templates: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """N usable images with their captions: row i of `source` is `rows[n]`, its captions `captions[n]`.

    `table[n]` is where the pair comes from, of `tables`. `ids[n]` is equal for images that share `id_column`'s value;
    without that column -1, and the drawn caption itself decides. `weights` float64 [N], above 0, of mean 1: how often a
    pair is drawn. `without` are files left out because they have no caption; rows of weight 0 are left out too.
    `hard_negatives[n][k]` are wrong captions, one of which is drawn beside caption k; None where nothing names them.
    """

    source: Source
    rows: np.ndarray
    captions: list[tuple[str, ...]]
    tables: tuple[Table, ...]
    table: np.ndarray
    ids: np.ndarray
    weights: np.ndarray
    without: tuple[str, ...]
    hard_negatives: list[tuple[tuple[str, ...], ...]] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def texts(self, n: int) -> tuple[str, ...]:
        """What a text of pair n can be, without its template: its captions, and hard negatives."""
        return self.captions[n] + (sum(self.hard_negatives[n], ()) if self.hard_negatives else ())

    def repeated(self, batch: int) -> np.ndarray:
        """The pairs that are drawn so often that a batch of this size holds one of them several times."""
        return np.flatnonzero(self.weights * batch > len(self) * (1 + 1e-9))

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
        """Hex sha256 of the images' contents, their captions, weights and what belongs together, in their order."""
        templates = [one.templates for one in self.tables]
        texts = templates[0] if len(templates) == 1 else [templates, self.table.tolist()]
        more = [] if self.hard_negatives is None else [self.hard_negatives]
        content = json.dumps([self.captions, texts, self.ids.tolist(), *more]).encode()
        weights = b"" if (self.weights == 1).all() else self.weights.tobytes()
        return hashlib.sha256(b"pairs" + self._digests.tobytes() + content + weights).hexdigest()

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


def pairs(
    source: Source, templates: Sequence[str] = ("{}",), id_column: str = "", max_without: float = 0.01,
    weight_column: str = "", balance: str = "", numbers: dict[str, int] | None = None,
    against: hard_negatives.Cells | None = None,
) -> Pairs:  # fmt: skip
    """What can be trained on: rows with captions, or with a label whose class name is the caption.

    A template is applied to every caption ("a photo of a {}." to class names; "{}" leaves captions alone). Rows whose
    captions are all empty are left out and listed. weight_column, balance: as `weighing.weights` has them. numbers: of
    the values of `id_column`, shared by tables that are joined (`weighing.joined`).
    against: captions that are wrong on purpose, by file.
    Raises InputError where more than the share `max_without` is left out, nothing is captioned at all, or a template
    has no place for the caption.
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
    lost = [
        (row, str(source.files[row]), f"{source.files[row]} has no caption") for row in np.flatnonzero(~has).tolist()
    ]
    skipping.check(lost, len(source), max_without, source.name, "--config.data.max_skipped")
    weights = weighing.weights(source, np.flatnonzero(has), weight_column, balance)
    rows = np.flatnonzero(has)[weights > 0]
    without = tuple(file for _, file, _ in lost)
    ids = _ids(source, rows, id_column, {} if numbers is None else numbers)
    weights = weighing.normalised(weights[weights > 0])
    table = np.zeros(len(rows), np.int64)
    named = (Table(source.name, tuple(templates)),)
    captions = [texts[i] for i in rows]
    beside = None if against is None else hard_negatives.beside(against, source, rows, captions)
    return Pairs(source, rows, captions, named, table, ids, weights, without, beside)


def _ids(source: Source, rows: np.ndarray, column: str, numbers: dict[str, int]) -> np.ndarray:
    if not column:
        return np.full(len(rows), -1, np.int32)
    values = weighing.column(source, rows, column, "id_column")
    if values.count("") > 1:
        file = source.files[rows[values.index("")]]
        raise InputError(
            f"data.id_column: {values.count('')} of {len(values)} rows of {source.name} have no {column}, so that they "
            f"would be positives of each other, the first: {file}; give each a value of its own"
        )
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int32)


def joined(parts: Sequence[Pairs], factors: Sequence[float]) -> Pairs:
    """Pairs of several tables as those of one; pairs of table t are drawn factors[t] times as often as by themselves.

    Files are called TABLE:FILE, as two tables may have files of one name. Copies across tables are copies.
    """
    sources = [part.source for part in parts]
    names = [source.name for source in sources]
    before = [names[:i].count(name) for i, name in enumerate(names)]
    names = [f"{name} ({n + 1})" if n else name for name, n in zip(names, before, strict=True)]
    sizes = sorted({source.size for source in sources if source.size is not None})
    if len(sizes) > 1:
        raise InputError(f"data.mixture: tables hold images prepared for {' and '.join(map(str, sizes))} pixels")
    starts = np.cumsum([0, *map(len, sources)])

    def place(row: int) -> tuple[Source, int]:
        number = int(np.searchsorted(starts, row, "right")) - 1
        return sources[number], int(row - starts[number])

    def read(row: int) -> ImageData:
        source, own = place(row)
        return source.read(own)

    def contents(rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), 32), np.uint8)
        for start, end, source in zip(starts, starts[1:], sources, strict=False):
            mine = (rows >= start) & (rows < end)
            found[mine] = source.digests(rows[mine] - start)
        return found

    files = [f"{name}:{file}" for name, source in zip(names, sources, strict=True) for file in source.files]
    whole = Source(" + ".join(names), files, read, size=max(sizes, default=None), contents=contents)
    return Pairs(
        source=whole,
        rows=np.concatenate([part.rows + start for part, start in zip(parts, starts, strict=False)]),
        captions=[row for part in parts for row in part.captions],
        tables=tuple(Table(name, part.tables[0].templates) for name, part in zip(names, parts, strict=True)),
        table=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
        ids=np.concatenate([part.ids for part in parts]),
        weights=weighing.normalised(
            np.concatenate([part.weights * factor for part, factor in zip(parts, factors, strict=True)])
        ),
        without=tuple(f"{name}:{f}" for name, part in zip(names, parts, strict=True) for f in part.without),
        hard_negatives=_joined_negatives(parts),
    )


def _joined_negatives(parts: Sequence[Pairs]) -> list[tuple[tuple[str, ...], ...]] | None:
    if not any(part.hard_negatives for part in parts):
        return None
    return [row for part in parts for row in part.hard_negatives or [((),) * len(own) for own in part.captions]]


def lengths(data: Pairs, context: int, texts: Texts = OPENAI) -> Lengths:
    """How long captions are in their longest template; of more than `COUNTED_TEXTS`, of the first so many."""
    left = max(1, COUNTED_TEXTS // max(len(table.templates) for table in data.tables))
    most, looked_at, there, cut = 0, 0, 0, []
    for number, table in enumerate(data.tables):
        mine = np.flatnonzero(data.table == number).tolist()
        distinct = list(dict.fromkeys(text for n in mine for text in data.texts(n)))
        seen, there = distinct[: left - looked_at], there + len(distinct)
        looked_at += len(seen)
        longest = np.zeros(len(seen), np.int64)
        for template in table.templates if seen else ():
            filled = [template.replace("{}", text) for text in seen]
            longest = np.maximum(longest, texts(filled, context)[1])
        most = max(most, int(longest.max(initial=0)))
        cut += [seen[i] for i in np.flatnonzero(longest > context)]
    return Lengths(most, looked_at, looked_at == there, tuple(cut))


def text_length(found: Lengths, context: int) -> int:
    """Columns [T] that a batch of tokens needs: the longest caption in its longest template, at most `context`.

    What follows the end of every text is never read (the mask is causal), so leaving it out is exact; captions of
    a dozen words cost a fifth of 77 tokens. One length for the whole run: one compiled step, the same on every host.
    """
    if not found.whole:
        return context
    return min(context, -(-found.longest // TEXT_STEP) * TEXT_STEP)


def notes(data: Pairs, found: Lengths, context: int, soft_targets: bool, batch: int) -> list[str]:
    """What a person should know of the data before the first step, a line each."""
    said, captions = weighing.notes(data, batch), sum(map(len, data.captions))
    if data.without:
        said.append(f"{len(data.without)} rows have no caption and are left out: {some(data.without, 3)}")
    if data.hard_negatives and (bare := sum(not any(row) for row in data.hard_negatives)):
        said.append(f"{bare} of {len(data)} images have no hard negative")
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
