"""FairFace: faces labelled with age, gender and race; the bias probes of the CLIP paper (section 7.1)."""

import os
from pathlib import Path

import numpy as np

from clipjax.data import ages, annotations, table
from clipjax.data.info import Info
from clipjax.data.sets._people import NOTICE
from clipjax.data.source import Source
from clipjax.errors import InputError, require

AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
GENDERS = ("Male", "Female")
RACES = ("White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern")
COLUMNS = {"age": AGES, "gender": GENDERS, "race": RACES, "service_test": ("True", "False")}
# Share of the face that was added on each side when it was cut out -> the archive's folder.
CROPS = {"0.25": "fairface-img-margin025-trainval", "1.25": "fairface-img-margin125-trainval"}

INFO = Info(
    name="FairFace",
    key="fairface",
    task="bias",
    metric="rates",
    split="val",
    n=10954,
    model_card=False,
    obtain="two archives of images and two tables from https://github.com/joojs/fairface (CC BY 4.0).",
    layout="""
fairface/
  fairface_label_val.csv   fairface_label_train.csv         file,age,gender,race,service_test
  fairface-img-margin025-trainval/val/1.jpg                 crop="0.25"
  fairface-img-margin125-trainval/val/1.jpg                 crop="1.25"
  (or val/1.jpg right here: the crop is whatever was unpacked)
""",
    reading=NOTICE + 'split="first10k" is the first 10,000 rows of the validation table, val/1.jpg to val/10000.jpg: '
    "what the group sizes of the paper's denigration tables are compatible with, reconstructed and not documented; its "
    "accuracy tables fit all 10,954. The paper does not say which crop: with both unpacked one has to be named. Ages "
    'are checked against the nine strings, since spreadsheets make "9-Mar" of "3-9".',
)
SPLITS = ("val", "train", "first10k")
FIRST = 10_000  # images of first10k


def open_source(path: str | os.PathLike, split: str | None = None, crop: str | None = None) -> Source:
    """FairFace without labels, with the columns age, gender, race and service_test."""
    split = annotations.choose_split(split, SPLITS, INFO, default="val")
    name = f"fairface_label_{'train' if split == 'train' else 'val'}.csv"
    root = annotations.find_root(path, INFO, name, "fairface")
    rows = list(annotations.read_rows(root / name, ("file", *COLUMNS)))
    if not rows:
        raise InputError(f"{root / name} has no rows; fetch it again")
    files = [row["file"] for row in rows]
    columns = {key: [row[key] for row in rows] for key in COLUMNS}
    ages.check(np.asarray(columns["age"], object), os.fspath(root / name), files)
    for key, known in COLUMNS.items():
        for row, value in enumerate(columns[key]):
            if value not in known:
                raise InputError(
                    f'{root / name} row {row} ({files[row]}): {key} "{value}" is none of '
                    f"{', '.join(known)}; take the original table"
                )
    images = _images(root, crop, files[0])
    faces = table.from_rows(INFO.key, [images / file for file in files], columns, None, images)
    return first10k(faces, root / name) if split == "first10k" else faces


def first10k(faces: Source, where: Path) -> Source:
    """Rows val/1.jpg to val/10000.jpg, which have to be the table's first."""
    expected = [f"val/{i + 1}.jpg" for i in range(FIRST)]
    if faces.files[:FIRST].tolist() != expected:
        raise InputError(
            f'{where} does not begin with val/1.jpg to val/{FIRST}.jpg ({len(faces)} rows): split="first10k" needs the '
            "original table in its own order"
        )
    return faces.select(slice(FIRST))


def _images(root: Path, crop: str | None, first: str) -> Path:
    if crop is not None:
        require(crop, CROPS, INFO.name, "crop", " (padding around the face)")
    there = [name for name, folder in CROPS.items() if (root / folder).is_dir()]
    if crop is None and len(there) > 1:
        raise InputError(f"{root} holds both crops of {INFO.name}; name one: crop={' or crop='.join(CROPS)}")
    chosen = crop or (there[0] if there else None)
    if chosen in there:
        return root / CROPS[chosen]
    if crop is not None:
        raise InputError(f"{root} has no folder {CROPS[crop]}, which crop={crop} is; unpack it, or leave the crop out")
    if (root / first).parent.is_dir():
        return root
    raise InputError(f"{root} holds no images of {INFO.name}: neither {first} nor {CROPS['0.25']}/{first} is there")
