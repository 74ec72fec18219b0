"""Hugging Face's `imagefolder`: images below folders, described by a metadata.csv, .jsonl or .parquet beside them."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from clipjax import image
from clipjax.data import table, tables
from clipjax.data.kinds import folder, shared
from clipjax.data.source import Source, as_path
from clipjax.errors import InputError
from clipjax.keys import declared
from clipjax.progress import say


@dataclasses.dataclass(frozen=True)
class Keys(shared.Folder, shared.SeveralLabels):
    """What is read of `data.`."""


PART = "path"  # the key that `data.train_path` and `data.test_path` stand for
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_COLUMNS = ("file_name", "image_file_name")


def open_source(keys: Keys) -> Source:
    """The images that the metadata names; without metadata, class folders as `folder` reads them."""
    path = as_path(shared.given(keys.path, "imagefolder", "the folder: --config.data.path=FOLDER"))
    root = path / keys.split if keys.split else path
    metadata = [root / name for name in METADATA if (root / name).is_file()]
    if not metadata:
        return _class_folders(root, keys)
    if len(metadata) > 1:
        raise InputError(f"{root} has both {metadata[0].name} and {metadata[1].name}; keep one")
    there, columns = tables.columns(metadata[0]), shared.Columns.of_keys(keys)
    file_column = columns.image or next((name for name in FILE_COLUMNS if name in there), FILE_COLUMNS[0])
    label = columns.label or ("label" if "label" in there else "")
    columns = dataclasses.replace(columns, image=file_column, label=label)
    images = table.open_table(metadata[0], columns, root, places=[root, root.parent])
    if unnamed := _unnamed(root, images.files):
        say(f"note: {metadata[0]}: images that it does not name are not read: {len(unnamed)}; the first: {unnamed[0]}")
    return images


def _unnamed(root: Path, named: Sequence[str]) -> list[str]:
    """Images below the folder that its metadata does not name, sorted; a bucket is not listed for it."""
    if "://" in os.fspath(root):
        return []
    known = {os.path.normpath(os.path.join(root, name)) for name in named}
    below = (os.path.join(top, name) for top, _, names in os.walk(root) for name in names)
    return sorted(
        os.path.relpath(path, root) for path in below
        if path.lower().endswith(tuple(image.SUFFIXES)) and os.path.normpath(path) not in known
    )  # fmt: skip


def _class_folders(root: Path, keys: Keys) -> Source:
    described = declared(shared.SeveralLabels)
    wanted = [name for name, key in described.items() if name != "class_names" and getattr(keys, name) != key.default]
    if wanted:
        value = getattr(keys, wanted[0])
        raise InputError(f"{root} has no {', '.join(METADATA)}, where data.{wanted[0]}={value} would be; leave it out")
    return folder.open_folder(root, keys.class_names)
