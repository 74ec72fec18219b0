"""ImageNet-Sketch: drawings found on the web for all 1,000 classes of ImageNet."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.sets import imagenet
from clipjax.data.source import Source

INFO = Info(
    name="ImageNet Sketch",
    key="imagenet_sketch",
    task="robustness",
    metric="top1",
    split="test",
    n=50889,
    tfds="imagenet_sketch",
    obtain="ImageNet-Sketch.zip from https://github.com/HaohanWang/ImageNet-Sketch (MIT; images under their owners' "
    "terms).",
    layout="""
sketch/n01440764/sketch_0.JPEG
""",
    reading="All 1,000 classes with ImageNet's names and templates; classes by WordNet id.",
)
SPLITS = ("test",)


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """ImageNet Sketch from its folders named by WordNet id, or prepared by TFDS."""
    split = annotations.choose_split(split, SPLITS, INFO)
    return imagenet.open_test_set(INFO, path, split, "sketch")
