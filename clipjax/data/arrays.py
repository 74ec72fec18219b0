"""Images that lie in one array: MNIST's idx files, CIFAR's pickles, STL-10's binaries, .mat, .npz and .h5 sets."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from clipjax.data import source
from clipjax.data.source import Source
from clipjax.errors import InputError


def of_array(
    name: str,
    images: Any,
    columns: Mapping[str, Any],
    classes: Sequence[str] | None = None,
) -> Source:
    """A source over `images`, uint8 [N, H, W] (grey) or [N, H, W, 3] (RGB): an array, a memmap, an h5py data set.

    Files are called "00000", "00001", ... where `columns` has no "file".
    Raises InputError for another shape or dtype, or columns that `Source` refuses.
    """
    shape = tuple(images.shape)
    if images.dtype != np.uint8:
        raise InputError(f"{name}: images are {images.dtype}; give bytes 0..255 (uint8)")
    if len(shape) == 4 and shape[3] != 3 and shape[1] == 3:
        raise InputError(f"{name}: images are {list(shape)}, channels first; transpose to [N, H, W, 3]")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise InputError(f"{name}: images are {list(shape)}; give [N, H, W] (grey) or [N, H, W, 3] (RGB)")
    digits = max(5, len(str(shape[0] - 1)))
    files = columns.get("file", [f"{i:0{digits}d}" for i in range(shape[0])])
    if len(files) != shape[0]:
        raise InputError(f'{name}: column "file" has {len(files)} entries for {shape[0]} images')
    grey = len(shape) == 4 and shape[3] == 1

    def read(i: int) -> Image.Image:
        pixels = np.asarray(images[i])
        return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels))

    return source.of_columns(name, {**columns, "file": files}, classes, read)
