"""FGVC Aircraft, the 100 variants."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.source import Source

INFO = Info(
    name="FGVC Aircraft",
    key="aircraft",
    task="classification",
    metric="mean_per_class",
    split="test",
    n=3333,
    tfds=None,  # visual_domain_decathlon/aircraft has 72-pixel images
    obtain="fgvc-aircraft-2013b.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/ "
    "(non-commercial research use).",
    layout="""
fgvc-aircraft-2013b/
  data/images/0034309.jpg
  data/images_variant_train.txt  _val.txt  _trainval.txt  _test.txt     0034309 707-320
""",
    reading="Variants (100), not families or manufacturers. The 20-pixel copyright strip at the bottom stays. "
    "Nobody reproduces the paper's numbers; the gap is 1 to 4.6 points (openai/CLIP#165).",
)
SPLITS = ("train", "val", "trainval", "test")


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """FGVC Aircraft from its own folder."""
    split = annotations.choose_split(split, SPLITS, INFO)
    name = f"images_variant_{split}.txt"
    root = annotations.find_root(path, INFO, name, "data", "fgvc-aircraft-2013b/data")
    pairs = [line.partition(" ") for line in annotations.read_lines(root / name)]
    files = [f"{number}.jpg" for number, _, _ in pairs]
    return annotations.from_files(INFO, root / "images", files, [variant for _, _, variant in pairs], root / name)
