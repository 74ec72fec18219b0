"""A folder of resized images that `clipjax prepare` made."""

from typing import Any

from clipjax.classes import read_naming
from clipjax.data import prepared
from clipjax.data.kinds import shared
from clipjax.data.source import Source, as_path
from clipjax.errors import InputError
from clipjax.keys import Key

KEYS = {
    "path": Key("", "the folder that `clipjax prepare` made; with `split`, the folder above those of the splits"),
    "split": shared.SPLIT,
    "group_columns": shared.GROUP_COLUMNS,
    "class_names": shared.CLASS_NAMES,
}
PART = "path"  # the key that `data.train_path` and `data.test_path` stand for


def open_source(keys: Any) -> Source:
    """The prepared images, with every column of the originals."""
    return opened(keys).source


def opened(keys: Any) -> prepared.Prepared:
    """As `open_source`, with the named data set that the originals were."""
    if not keys.path:
        raise InputError("data.source=prepared needs the folder: --config.data.path=FOLDER")
    root = as_path(keys.path)
    found = prepared.load(root / keys.split if keys.split else root)
    shared.check_columns(found.source, keys.group_columns)
    return prepared.renamed(found, read_naming(keys.class_names)) if keys.class_names else found
