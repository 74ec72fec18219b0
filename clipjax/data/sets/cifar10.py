"""CIFAR-10, python version: pickled batches, read by an unpickler that allows arrays only."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clipjax.data import annotations, arrays, pickles
from clipjax.data.info import Info, design
from clipjax.data.source import Source

INFO = Info(
    name="CIFAR10",
    key="cifar10",
    task="classification",
    metric="top1",
    split="test",
    n=10000,
    tfds="cifar10",
    obtain="cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html (cite the technical report).",
    layout="""
cifar-10-batches-py/
  data_batch_1 ... data_batch_5  test_batch  batches.meta
""",
    reading="Nobody reproduces the paper's numbers; the gap is 0.2 to 4 points (openai/CLIP#164); compare with "
    "open_clip's.",
)
SPLITS = {"train": "train", "test": "test"}


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """CIFAR-10 from its pickles or prepared by TFDS."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    if prepared := annotations.from_tfds(INFO, path, SPLITS[split]):
        return prepared
    root = annotations.find_root(path, INFO, "batches.meta", "cifar-10-batches-py")
    files = ["test_batch"] if split == "test" else [f"data_batch_{i}" for i in range(1, 6)]
    return read(INFO, [root / f for f in files], root / "batches.meta", "labels", "label_names")


def read(info: Info, batches: Sequence[Path], meta: Path, labels_key: str, names_key: str) -> Source:
    """The batches of CIFAR-10 or -100: rows of 3,072 bytes, red plane first; numbers into the meta file's names."""
    names = [name.decode() for name in pickles.entry(pickles.load(meta), meta, names_key, bytes)]
    pixels, numbers, files = [], [], []
    for batch in batches:
        content = pickles.load(batch)
        pixels.append(np.asarray(pickles.entry(content, batch, "data", np.ndarray), np.uint8).reshape(-1, 3, 32, 32))
        numbers += pickles.entry(content, batch, labels_key, int)
        # A file name occurs twice in CIFAR-10's training batches, never twice within one.
        listed = enumerate(pickles.entry(content, batch, "filenames", bytes))
        files += [f"{batch.name}/{i:05d}_{name.decode()}" for i, name in listed]
    own = annotations.names_of_numbers(numbers, names, batches[0])
    return arrays.of_array(
        info.key,
        np.concatenate(pixels).transpose(0, 2, 3, 1),
        {"file": files, "label": annotations.labels_of(own, info.key, meta)},
        design(info.key).names,
    )
