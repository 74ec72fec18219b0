"""What the readers of named data sets share: finding the files, choosing the split, labels by name.

Labels always go by name (`info.own_index`), never by position: OpenAI's class order differs from the data sets' own in
Pets, Caltech101, VOC2007 and EuroSAT, and accuracy falls to chance where that is missed (openai/CLIP#346).
"""

from __future__ import annotations

import csv
import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.data import source, table
from clipjax.data.info import Info, design, own_index, own_names, plain
from clipjax.data.source import Source
from clipjax.errors import InputError, one_line
from clipjax.files import lines as split_lines


def choose(split: str | None, known: Sequence[str], info: Info, default: str = "test") -> str:
    """The split asked for, or the one that published numbers are about. InputError for an unknown one."""
    split = default if split is None else split
    if split not in known:
        raise InputError(
            f'{info.name} has no split "{split}"{source.nearest(split, known)}; its splits: {", ".join(known)}'
        )
    return split


def home(path: str | os.PathLike, info: Info, marker: str, *folders: str) -> Path:
    """The folder that holds `marker`: `path` itself, or one of `folders` below it. InputError names what is missing."""
    path = source.as_path(path)
    for candidate in (path, *(path / folder for folder in folders)):
        if (candidate / marker).exists():
            return candidate
    usual = "/".join((folders[-1], marker)) if folders else marker
    raise InputError(
        f"{path} does not hold {info.name}: {usual} is missing; `clipjax datasets {info.key}` shows the layout"
    )


def first(path: str | os.PathLike, info: Info, names: Sequence[str], *folders: str) -> Path:
    """The first of several spellings of a file that is there, looked for as `home` does."""
    path = source.as_path(path)
    for name in names:
        for candidate in (path, *(path / folder for folder in folders)):
            if (candidate / name).exists():
                return candidate / name
    return home(path, info, names[0], *folders) / names[0]


def lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, blank ones left out. InputError where it is missing, unreadable or empty."""
    found = [line.strip() for line in split_lines(text(path), path)]
    found = [line for line in found if line]
    if not found:
        raise InputError(f"{path} is empty; fetch or unpack the data set again")
    return found


def fields(path: Path, at_least: int) -> Iterator[list[str]]:
    """The lines of a text file, split at blanks; InputError names the first line with fewer than `at_least` fields."""
    for number, line in enumerate(lines(path), 1):
        parts = line.split()
        if len(parts) < at_least:
            raise InputError(f"{path} line {number}: {line!r} has {len(parts)} fields of {at_least}; fetch it again")
        yield parts


def records(path: Path, needed: Sequence[str], delimiter: str = ",") -> Iterator[dict[str, str]]:
    """The rows of a delimited table with a header, one at a time. InputError names a missing column or a short row."""
    try:
        with path.open("r", encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            for name in needed:
                if name not in (reader.fieldnames or ()):
                    near = source.nearest(name, reader.fieldnames or ())
                    raise InputError(f'{path} has no column "{name}"{near}; fetch it again')
            for row in reader:
                if any(row[name] is None for name in needed):
                    raise InputError(f"{path} line {reader.line_num} is cut short; fetch it again")
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table ({error}); unpack the data set again") from error


def text(path: Path) -> str:
    """A whole UTF-8 file. InputError where it is missing or not readable as text."""
    try:
        return raw(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); fetch or unpack it again") from error


def raw(path: Path) -> bytes:
    """A whole file. InputError where it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); unpack the data set again") from error


def mat(path: Path, *names: str) -> list[np.ndarray]:
    """Variables of a MATLAB file (up to version 7), single dimensions squeezed. InputError names what is missing.

    scipy's reader is compiled, and a damaged file can crash it or make it take any amount of memory: it works in a
    process of its own.
    """
    data = raw(path)
    limit = (4 << 30) + 16 * len(data)
    done = subprocess.run([sys.executable, "-c", _LOADMAT, str(limit), *names], input=data, capture_output=True)
    if done.returncode:
        reason = one_line(done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])
        reason = reason if done.returncode > 0 else f"reading it ends with signal {-done.returncode}"
        raise InputError(f"{path} is no MATLAB file of version 4 to 7 ({reason}); fetch or unpack it again")
    found = pickle.loads(done.stdout)  # what the lines above wrote
    for name in names:
        if name not in found:
            raise InputError(f'{path} holds no variable "{name}"; is it the file of another data set?')
    return [np.atleast_1d(found[name]) for name in names]


