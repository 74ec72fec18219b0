"""A data set at rest: what is known of each image before any pixel is read, and random access to the images."""

import dataclasses
import functools
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
from etils import epath
from PIL import Image

from clipjax import image
from clipjax.data import ages
from clipjax.data.contents import Packed, digests
from clipjax.data.labels import Labels
from clipjax.data.perturb import Change
from clipjax.errors import InputError, brief, converted
from clipjax.image import Preprocess

T = TypeVar("T")
ImageData = bytes | os.PathLike | Image.Image | np.ndarray
Column = Sequence[object] | np.ndarray

# What the metrics of named data sets read; a user's columns never have these meanings, whatever they are called.
PROTOCOL = ("difficult", "split", "video", "anchor", "lexicon", "youtube_id", "annotation", "verb", "noun")

# What the path library leaves to packages of their own.
_DRIVERS = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs", "hf": "huggingface_hub"}


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """N images and what is known about them; every column has N entries, text is held as object arrays of str.

    files: one name per image, all different, in data-set order.
    read: encoded bytes, path or decoded image of one row; may be called from several threads at once.
    labels: with the names that they index; None where nothing is labelled.
    captions: a tuple of str per image, empty where there is none; None where nothing is captioned.
    columns: what else is known, by the data set's own names: text, "" where nothing is known.
    protocol: what the metric of a named data set needs, by the names of `PROTOCOL` (`video` is of a clip).
    size: None for images as they are. A number says that they were resized and cropped before, for models of that
        image size only: `read` then gives uint8 [size, size, 3].
    packed: the files of many images, whose digests are kept together.
    contents: digests uint8 [M, 32] of rows [M], where the bytes that `read` gives are not what tells images apart.
    change: what is done to every crop, a part of the fingerprint; digests stay those of the images.

    Raises InputError where the columns contradict each other, a file is named twice, a label has no class, or a
    spreadsheet has turned the ranges of a column called "age" into dates.
    """

    name: str
    files: Any
    read: Callable[[int], ImageData]
    labels: Labels | None = None
    captions: Any = None
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    protocol: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    size: int | None = None
    packed: Sequence[Packed] = ()
    contents: Callable[[np.ndarray], np.ndarray] | None = None
    change: Change | None = None

    def __post_init__(self) -> None:
        put = functools.partial(object.__setattr__, self)
        put("files", as_text(self.files))
        put("columns", MappingProxyType({key: as_text(values) for key, values in self.columns.items()}))
        put("protocol", MappingProxyType({key: _as_protocol(key, v) for key, v in self.protocol.items()}))
        if self.captions is not None:
            rows = ((row,) if isinstance(row, str) else tuple(map(str, row)) for row in self.captions)
            put("captions", np.fromiter(rows, object, len(self.captions)))
        self._check()

    def __len__(self) -> int:
        return len(self.files)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of the images' contents in their order, and of the change, never of names, times or labels."""
        changed = b"" if self.change is None else repr(self.change.key).encode()
        return hashlib.sha256(b"images" + self.all_digests.tobytes() + changed).hexdigest()

    @functools.cached_property
    def short_digests(self) -> np.ndarray:
        """The first 16 hexadecimal digits of each image's digest, object [N] of str."""
        return np.array([digest[:8].tobytes().hex() for digest in self.all_digests], object)

    @functools.cached_property
    def all_digests(self) -> np.ndarray:
        """`digests` of all rows, uint8 [N, 32]."""
        return self.digests(np.arange(len(self)))

    def set_digests(self, digests: np.ndarray) -> None:
        """`all_digests` uint8 [N, 32], of which several hosts have computed a part each."""
        self.__dict__["all_digests"] = digests

    def digests(self, rows: np.ndarray) -> np.ndarray:
        """What the images of these rows are: uint8 [M, 32], equal for equal bytes (`contents.digests`)."""
        return digests(self.read, rows, self.packed) if self.contents is None else self.contents(rows)

    def image(self, i: int) -> Image.Image:
        """The decoded image of row `i`, in its own mode. Raises InputError naming the data set, row and file."""
        return self._of_row(i, lambda file: _decode(self.read(int(i)), file))

    def crop(self, i: int, spec: Preprocess) -> np.ndarray:
        """What a model sees of row `i` before normalisation: uint8 [S, S, 3]. Errors as `image`."""
        pixels = self._unchanged(i, spec)
        change = self.change
        return pixels if change is None else self._of_row(i, lambda file: change(pixels))

    def _unchanged(self, i: int, spec: Preprocess) -> np.ndarray:
        self.check_size(spec)
        if self.size is not None:
            return self._of_row(i, lambda file: cast(np.ndarray, self.read(int(i))))
        decoded = self.image(i)
        try:
            return image.preprocess_uint8(decoded, spec, threads=1)[0]
        except InputError as error:
            # It counts the images of its own call, of which this is the only one.
            raise InputError(self.files[i] + str(error).removeprefix("image 0")) from error

    def check_size(self, spec: Preprocess) -> None:
        """Raises InputError where the images were prepared for another image size or resize than the model's."""
        if self.size not in (None, spec.image_size):
            raise InputError(
                f"{self.name} holds images prepared for models of {self.size} pixels, and this model takes "
                f"{spec.image_size}: prepare the originals for it (clipjax prepare), or name the originals"
            )

        if self.size is not None and (spec.resize, spec.interpolation) != ("shortest", "bicubic"):
            raise InputError(
                f"{self.name} holds images whose short side was resized (bicubic) and whose centre was cropped; this "
                f"model takes them by {spec.resize}, {spec.interpolation}: name the originals"
            )

    def _of_row(self, i: int, make: Callable[[str], T]) -> T:
        """What `make` makes of row `i`, or one line that says which row it failed on."""
        file = self.files[i]
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
        rows = rows if isinstance(rows, slice) else np.asarray(rows)
        assert isinstance(rows, slice) or rows.dtype.kind == "b" or (rows >= 0).all(), "rows count from the first"
        kept = every[rows]
        if not len(kept):
            raise InputError(f"no row of {self.name} is selected; select at least one of its {len(self)}")
        if len(kept) == len(self) and (kept == every).all():
            return self
        read, whole = self.read, self
        return Source(
            name=self.name,
            files=self.files[kept],
            read=lambda i: read(int(kept[i])),
            labels=None if self.labels is None else self.labels.select(kept),
            captions=None if self.captions is None else self.captions[kept],
            columns={key: values[kept] for key, values in self.columns.items()},
            protocol={key: values[kept] for key, values in self.protocol.items()},
            size=self.size,
            contents=(lambda rows: whole.digests(kept[rows])) if self.packed or self.contents else None,
            change=self.change,
        )

    def _check(self) -> None:
        if not len(self.files):
            raise InputError(f"{self.name} holds no images; check the path and the split")
        known = {**self.columns, **self.protocol} | ({} if self.captions is None else {"captions": self.captions})
        for key, values in known.items():
            if len(values) != len(self.files):
                raise InputError(f'{self.name}: column "{key}" has {len(values)} entries for {len(self.files)} files')
        for key, values in {"file": self.files, **known}.items():
            _check_text(key, values, self.name, self.files)
        if len(set(self.files)) != len(self.files):
            first: dict[str, int] = {}
            for row, file in enumerate(self.files):
                if first.setdefault(file, row) != row:
                    raise InputError(
                        f"{self.name}: {file} is named twice (rows {first[file]} and {row}); keep one of them"
                    )
        if self.labels is not None:
            self.labels.check(len(self.files), self.name, self.files)
        for key, values in self.columns.items():
            if key.lower() == "age":
                ages.check(values, self.name, self.files)


