"""A data set at rest: a table that is known before any pixel is read, and random access to its pictures."""

import dataclasses
import functools
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import fsspec
import numpy as np
from etils import epath
from PIL import Image

from clipjax import image
from clipjax.data.ages import check_ages
from clipjax.errors import InputError, brief, nearest
from clipjax.image import Preprocess

Picture = bytes | os.PathLike | Image.Image | np.ndarray
Column = Sequence[Any] | np.ndarray

# What the path library leaves to packages of their own.
_DRIVERS = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs", "hf": "huggingface_hub"}


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """N pictures and what is known about them.

    Every column of `table` has N entries. "file" is always there: one name per picture, unique, in data-set order.
    Reserved besides: "label" int64 [N]; "labels" and "difficult" bool [N, C]; "captions" tuples of str; "split",
    "video" (rows of one clip share it), "anchor". Any other column is a group column of str or numbers. Text is
    held as object arrays of str. `classes` gives the name of each label index and is None where nothing is labelled.

    `read` gives the encoded bytes, the path or the decoded picture of one row, and may be called from several
    threads at once. `fingerprint` (hex sha256) identifies the pixels and their order, never the labels.

    `size` is None for pictures as they are. A number says that they were resized and cropped before, for models of
    that image size only: `read` then gives uint8 [size, size, 3].

    Raises InputError where the columns contradict each other, a file is named twice, a label has no class, or a
    spreadsheet has turned the ranges of a column called "age" into dates.
    """

    name: str
    table: Mapping[str, Any]  # np.ndarray once made; makers may give any sequences
    classes: tuple[str, ...] | None
    read: Callable[[int], Picture]
    fingerprint: str
    size: int | None = None

    def __post_init__(self) -> None:
        table = {key: as_column(key, values, self.name) for key, values in self.table.items()}
        object.__setattr__(self, "table", MappingProxyType(table))
        object.__setattr__(self, "classes", None if self.classes is None else tuple(map(str, self.classes)))
        _check(self.name, self.table, self.classes)

    def __len__(self) -> int:
        return len(self.table["file"])

    def image(self, i: int) -> Image.Image:
        """The decoded picture of row `i`, in its own mode. Raises InputError naming the data set, row and file."""
        return self._of_row(i, lambda file: _decode(self.read(int(i)), file))

    def crop(self, i: int, spec: Preprocess) -> np.ndarray:
        """What a model sees of row `i` before normalisation: uint8 [S, S, 3]. Errors as `image`."""
        self.check_size(spec)
        if self.size is not None:
            return self._of_row(i, lambda file: cast(np.ndarray, self.read(int(i))))
        picture = self.image(i)
        try:
            return image.preprocess_uint8(picture, spec, threads=1)[0]
        except InputError as error:
            # It counts the pictures of its own call, of which this is the only one.
            raise InputError(self.table["file"][i] + str(error).removeprefix("picture 0")) from error

    def check_size(self, spec: Preprocess) -> None:
        """Raises InputError where the pictures were prepared for another image size than the model's."""
        if self.size not in (None, spec.image_size):
            raise InputError(
                f"{self.name} holds pictures prepared for models of {self.size} pixels, and this model takes "
                f"{spec.image_size}: prepare the originals for it (clipjax prepare), or name the originals"
            )

    def _of_row(self, i: int, make: Callable[[str], Any]) -> Any:
        """What `make` makes of row `i`, or one line that says which row it failed on."""
        file = self.table["file"][i]
        try:
            return make(file)
        except InputError as error:
            message = str(error)
        except OSError as error:
            message = f"cannot be read ({error.strerror or type(error).__name__}); check the disk or the connection"
        where = f"{self.name} row {i}: "  # which a prepared source kept when the original could not be read
        message = message.removeprefix(where)
        raise InputError(f"{where}{message if str(file) in message else f'{file}: {message}'}")

    def select(self, rows: Sequence[int] | np.ndarray | slice) -> "Source":
        """The data set of these rows, in this order. All rows in their own order are this source itself."""
        every = np.arange(len(self))
        if not isinstance(rows, slice):
            rows = np.asarray(rows)
            if rows.ndim != 1 or rows.dtype.kind not in "iub" or (rows.dtype.kind == "b" and len(rows) != len(self)):
                raise InputError(
                    f"rows of {self.name} are selected by whole numbers or by {len(self)} truth values, got"
                    f" {rows.dtype} {list(rows.shape)}"
                )
            outside = (rows < 0) | (rows >= len(self))
            if rows.dtype.kind != "b" and outside.any():
                raise InputError(f"{self.name} has rows 0 to {len(self) - 1}; asked for {rows[outside][0]}")
        kept = every[rows]
        if not len(kept):
            raise InputError(f"no row of {self.name} is selected; select at least one of its {len(self)}")
        if len(kept) == len(self) and (kept == every).all():
            return self
        read = self.read
        return Source(
            name=self.name,
            table={key: values[kept] for key, values in self.table.items()},
            classes=self.classes,
            read=lambda i: read(int(kept[i])),
            fingerprint=digest([self.fingerprint, "select", kept.astype("<i8").tobytes()]),
            size=self.size,
        )


