"""MSCOCO retrieval: the 5,000 images of Karpathy's test split."""

import os
from pathlib import Path
from typing import Any

from clipjax.data import annotations, table
from clipjax.data.info import Info
from clipjax.data.sets import _captions, _json, _tfds
from clipjax.data.source import Source
from clipjax.errors import InputError

INFO = Info(
    name="MSCOCO",
    key="mscoco",
    task="retrieval",
    metric="recall@1",
    split="test",
    n=5000,
    tfds="coco_captions/2014",
    obtain="val2014.zip, train2014.zip, annotations_trainval2014.zip from https://cocodataset.org/#download (captions "
    "CC BY 4.0, images under Flickr terms); dataset_coco.json with Karpathy's splits from "
    "https://cs.stanford.edu/people/karpathy/deepimagesent/.",
    layout="""
coco/
  val2014/COCO_val2014_000000391895.jpg   train2014/...    (also below images/)
  dataset_coco.json                       Karpathy's splits; or, for split="val2014":
  annotations/captions_val2014.json       (also captions_train2014, captions_val2017, captions_train2017)
""",
    reading="Karpathy's test split, 5,000 images of val2014. Some have six or seven captions: the first five are "
    "kept, 25,000 texts in all, as CLIP_benchmark does; a query counts as right when any of the five is among the "
    "first k. Captions are stored as written; the paper's prefix is the template.",
)
SPLITS = ("test", "val", "train", "restval", "val2014", "train2014", "val2017", "train2017")
_LISTINGS = ("dataset_coco.json", "annotations/dataset_coco.json")


def open_source(path: str | os.PathLike, split: str | None = None, captions: int = 5) -> Source:
    """COCO's images with their first `captions` captions: by Karpathy's file, COCO's own, or prepared by TFDS."""
    split = annotations.choose_split(split, SPLITS, INFO)
    if where := _tfds.folder(INFO, path):
        return _from_tfds(where, split, captions)
    root = annotations.find_root(path, INFO, "", "coco")
    if split[-4:].isdigit():
        where = annotations.find_root(root, INFO, f"captions_{split}.json", "annotations") / f"captions_{split}.json"
        rows = _own_file(where, split)
    else:
        where = next((root / name for name in _LISTINGS if (root / name).exists()), None)
        if where is None:
            raise InputError(
                f'{root} has no dataset_coco.json, which defines split "{split}"; fetch it (`clipjax datasets '
                f'{INFO.key}`), or take split="val2014"'
            )
        rows = _captions.karpathy(where, split)
    images = root / "images" if (root / "images").is_dir() else root
    texts = _captions.first([written for _, _, written in rows], captions, [file for _, file, _ in rows], where)
    files = [images / folder / file for folder, file, _ in rows]
    return table.from_rows(INFO.key, files, {"captions": texts}, None, images)


def _own_file(path: Path, split: str) -> list[tuple[str, str, list[str]]]:
    content = _json.read(path)
    texts: dict[int, list[str]] = {}
    for number, caption in _json.members(_json.member(content, "annotations", path), ("image_id", "caption"), path):
        texts.setdefault(number, []).append(" ".join(str(caption).split()))
    images = _json.members(_json.member(content, "images", path), ("id", "file_name"), path)
    return [(split, str(file), texts.get(number, [])) for number, file in images]


def _from_tfds(where: Path, split: str, captions: int) -> Source:
    def derive(example: dict[str, Any]) -> dict[str, tuple[str, ...]]:
        texts = [" ".join(text.decode("utf-8").split()) for text in example["captions"]["text"]]
        return {"captions": _captions.first([texts], captions, ["an image"], where)[0]}

    return _tfds.derived(INFO, where, split, derive)
