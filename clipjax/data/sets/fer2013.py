"""FER2013: a csv whose cells hold the pixels."""

import os

import numpy as np

from clipjax.data import annotations, arrays
from clipjax.data.info import Info, design, own_names
from clipjax.data.source import Source
from clipjax.errors import InputError

INFO = Info(
    name="FER2013",
    key="fer2013",
    task="classification",
    metric="top1",
    split="PrivateTest",
    n=3589,
    model_card=False,
    obtain="fer2013.csv of "
    "https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge "
    "(competition rules, to be accepted).",
    layout="""
fer2013/
  fer2013.csv     emotion,pixels,Usage
""",
    reading="Official sizes, 32,298 / 3,589: those of Table 9 (32,140 / 3,574, 8 classes) are errors of its "
    "script (openai/CLIP#45). Several names per class: their embeddings are averaged with those of the "
    "templates.",
)
SPLITS = {
    "train": ("Training",),
    "val": ("PublicTest",),
    "trainval": ("Training", "PublicTest"),
    "test": ("PrivateTest",),
}
SIDE = 48


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """FER2013 from its csv; files are called by their line, counted from 0 without the header."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    where = annotations.find_root(path, INFO, "fer2013.csv", "fer2013") / "fer2013.csv"
    files, numbers, pixels = [], [], []
    for number, row in enumerate(annotations.read_rows(where, ("emotion", "pixels", "Usage"))):
        if row["Usage"] not in SPLITS[split]:
            continue
        values = row["pixels"].split()
        if len(values) != SIDE * SIDE or not row["emotion"].isdigit():
            raise InputError(f"{where} line {number + 2}: {len(values)} pixels of {SIDE * SIDE}; fetch the file again")
        files.append(f"{number:05d}")
        numbers.append(int(row["emotion"]))
        pixels.append(np.array(values, np.uint8).reshape(SIDE, SIDE))
    if not files:
        raise InputError(f"{where} has no rows of Usage {' or '.join(SPLITS[split])}; fetch the file again")
    own = annotations.names_of_numbers(numbers, own_names(INFO.key), where)
    label = annotations.labels_of(own, INFO.key, where)
    return arrays.of_array(INFO.key, np.stack(pixels), {"file": files, "label": label}, design(INFO.key).names)
