"""Country211: photographs by the country they were taken in, one folder per ISO code."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.source import Source

INFO = Info(
    name="Country211",
    key="country211",
    task="classification",
    metric="top1",
    split="test",
    n=21100,
    obtain="country211.tgz as described in https://github.com/openai/CLIP/blob/main/data/country211.md (YFCC100M "
    "images under Creative Commons licences).",
    layout="""
country211/
  train/AD/1006000.jpg   valid/AD/...   test/AD/...
""",
    reading="Folders are ISO 3166 codes (XK for Kosovo), classes OpenAI's country names, matched by code. 150 + 50 + "
    "100 images per country: 42,200 to train on, where Table 9 prints 43,200. By the paper's own count 21.5% of the "
    "test images overlap CLIP's training data (section 5).",
)
SPLITS = ("train", "valid", "test")


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """Country211 from its folders."""
    split = annotations.choose_split(split, SPLITS, INFO)
    root = annotations.find_root(path, INFO, split, "country211") / split
    files, codes = annotations.class_folders(root)
    return annotations.from_files(INFO, root, files, codes, root)
