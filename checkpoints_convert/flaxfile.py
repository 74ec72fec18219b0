"""flax_model.msgpack (Hugging Face's Flax classes) -> tensors with the names and layouts of the torch classes.

The format is flax.serialization's: nested maps of msgpack with arrays as extension 1. Read with the msgpack library
alone, as flax's own reader imports jax.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import msgpack
import numpy as np

from clipjax.errors import InputError, brief, converted, located

_ARRAY, _SCALAR = 1, 3  # flax.serialization._MsgpackExtType
_DEEPEST = 32
_DTYPES = {d: np.dtype(d) for d in ("float64", "float32", "float16", "int64", "int32", "uint8", "bool")}
_DTYPES["bfloat16"] = np.dtype(ml_dtypes.bfloat16)
_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}


def read(path: Path) -> dict[str, np.ndarray]:
    """Dotted names -> arrays; a kernel comes back in torch's layout. InputError for any other file."""
    damage = (ValueError, msgpack.exceptions.UnpackException)
    with located(path):
        with converted("not readable as msgpack", "it may be truncated: fetch it again", *damage):
            root = msgpack.unpackb(path.read_bytes(), ext_hook=_extension, strict_map_key=True, raw=False)
        if not isinstance(root, dict):
            raise InputError(f"holds a {type(root).__name__}, not tensors by name")
        return dict(_tensors(root, ()))


def _extension(code: int, data: bytes) -> np.ndarray:
    if code not in (_ARRAY, _SCALAR):
        raise InputError(f"msgpack extension {code} is not an array")
    parts = msgpack.unpackb(data, raw=False)
    match parts:
        case [[*shape], str(name), bytes(content)] if all(type(n) is int and n >= 0 for n in shape):
            if name not in _DTYPES:
                raise InputError(f"an array has the type {brief(name)}, which is not read; save it as float32")
            array = np.frombuffer(content, _DTYPES[name])
            if len(shape) > 32 or array.size != np.prod(shape, dtype=object):
                raise InputError(f"an array of {len(content)} bytes says that its shape is {brief(shape)}")
            return array.reshape(shape)
    raise InputError("an array is not stored as flax stores it")


def _tensors(tree: dict[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    if len(above) > _DEEPEST or "__msgpack_chunked_array__" in tree:
        what = "an array in chunks" if len(above) <= _DEEPEST else f"maps nested deeper than {_DEEPEST}"
        raise InputError(f"has {what}, which is not read; save it as model.safetensors")
    for name, value in tree.items():
        if not isinstance(name, str):
            raise InputError(f"has a key {brief(name)}, which is not text")
        if isinstance(value, dict):
            yield from _tensors(value, (*above, name))
        elif isinstance(value, np.ndarray):
            if name == "kernel":
                value = value.T if value.ndim == 2 else value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
            yield ".".join((*above, _LEAVES.get(name, name))), value
