"""CelebA: faces with 40 yes/no attributes and identities given as numbers."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.data import annotations, table
from clipjax.data.info import Info
from clipjax.data.sets import _tfds
from clipjax.data.sets._people import NOTICE
from clipjax.data.source import Source
from clipjax.errors import InputError, converted, require

INFO = Info(
    name="CelebA",
    key="celeba",
    task="bias",
    metric="top1",
    split="test",
    n=19962,
    tfds="celeb_a",
    model_card=False,
    obtain="img_align_celeba.zip, list_attr_celeba.txt, list_eval_partition.txt, and identity_CelebA.txt on request, "
    "from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (non-commercial research).",
    layout="""
celeba/                                      (also in the archive's own folders Img/, Anno/, Eval/)
  img_align_celeba/000001.jpg                or, uncropped, img_celeba/000001.jpg
  list_attr_celeba.txt                       count; names of 40 attributes; 000001.jpg -1 1 ...
  list_eval_partition.txt                    000001.jpg 0        (0 train, 1 val, 2 test)
  identity_CelebA.txt                        000001.jpg 2880
""",
    reading=NOTICE
    + "Identities are numbers: no list of names was ever released and none is shipped. Naming people from "
    "their faces is measured only where the user brings `names`, a csv of identity,name: then the rows are these "
    "people's and the names are the classes. The paper's \"8k in the wild images\" and 100, 1,000 and 2,000 classes "
    "cannot be rebuilt without its list. Attributes are columns of 1 and 0; with `attribute=Blond_Hair` its values are "
    'also the classes "not blond hair" and "blond hair", which a design of these two names may ask in other words; '
    "papers on worst groups take that one, by Blond_Hair*Male. TFDS's copy has the same attributes and identities.",
)
SPLITS = {"train": "train", "val": "validation", "test": "test", "all": "train+validation+test"}
_FOLDERS = ("celeba", "Anno", "Eval", "celeba/Anno", "celeba/Eval")
_IMAGES = ("img_align_celeba", "img_celeba", "Img/img_align_celeba", "Img/img_celeba")


def open_source(
    path: str | os.PathLike, split: str | None = None, names: str | os.PathLike | None = None,
    attribute: str | None = None,
) -> Source:  # fmt: skip
    """CelebA with one column per attribute and, where the file is there, "identity"; labelled only with `names` or by
    an `attribute`."""
    if names is not None and attribute is not None:
        raise InputError(f"{INFO.name}: names and attribute both name classes; keep one")
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    if where := _tfds.folder(INFO, path):
        faces = _from_tfds(where, SPLITS[split])
    else:
        faces = _from_files(path, split)
    if attribute is not None:
        return with_attribute(faces, attribute)
    return faces if names is None else with_names(faces, Path(names))


def with_attribute(faces: Source, attribute: str) -> Source:
    """All rows, labelled by whether they have the attribute: "not blond hair", "blond hair"."""
    require(attribute, [name for name in faces.columns if name != "identity"], faces.name, "attribute")
    words = attribute.replace("_", " ").lower()
    return _tfds.with_columns(faces, (f"not {words}", words), {"label": faces.columns[attribute].astype(np.int64)})


def with_names(faces: Source, listing: Path) -> Source:
    """The rows whose identity is in a csv of identity,name; the names, in the csv's order, are the classes."""
    if "identity" not in faces.columns:
        raise InputError(f"{faces.name} without identity_CelebA.txt cannot be labelled by {listing}; request that file")
    name_of: dict[int, str] = {}
    for line, row in enumerate(annotations.read_rows(listing, ("identity", "name")), 2):
        if not row["identity"].strip().isdigit() or not row["name"].strip():
            raise InputError(f"{listing} line {line}: {row['identity']!r},{row['name']!r} is not a number and a name")
        if name_of.setdefault(int(row["identity"]), row["name"].strip()) != row["name"].strip():
            raise InputError(f"{listing} line {line}: identity {row['identity']} has two names; keep one")
    if not name_of:
        raise InputError(f"{listing} has no rows; write one identity,name a line")
    identity = faces.columns["identity"]
    kept = np.flatnonzero([int(number) in name_of for number in identity])
    if not len(kept):
        raise InputError(f"no image of this split shows one of the {len(name_of)} identities of {listing}")
    classes = list(dict.fromkeys(name_of.values()))
    position = {name: i for i, name in enumerate(classes)}
    chosen = faces.select(kept)
    label = [position[name_of[int(number)]] for number in identity[kept]]
    return _tfds.with_columns(chosen, classes, {"label": label})


def read_attributes(path: Path) -> tuple[list[str], dict[str, list[int]]]:
    """list_attr_celeba.txt -> the attributes' names, and 1 or 0 for each of them by file."""
    lines = annotations.read_lines(path)
    if len(lines) < 3 or not lines[0].isdigit():
        raise InputError(f"{path} does not begin with a count and a line of names; fetch it again")
    names, values = lines[1].split(), {}
    for number, line in enumerate(lines[2:], 3):
        file, *signs = line.split()
        if len(signs) != len(names) or not set(signs) <= {"1", "-1"}:
            raise InputError(f"{path} line {number}: {len(signs)} values for {len(names)} attributes, each 1 or -1")
        values[file] = [int(sign == "1") for sign in signs]
    return names, values


def _from_files(path: str | os.PathLike, split: str) -> Source:
    names, values = read_attributes(_find(path, "list_attr_celeba.txt"))
    partition = dict(_pairs(_find(path, "list_eval_partition.txt")))
    number = {"train": "0", "val": "1", "test": "2"}.get(split)
    files = [file for file in partition if number in (None, partition[file])]
    if unknown := [file for file in files if file not in values]:
        raise InputError(
            f"list_attr_celeba.txt does not list {unknown[0]}, list_eval_partition.txt does; fetch both again"
        )
    columns: dict[str, Any] = {name: np.array([values[file][i] for file in files]) for i, name in enumerate(names)}
    identities = _identities(path)
    if identities is not None:
        if unknown := [file for file in files if file not in identities]:
            raise InputError(f"identity_CelebA.txt does not list {unknown[0]}; fetch it again")
        columns["identity"] = np.array([identities[file] for file in files])
    images = annotations.find_root(path, INFO, "", "celeba")
    below = [images / base / name for base in ("", "celeba") for name in _IMAGES]
    folder = next((place for place in below if place.is_dir()), images)
    return table.from_rows(INFO.key, [folder / file for file in files], columns, None, folder)


def _identities(path: str | os.PathLike) -> dict[str, int] | None:
    try:
        listing = _find(path, "identity_CelebA.txt")
    except InputError:
        return None  # given out on request only
    with converted(f"{listing} has an identity that is not a number", "fetch it again", ValueError):
        return {file: int(number) for file, number in _pairs(listing)}


def _find(path: str | os.PathLike, name: str) -> Path:
    return annotations.find_root(path, INFO, name, *_FOLDERS) / name


def _pairs(path: Path) -> list[tuple[str, str]]:
    return [(parts[0], parts[1]) for parts in annotations.read_fields(path, 2)]


def _from_tfds(where: Path, split: str) -> Source:
    def derive(example: dict[str, Any]) -> dict[str, int]:
        row = {name: int(value) for name, value in example["attributes"].items()}
        if "identity" in example:  # since version 2.1.0
            row["identity"] = int(example["identity"]["Identity_No"])
        return row

    return _tfds.derived(INFO, where, split, derive)
