"""PASCAL VOC 2007 classification: several labels per image, 11-point average precision."""

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from clipjax.data import annotations, table
from clipjax.data.info import Info, count, design
from clipjax.data.sets import _tfds
from clipjax.data.source import Source
from clipjax.errors import converted

INFO = Info(
    name="VOC2007",
    key="voc2007",
    task="multilabel",
    metric="map_11pt",
    split="test",
    n=4952,
    tfds="voc/2007",
    obtain="VOCtrainval_06-Nov-2007.tar, VOCtest_06-Nov-2007.tar from "
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/ (Flickr terms).",
    layout="""
VOCdevkit/VOC2007/
  ImageSets/Main/train.txt  val.txt  trainval.txt  test.txt     000001
  Annotations/000001.xml
  JPEGImages/000001.jpg
""",
    reading="Multi-label over whole images, as in the paper, not open_clip's 14,976 crops. A class seen only "
    "in objects marked difficult counts neither way (the devkit's 0). Scores are softmaxed over classes "
    "before images are ranked (openai/CLIP#153). Classes by name: OpenAI lists diningtable after sofa.",
)
# Ours -> TFDS's name; it has no trainval.
SPLITS = {"train": "train", "val": "validation", "test": "test", "trainval": "trainval"}


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """VOC 2007 from its devkit or prepared by TFDS; `labels` and `difficult` are bool [N, 20]."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    where = _tfds.folder(INFO, path)
    if where is not None:
        return from_tfds(where, SPLITS[split])
    root = annotations.find_root(path, INFO, f"ImageSets/Main/{split}.txt", "VOC2007", "VOCdevkit/VOC2007")
    # Some releases write a flag after the number.
    numbers = [parts[0] for parts in annotations.read_fields(root / "ImageSets" / "Main" / f"{split}.txt", 1)]
    columns = flags([objects(root / "Annotations" / f"{number}.xml") for number in numbers])
    files = [f"{root}/JPEGImages/{number}.jpg" for number in numbers]
    return table.from_rows(INFO.key, files, columns, design(INFO.key).names, root)


def from_tfds(where: Path, split: str) -> Source:
    """The set as TFDS prepared it: lists of labels, with and without the difficult objects, by its class names."""
    names = _tfds.feature_names(where, "labels")
    rows = []
    for example in _tfds.examples(where, split):
        clear = [names[i] for i in example["labels_no_difficult"]]
        every = [names[i] for i in example["labels"]]
        rows.append((annotations.labels_of(clear, INFO.key, where), annotations.labels_of(every, INFO.key, where)))
    return _tfds.with_columns(_tfds.open_data_set(INFO, where, split), design(INFO.key).names, flags(rows))


def flags(rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Labels of clear objects and of difficult ones, per image -> columns `labels` and `difficult`."""
    present, difficult = np.zeros((2, len(rows), count(INFO.key)), bool)
    for row, (clear, hard) in enumerate(rows):
        present[row, clear] = True
        difficult[row, np.setdiff1d(hard, clear)] = True
    return {"labels": present, "difficult": difficult}


def objects(where: Path) -> tuple[np.ndarray, np.ndarray]:
    """The labels of an image's clear objects and of its difficult ones."""
    with converted(f"{where} is damaged", "unpack the data set again", ElementTree.ParseError):
        tree = ElementTree.fromstring(annotations.read_bytes(where))
    names = ([], [])
    for shown in tree.iter("object"):
        names[shown.findtext("difficult", "0").strip() == "1"].append(shown.findtext("name", "").strip())
    return annotations.labels_of(names[0], INFO.key, where), annotations.labels_of(names[1], INFO.key, where)
