"""STL-10: binaries of 96 x 96 images, ten predefined folds of 1,000 for training."""

import os

import numpy as np

from clipjax.data import annotations, arrays
from clipjax.data.info import Info, design
from clipjax.data.source import Source
from clipjax.errors import InputError

INFO = Info(
    name="STL-10",
    key="stl10",
    task="classification",
    metric="top1",
    split="test",
    n=8000,
    tfds="stl10",
    obtain="stl10_binary.tar.gz from https://cs.stanford.edu/~acoates/stl10/ (images from ImageNet, its terms).",
    layout="""
stl10_binary/
  train_X.bin  train_y.bin  test_X.bin  test_y.bin
  class_names.txt  fold_indices.txt
""",
    reading='The linear probe is the mean over ten folds (split="train", fold=0 ... 9: 1,000 images each), '
    "reported with its spread (openai/CLIP#45); zero-shot is one number over the 8,000 test images.",
)
SPLITS = {"train": "train", "test": "test"}
PIXELS = 3 * 96 * 96


def open_source(path: str | os.PathLike, split: str | None = None, fold: int | None = None) -> Source:
    """STL-10 from its binaries, or prepared by TFDS (without folds); `fold` takes the rows of one line of the list."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    if fold is not None and (split != "train" or fold not in range(10)):
        raise InputError(f'STL-10 has folds 0 to 9 of split "train", not fold {fold} of "{split}"')
    if fold is None and (images_ := annotations.from_tfds(INFO, path, SPLITS[split])):
        return images_
    root = annotations.find_root(path, INFO, "class_names.txt", "stl10_binary")
    pixels = np.frombuffer(annotations.read_bytes(root / f"{split}_X.bin"), np.uint8)
    numbers = np.frombuffer(annotations.read_bytes(root / f"{split}_y.bin"), np.uint8)
    if len(pixels) != len(numbers) * PIXELS:
        raise InputError(
            f"{root / f'{split}_X.bin'} holds {len(pixels)} bytes for {len(numbers)} labels; unpack the archive again"
        )
    # Written column by column: [N, channel, x, y].
    images = pixels.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
    own = annotations.names_of_numbers(
        (numbers.astype(int) - 1).tolist(), annotations.read_lines(root / "class_names.txt"), root
    )
    label = annotations.labels_of(own, INFO.key, root / "class_names.txt")
    images_ = arrays.of_array(INFO.key, images, {"label": label}, design(INFO.key).names)
    if fold is None:
        return images_
    folds = annotations.read_lines(root / "fold_indices.txt")
    if fold >= len(folds):
        raise InputError(f"{root / 'fold_indices.txt'} has {len(folds)} folds of 10; unpack the archive again")
    return images_.select(np.array(folds[fold].split(), np.int64))
