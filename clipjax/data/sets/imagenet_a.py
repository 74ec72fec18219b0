"""ImageNet-A: natural adversarial examples over 200 classes of ImageNet."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.sets import imagenet
from clipjax.data.source import Source

INFO = Info(
    name="ImageNet-A",
    key="imagenet_a",
    task="robustness",
    metric="top1",
    split="test",
    n=7500,
    tfds="imagenet_a",
    obtain="imagenet-a.tar from https://github.com/hendrycks/natural-adv-examples (MIT; images under their owners' "
    "terms).",
    layout="""
imagenet-a/n01498041/0.000116_digital clock _ digital clock_0.865662.jpg
""",
    reading="The classifier has the 200 classes of the data set, not the 1,000 of ImageNet: a restriction worth many "
    "points, and part of every published number. Classes by WordNet id, names from the ImageNet list.",
)
SPLITS = ("test",)


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """ImageNet-A from its folders named by WordNet id, or prepared by TFDS."""
    split = annotations.choose_split(split, SPLITS, INFO)
    return imagenet.open_test_set(INFO, path, split, "imagenet-a")
