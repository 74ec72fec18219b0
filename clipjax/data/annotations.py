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
from clipjax.data.info import Info, design, name_key, own_index, own_names
from clipjax.data.source import Source
from clipjax.errors import InputError, converted, nearest, one_line, require
from clipjax.files import lines as split_lines


def choose_split(split: str | None, known: Sequence[str], info: Info, default: str = "test") -> str:
    """The split asked for, or the one that published numbers are about. InputError for an unknown one."""
    split = default if split is None else split
    require(split, known, info.name, "split")
    return split


def find_root(path: str | os.PathLike, info: Info, marker: str, *folders: str) -> Path:
    """The folder that holds `marker`: `path` itself, or one of `folders` below it. InputError names what is missing."""
    path = source.as_path(path)
    for candidate in (path, *(path / folder for folder in folders)):
        if (candidate / marker).exists():
            return candidate
    usual = "/".join((folders[-1], marker)) if folders else marker
    raise not_there(path, info, f"{usual} is missing")


def not_there(path: Path, info: Info, missing: str) -> InputError:
    """What is said of a folder that is not the data set's."""
    return InputError(f"{path} does not hold {info.name}: {missing}; `clipjax datasets {info.key}` shows the layout")


def find_file(path: str | os.PathLike, info: Info, names: Sequence[str], *folders: str) -> Path:
    """The first of several spellings of a file that is there, looked for as `find_root` does."""
    path = source.as_path(path)
    for name in names:
        for candidate in (path, *(path / folder for folder in folders)):
            if (candidate / name).exists():
                return candidate / name
    return find_root(path, info, names[0], *folders) / names[0]


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, blank ones left out. InputError where it is missing, unreadable or empty."""
    lines = [stripped for line in split_lines(read_text(path), path) if (stripped := line.strip())]
    if not lines:
        raise InputError(f"{path} is empty; fetch or unpack the data set again")
    return lines


def read_fields(path: Path, at_least: int) -> Iterator[list[str]]:
    """The lines of a text file, split at blanks; InputError names the first line with fewer than `at_least` fields."""
    for number, line in enumerate(read_lines(path), 1):
        parts = line.split()
        if len(parts) < at_least:
            raise InputError(f"{path} line {number}: {line!r} has {len(parts)} fields of {at_least}; fetch it again")
        yield parts


def read_rows(path: Path, needed: Sequence[str], delimiter: str = ",") -> Iterator[dict[str, str]]:
    """The rows of a delimited table with a header, one at a time. InputError names a missing column or a short row."""
    damage = (OSError, UnicodeDecodeError, csv.Error)
    with (
        converted(f"{path} cannot be read as a table", "unpack the data set again", *damage),
        path.open("r", encoding="utf-8-sig", newline="") as file,
    ):
        reader = csv.DictReader(file, delimiter=delimiter)
        for name in needed:
            require(name, reader.fieldnames or (), path, "column", "; fetch it again")
        for row in reader:
            if any(row[name] is None for name in needed):
                raise InputError(f"{path} line {reader.line_num} is cut short; fetch it again")
            yield row


def read_text(path: Path) -> str:
    """A whole UTF-8 file. InputError where it is missing or not readable as text."""
    with converted(f"{path} is not UTF-8 text", "fetch or unpack it again", UnicodeDecodeError):
        return read_bytes(path).decode("utf-8-sig")


def read_bytes(path: Path) -> bytes:
    """A whole file. InputError where it is missing or cannot be read."""
    with converted(f"{path} cannot be read", "unpack the data set again", OSError):
        return path.read_bytes()


def read_mat(path: Path, *names: str) -> list[np.ndarray]:
    """Variables of a MATLAB file (up to version 7), single dimensions squeezed. InputError names what is missing.

    scipy's reader is compiled, and a damaged file can crash it or make it take any amount of memory: it works in a
    process of its own.
    """
    data = read_bytes(path)
    limit = (4 << 30) + 16 * len(data)
    done = subprocess.run([sys.executable, "-c", _LOADMAT, str(limit), *names], input=data, capture_output=True)
    if done.returncode:
        reason = one_line(done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])
        reason = reason if done.returncode > 0 else f"reading it ends with signal {-done.returncode}"
        raise InputError(f"{path} is not a MATLAB file of version 4 to 7 ({reason}); fetch or unpack it again")
    variables = pickle.loads(done.stdout)  # what the lines below wrote
    for name in names:
        require(name, variables, path, "variable", "; is it the file of another data set?")
    return [np.atleast_1d(variables[name]) for name in names]


_LOADMAT = """
import io, pickle, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
except (ImportError, ValueError, OSError):
    pass  # a system without such limits
