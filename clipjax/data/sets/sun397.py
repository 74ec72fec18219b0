"""SUN397: ten official partitions of 50 training and 50 test images per class."""

import dataclasses
import os

from clipjax.data import annotations
from clipjax.data.info import Info, own_names
from clipjax.data.source import Source
from clipjax.errors import InputError, require

INFO = Info(
    name="SUN397",
    key="sun397",
    task="classification",
    metric="top1",
    split="test of partition 1",
    n=19850,
    tfds="sun397/standard-part1-120k",
    obtain="SUN397.tar.gz and Partitions.zip from https://vision.princeton.edu/projects/2010/SUN/ (research use).",
    layout="""
SUN397/
  a/abbey/sun_aaalbzqrimafwbiv.jpg
  Partitions/ClassName.txt  Training_01.txt  Testing_01.txt ... _10.txt     /a/abbey/sun_aaalbzqrimafwbiv.jpg
""",
    reading='Partition 1. split="all" is every image (108,754), as open_clip and DataComp evaluate, which is '
    "not what the paper did; names come from the full path (apse/indoor -> apse indoor). TFDS shrinks the "
    "images to 120,000 pixels.",
)
SPLITS = ("train", "test", "all")


def open_source(path: str | os.PathLike, split: str | None = None, partition: int = 1) -> Source:
    """SUN397 from its own folder, one of the ten official partitions, or prepared by TFDS."""
    split = annotations.choose_split(split, SPLITS, INFO)
    require(partition, range(1, 11), INFO.name, "partition")
    info = dataclasses.replace(INFO, tfds=f"sun397/standard-part{partition}-120k")
    if prepared := annotations.from_tfds(info, path, split):
        return prepared
    root = annotations.find_root(path, INFO, "a/abbey" if split == "all" else "a", "SUN397")
    if split == "all":
        where, files = root, []
        for own in own_names(INFO.key):
            folder = root / own.lstrip("/")
            files += sorted(f"{own}/{entry.name}" for entry in folder.glob("sun_*.jpg"))
        if not files:
            raise InputError(f"{root} holds none of the 397 class folders with images; unpack SUN397.tar.gz again")
    else:
        name = f"{'Training' if split == 'train' else 'Testing'}_{partition:02d}.txt"
        lists = annotations.find_root(root, INFO, name, "Partitions", "../Partitions")
        where = lists / name
        files = annotations.read_lines(where)
    own = [file.rpartition("/")[0] for file in files]
    return annotations.from_files(INFO, root, [file.lstrip("/") for file in files], own, where)
