"""ObjectNet: 113 of its 313 object classes exist in ImageNet; every image has a red border."""

import dataclasses
import os
from pathlib import Path
from typing import cast

from PIL import Image

from clipjax import image
from clipjax.data import annotations, table
from clipjax.data.contents import marked
from clipjax.data.info import Info
from clipjax.data.sets import _json
from clipjax.data.source import Source
from clipjax.errors import InputError, require

INFO = Info(
    name="ObjectNet",
    key="objectnet",
    task="robustness",
    metric="top1",
    split="test",
    n=18574,
    obtain="objectnet-1.0.zip from https://objectnet.dev/ (CC BY 4.0 and two clauses more: never to tune a model's "
    "parameters; images that are posted keep their red border).",
    layout="""
objectnet-1.0/
  images/air_freshener/0a1b2c3d4e.png
  mappings/folder_to_objectnet_label.json     {"air_freshener": "Air freshener", ...}
  mappings/objectnet_to_imagenet_1k.json      {"Alarm clock": "analog clock; digital clock", ...}
""",
    reading="The 113 classes that overlap ImageNet (125 of its ids), named by ObjectNet's own labels: the paper builds "
    "its classifier from the data set's names (+2.3 points over ImageNet's). The red border is cut off, 2 pixels on "
    "each side as imagenet-testbed does (the data set's page says 1, CLIP_benchmark cuts nothing): `border=0` turns it "
    "off. Release 1.0 has 18,574 such images, the beta 18,514.",
)
SPLITS = ("test",)


def open_source(path: str | os.PathLike, split: str | None = None, border: int = 2) -> Source:
    """ObjectNet's ImageNet overlap, `border` pixels cut off each side."""
    annotations.choose_split(split, SPLITS, INFO)
    if border < 0:
        raise InputError(f"{INFO.name}: border is a number of pixels from 0 up, got {border}")
    root = annotations.find_root(path, INFO, "mappings/objectnet_to_imagenet_1k.json", "objectnet-1.0", "objectnet")
    names = label_of_folder(root / "mappings")
    if missing := [folder for folder in names if not (root / "images" / folder).is_dir()]:
        raise InputError(
            f"{root / 'images'} lacks {len(missing)} of {len(names)} class folders, the first is {missing[0]}: unpack "
            "all of the data set's parts"
        )
    folders = sorted(names)
    files, label = [], []
    for i, folder in enumerate(folders):
        names_inside = sorted(
            e.name for e in (root / "images" / folder).iterdir() if e.suffix.lower() in image.SUFFIXES
        )
        files += [root / "images" / folder / name for name in names_inside]
        label += [i] * len(names_inside)
    whole = table.from_rows(INFO.key, files, {"label": label}, [names[f] for f in folders], root / "images")
    if not border:
        return whole
    return dataclasses.replace(
        whole,
        read=lambda i: _cropped(cast(Path, whole.read(i)), border),  # `from_rows` reads paths
        contents=lambda rows: marked(whole.digests(rows), f"border={border}"),
    )


def label_of_folder(mappings: Path) -> dict[str, str]:
    """Folder name -> ObjectNet's label, for the classes that overlap ImageNet."""
    overlap = _mapping(mappings / "objectnet_to_imagenet_1k.json")
    folders = {label: folder for folder, label in _mapping(mappings / "folder_to_objectnet_label.json").items()}
    if unknown := [label for label in overlap if label not in folders]:
        where = mappings / "folder_to_objectnet_label.json"
        require(unknown[0], folders, where, "folder for", "; unpack the data set again")
    return {folders[label]: label for label in overlap}


def _mapping(path: Path) -> dict[str, str]:
    return {str(key): str(value) for key, value in _json.read(path).items()}


def _cropped(path: Path, border: int) -> Image.Image:
    # A bucket's path opens as a local one does.
    with path.open("rb") as file:
        whole = image.open_image(file)
    width, height = whole.size
    if min(width, height) <= 2 * border:
        raise InputError(f"{path} is {width} x {height}, too small to lose {border} pixels on each side")
    return whole.crop((border, border, width - border, height - border))
