"""CIFAR-100, python version, fine labels."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.sets import cifar10
from clipjax.data.source import Source

INFO = Info(
    name="CIFAR100",
    key="cifar100",
    task="classification",
    metric="top1",
    split="test",
    n=10000,
    tfds="cifar100",
    obtain="cifar-100-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html (cite the technical report).",
    layout="""
cifar-100-python/
  train  test  meta
""",
    reading="The 100 fine labels, not the 20 coarse ones; public re-runs stay 0.9 to 3.8 points below the paper.",
)
SPLITS = {"train": "train", "test": "test"}


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """CIFAR-100 from its pickles or prepared by TFDS."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    if prepared := annotations.from_tfds(INFO, path, SPLITS[split]):
        return prepared
    root = annotations.find_root(path, INFO, "meta", "cifar-100-python")
    return cifar10.read(INFO, [root / split], root / "meta", "fine_labels", "fine_label_names")
