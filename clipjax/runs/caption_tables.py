"""Tables of images with right and wrong captions: SugarCrepe, ARO, Winoground, VisoGender, or your own columns."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clipjax.data import tables
from clipjax.data.source import as_path
from clipjax.errors import InputError, brief, require, some

Layout = Literal["pairs", "winoground", "visogender", "countbench"]
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
# Where a table names no columns: (image, right caption, wrong captions, subset) that are there, the first that fit.
PAIRS = (
    ("filename", "caption", "negative_caption", ""),  # SugarCrepe
    ("image_path", "true_caption", "false_caption", "relation_name"),  # ARO, relations
    ("image_path", "true_caption", "false_caption", "attributes"),  # ARO, attributes
    ("image_path", "true_caption", "false_caption", ""),
    ("file", "caption", "wrong", ""),
)
WINOGROUND = ("image_0", "image_1", "caption_0", "caption_1")
VISOGENDER = ("file", "his", "her", "their", "gender", "occupation")


@dataclasses.dataclass(frozen=True, eq=False)
class Instances:
    """N questions: the images and the captions of each, which differ in number, and columns [N] to group by.

    pairs, countbench: one image; the first caption is right. winoground: two images, two captions. visogender: one
    image, captions with his, her, their; `truth` is the perceived gender.
    """

    layout: Layout
    images: list[tuple[str, ...]]
    captions: list[tuple[str, ...]]
    columns: dict[str, np.ndarray]
    subset: np.ndarray | None = None
    truth: np.ndarray | None = None
    occupation: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def select(self, rows: np.ndarray) -> Instances:
        """Only these instances."""
        picked = {name: None if v is None else v[rows] for name, v in self._known.items()}
        return dataclasses.replace(
            self, images=[self.images[i] for i in rows], captions=[self.captions[i] for i in rows],
            columns={name: values[rows] for name, values in self.columns.items()}, **picked,
        )  # fmt: skip

    @property
    def _known(self) -> dict[str, np.ndarray | None]:
        return {"subset": self.subset, "truth": self.truth, "occupation": self.occupation}


def read(
    path: str, layout: Layout = "pairs", right: str = "", wrong: Sequence[str] = (), image: str = "", subset: str = "",
    by: Sequence[str] = (),
) -> Instances:  # fmt: skip
    """A table (csv, tsv, jsonl, json, parquet; of SugarCrepe an object of objects) -> its instances.

    right, wrong, image, subset: names of columns, found by the layout where they are empty. by: columns to group by.
    """
    file = as_path(path)
    table = _table(file)
    if layout == "winoground":
        found = [_column(table, name, path) for name in WINOGROUND]
        images, captions = _rows(found[:2]), _rows(found[2:])
        more = {}
    elif layout == "visogender":
        files, his, her, their, gender, occupation = (_column(table, name, path) for name in VISOGENDER)
        images, captions = _rows([files]), _rows([his, her, their])
        more = {"truth": np.array(gender, object), "occupation": np.array(occupation, object)}
    else:
        names = _pairs(table, path, image, right, wrong, subset)
        images = _rows([_column(table, names[0], path)])
        captions = _choices(table, path, names)
        more = {"subset": np.array(_column(table, names[3], path), object)} if names[3] else {}
    _check(captions, path, distinct=layout == "pairs")
    columns = {name: np.array(_column(table, name, path, empty=True), object) for name in by}
    return Instances(layout, images, captions, columns, **more)


def of_numbers(
    files: Sequence[str], captions: Sequence[Sequence[str]], numbers: Sequence[str], where: str
) -> Instances:
    """Images, their captions and the numbers of things on them as words -> a question for each: its first caption,
    then the same with each other number of NUMBERS in place of its own, capitals as in the caption.

    InputError where a number is not one of NUMBERS or is not in its caption.
    """
    asked: list[tuple[str, ...]] = []
    for file, own, number in zip(files, captions, numbers, strict=True):
        require(number, NUMBERS, f"{where}: {file}", "number")
        pattern = re.compile(rf"\b{number}\b", re.IGNORECASE)
        if not own or not pattern.search(own[0]):
            raise InputError(f"{where}: {file}: its caption {brief(own[0] if own else '')!r} does not say {number!r}")
        others = [one for one in NUMBERS if one != number]
        asked.append((own[0], *(pattern.sub(lambda found, one=one: _as(found[0], one), own[0]) for one in others)))
    kept = np.array(numbers, object)
    return Instances("countbench", [(file,) for file in files], asked, {"number": kept}, subset=kept)


def _as(written: str, word: str) -> str:
    """A word with the capitals of another."""
    return word.upper() if written.isupper() else word.capitalize() if written[0].isupper() else word


def _pairs(
    table: Mapping[str, list[Any]], path: str, image: str, right: str, wrong: Sequence[str], subset: str
) -> tuple[str, str, tuple[str, ...], str]:
    for name in filter(None, (image, right, *wrong, subset)):
        require(name, table, path, "column")
    if bool(right) != bool(wrong):
        raise InputError(f"{path}: name both, the column of the right caption and those of the wrong ones")
    for file, caption, negative, part in PAIRS:
        own = (image or file, right or caption, tuple(wrong) or (negative,), subset or part)
        if all(name in table for name in (own[0], own[1], *own[2])) and (not own[3] or own[3] in table):
            return own
    raise InputError(
        f"{path}: no columns of images, right and wrong captions among {some(list(table), 12)}; name them: "
        "--config.image=NAME --config.right=NAME --config.wrong=NAME"
    )


def _choices(
    table: Mapping[str, list[Any]], path: str, names: tuple[str, str, tuple[str, ...], str]
) -> list[tuple[str, ...]]:
    """The right caption, then the wrong ones of every column; a cell may hold several."""
    right = _column(table, names[1], path)
    out: list[tuple[str, ...]] = []
    for row, caption in enumerate(right):
        wrong: list[str] = []
        for name in names[2]:
            cell = table[name][row]
            wrong += [str(one) for one in (cell if isinstance(cell, list | tuple) else [cell]) if one is not None]
        if not (wrong := [one for one in wrong if one.strip()]):
            raise InputError(f"{path}: row {row + 1} has no wrong caption")
        out.append((caption, *wrong))
    return out


def _check(captions: Sequence[Sequence[str]], path: str, distinct: bool) -> None:
    for row, texts in enumerate(captions, 1):
        if distinct and texts[0] in texts[1:]:
            raise InputError(f"{path}: row {row}: right and wrong caption are the same text, {brief(texts[0])!r}")
        if not distinct and len(set(texts)) < len(texts):
            raise InputError(f"{path}: row {row}: two captions are the same text, {brief(texts[0])!r}")


def _column(table: Mapping[str, list[Any]], name: str, path: str, empty: bool = False) -> list[str]:
    """One column as texts; InputError where a cell is empty, unless that is meant."""
    require(name, table, path, "column")
    out = []
    for row, value in enumerate(table[name], 1):
        text = "" if value is None else " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        if not text.strip() and not empty:
            raise InputError(f"{path}: row {row} has no {name}")
        out.append(text)
    return out


def _rows(columns: Sequence[list[str]]) -> list[tuple[str, ...]]:
    return [tuple(row) for row in zip(*columns, strict=True)]


def _table(path: Path) -> dict[str, list[Any]]:
    """Columns by name; an object of objects ({"0": {...}, "1": {...}}) is a list of them."""
    if path.suffix == ".json" and path.is_file():
        content = tables.json_value(path.read_bytes(), str(path))
        if isinstance(content, dict):
            rows = list(content.values())
            if not rows or not all(isinstance(row, dict) for row in rows):
                raise InputError(f"{path} is not an object of objects or a list of objects, one for each question")
            names = dict.fromkeys(name for row in rows for name in row)
            return {name: [row.get(name) for row in rows] for name in names}
    names = tables.columns(path)
    return {name: column.values.tolist() for name, column in tables.read(path, names).items()}