def as_path(path: str | os.PathLike) -> Path:
    """A local path as pathlib's, "gs://..." (or s3://, az://, hf://) as etils'. InputError without its driver."""
    text = os.fspath(path)
    if "://" not in text:
        return Path(text)
    scheme = text.partition("://")[0]
    if scheme not in _DRIVERS:
        raise InputError(f"{text} is no local path and none of {', '.join(_DRIVERS)}; fetch it, or mount it, first")
    if not _has_driver(scheme):
        raise InputError(f"{text}: reading {scheme}:// needs {_DRIVERS[scheme]}; pip install {_DRIVERS[scheme]}")
    return cast(Path, epath.Path(text))  # which is pathlib's in all but descent


@functools.cache
def _has_driver(scheme: str) -> bool:
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError:
        return False
    return True


def digest(parts: Iterable[str | bytes]) -> str:
    """Hex sha256 over the parts, with their lengths, so that no two lists of parts collide."""
    h = hashlib.sha256()
    for part in parts:
        part = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        h.update(b"%d:" % len(part))
        h.update(part)
    return h.hexdigest()


def fingerprint(kind: str, names: Sequence[str], stamps: Sequence[Any], **protocol: Any) -> str:
    """The fingerprint of files in this order: what made the source, names, stamps (see `stamp_files`), protocol."""
    rows = (json.dumps([str(name), stamp]) for name, stamp in zip(names, stamps, strict=True))
    return digest([kind, json.dumps(protocol, sort_keys=True), *rows])


def stamp_files(paths: Sequence[str | os.PathLike], threads: int = 16) -> list[tuple[int, int] | None]:
    """Size in bytes and time of last change of every file, None where there is none.

    Threads, because a million answers from a network disk or a bucket take hours one after the other.
    """

    def stamps(chunk: Sequence[str | os.PathLike]) -> list[tuple[int, int] | None]:
        return [_stamp(path) for path in chunk]

    size = 1024 if not paths or "://" not in os.fspath(paths[0]) else 16
    chunks = [paths[i : i + size] for i in range(0, len(paths), size)]
    if len(chunks) < 2:
        return stamps(paths)
    with ThreadPoolExecutor(threads) as pool:
        return [stamp for chunk in pool.map(stamps, chunks) for stamp in chunk]


def absolute(paths: Iterable[str | os.PathLike]) -> list[str]:
    """Paths as text, local ones from the root of the disk."""
    texts = [os.fspath(path) for path in paths]
    return [text if "://" in text or os.path.isabs(text) else os.path.abspath(text) for text in texts]


def common_folder(paths: Sequence[str]) -> str:
    """The folder that all files have in common; of bucket paths too."""
    scheme = re.match(r"[a-z0-9]+://", paths[0])
    start = scheme[0] if scheme else ""
    folders = {path.removeprefix(start).rpartition("/")[0] if scheme else os.path.dirname(path) for path in paths}
    return start + (os.path.commonpath(sorted(folders)) if len(folders) > 1 else folders.pop())


def relative(path: str, root: str) -> str:
    """`path` as seen from `root`, unchanged where it does not lie below."""
    return path.removeprefix(root.rstrip("/") + "/") if root else path


def as_column(key: str, values: Any, where: str) -> np.ndarray:
    """One column in the form that `Source` promises for that name."""
    if key in ("labels", "difficult"):
        return np.asarray(values, bool)
    if key == "captions":
        rows = ((row,) if isinstance(row, str) else tuple(map(str, row)) for row in values)
        return np.fromiter(rows, object, len(values))
    if not isinstance(values, np.ndarray):
        values = list(values)
        # Not through numpy's own text type: it gives every value the width of the longest.
        array = (
            np.asarray(values)
            if not any(isinstance(value, str) for value in values[:1])
            else np.asarray(values, object)
        )
    else:
        array = values
    if key == "label":
        if array.size and array.dtype.kind not in "iu":
            raise InputError(f"{where}: labels are class indices (whole numbers), got {array.dtype}")
        return array.astype(np.int64, copy=False)
    if array.dtype.kind in "iufb" and key not in ("file", "split", "video"):
        return array
    if array.dtype == object and all(type(value) is str for value in array):
        return array
    return np.fromiter(map(str, values), object, len(values))


