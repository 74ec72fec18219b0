"""Oxford-IIIT Pet: 37 breeds, named in the file names."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.source import Source

INFO = Info(
    name="Oxford-IIIT Pet",
    key="pets",
    task="classification",
    metric="mean_per_class",
    split="test",
    n=3669,
    tfds="oxford_iiit_pet",
    obtain="images.tar.gz and annotations.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/pets/ (CC BY-SA 4.0).",
    layout="""
oxford-iiit-pet/
  images/Abyssinian_201.jpg
  annotations/trainval.txt  test.txt     Abyssinian_201 1 1 1
""",
    reading="Classes by the breed in the file name: OpenAI lists cats first, the annotation numbers and TFDS "
    "do not, and mixing them gives 9.9% instead of 87% (openai/CLIP#346).",
)
SPLITS = {"trainval": "train", "test": "test"}


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """Oxford-IIIT Pet from its own folder or prepared by TFDS."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    if prepared := annotations.from_tfds(INFO, path, SPLITS[split]):
        return prepared
    root = annotations.find_root(path, INFO, f"annotations/{split}.txt", "oxford-iiit-pet")
    listing = root / "annotations" / f"{split}.txt"
    names = [parts[0] for parts in annotations.read_fields(listing, 4) if not parts[0].startswith("#")]
    own = [name.rpartition("_")[0] for name in names]
    return annotations.from_files(INFO, root / "images", [f"{name}.jpg" for name in names], own, listing)
