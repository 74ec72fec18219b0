"""A folder of resized images that `clipjax prepare` made."""

import dataclasses

from clipjax.classes import read_naming
from clipjax.data import prepared
from clipjax.data.kinds import shared
from clipjax.data.source import Source, as_path
from clipjax.keys import key


@dataclasses.dataclass(frozen=True)
class Keys(shared.Grouped, shared.Named, shared.Split):
    """What is read of `data.`."""

    path: str = key("", "the folder that `clipjax prepare` made; with `split`, the folder above those of the splits")


PART = "path"  # the key that `data.train_path` and `data.test_path` stand for


def open_source(keys: Keys) -> Source:
    """The prepared images, with every column of the originals."""
    return opened(keys).source


def opened(keys: Keys) -> prepared.Prepared:
    """As `open_source`, with the named data set that the originals were."""
    root = as_path(shared.given(keys.path, "prepared", "the folder: --config.data.path=FOLDER"))
    folder = prepared.open_prepared(root / keys.split if keys.split else root)
    shared.check_columns(folder.source, keys.group_columns)
    return prepared.renamed(folder, read_naming(keys.class_names)) if keys.class_names else folder
