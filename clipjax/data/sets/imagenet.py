"""ImageNet (ILSVRC 2012): one folder per WordNet id, or the flat validation folder with its ground truth."""

import os
import re
from pathlib import Path

from clipjax.data import annotations, source
from clipjax.data.info import Info
from clipjax.data.sets import _tfds
from clipjax.data.source import Source
from clipjax.errors import InputError

INFO = Info(
    name="ImageNet",
    key="imagenet",
    task="classification",
    metric="top1",
    split="val",
    n=50000,
    tfds="imagenet2012",
    obtain="ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz from https://image-net.org/challenges/LSVRC/2012/ "
    "after registration (non-commercial research).",
    layout="""
imagenet/
  train/n01440764/n01440764_10026.JPEG
  val/n01440764/ILSVRC2012_val_00000293.JPEG
or, as ILSVRC2012_img_val.tar unpacks:
  val/ILSVRC2012_val_00000001.JPEG
  ILSVRC2012_devkit_t12/data/meta.mat
  ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt
or, with Kaggle's table instead of the devkit:
  LOC_val_solution.csv                 ImageId,PredictionString
""",
    reading="OpenAI's 1,000 names of the prompt notebook, two of them given twice (missile, sunglasses): kept, so that "
    "the second of each scores 0 by the rule of the first maximum (openai/CLIP#235). Classes by WordNet id. The "
    "devkit's numbers 1 to 1000 are another order; meta.mat translates them.",
)
SPLITS = {"train": "train", "val": "validation"}
_WNID = re.compile(r"n\d{8}")
_DEVKIT = ("ILSVRC2012_devkit_t12/data", "devkit/data", "data")


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """ImageNet by WordNet folders, by the devkit's ground truth, by Kaggle's table, or prepared by TFDS."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO, default="val")
    if where := _tfds.folder(INFO, path):
        return _tfds.by_name(_tfds.open_data_set(INFO, where, SPLITS[split], "label"), INFO.key)
    path = source.as_path(path)
    root = next((path / below for below in (split, f"ILSVRC/Data/CLS-LOC/{split}") if (path / below).is_dir()), path)
    if _has_wnid_folders(root):
        return _from_wnid_folders(INFO, root)
    if split == "val":
        files = sorted(entry.name for entry in _entries(root) if re.fullmatch(r"ILSVRC2012_val_\d+\.JPEG", entry.name))
        if files:
            return _flat(path, root, files)
    raise InputError(
        f"{root} holds neither folders named by WordNet id (n01440764) nor ILSVRC2012_val_00000001.JPEG; "
        f"`clipjax datasets {INFO.key}` shows the layouts"
    )


def open_test_set(info: Info, path: str | os.PathLike, split: str, below: str) -> Source:
    """A set of test images over ImageNet's classes, or some of them: ImageNet-A, -R, Sketch.

    Folders named by WordNet id at `path` or in the folder `below` it, or prepared by TFDS.
    """
    if where := _tfds.folder(info, path):
        return _tfds.by_name(_tfds.open_data_set(info, where, split, "label"), info.key)
    path = source.as_path(path)
    for root in (path, path / below):
        if _has_wnid_folders(root):
            return _from_wnid_folders(info, root)
    raise annotations.not_there(path, info, f"no folder named by WordNet id (n01498041) in it or in {below}")


def _has_wnid_folders(root: Path) -> bool:
    return any(_WNID.fullmatch(entry.name) and entry.is_dir() for entry in _entries(root))


def _from_wnid_folders(info: Info, root: Path) -> Source:
    """Every image below folders named by WordNet id, with the labels of `info`'s own classes."""
    files, wnids = annotations.class_folders(root)
    return annotations.from_files(info, root, files, wnids, root)


def _entries(root: Path) -> list[Path]:
    return list(root.iterdir()) if root.is_dir() else []


def _flat(path: Path, root: Path, files: list[str]) -> Source:
    solution = path / "LOC_val_solution.csv"
    if solution.exists():
        rows = annotations.read_rows(solution, ("ImageId", "PredictionString"))
        truth = {row["ImageId"]: row["PredictionString"].split(" ")[0] for row in rows}
        if missing := [file for file in files if file.removesuffix(".JPEG") not in truth]:
            raise InputError(f"{solution} does not list {missing[0]}; fetch it again")
        own = [truth[file.removesuffix(".JPEG")] for file in files]
        return annotations.from_files(INFO, root, files, own, solution)
    devkit = annotations.find_root(path, INFO, "ILSVRC2012_validation_ground_truth.txt", *_DEVKIT)
    where = devkit / "ILSVRC2012_validation_ground_truth.txt"
    wnid_of = _wnid_of_number(devkit / "meta.mat")
    truth = annotations.read_lines(where)
    own = []
    for file in files:
        number = int(file[15:-5])  # the ground truth has one line per image, in the order of their numbers
        if not 1 <= number <= len(truth):
            raise InputError(f"{where} has {len(truth)} lines, none for {file}; unpack the devkit again")
        wnid = wnid_of.get(truth[number - 1])
        if wnid is None:
            raise InputError(f"{where} line {number}: class {truth[number - 1]} is not in meta.mat; unpack it again")
        own.append(wnid)
    return annotations.from_files(INFO, root, files, own, where)


def _wnid_of_number(meta: Path) -> dict[str, str]:
    """ILSVRC2012_ID (as text) -> WordNet id; the devkit's inner nodes have numbers above 1000."""
    (synsets,) = annotations.read_mat(meta, "synsets")
    numbers, wnids = annotations.struct_fields(synsets, meta, "ILSVRC2012_ID", "WNID")
    return {str(int(number)): str(wnid) for number, wnid in zip(numbers, wnids, strict=True)}