_LOADMAT = """
import io, pickle, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
except (ImportError, ValueError, OSError):
    pass  # a system without such limits
from scipy.io import loadmat
found = loadmat(io.BytesIO(sys.stdin.buffer.read()), squeeze_me=True, variable_names=sys.argv[2:])
pickle.dump({name: found[name] for name in sys.argv[2:] if name in found}, sys.stdout.buffer, protocol=5)
"""


def labels(own: Sequence[str], key: str, where: str | os.PathLike) -> np.ndarray:
    """The data set's own class names, one per picture -> int64 [N] labels in the order of the stored prompts."""
    index = own_index(key)
    found = np.empty(len(own), np.int64)
    for row, name in enumerate(own):
        position = index.get(plain(name))
        if position is None:
            known = own_names(key) or design(key).names
            raise InputError(
                f'{where}: "{name}" is none of the {len(known)} classes of {key}{source.nearest(name, known)}; '
                "remove it, or check that this is the data set it seems to be"
            )
        found[row] = position
    return found


def named(numbers: Sequence[int], names: Sequence[str], where: str | os.PathLike) -> list[str]:
    """Numbers from 0 -> the names that the data set itself gives them. InputError for a number without one."""
    for row, number in enumerate(numbers):
        if not 0 <= number < len(names):
            raise InputError(f"{where}: row {row} has class number {number} of {len(names)}; fetch the data set again")
    return [names[number] for number in numbers]


def members(rows: np.ndarray, where: str | os.PathLike, *fields: str) -> list[np.ndarray]:
    """Fields of a MATLAB structure array, one array [N] each. InputError names a missing field."""
    for field in fields:
        if field not in (rows.dtype.names or ()):
            known = ", ".join(rows.dtype.names or ())
            raise InputError(f'{where} has no field "{field}" (it has {known or "none"}); is it another file?')
    return [rows[field] for field in fields]


def from_files(
    info: Info, root: Path, files: Sequence[str], own: Sequence[str], where: str | os.PathLike, **columns: Any
) -> Source:
    """A source over `files` (relative to `root`), labelled by the own class name of each."""
    found = {"label": labels(own, info.key, where), **columns}
    paths = [os.path.join(os.fspath(root), file) for file in files]
    return table.from_rows(info.key, paths, found, classes=design(info.key).names, root=root)


def class_folders(root: Path) -> tuple[list[str], list[str]]:
    """Every picture of a folder of class folders: relative paths and class folder names, both sorted."""
    from clipjax import image

    files, own = [], []
    for folder in sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        for name in sorted(entry.name for entry in (root / folder).iterdir()):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in image.SUFFIXES:
                files.append(f"{folder}/{name}")
                own.append(folder)
    if not files:
        raise InputError(f"{root} holds no class folders with pictures; check the path, or unpack the data set again")
    return files, own


def from_tfds(info: Info, path: str | os.PathLike, split: str, part: tuple[float, float] = (0.0, 1.0)) -> Source | None:
    """The data set as prepared by TFDS, its labels put into the order of the stored prompts; None for other folders.

    `path` is a version folder (features.json and the records) or the `data_dir` above `info.tfds`; `split` is TFDS's
    own name, `part` the share of it, bounds rounded as TFDS rounds "train[60%:80%]".
    """
    from clipjax.data.sets import _tfds

    where = _tfds.folder(info, path)
    if where is None:
        return None
    found = _tfds.by_name(_tfds.load(info, where, split, "label"), info.key)
    return found.select(slice(*(round(len(found) * bound) for bound in part)))


def tfds_order(keys: Sequence[str], salt: str) -> np.ndarray:
    """The order in which TFDS writes examples with these keys: by md5(salt + key). int64 [N] positions.

    VTAB's splits of data sets that come without one are slices of this order (tensorflow_datasets/core/hashing.py),
    so they can be cut from the pictures themselves; `salt` is the name of TFDS's split.
    """
    digests = [hashlib.md5((salt + key).encode(), usedforsecurity=False).digest() for key in keys]
    return np.array(sorted(range(len(keys)), key=digests.__getitem__), np.int64)


# VTAB's shares of the only split of data sets that come without one (arXiv 1910.04867, appendix A).
VTAB = {"train": (0.0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1.0), "all": (0.0, 1.0)}


def vtab_rows(keys: Sequence[str], split: str) -> np.ndarray:
    """Rows of a VTAB split, in TFDS's order of its split "train"; "all" keeps the order given."""
    if split == "all":
        return np.arange(len(keys))
    low, high = (round(len(keys) * bound) for bound in VTAB[split])
    return tfds_order(keys, "train")[low:high]
