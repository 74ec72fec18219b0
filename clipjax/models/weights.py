"""The native weights file: one self-describing .safetensors, OpenAI's tensor names in JAX layouts.

The header's metadata holds the format version, the model's name, the full configuration and where the weights
came from. Nothing about a model is guessed at load time: a file without this metadata is not a native file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from clipjax import signatures, stored
from clipjax.errors import InputError, brief, one_line, some
from clipjax.files import write_atomically
from clipjax.models import config as configs
from clipjax.models import shapes
from clipjax.models.config import CLIP

FORMAT = "clipjax"
FORMAT_VERSION = "1"
CONFIG_KEY = "clipjax_config"  # of the header of a file in another format that clipjax wrote
FLOATS = ("float64", "float32", "float16", "bfloat16")

# The format's names, in the order in which its own library lays tensors out: widest first, then by name.
DTYPES: dict[str, np.dtype] = {
    "U64": np.dtype(np.uint64), "I64": np.dtype(np.int64), "F64": np.dtype(np.float64), "F32": np.dtype(np.float32),
    "U32": np.dtype(np.uint32), "I32": np.dtype(np.int32), "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16), "U16": np.dtype(np.uint16), "I16": np.dtype(np.int16), "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8), "BOOL": np.dtype(np.bool_),
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_RANKS = {dtype: i for i, dtype in enumerate(DTYPES.values())}
_TILE = 64  # elements a side: both sides of a transposition stay in the first cache
_SCRATCH = 1 << 20  # bytes
_MOST_AXES = 32  # numpy itself stops at 64
_WRITERS = 4  # more would only wait for the disk


@dataclasses.dataclass(frozen=True)
class Weights:
    """A model at rest: flat parameters in JAX layouts, configuration, name, and the chain of sources.

    `source` says where the parameters came from, e.g. {"file": "ViT-B-32.pt", "sha256": ..., "format": "openai"}.
    """

    flat: Mapping[str, np.ndarray]
    config: CLIP
    name: str
    source: Mapping[str, Any]


def save(path: str | os.PathLike, weights: Weights, settle: Callable[[], Weights] | None = None) -> None:
    """Writes the native file; it appears whole or not at all.

    `settle` is called when the tensors are in the file. It returns the same model with what was not known before (its
    source's sha256, and the name that follows from it), which goes into the header.
    """
    check(weights.config, weights.flat, str(path))
    late = None if settle is None else lambda: _metadata(settle())
    save_tensors(path, weights.flat, _metadata(weights), late)


def check(config: CLIP, flat: Mapping[str, Any], where: str, unknown: Sequence[str] = ()) -> None:
    """InputError where these are not this configuration's parameters: names, shapes, types."""
    shapes.check(config, flat, where, unknown)
    if odd := [f"{name} is {array.dtype}" for name, array in flat.items() if str(array.dtype) not in FLOATS]:
        raise InputError(
            f"{where}: {some(odd)}: quantised or integer weights are not read; take the file in float16, bfloat16 or "
            "float32"
        )


def check_finite(flat: Mapping[str, Any], where: str) -> None:
    """InputError that names the tensors with NaN or infinity."""
    odd = [name for name, array in flat.items() if not _is_finite(np.asarray(array))]
    if odd:
        raise InputError(f"{where}: NaN or infinity in {some(odd)}; its training has diverged or the file is damaged")


_EXPONENT = {"float16": 0x7C00, "bfloat16": 0x7F80}  # all ones in numbers that are not finite


def _is_finite(array: np.ndarray) -> bool:
    """Reads the bytes once, without a copy of the array."""
    values = array.ravel(order="K")  # a transposed view in the order of its memory
    with np.errstate(all="ignore"):
        if (mask := _EXPONENT.get(str(array.dtype))) is None:
            return bool(np.isfinite(np.dot(values, values))) or bool(np.isfinite(values).all())
        bits = values.view(np.uint16)
        return all(not ((bits[i : i + _SCRATCH] & mask) == mask).any() for i in range(0, len(bits), _SCRATCH))


def _metadata(weights: Weights) -> dict[str, str]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": weights.name,
        "config": json.dumps(configs.to_dict(weights.config)),
        "source": json.dumps(dict(weights.source)),
    }


