"""Pictures that lie in one array: MNIST's idx files, CIFAR's pickles, STL-10's binaries, .mat, .npz and .h5 sets."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from clipjax.data import source
from clipjax.data.source import Source
from clipjax.errors import InputError

_BLOCK = 64 << 20  # bytes hashed at a time: an array on disk (memmap, h5py) never comes into memory whole


def load(
    name: str,
    images: Any,
    columns: Mapping[str, Any],
    classes: Sequence[str] | None = None,
) -> Source:
    """A source over `images`, uint8 [N, H, W] (grey) or [N, H, W, 3] (RGB): an array, a memmap, an h5py data set.

    Files are called "00000", "00001", ... where `columns` has no "file". The fingerprint is that of the pixels.
    Raises InputError for another shape or dtype, or columns that `Source` refuses.
    """
    shape = tuple(images.shape)
    if images.dtype != np.uint8:
        raise InputError(f"{name}: pictures are {images.dtype}; give bytes 0..255 (uint8)")
    if len(shape) == 4 and shape[3] != 3 and shape[1] == 3:
        raise InputError(f"{name}: pictures are {list(shape)}, channels first; transpose to [N, H, W, 3]")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise InputError(f"{name}: pictures are {list(shape)}; give [N, H, W] (grey) or [N, H, W, 3] (RGB)")
    digits = max(5, len(str(shape[0] - 1)))
    files = columns.get("file", [f"{i:0{digits}d}" for i in range(shape[0])])
    if len(files) != shape[0]:
        raise InputError(f'{name}: column "file" has {len(files)} entries for {shape[0]} pictures')
    grey = len(shape) == 4 and shape[3] == 1

    def read(i: int) -> Image.Image:
        pixels = np.asarray(images[i])
        return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels))

    return Source(
        name=name,
        table={"file": files, **{key: values for key, values in columns.items() if key != "file"}},
        classes=None if classes is None else tuple(classes),
        read=read,
        fingerprint=source.digest(["arrays", str(list(shape)), *map(str, files), _pixels_sha256(images)]),
    )


def _pixels_sha256(images: Any) -> str:
    per_picture = int(np.prod(images.shape[1:], dtype=np.int64)) or 1
    step = max(1, _BLOCK // per_picture)
    h = hashlib.sha256()
    for start in range(0, images.shape[0], step):
        h.update(np.ascontiguousarray(images[start : start + step]).data)
    return h.hexdigest()
