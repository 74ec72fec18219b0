"""Street View House Numbers, cropped digits (format 2)."""

import os

import numpy as np

from clipjax.data import annotations, arrays
from clipjax.data.info import Info, design
from clipjax.data.source import Source
from clipjax.errors import InputError

INFO = Info(
    name="SVHN",
    key="svhn",
    task="classification",
    metric="top1",
    split="test",
    n=26032,
    tfds="svhn_cropped",
    obtain="train_32x32.mat, test_32x32.mat from http://ufldl.stanford.edu/housenumbers/ (non-commercial use).",
    layout="""
svhn/
  train_32x32.mat  test_32x32.mat  extra_32x32.mat
""",
    reading="The file's label 10 is the digit 0. OpenAI published no prompts: names and templates are "
    "CLIP_benchmark's, so that open_clip's numbers apply.",
)
SPLITS = {"train": "train", "test": "test", "extra": "extra"}


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """SVHN from its MATLAB files or prepared by TFDS."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    if prepared := annotations.from_tfds(INFO, path, SPLITS[split]):
        return prepared
    where = annotations.find_root(path, INFO, f"{split}_32x32.mat", "svhn") / f"{split}_32x32.mat"
    pixels, numbers = annotations.read_mat(where, "X", "y")
    if pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3) or pixels.shape[3] != len(numbers):
        raise InputError(f"{where}: X is {list(pixels.shape)} for {len(numbers)} labels, expected [32, 32, 3, N]")
    label = annotations.labels_of([str(0 if n == 10 else int(n)) for n in numbers], INFO.key, where)
    images = np.ascontiguousarray(pixels.transpose(3, 0, 1, 2))
    return arrays.of_array(INFO.key, images, {"label": label}, design(INFO.key).names)