def of_columns(
    name: str, columns: Mapping[str, Any], classes: Sequence[str] | None, read: Callable[[int], ImageData], **more: Any
) -> Source:
    """The source of a named data set, whose reader gives its columns by name.

    "file"; "label" int [N] or "labels" bool [N, C] into `classes`; "captions"; those of `PROTOCOL`; and its own.
    """
    columns = dict(columns)
    files, index, present = (columns.pop(key, None) for key in ("file", "label", "labels"))
    assert classes is not None or (index is None and present is None), f"{name}: labels need class names"
    labels = None if index is None and present is None else Labels(tuple(classes or ()), index, present)
    protocol = {key: columns.pop(key) for key in PROTOCOL if key in columns}
    return Source(name, files, read, labels, columns.pop("captions", None), columns, protocol, **more)


def as_path(path: str | os.PathLike) -> Path:
    """A local path as pathlib's, "gs://..." (or s3://, az://, hf://) as etils'. InputError without its driver."""
    text = os.fspath(path)
    if "://" not in text:
        return Path(text)
    scheme = text.partition("://")[0]
    if scheme not in _DRIVERS:
        raise InputError(f"{text} is not a local path (or {', '.join(_DRIVERS)}); fetch it, or mount it, first")
    if not _has_driver(scheme):
        raise InputError(f"{text}: reading {scheme}:// needs {_DRIVERS[scheme]}; pip install {_DRIVERS[scheme]}")
    return cast(Path, epath.Path(text))  # which is pathlib's in all but descent


@functools.cache
def _has_driver(scheme: str) -> bool:
    import fsspec  # only where a bucket is named

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


def as_text(values: Iterable[object]) -> np.ndarray:
    """A column as text, object [N]: "" where nothing is known."""
    array = values if isinstance(values, np.ndarray) else list(values)
    if isinstance(array, np.ndarray) and array.dtype == object and all(type(value) is str for value in array):
        return array
    return np.fromiter(("" if value is None else str(value) for value in array), object, len(array))


def _as_protocol(key: str, values: Iterable[object]) -> np.ndarray:
    if key == "difficult":
        return np.asarray(values, bool)
    if key in ("lexicon", "annotation"):
        return np.asarray(values)
    return as_text(values)


def _check_text(key: str, values: np.ndarray, where: str, files: Column) -> None:
    """Raises InputError for a name that is not text in UTF-8: no table, no manifest and no log could hold it."""
    if values.dtype != object:
        return
    texts = values.tolist() if key != "captions" else map("".join, values)
    for row, text in enumerate(texts):
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            raise InputError(
                f"{where}: row {row} ({brief(files[row])}) has text in {key!r} that is not UTF-8: {brief(text)}; "
                "rename it"
            )


class _Named(io.BytesIO):
    """Bytes with a name, which `image.open_image` puts into its messages."""

    def __init__(self, data: bytes, name: str):
        super().__init__(data)
        self.name = name


def _decode(read: ImageData, file: str) -> Image.Image:
    if isinstance(read, Image.Image):
        return read
    if isinstance(read, np.ndarray):
        return image.from_array(read, file)
    if isinstance(read, bytes | bytearray | memoryview):
        if not len(read):
            raise InputError(f"{file} is empty (0 bytes); fetch or copy it again")
        return image.open_image(_Named(bytes(read), file))
    if "://" in os.fspath(read):
        with converted(f"{os.fspath(read)}: no such file", "check the path", FileNotFoundError):
            data = epath.Path(read).read_bytes()
        return _decode(data, file)
    return image.open_image(read)
