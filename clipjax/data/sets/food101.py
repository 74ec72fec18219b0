"""Food-101: lists of "class/number" without suffix, images as JPEG."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.source import Source

INFO = Info(
    name="Food101",
    key="food101",
    task="classification",
    metric="top1",
    split="test",
    n=25250,
    tfds="food101",
    obtain="food-101.tar.gz from https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/ (Foodspotting "
    "images, research use).",
    layout="""
food-101/
  images/apple_pie/1005649.jpg
  meta/train.txt  meta/test.txt     apple_pie/1005649
""",
    reading="101 classes; Table 9 of the paper prints 102, which the list of names does not support.",
)
SPLITS = {"train": "train", "test": "validation"}  # ours -> TFDS's name


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """Food-101 from its own folder or prepared by TFDS."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    if prepared := annotations.from_tfds(INFO, path, SPLITS[split]):
        return prepared
    root = annotations.find_root(path, INFO, f"meta/{split}.txt", "food-101")
    listing = root / "meta" / f"{split}.txt"
    names = annotations.read_lines(listing)
    own = [name.split("/")[0] for name in names]
    return annotations.from_files(INFO, root / "images", [f"{name}.jpg" for name in names], own, listing)