from scipy.io import loadmat
variables = loadmat(io.BytesIO(sys.stdin.buffer.read()), squeeze_me=True, variable_names=sys.argv[2:])
pickle.dump({name: variables[name] for name in sys.argv[2:] if name in variables}, sys.stdout.buffer, protocol=5)
"""


def labels_of(names: Sequence[str], key: str, where: str | os.PathLike) -> np.ndarray:
    """The data set's own class names, one per image -> int64 [N] labels in the order of the stored prompts."""
    index = own_index(key)
    labels = np.empty(len(names), np.int64)
    for row, name in enumerate(names):
        position = index.get(name_key(name))
        if position is None:
            known = own_names(key) or design(key).names
            raise InputError(
                f'{where}: "{name}" is none of the {len(known)} classes of {key}{nearest(name, known)}; '
                "remove it, or check that this is the data set it seems to be"
            )
        labels[row] = position
    return labels


def names_of_numbers(numbers: Sequence[int], names: Sequence[str], where: str | os.PathLike) -> list[str]:
    """Numbers from 0 -> the names that the data set itself gives them. InputError for a number without one."""
    for row, number in enumerate(numbers):
        if not 0 <= number < len(names):
            raise InputError(f"{where}: row {row} has class number {number} of {len(names)}; fetch the data set again")
    return [names[number] for number in numbers]


def struct_fields(rows: np.ndarray, where: str | os.PathLike, *fields: str) -> list[np.ndarray]:
    """Fields of a MATLAB structure array, one array [N] each. InputError names a missing field."""
    for field in fields:
        require(field, rows.dtype.names or (), where, "field", "; is it another file?")
    return [rows[field] for field in fields]


def from_files(
    info: Info, root: Path, files: Sequence[str], own: Sequence[str], where: str | os.PathLike, **columns: Any
) -> Source:
    """A source over `files` (relative to `root`), labelled by the own class name of each."""
    columns = {"label": labels_of(own, info.key, where), **columns}
    paths = [os.path.join(os.fspath(root), file) for file in files]
    return table.from_rows(info.key, paths, columns, classes=design(info.key).names, root=root)


def class_folders(root: Path) -> tuple[list[str], list[str]]:
    """Every image of a folder of class folders: relative paths and class folder names, both sorted."""
    from clipjax import image

    files, own = [], []
    for folder in sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        for name in sorted(entry.name for entry in (root / folder).iterdir()):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in image.SUFFIXES:
                files.append(f"{folder}/{name}")
                own.append(folder)
    if not files:
        raise InputError(f"{root} holds no class folders with images; check the path, or unpack the data set again")
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
    whole = _tfds.by_name(_tfds.open_data_set(info, where, split, "label"), info.key)
    return whole.select(slice(*(round(len(whole) * bound) for bound in part)))


def tfds_order(keys: Sequence[str], salt: str) -> np.ndarray:
    """The order in which TFDS writes examples with these keys: by md5(salt + key). int64 [N] positions.

    VTAB's splits of data sets that come without one are slices of this order (tensorflow_datasets/core/hashing.py),
    so they can be cut from the images themselves; `salt` is the name of TFDS's split.
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