def class_index(
    values: Column, classes: Sequence[str] | None, where: str, files: Column
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Label values of a table -> (int64 [N] indices, class names).

    Text names a class. Whole numbers are indices into `classes`, unless every class name is itself a whole number:
    then they are names. Without `classes`, the different values are the classes, sorted. Raises InputError naming
    the first value that is missing or has no class, with its row and file.
    """
    array = np.asarray(values)
    for row, value in enumerate(array.tolist() if array.dtype == object else ()):
        if not isinstance(value, str | int | float | None):
            kind = type(value).__name__
            raise InputError(
                f"{where}: row {row} has a {kind} for a label ({brief(repr(value))}); give a text or a number"
            )
    empty = np.isnan(array) if array.dtype.kind == "f" else np.asarray([v in ("", None) for v in array.tolist()], bool)
    if empty.any():
        row = int(empty.argmax())
        raise InputError(f"{where}: row {row} ({files[row]}) has no label; give every picture one, or name no labels")
    if array.dtype.kind == "f" and (abs(array) < 2**53).all() and (array == array.round()).all():
        array = array.astype(np.int64)
    numbers = array.dtype.kind in "iu"
    if classes is None:
        found, index = np.unique(array if numbers else np.asarray(array, object), return_inverse=True)
        return index.astype(np.int64), tuple(str(value) for value in found)
    classes = tuple(map(str, classes))
    if numbers and not all(re.fullmatch(r"-?\d+", name) for name in classes):
        check_labels(array, classes, where, files)
        return array.astype(np.int64), classes
    known = {name: i for i, name in reversed(list(enumerate(classes)))}
    index = np.empty(len(array), np.int64)
    for row, value in enumerate(array.tolist()):
        position = known.get(str(value))
        if position is None:
            raise InputError(
                f"{where}: label {value!r} (row {row}, {files[row]}) is not among the {len(classes)} classes"
                f"{nearest(value, classes)}; correct the table or the class list"
            )
        index[row] = position
    return index, classes


def check_labels(labels: np.ndarray, classes: Sequence[str], where: str, files: Column) -> None:
    """Raises InputError for the first class index outside the class list."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        row = wrong[0]
        raise InputError(
            f"{where}: label {labels[row]} (row {row}, {files[row]}) is outside the class list of {len(classes)}"
            f" (0 to {len(classes) - 1}); correct the labels or the class list"
        )


def _check(name: str, table: Mapping[str, np.ndarray], classes: tuple[str, ...] | None) -> None:
    if "file" not in table:
        raise InputError(f'{name}: no column "file"; every picture needs a name')
    files = table["file"]
    if not len(files):
        raise InputError(f"{name} holds no pictures; check the path and the split")
    for key, values in table.items():
        if len(values) != len(files):
            raise InputError(f'{name}: column "{key}" has {len(values)} entries for {len(files)} files')
    for key, values in table.items():
        _check_text(key, values, name, files)
    if len(set(files)) != len(files):
        first: dict[str, int] = {}
        for row, file in enumerate(files):
            if first.setdefault(file, row) != row:
                raise InputError(f"{name}: {file} is named twice (rows {first[file]} and {row}); keep one of them")
    for key in ("label", "labels"):
        if key in table and classes is None:
            raise InputError(f'{name}: column "{key}" needs class names; give classes')
    if classes is not None and "label" in table:
        check_labels(table["label"], classes, name, files)
    for key in ("labels", "difficult"):
        if key in table and table[key].shape != (len(files), len(classes or ())):
            shape = [len(files), len(classes or ())]
            raise InputError(f'{name}: column "{key}" has shape {list(table[key].shape)}, expected {shape}')
    for key, values in table.items():
        if key.lower() == "age":
            check_ages(values, name, files)


def _check_text(key: str, values: np.ndarray, where: str, files: Column) -> None:
    """Raises InputError for a name that is no text in UTF-8: no table, no manifest and no log could hold it."""
    if values.dtype != object:
        return
    texts = values.tolist() if key != "captions" else map("".join, values)
    for row, text in enumerate(texts):
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            raise InputError(
                f"{where}: row {row} ({brief(files[row])}) has in {key!r} what is no UTF-8: {brief(text)}; rename it"
            )


class _Named(io.BytesIO):
    """Bytes with a name, which `image.open_image` puts into its messages."""

    def __init__(self, data: bytes, name: str):
        super().__init__(data)
        self.name = name


def _decode(read: Picture, file: str) -> Image.Image:
    if isinstance(read, Image.Image):
        return read
    if isinstance(read, np.ndarray):
        return Image.fromarray(read)
    if isinstance(read, bytes | bytearray | memoryview):
        if not len(read):
            raise InputError(f"{file} is empty (0 bytes); fetch or copy it again")
        return image.open_image(_Named(bytes(read), file))
    if "://" in os.fspath(read):
        try:
            return _decode(epath.Path(read).read_bytes(), file)
        except FileNotFoundError as error:
            raise InputError(f"{os.fspath(read)}: no such file; check the path") from error
    return image.open_image(read)


def _stamp(path: str | os.PathLike) -> tuple[int, int] | None:
    try:
        if "://" in os.fspath(path):
            found = epath.Path(path).stat()
            return found.length, found.mtime
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    except OSError:
        # A missing picture is skipped and named when its turn comes; here it is one more state of the data set.
        return None
