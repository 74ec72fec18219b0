"""PatchCamelyon: HDF5 files of 96 x 96 patches; reading them needs h5py (the extra [hdf5])."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.data import annotations, arrays
from clipjax.data.info import Info, design
from clipjax.data.source import Source
from clipjax.errors import InputError, converted

INFO = Info(
    name="PatchCamelyon",
    key="patch_camelyon",
    task="classification",
    metric="top1",
    split="test",
    n=32768,
    tfds="patch_camelyon",
    model_card=False,
    obtain="camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5.gz from https://github.com/basveeling/pcam "
    "(CC0), unpacked; or prepared by TFDS, which needs no h5py.",
    layout="""
pcam/
  camelyonpatch_level_2_split_test_x.h5     x: uint8 [N, 96, 96, 3]
  camelyonpatch_level_2_split_test_y.h5     y: uint8 [N, 1, 1, 1]
""",
    reading="OpenAI's one template, without a full stop; CLIP_benchmark has two others, so that neither "
    "published number is a golden value. Label 1: tumour tissue in the central 32 x 32 pixels.",
)
SPLITS = {"train": "train", "val": "validation", "test": "test"}
FILES = {"train": "train", "val": "valid", "test": "test"}


def open_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """PatchCamelyon from its HDF5 files, patches read one by one, or prepared by TFDS."""
    split = annotations.choose_split(split, tuple(SPLITS), INFO)
    if prepared := annotations.from_tfds(INFO, path, SPLITS[split]):
        return prepared
    stem = f"camelyonpatch_level_2_split_{FILES[split]}"
    root = annotations.find_root(path, INFO, f"{stem}_x.h5", "pcam")
    images = dataset(root / f"{stem}_x.h5", "x")
    numbers = np.asarray(dataset(root / f"{stem}_y.h5", "y")).reshape(-1)
    label = annotations.labels_of([str(n) for n in numbers], INFO.key, root / f"{stem}_y.h5")
    return arrays.of_array(INFO.key, images, {"label": label}, design(INFO.key).names)


def dataset(where: Path, name: str) -> Any:
    """One array of an HDF5 file, left on disk."""
    try:
        import h5py  # pyrefly: ignore[missing-import] (an extra)
    except ImportError as error:
        raise InputError(
            f"{where}: reading HDF5 needs h5py; pip install 'clipjax[hdf5]', or use TFDS's form"
        ) from error
    with converted(f'{where} is not an HDF5 file with an array "{name}"', "unpack it again", OSError, KeyError):
        return h5py.File(where, "r")[name]
