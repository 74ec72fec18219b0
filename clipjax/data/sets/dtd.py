"""Describable Textures: ten official partitions into train, val and test."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.source import Source
from clipjax.errors import require

INFO = Info(
    name="DTD",
    key="dtd",
    task="classification",
    metric="top1",
    split="test of partition 1",
    n=1880,
    tfds="dtd",
    obtain="dtd-r1.0.1.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/dtd/ (research use).",
    layout="""
dtd/
  images/banded/banded_0002.jpg
  labels/train1.txt  val1.txt  test1.txt ... test10.txt     banded/banded_0002.jpg
""",
    reading="Partition 1 and the key attribute only: one label per image, though textures may have several.",
)
SPLITS = {"train": "train", "val": "validation", "test": "test"}


def open_source(path: str | os.PathLike, split: str | None = None, partition: int = 1) -> Source:
    """DTD from its own folder, or partition 1 as prepared by TFDS."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    require(partition, range(1, 11), INFO.name, "partition")
    if partition == 1 and (prepared := annotations.from_tfds(INFO, path, SPLITS[split])):
        return prepared
    root = annotations.find_root(path, INFO, f"labels/{split}{partition}.txt", "dtd")
    listing = root / "labels" / f"{split}{partition}.txt"
    files = annotations.read_lines(listing)
    return annotations.from_files(INFO, root / "images", files, [file.split("/")[0] for file in files], listing)
