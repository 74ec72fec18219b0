"""ImageNet-Vid-Robust: anchors of ILSVRC 2015 videos and the similar frames around them."""

import os
from pathlib import Path

from clipjax.data import annotations
from clipjax.data.info import Info, design, own_names
from clipjax.data.sets import _frames, _json
from clipjax.data.source import Source
from clipjax.errors import InputError, converted

INFO = Info(
    name="ImageNet-Vid",
    key="imagenet_vid",
    task="robustness",
    metric="pm_k",
    split="val",
    n=1109,
    obtain="imagenet-vid-robust.tar.gz by the script of https://github.com/modestyachts/imagenet-vid-robust-example "
    "(ImageNet's terms).",
    layout="""
imagenet-vid-robust/
  val/ILSVRC2015_val_00000000/000442.JPEG
  metadata/pmsets.json                   {"val/.../000442.JPEG": ["val/.../000432.JPEG", ...]}
  metadata/labels.json                   {"val/.../000442.JPEG": [26]}
  misc/imagenet_vid_class_index.json     {"26": ["n01662784", "turtle"]}
""",
    reading="n counts anchors; the rows are their 22,179 frames, some with two labels, either of which is right. pm-0: "
    "the anchor is right; pm-10: it and every similar frame within 10 are. The classifier is built from the 30 class "
    "names as the paper describes, not from 288 ImageNet classes by their maximum.",
)
SPLITS = ("val",)


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """ImageNet-Vid-Robust's frames with "labels" and "anchor"."""
    annotations.choose_split(split, SPLITS, INFO, default="val")
    marker = "metadata/pmsets.json"
    root = annotations.find_root(
        path, INFO, marker, "imagenet-vid-robust", "imagenet_vid_ytbb_robust/imagenet-vid-robust"
    )
    classes = design(INFO.key).names
    order = _label_order(root / "misc" / "imagenet_vid_class_index.json")
    listing = root / "metadata" / "labels.json"
    labels = {}
    for file, numbers in _json.read(listing).items():
        if not isinstance(numbers, list) or not all(number in order for number in numbers):
            raise InputError(f"{listing}: {file} has labels {numbers}, expected a list of 0 to {len(order) - 1}")
        labels[file] = [order[number] for number in numbers]
    return _frames.of_sets(INFO.key, root, _json.read(root / marker), labels, classes, root / marker)


def _label_order(path: Path) -> dict[int, int]:
    """The data set's class number -> our label, by name; the numbers are alphabetical where the file is missing."""
    if not path.exists():
        return {i: i for i in range(len(own_names(INFO.key)))}
    index = _json.read(path)
    damage = (ValueError, TypeError, IndexError)
    with converted(f"{path} is not number: [WordNet id, name]", "unpack the data set again", *damage):
        numbers, names = [int(number) for number in index], [entry[1] for entry in index.values()]
    return dict(zip(numbers, annotations.labels_of(names, INFO.key, path).tolist(), strict=True))
