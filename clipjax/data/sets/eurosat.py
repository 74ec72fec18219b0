"""EuroSAT (RGB): ten folders of Sentinel-2 images, and VTAB's split."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.source import Source

INFO = Info(
    name="EuroSAT",
    key="eurosat",
    task="classification",
    metric="top1",
    split="VTAB test (last 20%)",
    n=5400,
    tfds="eurosat/rgb",
    model_card=False,
    obtain="EuroSAT.zip (RGB) from https://github.com/phelber/EuroSAT (MIT).",
    layout="""
2750/ (or EuroSAT_RGB/)
  AnnualCrop/AnnualCrop_1.jpg  Forest/ ...
""",
    reading="The data set has no split and the paper's (10,000 / 5,000, drawn at random) was never released: "
    "this is VTAB's 60/20/20% of the order in which TFDS writes the images, computed from their names. "
    "Names and order of classes are OpenAI's.",
)


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """EuroSAT from its class folders or prepared by TFDS."""
    return read(INFO, path, split, "2750/AnnualCrop", "EuroSAT_RGB/AnnualCrop", "EuroSAT/2750/AnnualCrop", "AnnualCrop")


def read(info: Info, path: str | os.PathLike, split: str | None, *first: str) -> Source:
    """Class folders under VTAB's split; `first` are the places of the first class folder."""
    split = annotations.choose_split(split, tuple(annotations.VTAB), info)
    if prepared := annotations.from_tfds(info, path, "train", annotations.VTAB[split]):
        return prepared
    folders = [place.rpartition("/")[0] for place in first]
    root = annotations.find_root(path, info, first[-1].rpartition("/")[2], *[f for f in folders if f])
    files, own = annotations.class_folders(root)
    rows = annotations.vtab_rows([f"{c}_{f.rpartition('/')[2]}" for f, c in zip(files, own, strict=True)], split)
    return annotations.from_files(info, root, [files[i] for i in rows], [own[i] for i in rows], root)
