"""KITTI: how near the closest vehicle is, derived from the 3D boxes as VTAB derives it."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.data import annotations
from clipjax.data.info import Info, design
from clipjax.data.sets import _tfds
from clipjax.data.source import Source
from clipjax.errors import converted

INFO = Info(
    name="KITTI Distance",
    key="kitti_distance",
    task="classification",
    metric="top1",
    split="test",
    n=711,
    tfds="kitti",
    obtain="data_object_image_2.zip, data_object_label_2.zip and devkit_object.zip from "
    "https://www.cvlibs.net/datasets/kitti/eval_object.php (CC BY-NC-SA 3.0).",
    layout="""
kitti/
  training/image_2/000000.png
  training/label_2/000000.txt
  devkit_object/mapping/train_rand.txt      (or mapping/ beside training/)
  devkit_object/mapping/train_mapping.txt
""",
    reading="VTAB's rule: the smallest z among Car, Van and Truck; up to 8 m, up to 20 m, farther, none. Each case is "
    "mapped by name to one of OpenAI's four sentences, near to far: CLIP_benchmark pairs them by position "
    "(CLIP_benchmark#21), and nobody reproduces the paper's numbers (openai/CLIP#167). Test are the drives that "
    "TFDS 3.x draws (10% of them, seed 123): 711 of 7,481 images; train is the rest, 6,770.",
)
SPLITS = {"train": ("train", "validation"), "test": ("test",)}
VEHICLES = ("Car", "Van", "Truck")


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """KITTI's left images labelled by the distance of the closest vehicle, or the same prepared by TFDS."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    if where := _tfds.folder(INFO, path):
        return _from_tfds(where, "+".join(SPLITS[split]))
    root = annotations.find_root(path, INFO, "training/label_2", "kitti", "object")
    mapping = annotations.find_root(
        root, INFO, "train_mapping.txt", "mapping", "devkit/mapping", "devkit_object/mapping"
    )
    numbers = sorted(number for part in SPLITS[split] for number in drives(mapping)[part])
    own = [distance_class(_objects(root / "training" / "label_2" / f"{number:06d}.txt")) for number in numbers]
    files = [f"{number:06d}.png" for number in numbers]
    return annotations.from_files(INFO, root / "training" / "image_2", files, own, root / "training" / "label_2")


def distance_class(objects: Iterable[tuple[str, float]]) -> str:
    """VTAB's case for objects given as (type, z in metres): "below_8", "below_20", "above_20" or "none"."""
    distances = [z for kind, z in objects if kind in VEHICLES]
    if not distances:
        return "none"
    nearest = min(distances)
    return "below_8" if nearest <= 8 else "below_20" if nearest <= 20 else "above_20"


def drives(mapping: Path) -> dict[str, list[int]]:
    """Image numbers of TFDS's train, validation and test: whole drives, drawn with numpy's seed 123.

    Line k of train_rand.txt (one line, comma-separated, counting from 1) says on which line of train_mapping.txt
    image k came from: date, drive, frame.
    """
    lines = annotations.read_lines(mapping / "train_mapping.txt")
    damage = (ValueError, IndexError)
    with converted(f"{mapping} holds no valid train_rand.txt and train_mapping.txt", "unpack the devkit", *damage):
        order = [int(n) for n in ",".join(annotations.read_lines(mapping / "train_rand.txt")).split(",") if n.strip()]
        drive_of = [lines[line - 1].split()[1] for line in order]
    names = sorted(set(drive_of))
    random = np.random.RandomState(123)
    count = max(1, len(names) * 10 // 100)
    test = set(random.choice(names, count, replace=False).tolist())
    rest = [name for name in names if name not in test]
    validation = set(random.choice(rest, count, replace=False).tolist()) if rest else set()
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for number, drive in enumerate(drive_of):
        part = "test" if drive in test else "validation" if drive in validation else "train"
        parts[part].append(number)
    return parts


def _objects(path: Path) -> list[tuple[str, float]]:
    """(type, z) of every line: type, truncation, occlusion, alpha, box (4), size (3), x, y, z, rotation."""
    with converted(f"{path} has a distance that is not a number", "unpack data_object_label_2.zip again", ValueError):
        return [(parts[0], float(parts[13])) for parts in annotations.read_fields(path, 15)]


def _from_tfds(where: Path, split: str) -> Source:
    kinds = _tfds.feature_names(where, "objects", "type")

    def derive(example: dict[str, Any]) -> dict[str, int]:
        types, places = example["objects"]["type"], example["objects"]["location"]
        own = distance_class((kinds[kind], float(place[2])) for kind, place in zip(types, places, strict=True))
        return {"label": annotations.labels_of([own], INFO.key, where).item()}

    return _tfds.derived(INFO, where, split, derive, design(INFO.key).names)
