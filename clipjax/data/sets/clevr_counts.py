"""CLEVR counts: how many objects a rendered scene has, from 3 to 10."""

import os
from typing import Any

from clipjax.data import annotations
from clipjax.data.info import Info, design
from clipjax.data.sets import _json, _tfds
from clipjax.data.source import Source

INFO = Info(
    name="CLEVR Counting",
    key="clevr_counts",
    task="classification",
    metric="top1",
    split="val",
    n=15000,
    tfds="clevr",
    obtain="CLEVR_v1.0.zip from https://cs.stanford.edu/people/jcjohns/clevr/ (CC BY 4.0).",
    layout="""
CLEVR_v1.0/
  images/val/CLEVR_val_000000.png
  scenes/CLEVR_val_scenes.json      scenes[].image_filename, scenes[].objects
""",
    reading="Eight classes, OpenAI's digits in OpenAI's order (10, 3, 4, ... 9), matched by number. The paper's random "
    "2,000 + 500 scenes were never released (openai/CLIP#45): this is VTAB's test set, all 15,000 validation scenes, "
    "as in CLIP_benchmark. With the paper's 500 a 95% interval is about 3.8 points either side.",
)
SPLITS = {"train": "train", "val": "validation"}


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """CLEVR's scenes labelled by their number of objects, from its own folder or prepared by TFDS."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO, default="val")
    if where := _tfds.folder(INFO, path):

        def derive(example: dict[str, Any]) -> dict[str, int]:
            return {"label": annotations.labels_of([str(len(example["objects"]["size"]))], INFO.key, where).item()}

        return _tfds.derived(INFO, where, SPLITS[split], derive, design(INFO.key).names)
    listing = f"scenes/CLEVR_{split}_scenes.json"
    root = annotations.find_root(path, INFO, listing, "CLEVR_v1.0")
    scenes = _json.member(_json.read(root / listing), "scenes", root / listing)
    rows = _json.members(scenes, ("image_filename", "objects"), root / listing)
    files, counts = [str(file) for file, _ in rows], [str(len(objects)) for _, objects in rows]
    return annotations.from_files(INFO, root / "images" / split, files, counts, root / listing)
