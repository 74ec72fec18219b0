"""WebDataset shards: tar files with the members of each sample side by side, read in place (`clipjax.data.tars`)."""

import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from clipjax.data import source, tables, tars
from clipjax.data.contents import Packed
from clipjax.data.kinds import shared
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.keys import key


@dataclasses.dataclass(frozen=True)
class Keys(shared.SeveralLabels, shared.Split):
    """What is read of `data.`."""

    path: str = key(
        "", 'a tar, "shards-{000..012}.tar", "shards-*.tar" or several by "::"; {split} stands for the split'
    )


PART = "path"  # the key that `data.train_path` and `data.test_path` stand for
LABEL, CAPTION = "cls", "txt"


def open_source(keys: Keys) -> Source:
    """The samples of the shards, or of those of `split`."""
    return open_shards(_pattern(keys), shared.Columns.of_keys(keys))


def inputs(keys: Keys) -> list[Path]:
    """The shards, each of which is a source by itself."""
    return find_shards(_pattern(keys))


def _pattern(keys: Keys) -> str:
    path = shared.given(keys.path, "webdataset", "the shards: --config.data.path='shards-{000..012}.tar'")
    return shared.of_split(path, keys.split, ("{path}/{split}/*.tar", "{path}/{split}-*.tar"))


def open_shards(pattern: str | os.PathLike, columns: shared.Columns = shared.NO_COLUMNS) -> Source:
    """The samples of one tar, of "shards-{000..012}.tar", or of "shards-*.tar" (sorted), in the order they lie in.

    columns: `label` and `captions` are extensions of members, where empty "cls" and "txt" if there are any; else
    fields of the json members, as `groups` are. A caption member has one caption a line. A classnames.txt beside the
    shards or in the folder above names the labels (`naming.find`). Files are called "shard.tar/name.jpg". A sample
    without an image keeps its row, and fails when it is read. Raises InputError where no shard is found or
    `tars.index` refuses one.
    """
    shards = find_shards(os.fspath(pattern))
    index = tars.index(shards, columns.image, [columns.label or LABEL, *(columns.captions or (CAPTION,)), "json"])
    columns = dataclasses.replace(
        columns,
        label=columns.label or (LABEL if LABEL in index.extensions else ""),
        captions=columns.captions or ((CAPTION,) if CAPTION in index.extensions else ()),
    )
    members = [name for name in columns.described if name in index.extensions and name not in columns.groups]
    fields = [name for name in columns.described if name not in members]
    table = index.fields(fields)[0] if fields else {}
    captions = dict(table)
    for member in members:
        if member == columns.label:
            table[member] = tables.Column(index.texts(member)[0])
        if member in columns.captions:
            captions[member] = tables.Column(index.captions(member)[0])
    places = list(dict.fromkeys(place for shard in shards for place in (shard.parent, shard.parent.parent)))
    name = _name(shards)
    return shared.source_of(
        columns, table, name, index.files, index.read, name, places, shared.captions_of(columns, captions),
        _packed(index),
    )  # fmt: skip


def _packed(index: tars.Index) -> list[Packed]:
    """The rows of each shard; samples lie in the order of the shards."""
    out, start = [], 0
    for shard, samples in itertools.groupby(index.samples, key=lambda sample: sample.shard):
        stop = start + sum(1 for _ in samples)
        out.append(Packed(os.fspath(index.shards[shard]), start, stop))
        start = stop
    return out


def find_shards(pattern: str) -> list[Path]:
    """The shards that a pattern means (`tars.expand`), "*" and "?" in a name included, sorted."""
    shards: list[Path] = []
    for name in [pattern] if os.path.exists(pattern) else tars.expand(pattern):
        path = source.as_path(name)
        if any(c in path.name for c in "*?[") and not path.exists():
            shards += sorted(path.parent.glob(path.name))
        elif path.is_dir():
            inside = sorted(path.glob("*.tar"))
            shared.check_one_part(path, [shard.name for shard in inside], "*.tar")
            shards += inside
        elif path.exists():
            shards.append(path)
        else:
            raise InputError(f"{path}: no such shard; fetch it, or correct the pattern")
    if not shards:
        raise InputError(f"{pattern}: no such shards; give a tar, shards-{{000..012}}.tar or shards-*.tar")
    if twice := next((path for path, times in Counter(shards).items() if times > 1), None):
        raise InputError(f"{pattern} names {twice} twice; name every shard once")
    return shards


def _name(shards: Sequence[Path]) -> str:
    """What the shards share: "train-000.tar" and "train-001.tar" are "train"."""
    return shards[0].name.split(".")[0].rstrip("-_0123456789") or shards[0].parent.name or "webdataset"
