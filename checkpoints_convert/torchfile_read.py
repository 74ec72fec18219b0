"""The zip archive around a torch file: what is in it, where its bytes lie, and arrays over those bytes.

Layout (torch/csrc/jit/serialization, caffe2/serialize/inline_container.cc): every entry lies in one folder named
after the file; `data.pkl` is the pickle, `data/<key>` one storage each, stored uncompressed at a multiple of 64
bytes; `constants.pkl` is there in TorchScript archives alone, with their source under `code/`.
"""

import contextlib
import io
import math
import struct
import zipfile
import zlib
from pathlib import Path

import ml_dtypes
import numpy as np

from checkpoints_convert.torchfile_pickle import MAX_PICKLE_BYTES, Storage, Tensor, Unsupported
from clipjax.errors import InputError, converted
from clipjax.pickles import shown

STORAGE_DTYPES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_TORCH_DTYPES = {dtype.name: dtype for dtype in STORAGE_DTYPES.values()}

MAX_CODE_BYTES = 32 << 20  # ViT-L/14's generated source is about 1 MB
MAX_EXTRA_BYTES = 1 << 20
_MAX_DIRECTORY_BYTES = 16 << 20  # the zip directory: about 150,000 entries as torch names them
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    RuntimeError,  # also NotImplementedError: an encrypted entry, or a zip version from the future
    ValueError,
    OverflowError,
    OSError,
    EOFError,
    struct.error,
    zlib.error,
)
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flag bits (APPNOTE.TXT 4.4.4)


class _BoundedFile(io.FileIO):
    """zipfile reads a directory as long as the file claims, in one piece; `limit` refuses an absurd claim."""

    limit: int | None = _MAX_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if self.limit is not None and size is not None and size > self.limit:
            raise InputError("its zip directory is too large for a weights file")
        return super().read(-1 if size is None else size) or b""


