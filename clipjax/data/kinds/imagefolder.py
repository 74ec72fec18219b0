"""Hugging Face's `imagefolder`: images below folders, described by a metadata.csv, .jsonl or .parquet beside them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipjax import image
from clipjax.data import naming, table, tables
from clipjax.data.kinds import folder, shared
from clipjax.data.source import Source, as_path
from clipjax.errors import InputError
from clipjax.keys import Key
from clipjax.progress import say

KEYS = {
    "path": Key("", "the folder; with `split`, the folder that holds one folder per split"),
    "split": shared.SPLIT,
    **shared.COLUMNS,
}
PART = "path"  # the key that `data.train_path` and `data.test_path` stand for
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_COLUMNS = ("file_name", "image_file_name")


def open_source(keys: Any) -> Source:
    """The images that the metadata names; without metadata, class folders as `folder` reads them."""
    if not keys.path:
        raise InputError("data.source=imagefolder needs the folder: --config.data.path=FOLDER")
    root = as_path(keys.path) / keys.split if keys.split else as_path(keys.path)
    found = [root / name for name in METADATA if (root / name).is_file()]
    if not found:
        return _class_folders(root, keys)
    if len(found) > 1:
        raise InputError(f"{root} has both {found[0].name} and {found[1].name}; keep one")
    there = tables.columns(found[0])
    file_column = keys.image_column or next((name for name in FILE_COLUMNS if name in there), FILE_COLUMNS[0])
    label = keys.label_column or ("label" if "label" in there else None)

    def find(ids: tuple[str, ...]) -> naming.Naming | None:
        return naming.find(keys.class_names, ids, [root, root.parent], os.fspath(found[0]))

    images = table.load(
        found[0], file_column, label, shared.columns(keys.caption_columns), shared.columns(keys.group_columns), root,
        find, keys.label_separator,
    )  # fmt: skip
    if unnamed := _unnamed(root, images.files):
        say(f"note: {found[0]}: images that it does not name are not read: {len(unnamed)}; the first: {unnamed[0]}")
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


def _class_folders(root: Path, keys: Any) -> Source:
    described = {name: key for name, key in shared.COLUMNS.items() if name != "class_names"}
    wanted = [name for name, key in described.items() if getattr(keys, name) != key.default]
    if wanted:
        value = getattr(keys, wanted[0])
        raise InputError(f"{root} has no {', '.join(METADATA)}, where data.{wanted[0]}={value} would be; leave it out")
    return folder.load(root, keys.class_names)
