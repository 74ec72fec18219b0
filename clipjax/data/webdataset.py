"""A data set in WebDataset shards (see `tars`)."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.data import source, tars
from clipjax.data.source import Source
from clipjax.errors import InputError


def load(
    pattern: str | os.PathLike,
    label_key: str | None = "cls",
    caption_key: str | None = "txt",
    classes: Sequence[str] | None = None,
    image_key: str = "",
) -> Source:
    """The samples of one tar, of "shards-{000..012}.tar", or of "shards-*.tar" (sorted), in the order they lie in.

    Where samples have a `label_key` file, all must have it, and `classes` (else the different labels) are its
    classes. A `caption_key` file has one caption a line. Files are called "shard.tar/name.jpg". A sample without a
    picture keeps its row, and fails when it is read.
    Raises InputError where no shard is found, labels are missing, or `tars.index` refuses a shard.
    """
    shards = find(os.fspath(pattern))
    name = _name(shards)
    found = tars.index(shards, image_key, [key for key in (label_key, caption_key) if key is not None])
    table: dict[str, Any] = {"file": found.files}
    names = None if classes is None else tuple(classes)
    if label_key is not None and label_key in found.extensions:
        values, why = found.texts(label_key)
        _check(name, found.files, why, label_key)
        whole = all(re.fullmatch(r"-?\d{1,18}", value) for value in values)
        numbers = np.asarray([int(value) for value in values], np.int64) if whole else values
        table["label"], names = source.class_index(numbers, classes, name, found.files)
    if caption_key is not None and caption_key in found.extensions:
        table["captions"], why = found.captions(caption_key)
        _check(name, found.files, why, caption_key)
    protocol = {"image_key": image_key} if image_key else {}
    return Source(
        name=name,
        table=table,
        classes=names,
        read=found.read,
        fingerprint=source.fingerprint(
            "webdataset", [shard.name for shard in shards], source.stamp_files(shards), **protocol
        ),
    )


def find(pattern: str) -> list[Path]:
    """The shards that a pattern means (`tars.expand`), "*" and "?" in a name included, sorted."""
    found: list[Path] = []
    for name in [pattern] if os.path.exists(pattern) else tars.expand(pattern):
        path = source.as_path(name)
        if any(c in path.name for c in "*?[") and not path.exists():
            found += sorted(path.parent.glob(path.name))
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: no such shard; fetch it, or correct the pattern")
    if not found:
        raise InputError(f"{pattern}: no such shards; give a tar, shards-{{000..012}}.tar or shards-*.tar")
    if twice := next((path for path, times in Counter(found).items() if times > 1), None):
        raise InputError(f"{pattern} names {twice} twice; name every shard once")
    return found


def _check(name: str, files: Sequence[str], why: dict[int, str], key: str) -> None:
    if why:
        row = min(why)
        raise InputError(f"{name}: {files[row]} has no .{key}: {why[row]}; write the shard again")


def _name(shards: Sequence[Path]) -> str:
    """What the shards share: "train-000.tar" and "train-001.tar" are "train"."""
    return shards[0].name.split(".")[0].rstrip("-_0123456789") or shards[0].parent.name or "webdataset"
