"""MNIST: idx files, packed or not."""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from clipjax.data import annotations, arrays
from clipjax.data.info import Info, design
from clipjax.data.source import Source
from clipjax.errors import InputError, converted

INFO = Info(
    name="MNIST",
    key="mnist",
    task="classification",
    metric="top1",
    split="test",
    n=10000,
    tfds="mnist",
    obtain="four idx files listed at http://yann.lecun.com/exdb/mnist/ (CC BY-SA 3.0; the page refuses "
    "downloads, mirrors exist).",
    layout="""
mnist/
  train-images-idx3-ubyte[.gz]  train-labels-idx1-ubyte[.gz]
  t10k-images-idx3-ubyte[.gz]   t10k-labels-idx1-ubyte[.gz]
""",
    reading="White digits on black as they are. Nobody reproduces the paper's numbers; the gap is 3.5 to 26 points "
    "(openai/CLIP#164), and its own tables differ (88.3 in Table 11, 88.4 in Table 14).",
)
SPLITS = {"train": "train", "test": "test"}


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """MNIST from its idx files or prepared by TFDS."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    if prepared := annotations.from_tfds(INFO, path, SPLITS[split]):
        return prepared
    stem = "train" if split == "train" else "t10k"
    images = idx(find(path, f"{stem}-images-idx3-ubyte"), 3)
    where = find(path, f"{stem}-labels-idx1-ubyte")
    numbers = idx(where, 1)
    if len(images) != len(numbers):
        raise InputError(f"{where} has {len(numbers)} labels for {len(images)} images; fetch both files again")
    label = annotations.labels_of([str(n) for n in numbers], INFO.key, where)
    return arrays.of_array(INFO.key, images, {"label": label}, design(INFO.key).names)


def find(path: str | os.PathLike, name: str) -> Path:
    """The file, packed or not; torchvision and some archives put it into MNIST/raw or write a dot for a dash."""
    dotted = name.replace("-idx", ".idx")
    return annotations.find_file(path, INFO, (name, f"{name}.gz", dotted, f"{dotted}.gz"), "mnist", "raw", "MNIST/raw")


def idx(where: Path, dimensions: int) -> np.ndarray:
    """An idx file of bytes: two zeros, type 8, the number of dimensions, each as four bytes, then the values."""
    data = annotations.read_bytes(where)
    if where.name.endswith(".gz"):
        with converted(f"{where} is not a gzip file", "fetch it again", OSError, EOFError, zlib.error):
            data = gzip.decompress(data)
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes((0, 0, 8, dimensions)):
        raise InputError(f"{where} is not an idx file of bytes in {dimensions} dimensions; fetch it again")
    shape = np.frombuffer(data, ">u4", dimensions, 4).tolist()
    if len(data) - header != math.prod(shape):
        raise InputError(f"{where} holds {len(data) - header} values, its header says {shape}; fetch it again")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