def save_tensors(
    path: str | os.PathLike,
    flat: Mapping[str, Any],
    metadata: Mapping[str, str],
    late: Callable[[], Mapping[str, str]] | None = None,
) -> None:
    """A .safetensors of any layout, atomically: equal tensors and metadata give equal bytes.

    Tensors are written one by one, so besides the given arrays no more than one copy per thread is in memory, and only
    of those that are not contiguous (every Linear arrives from torch as a transposed view). After them `late` returns
    the metadata that goes into the file; if its length differs from that of `metadata`, which is rare, the tensors are
    written again.
    """
    arrays = {k: np.asarray(v) for k, v in flat.items()}
    for name, array in arrays.items():
        if _native(array.dtype) not in _RANKS:
            raise InputError(f"{path}: tensor {name} has the type {array.dtype}, which a .safetensors cannot hold")
    order = sorted(arrays, key=lambda k: (_RANKS[_native(arrays[k].dtype)], k))
    places, entries, end = {}, {}, 0
    for name in order:
        begin, end = end, end + arrays[name].nbytes
        places[name] = begin
        dtype, shape = _NAMES[_native(arrays[name].dtype)], list(arrays[name].shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    def write(temporary: Path) -> None:
        header = _header(metadata, entries)
        _write_stream(temporary, header, arrays, places)
        if late is not None and (final := _header(late(), entries)) != header:
            if len(final) != len(header):
                _write_stream(temporary, final, arrays, places)
            with open(temporary, "r+b") as file:
                file.write(final)

    write_atomically(path, write)


def _header(metadata: Mapping[str, str], entries: Mapping[str, Any]) -> bytes:
    """The length, then JSON padded to a multiple of eight bytes: byte for byte what the format's library writes."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    header |= entries
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _write_stream(path: Path, header: bytes, arrays: Mapping[str, np.ndarray], places: Mapping[str, int]) -> None:
    """The header, then every array at its place, by a few threads: copies and writes release the interpreter lock."""

    def put(name: str) -> None:
        with open(path, "r+b", buffering=0) as file:
            file.seek(len(header) + places[name])
            for chunk in _chunks(arrays[name]):
                view = memoryview(chunk.data)
                while len(view):  # one call may write less: Linux stops at 2 GiB
                    view = view[file.write(view) :]

    path.write_bytes(header)
    with ThreadPoolExecutor(min(_WRITERS, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(put, name) for name in places]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    """The array's bytes in C order, little-endian, in pieces uint8 [N] that are used before the next one is made.

    A transposed matrix goes through a scratch of a megabyte, so that it is transposed and written within the cache.
    """
    array = array.astype(_native(array.dtype), copy=False)
    if array.flags.c_contiguous or array.ndim < 2:
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return
    bits = array.view(np.dtype(f"u{array.itemsize}"))  # bfloat16's own copy loop is slower
    if array.ndim > 2:  # a convolution: its leading axes are the innermost of torch's layout, and must stay together
        yield _transposed(bits, np.empty(bits.shape, bits.dtype))
        return
    rows = max(_SCRATCH // (bits.shape[1] * bits.itemsize) // _TILE, 1) * _TILE
    scratch = np.empty((min(rows, len(bits)), bits.shape[1]), bits.dtype)
    for i in range(0, len(bits), rows):
        part = bits[i : i + rows]
        yield _transposed(part, scratch[: len(part)])


def _transposed(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Copies tile by tile, four times as fast as numpy copies a transposed view; the target's bytes uint8 [N]."""
    rows, columns = source.shape[-2:]
    for i in range(0, rows, _TILE):
        for j in range(0, columns, _TILE):
            target[..., i : i + _TILE, j : j + _TILE] = source[..., i : i + _TILE, j : j + _TILE]
    return target.reshape(-1).view(np.uint8)


def _native(dtype: np.dtype) -> np.dtype:
    return dtype.newbyteorder("<") if dtype.byteorder == ">" else dtype


def load(path: str | os.PathLike) -> Weights:
    """Reads a native file; tensors stay as stored. Refuses any file that does not describe itself."""
    with open_tensors(path) as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"{path}: not a clipjax weights file; turn it into one with: clipjax convert {path} OUT.safetensors"
            )
        if metadata.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{path}: format version {brief(metadata.get('format_version'))}; this clipjax reads version "
                f"{FORMAT_VERSION}: update clipjax"
            )
        flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    remedy = "convert the weights again"
    if missing := [key for key in ("config", "source", "model") if key not in metadata]:
        raise InputError(f"{path}: damaged header ({missing[0]!r} is missing); {remedy}")
    name, source = metadata["model"], stored.parse(metadata["source"], f"{path}: its source", dict, remedy)
    try:
        config = configs.from_dict(stored.parse(metadata["config"], "its config", dict, remedy))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    check(config, flat, str(path))
    check_finite(flat, str(path))
    return Weights(flat, config, name, source)


class Tensors:
    """The tensors of an open .safetensors, as read-only views of the mapped file; they outlive the `with` block."""

    def __init__(self, file: Any, path: str | os.PathLike):
        self._path = path
        self._file = file  # has checked the header: sizes, offsets, no holes
        with open(path, "rb") as raw:
            length = struct.unpack("<Q", raw.read(8))[0]
            self._header = stored.parse(raw.read(length), f"{path}: its header", dict[str, dict])
            self._begin = 8 + length
            self._mapped = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
        self._metadata = self._header.pop("__metadata__", None)

    def metadata(self) -> dict[str, str] | None:
        """The header's free texts."""
        return self._metadata

    def keys(self) -> list[str]:
        """Names of the tensors, sorted."""
        return sorted(self._header)

    def get_tensor(self, name: str) -> np.ndarray:
        """One tensor as stored; the pages are read when its numbers are."""
        entry = self._header[name]
        if len(entry["shape"]) > _MOST_AXES:
            raise InputError(
                f"{self._path}: tensor {brief(name)} has {len(entry['shape'])} axes: not weights of a model"
            )
        dtype, (begin, end) = DTYPES.get(entry["dtype"]), entry["data_offsets"]
        if dtype is None:
            raise InputError(
                f"{self._path}: tensor {brief(name)} has the type {brief(entry['dtype'])}; quantised weights are not "
                "read: take the file in float16, bfloat16 or float32"
            )
        if begin == end or (self._begin + begin) % dtype.itemsize:
            return self._file.get_tensor(name)
        count = (end - begin) // dtype.itemsize
        return np.frombuffer(self._mapped, dtype, count, self._begin + begin).reshape(entry["shape"])


@contextlib.contextmanager
def open_tensors(path: str | os.PathLike) -> Iterator[Tensors]:
    """An open .safetensors (memory-mapped), with its library's errors in one line."""
    if (what := signatures.check(path, "weights")) not in ("safetensors file", ""):
        raise InputError(f"{path}: is a {what}, not a .safetensors file")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield Tensors(file, path)
    except safetensors.SafetensorError as error:
        raise InputError(
            f"{path}: not a readable .safetensors file ({one_line(error, 120)}); it may be truncated: fetch it again"
        ) from error
