"""WebDataset shards: tar files with the members of each sample side by side, read in place (`clipjax.data.tars`)."""

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipjax.data import naming, source, tars
from clipjax.data.contents import Packed
from clipjax.data.kinds import shared
from clipjax.data.labels import Labels
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.keys import Key

KEYS = {
    "path": Key("", 'a tar, "shards-{000..012}.tar", "shards-*.tar" or several by "::"; {split} stands for the split'),
    "split": shared.SPLIT,
    **shared.COLUMNS,
}
PART = "path"  # the key that `data.train_path` and `data.test_path` stand for
LABEL, CAPTION = "cls", "txt"


def open_source(keys: Any) -> Source:
    """The samples of the shards, or of those of `split`."""
    if not keys.path:
        raise InputError("data.source=webdataset needs the shards: --config.data.path='shards-{000..012}.tar'")
    pattern = shared.of_split(keys.path, keys.split, ("{path}/{split}/*.tar", "{path}/{split}-*.tar"))
    return load(
        pattern, keys.image_column, keys.label_column, shared.columns(keys.caption_columns),
        shared.columns(keys.group_columns), keys.class_names, keys.label_separator,
    )  # fmt: skip


def load(
    pattern: str | os.PathLike,
    image_key: str = "",
    label_key: str = "",
    caption_keys: Sequence[str] = (),
    group_keys: Sequence[str] = (),
    class_names: str = "",
    separator: str = "",
) -> Source:
    """The samples of one tar, of "shards-{000..012}.tar", or of "shards-*.tar" (sorted), in the order they lie in.

    label_key, caption_keys: extensions of members, where empty "cls" and "txt" if there are any; else fields of the
    json members, as group_keys are. A caption member has one caption a line. A classnames.txt beside the shards or in
    the folder above names the labels (`naming.find`). Files are called "shard.tar/name.jpg". A sample without an image
    keeps its row, and fails when it is read. Raises InputError where no shard is found or `tars.index` refuses one.
    """
    shards = find(os.fspath(pattern))
    name = _name(shards)
    members = [key for key in (label_key or LABEL, *(caption_keys or (CAPTION,)), "json") if key]
    found = tars.index(shards, image_key, members)
    asked = [key for key in filter(None, (label_key, *caption_keys)) if key not in found.extensions]
    fields = found.fields([*asked, *group_keys])[0] if asked or group_keys else {}

    def column(key: str) -> Any:
        return fields[key].values if key in fields else found.texts(key)[0]

    labels = None
    if label_key or LABEL in found.extensions:
        labels = _labels(column(label_key or LABEL), name, class_names, shards, separator)
    captions = None
    if caption_keys:
        parts = [fields[key].values if key in fields else found.captions(key)[0] for key in caption_keys]
        captions = [shared.captions_of(row) for row in zip(*parts, strict=True)]
    elif CAPTION in found.extensions:
        captions = [row or () for row in found.captions(CAPTION)[0]]
    groups = {key: shared.texts_of(fields[key].values) for key in group_keys}
    return Source(name, found.files, found.read, labels, captions, groups, packed=_packed(found))


def _labels(values: Any, name: str, class_names: str, shards: Sequence[Path], separator: str) -> Labels:
    places = list(dict.fromkeys(place for shard in shards for place in (shard.parent, shard.parent.parent)))
    return naming.labels(values, name, class_names, places, None, separator)


def _packed(found: tars.Index) -> list[Packed]:
    """The rows of each shard; samples lie in the order of the shards."""
    out, start = [], 0
    for shard, samples in itertools.groupby(found.samples, key=lambda sample: sample.shard):
        stop = start + sum(1 for _ in samples)
        out.append(Packed(os.fspath(found.shards[shard]), start, stop))
        start = stop
    return out


def find(pattern: str) -> list[Path]:
    """The shards that a pattern means (`tars.expand`), "*" and "?" in a name included, sorted."""
    found: list[Path] = []
    for name in [pattern] if os.path.exists(pattern) else tars.expand(pattern):
        path = source.as_path(name)
        if any(c in path.name for c in "*?[") and not path.exists():
            found += sorted(path.parent.glob(path.name))
        elif path.is_dir():
            inside = sorted(path.glob("*.tar"))
            shared.check_one_part(path, [shard.name for shard in inside], "*.tar")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: no such shard; fetch it, or correct the pattern")
    if not found:
        raise InputError(f"{pattern}: no such shards; give a tar, shards-{{000..012}}.tar or shards-*.tar")
    if twice := next((path for path, times in Counter(found).items() if times > 1), None):
        raise InputError(f"{pattern} names {twice} twice; name every shard once")
    return found


def _name(shards: Sequence[Path]) -> str:
    """What the shards share: "train-000.tar" and "train-001.tar" are "train"."""
    return shards[0].name.split(".")[0].rstrip("-_0123456789") or shards[0].parent.name or "webdataset"