class Archive:
    """An open torch archive. Every problem is an InputError without the file's name; `read` puts that in front."""

    def __init__(self, path: Path) -> None:
        with converted("cannot be opened", "check its access rights", OSError):
            self._file = _BoundedFile(path)
        with contextlib.ExitStack() as on_error, _zip_errors():
            on_error.callback(self._file.close)
            self._bytes = path.stat().st_size
            self._zip = zipfile.ZipFile(self._file)
            self._file.limit = None
            self._entries = _checked_entries(self._zip)
            self._root = _root(self._entries)
            self._mapped = np.memmap(self._file, dtype=np.uint8, mode="r")
            self._inflated: dict[str, np.ndarray] = {}
            # What may be held in memory beside the mapping: inflated entries and rearranged views.
            self._budget = 4 * self._bytes + (64 << 20)
            self._refuse_big_endian()
            on_error.pop_all()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    @property
    def is_torchscript(self) -> bool:
        """True where torch.jit.load would open it: that function asks for constants.pkl."""
        return self._root + "constants.pkl" in self._entries

    def pickle(self) -> bytes:
        """The bytes of data.pkl."""
        return self._contents(self._entries[self._root + "data.pkl"], MAX_PICKLE_BYTES)

    def extra(self, name: str) -> bytes | None:
        """An entry that torch itself passes over: what `torch.jit.save` calls an extra file."""
        entry = self._entries.get(f"{self._root}extra/{name}")
        return None if entry is None else self._contents(entry, MAX_EXTRA_BYTES)

    def code(self) -> str:
        """The archive's TorchScript source, its files joined in the order of their names."""
        prefix = self._root + "code/"
        names = sorted(name for name in self._entries if name.startswith(prefix) and name.endswith(".py"))
        limit, parts = MAX_CODE_BYTES, []
        for name in names:
            parts.append(self._contents(self._entries[name], limit).decode("utf-8", "replace"))
            limit -= self._entries[name].file_size
        return "\n".join(parts)

    def array(self, name: str, tensor: Tensor | Unsupported) -> np.ndarray:
        """The tensor's values: a read-only view of the mapped file, or a copy where torch's view is not contiguous."""
        label = f"tensor '{shown(name)}'"
        if isinstance(tensor, Unsupported):
            raise InputError(f"{label} is {tensor.what}; save it as a plain dense tensor of numbers")
        dtype = _dtype(label, tensor)
        values = self._view(label, tensor, self._storage(label, tensor.storage, dtype))
        values.flags.writeable = False  # the mapped ones are so anyway
        return values

    def _view(self, label: str, tensor: Tensor, flat: np.ndarray) -> np.ndarray:
        size, stride, offset = tensor.size, tensor.stride, tensor.offset
        if len(size) != len(stride) or min((*size, *stride, offset)) < 0:
            raise InputError(f"{label} has an impossible shape: size {size}, stride {stride}, offset {offset}")
        if math.prod(n for n in size if n) * flat.itemsize >= 2**62:  # numpy refuses these even where one axis is 0
            raise InputError(f"{label} has an impossible shape: size {size}")
        count = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else 0
        if last >= len(flat) and count:
            raise InputError(f"{label} reaches beyond its storage: element {last} of {len(flat)}")
        if count == 0:
            return np.empty(size, flat.dtype)
        if all(n == 1 or step == plain for n, step, plain in zip(size, stride, _strides(size), strict=True)):
            run = flat[offset : offset + count]
            if run.flags.aligned:
                return run.reshape(size)
            self._spend(run.nbytes)  # an archive packed again by a zip program
            return run.copy().reshape(size)
        self._spend(count * flat.itemsize)
        steps = [0 if n == 1 else step * flat.itemsize for n, step in zip(size, stride, strict=True)]
        return np.lib.stride_tricks.as_strided(flat[offset:], size, steps).copy(order="C")

    def _storage(self, label: str, storage: Storage, dtype: np.dtype) -> np.ndarray:
        """The storage's elements, flat."""
        names = (f"{self._root}data/{storage.key}", self._root + storage.key)
        entry = next((self._entries[name] for name in names if name in self._entries), None)
        if entry is None:
            raise InputError(f"{label} needs the entry data/{shown(storage.key)}, which is not in the archive")
        # Only an untyped storage counts bytes; it comes with a dtype of its own (`_rebuild_tensor_v3`).
        untyped = storage.kind not in STORAGE_DTYPES
        needed = storage.length if untyped else storage.length * dtype.itemsize
        if entry.file_size < needed:
            raise InputError(
                f"{label} needs {needed} bytes, and the entry {shown(entry.filename)} has {entry.file_size};"
                " download or save the file again"
            )
        with _zip_errors():
            if entry.compress_type == zipfile.ZIP_STORED:
                start = self._start(entry)
                content = self._mapped[start : start + needed]
            else:
                content = self._inflate(entry, needed)
        return content[: needed // dtype.itemsize * dtype.itemsize].view(np.ndarray).view(dtype)

    def _start(self, entry: zipfile.ZipInfo) -> int:
        """Where a stored entry's bytes begin. The directory knows the header's place, the header its own length."""
        place = entry.header_offset
        header = bytes(self._mapped[place : place + 30]) if place >= 0 else b""
        if len(header) != 30 or header[:4] != b"PK\x03\x04":
            raise zipfile.BadZipFile("a header is missing")
        name_length, extra_length = struct.unpack("<HH", header[26:])
        start = place + 30 + name_length + extra_length
        name = bytes(self._mapped[place + 30 : place + 30 + name_length])
        encoding = "utf-8" if entry.flag_bits & _UTF8 else "cp437"
        if name.decode(encoding, "replace") != entry.orig_filename or start + entry.file_size > self._bytes:
            raise zipfile.BadZipFile("an entry does not lie where the directory says")
        if entry.compress_size != entry.file_size:
            raise zipfile.BadZipFile("an uncompressed entry has two lengths")
        return start

    def _inflate(self, entry: zipfile.ZipInfo, needed: int) -> np.ndarray:
        """Torch never compresses a storage; somebody packed the archive again."""
        content = self._inflated.get(entry.filename)
        if content is None or len(content) < needed:
            self._spend(needed)
            content = np.frombuffer(self._contents(entry, needed, whole=False), dtype=np.uint8)
            if len(content) < needed:
                raise zipfile.BadZipFile("a compressed entry ends early")
            self._inflated[entry.filename] = content
        return content[:needed]

    def _spend(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise InputError("its tensors need far more memory than the file has bytes; nothing was loaded")

    def _contents(self, entry: zipfile.ZipInfo, limit: int, whole: bool = True) -> bytes:
        """An entry's bytes through zipfile, which checks the CRC of what is read to the end."""
        if whole and entry.file_size > limit:
            raise InputError(f"its entry {shown(entry.filename)} has {entry.file_size} bytes, more than {limit}")
        with _zip_errors(), self._zip.open(entry) as stream:
            content = stream.read(limit)
            if whole and stream.read(1):
                raise zipfile.BadZipFile("an entry is longer than it says")
            return content

    def _refuse_big_endian(self) -> None:
        entry = self._entries.get(self._root + "byteorder")
        if entry is not None and (order := self._contents(entry, 16)) != b"little":
            raise InputError(
                f"its byte order is {shown(order.decode('ascii', 'replace'))}; only little-endian files are read:"
                " re-save it on a little-endian machine"
            )


def _dtype(label: str, tensor: Tensor) -> np.dtype:
    kind = tensor.storage.kind
    dtype = STORAGE_DTYPES.get(kind) if tensor.dtype is None else _TORCH_DTYPES.get(tensor.dtype)
    if dtype is None:
        what = f"torch.{tensor.dtype or kind.removesuffix('Storage')}"
        known = ", ".join(_TORCH_DTYPES)
        raise InputError(f"{label} has the type {what}, which is not read; save it as one of {known}")
    return dtype


def _strides(size: tuple[int, ...]) -> list[int]:
    """Row-major strides in elements."""
    return [math.prod(size[axis + 1 :]) for axis in range(len(size))]


def _zip_errors() -> contextlib.AbstractContextManager[None]:
    return converted("is a damaged or cut-short zip archive", "download or save it again", *_ZIP_ERRORS)


def _checked_entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        if entry.filename in entries:
            raise InputError(f"has the entry {shown(entry.filename)} twice; download or save it again")
        if entry.flag_bits & _ENCRYPTED:
            raise InputError(f"has an encrypted entry ({shown(entry.filename)}); unpack and re-save it")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"compresses {shown(entry.filename)} in a way torch never does; re-save it")
        entries[entry.filename] = entry
    return entries


def _root(entries: dict[str, zipfile.ZipInfo]) -> str:
    """The one folder with data.pkl, as a prefix. Torch names it after the file it was first saved as."""
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) == 1:
        return roots[0]
    if any(name.endswith("model.json") for name in entries):
        raise InputError("is a TorchScript archive from before torch 1.4; re-save it with a newer torch")
    raise InputError("is a zip archive, but no torch file: it has no NAME/data.pkl; give the .pt file itself")
