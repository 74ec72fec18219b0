"""Caltech-101 with its background class: 30 images of each class for training, the rest for the test."""

import os

import numpy as np

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.source import Source
from clipjax.errors import InputError

INFO = Info(
    name="Caltech101",
    key="caltech101",
    task="classification",
    metric="mean_per_class",
    split="test",
    n=6085,
    tfds="caltech101",
    obtain="caltech-101.zip (101_ObjectCategories.tar.gz) from https://data.caltech.edu/records/mzrjq-6wc02 "
    "(CC BY 4.0).",
    layout="""
101_ObjectCategories/
  BACKGROUND_Google/image_0001.jpg  Faces/  Faces_easy/  accordion/ ...
""",
    reading="102 classes, the background among them (UNICOM and MLCD leave it out: 101 classes, 5,677 "
    "images). The training images are drawn as TFDS draws them (seed 1234, 30 per class) from sorted "
    'listings; TFDS drew from the listings of one disk, and has its members in its prepared form. split="all" '
    "is every image, as in torchvision.",
)
SPLITS = ("train", "test", "all")
PER_CLASS = 30


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """Caltech-101 from its own folder or prepared by TFDS."""
    split = annotations.choose_split(split, SPLITS, INFO)
    if split != "all" and (prepared := annotations.from_tfds(INFO, path, split)):
        return prepared
    root = annotations.find_root(path, INFO, "accordion", "101_ObjectCategories", "caltech-101/101_ObjectCategories")
    random = np.random.RandomState(1234)
    files, own = [], []
    for folder in sorted(entry.name for entry in root.iterdir() if entry.is_dir()):
        # One file is not an image (BACKGROUND_Google/tmp); TFDS has it in the draw and leaves it out afterwards.
        names = sorted(entry.name for entry in (root / folder).iterdir())
        if len(names) < PER_CLASS:
            raise InputError(
                f"{root / folder} holds {len(names)} files, fewer than the {PER_CLASS} of the training split"
            )
        drawn = set(random.choice(names, PER_CLASS, replace=False))
        kept = [n for n in names if n.endswith(".jpg") and (split == "all" or (n in drawn) == (split == "train"))]
        files += [f"{folder}/{name}" for name in kept]
        own += [folder] * len(kept)
    return annotations.from_files(INFO, root, files, own, root)
