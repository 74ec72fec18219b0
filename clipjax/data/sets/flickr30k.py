"""Flickr30k retrieval: five captions per image."""

import os
from pathlib import Path

from clipjax.data import annotations, table
from clipjax.data.info import Info
from clipjax.data.sets import _captions
from clipjax.data.source import Source
from clipjax.errors import InputError

INFO = Info(
    name="Flickr30k",
    key="flickr30k",
    task="retrieval",
    metric="recall@1",
    split="test",
    n=1000,
    obtain="images and results_20130124.token by request from https://shannon.cs.illinois.edu/DenotationGraph/ "
    "(Flickr terms, research use); dataset_flickr30k.json with Karpathy's splits from "
    "https://cs.stanford.edu/people/karpathy/deepimagesent/.",
    layout="""
flickr30k/
  flickr30k-images/1007129816.jpg
  dataset_flickr30k.json                 Karpathy's splits, or:
  results_20130124.token                 1007129816.jpg#0<tab>The man with pierced ears ...
  test.txt                               1007129816 or 1007129816.jpg, one a line (a split of your own)
""",
    reading="Karpathy's test split, 1,000 images with five captions each: a query counts as right when any of the "
    "five is among the first k (first caption only costs 20 points, another split gave 50 for 90). Captions are stored "
    'as written; the paper\'s prefix is the template. The token file knows no splits: without a list only split="all".',
)
SPLITS = ("train", "val", "test", "all")
_IMAGES = ("flickr30k-images", "flickr30k_images", "Images", "images")


def open_source(path: str | os.PathLike, split: str | None = None, captions: int = 5) -> Source:
    """Flickr30k's images with their first `captions` captions, by Karpathy's file or by the token file."""
    split = annotations.choose_split(split, SPLITS, INFO)
    root = annotations.find_root(path, INFO, "", "flickr30k")
    listing = next((p for p in _listings(root) if p.exists()), None)
    if listing is None:
        missing = "neither dataset_flickr30k.json nor results_20130124.token is there"
        raise annotations.not_there(root, INFO, missing)
    if listing.suffix == ".json":
        rows = [(file, written) for _, file, written in _captions.karpathy(listing, split)]
    else:
        rows = _from_tokens(listing, root, split)
    images = next((root / name for name in _IMAGES if (root / name).is_dir()), root)
    texts = _captions.first([written for _, written in rows], captions, [file for file, _ in rows], listing)
    return table.from_rows(INFO.key, [images / file for file, _ in rows], {"captions": texts}, None, images)


def _listings(root: Path) -> list[Path]:
    return [root / "dataset_flickr30k.json", root / "results_20130124.token", root / "results.token"]


def _from_tokens(listing: Path, root: Path, split: str) -> list[tuple[str, list[str]]]:
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(annotations.read_lines(listing), 1):
        name, tab, caption = line.partition("\t")
        file, mark, _ = name.rpartition("#")
        if not tab or not mark:
            raise InputError(f"{listing} line {number} is not image#n, tab, caption; fetch it again")
        captions.setdefault(file, []).append(caption.strip())
    if split == "all":
        return list(captions.items())
    chosen = root / f"{split}.txt"
    if not chosen.exists():
        raise InputError(
            f'{listing} has no splits: put dataset_flickr30k.json or {split}.txt beside it, or take split="all"'
        )
    files = [name if name.endswith(".jpg") else f"{name}.jpg" for name in annotations.read_lines(chosen)]
    if unknown := [file for file in files if file not in captions]:
        raise InputError(f"{chosen} names {unknown[0]}, which {listing.name} does not know; correct the list")
    return [(file, captions[file]) for file in files]
