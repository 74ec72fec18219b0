"""Oxford Flowers 102: labels and splits in MATLAB files, counted from 1."""

import os

import numpy as np

from clipjax.data import annotations
from clipjax.data.info import Info, own_names
from clipjax.data.source import Source
from clipjax.errors import InputError

INFO = Info(
    name="Flowers102",
    key="flowers102",
    task="classification",
    metric="mean_per_class",
    split="test",
    n=6149,
    tfds="oxford_flowers102",
    obtain="102flowers.tgz, imagelabels.mat and setid.mat from "
    "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/ (research use).",
    layout="""
102flowers/
  jpg/image_00001.jpg
  imagelabels.mat  setid.mat
""",
    reading="setid.mat as published: 1,020 train, 1,020 val, 6,149 test (some papers swap train and test). "
    "Numbers count from 1 in the order of the published names, which the files do not carry.",
)
SPLITS = {"train": "train", "val": "validation", "test": "test"}
VARIABLES = {"train": "trnid", "val": "valid", "test": "tstid"}


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """Flowers 102 from its own folder or prepared by TFDS."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    if prepared := annotations.from_tfds(INFO, path, SPLITS[split]):
        return prepared
    root = annotations.find_root(path, INFO, "setid.mat", "102flowers", "flowers-102")
    (numbers,) = annotations.read_mat(root / "imagelabels.mat", "labels")
    (rows,) = annotations.read_mat(root / "setid.mat", VARIABLES[split])
    rows = np.asarray(rows, np.int64)
    if len(rows) and not 1 <= rows.min() <= rows.max() <= len(numbers):
        raise InputError(f"{root / 'setid.mat'} names images beyond the {len(numbers)} of imagelabels.mat; fetch both")
    own = annotations.names_of_numbers(
        [int(numbers[row - 1]) - 1 for row in rows], own_names(INFO.key), root / "imagelabels.mat"
    )
    return annotations.from_files(INFO, root / "jpg", [f"image_{row:05d}.jpg" for row in rows], own, root)
