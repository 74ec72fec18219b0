"""Writes a state dict as torch does: the zip archive that `torch.load(path, weights_only=True)` opens.

There is no `constants.pkl` in it, so `torch.jit.load` fails with the RuntimeError after which OpenAI's
`clip.load` calls `torch.load`.
"""

import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from checkpoints_convert.torchfile_read import STORAGE_DTYPES
from clipjax.errors import InputError
from clipjax.files import write_atomically
from clipjax.pickles import shown

_STORAGE_NAMES = {dtype: name for name, dtype in STORAGE_DTYPES.items()}
_FOLDER = "archive"  # torch's own name for a file without one; any would do, and one keeps the bytes the same
_ALIGNMENT = 64  # as torch, so that the storages can be mapped
_CHUNK = 8 << 20
# From about here on zipfile adds a zip64 field of 20 bytes to an entry's header, which moves its data.
_ZIP64_BYTES = 2_000_000_000


def write(
    path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], extra: Mapping[str, bytes] | None = None
) -> None:
    """A plain state dict: an OrderedDict of contiguous tensors in the mapping's order, dtype as given.

    `extra` are further entries of the archive, which torch.load passes over.

    The same tensors give the same bytes. The file appears whole or not at all; at most one tensor is copied in
    memory, and only where its array is not contiguous. Raises InputError for a name or dtype that torch has no
    place for and for a path that cannot be written.
    """
    path = Path(path)
    for name, array in tensors.items():
        if not isinstance(name, str) or not name or not name.isprintable():
            raise InputError(f"{path}: {shown(str(name))!r} is not a name for a tensor")
        if _little(array.dtype) not in _STORAGE_NAMES:
            known = ", ".join(dtype.name for dtype in _STORAGE_NAMES)
            raise InputError(f"{path}: tensor '{name}' has the type {array.dtype}; write it as one of {known}")
    write_atomically(path, lambda temporary: _write_archive(temporary, tensors, extra or {}))


def _write_archive(path: Path, tensors: Mapping[str, np.ndarray], extra: Mapping[str, bytes]) -> None:
    with open(path, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _write_entry(archive, file, "data.pkl", np.frombuffer(_pickled(tensors), dtype=np.uint8))
        _write_entry(archive, file, "byteorder", np.frombuffer(b"little", dtype=np.uint8))
        for index, array in enumerate(tensors.values()):
            _write_entry(archive, file, f"data/{index}", array)
        for name, content in extra.items():
            _write_entry(archive, file, f"extra/{name}", np.frombuffer(content, dtype=np.uint8))
        _write_entry(archive, file, "version", np.frombuffer(b"3\n", dtype=np.uint8))


def _write_entry(archive: zipfile.ZipFile, file: BinaryIO, name: str, array: np.ndarray) -> None:
    info = zipfile.ZipInfo(f"{_FOLDER}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3  # zipfile writes the machine's own otherwise
    info.file_size = array.nbytes
    zip64 = array.nbytes > _ZIP64_BYTES
    header = 30 + len(info.filename) + (20 if zip64 else 0) + 4
    padding = -(file.tell() + header) % _ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding  # torch's own field for this
    content = np.asarray(array, dtype=_little(array.dtype), order="C").reshape(-1).view(np.uint8)
    with archive.open(info, "w", force_zip64=zip64) as stream:
        for start in range(0, len(content), _CHUNK):
            stream.write(content[start : start + _CHUNK].data)


def _little(dtype: np.dtype) -> np.dtype:
    return dtype.newbyteorder("<") if dtype.byteorder == ">" else dtype


def _pickled(tensors: Mapping[str, np.ndarray]) -> bytes:
    """data.pkl at protocol 2. It can name torch's functions without torch, as pickle itself could not."""
    items = b"".join(_text(name) + _tensor(str(index), array) for index, (name, array) in enumerate(tensors.items()))
    return pickle.PROTO + b"\x02" + _ORDERED_DICT + pickle.MARK + items + pickle.SETITEMS + pickle.STOP


def _tensor(key: str, array: np.ndarray) -> bytes:
    """`_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks)`"""
    kind = _STORAGE_NAMES[_little(array.dtype)]
    storage = _tuple(_text("storage"), _global("torch", kind), _text(key), _text("cpu"), _integer(array.size))
    strides, step = [], 1
    for length in reversed(array.shape):
        strides.insert(0, step)
        step *= max(length, 1)
    return (
        _global("torch._utils", "_rebuild_tensor_v2")
        + _tuple(
            storage + pickle.BINPERSID,
            _integer(0),
            _tuple(*map(_integer, array.shape)),
            _tuple(*map(_integer, strides)),
            pickle.NEWFALSE,
            _ORDERED_DICT,
        )
        + pickle.REDUCE
    )


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(value: str) -> bytes:
    encoded = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _integer(value: int) -> bytes:
    if value < 2**31:
        return pickle.BININT + struct.pack("<i", value)
    return pickle.LONG1 + b"\x08" + struct.pack("<q", value)


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


_ORDERED_DICT = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
