"""Rendered SST-2: sentences of film reviews drawn as images by OpenAI."""

import os

from clipjax.data import annotations
from clipjax.data.info import Info
from clipjax.data.source import Source

INFO = Info(
    name="SST-2",
    key="sst2",
    task="classification",
    metric="top1",
    split="test",
    n=1821,
    obtain="rendered-sst2.tgz, linked from https://github.com/openai/CLIP/blob/main/data/rendered-sst2.md "
    "(SST-2's terms).",
    layout="""
rendered-sst2/
  train/negative/0.png  train/positive/  valid/  test/
""",
    reading="The rendered images (448 x 448), not the text of GLUE. Classes by folder name.",
)
SPLITS = {"train": "train", "val": "valid", "test": "test"}  # ours -> the folder's name


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """Rendered SST-2 from its own folder."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    root = annotations.find_root(path, INFO, SPLITS[split], "rendered-sst2") / SPLITS[split]
    files, own = annotations.class_folders(root)
    return annotations.from_files(INFO, root, files, own, root)
