"""ImageNet-R: renditions (art, cartoons, toys, ...) of 200 classes of ImageNet, other ones than those of ImageNet-A."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.sets import imagenet
from clipjax.data.source import Source

INFO = Info(
    name="ImageNet-R",
    key="imagenet_r",
    task="robustness",
    metric="top1",
    split="test",
    n=30000,
    tfds="imagenet_r",
    obtain="imagenet-r.tar from https://github.com/hendrycks/imagenet-r (MIT; images under their owners' terms).",
    layout="""
imagenet-r/n01443537/art_0.jpg
""",
    reading="The classifier has the 200 classes of the data set, not the 1,000 of ImageNet: a restriction worth many "
    "points, and part of every published number. Classes by WordNet id, names from the ImageNet list.",
)
SPLITS = ("test",)


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """ImageNet-R from its folders named by WordNet id, or prepared by TFDS."""
    split = annotations.choose_split(split, SPLITS, INFO)
    return imagenet.open_test_set(INFO, path, split, "imagenet-r")
