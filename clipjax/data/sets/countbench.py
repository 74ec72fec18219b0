"""CountBench: images of two to ten objects, each with a caption that says how many (Paiss et al. 2023)."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clipjax.data import annotations, source, tables
from clipjax.data.info import Info, design
from clipjax.data.kinds import parquet, shared
from clipjax.data.labels import Labels
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.progress import say

PAGE = "https://huggingface.co/datasets/nielsr/countbench"
INFO = Info(
    name="CountBench",
    key="countbench",
    task="robustness",
    metric="top1",
    split="all",
    n=491,
    model_card=False,
    obtain=f"the parquet file of {PAGE} (images of LAION-400M under their own terms; the captions "
    "are CountBench.json of https://teaching-clip-to-count.github.io).",
    layout="""
countbench/
  data/train-00000-of-00001-cf54c241ba947306.parquet      image, number, text, image_url
""",
    reading="The published benchmark has 540 rows, 60 of each number; the parquet file holds 491 of their images, and "
    "the rows without one are left out. The probe `captions:countbench` asks as the authors do: nine captions per "
    "image, which differ in the number word. Every caption has the word of its number; where it has it twice (16 of "
    "540) all of them are replaced, and other numbers and digits stay: how the authors treat these is not published. "
    "`zeroshot` asks for the number alone.",
)


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """CountBench with its captions; the label is the number as a word."""
    annotations.choose_split(split, ("all",), INFO, default="all")
    file = _file(source.as_path(path))
    columns = shared.Columns("image", captions=("text",))
    found = parquet.open_files(file, columns)
    numbers = [str(value) for value in tables.read(file, ("number",))["number"].values]
    labels = annotations.labels_of(numbers, INFO.key, file)
    rows = _with_image(file)
    if without := len(found) - len(rows):
        say(f"note: {file}: {without} of {len(found)} rows have no image, and are left out")
    if not len(rows):
        raise InputError(f"{file}: no row has an image; fetch the file of {PAGE}")
    captions = found.captions
    assert captions is not None
    if empty := [row for row in rows.tolist() if not any(captions[row])]:
        raise InputError(f"{file}: row {empty[0] + 1} has no caption; take the file as published")
    named = dataclasses.replace(found, name=INFO.key, labels=Labels(design(INFO.key).names, labels))
    return named.select(rows)


def _file(path: Path) -> Path:
    """The parquet file: `path` itself, or the only one in it or in its folder `data`."""
    if path.is_file():
        return path
    there: Sequence[Path] = sorted([*path.glob("*.parquet"), *path.glob("data/*.parquet")])
    if len(there) != 1:
        missing = "data/train-00000-of-00001-cf54c241ba947306.parquet is missing"
        raise annotations.not_there(path, INFO, f"{len(there)} parquet files are there" if there else missing)
    return there[0]


def _with_image(file: Path) -> np.ndarray:
    """The rows that have an image, int [n], from the paths beside the images."""
    with tables.opened_parquet(file) as opened:
        column = opened.read(columns=["image.path"]).column("image")
    return np.flatnonzero(np.asarray(column.is_valid()))
