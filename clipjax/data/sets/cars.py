"""Stanford Cars: class numbers and file names in MATLAB structures."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.source import Source

INFO = Info(
    name="Stanford Cars",
    key="cars",
    task="classification",
    metric="top1",
    split="test",
    n=8041,
    tfds="cars196",
    obtain="cars_train, cars_test, devkit and cars_test_annos_withlabels.mat of "
    "https://ai.stanford.edu/~jkrause/cars/car_dataset.html (research use; the page is often down, mirrors "
    "exist).",
    layout="""
stanford_cars/
  cars_train/00001.jpg  cars_test/00001.jpg
  devkit/cars_meta.mat  devkit/cars_train_annos.mat
  cars_test_annos_withlabels.mat     (there or in devkit/)
""",
    reading="The names of cars_meta.mat are OpenAI's names, matched by name: the order is not relied upon.",
)
SPLITS = {"train": "train", "test": "test"}


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """Stanford Cars from its own folder or prepared by TFDS."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    if prepared := annotations.from_tfds(INFO, path, SPLITS[split]):
        return prepared
    root = annotations.find_root(path, INFO, "devkit/cars_meta.mat", "stanford_cars")
    name = "cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat"
    where = annotations.find_root(root, INFO, name, "devkit") / name
    (classes,) = annotations.read_mat(root / "devkit" / "cars_meta.mat", "class_names")
    (rows,) = annotations.read_mat(where, "annotations")
    numbers, files = annotations.struct_fields(rows, where, "class", "fname")
    own = annotations.names_of_numbers([int(n) - 1 for n in numbers], [str(c) for c in classes], where)
    return annotations.from_files(INFO, root, [f"cars_{split}/{file}" for file in files], own, where)
