"""A folder of images: one sub-folder per class, a flat folder without labels, or images with captions beside them."""

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from clipjax import image
from clipjax.data import naming, source
from clipjax.data.kinds import shared
from clipjax.data.source import Source
from clipjax.errors import InputError, converted, nearest, some
from clipjax.progress import say


@dataclasses.dataclass(frozen=True)
class Keys(shared.Folder, shared.Named):
    """What is read of `data.`."""


PART = "path"  # the key that `data.train_path` and `data.test_path` stand for
LARGEST_CAPTION = 1 << 20  # bytes


def open_source(keys: Keys) -> Source:
    """The images of the folder, or of the folder of `split` below it."""
    root = source.as_path(shared.given(keys.path, "folder", "the folder: --config.data.path=FOLDER"))
    return open_folder(root / keys.split if keys.split else root, keys.class_names)


def open_folder(path: str | os.PathLike, class_names: str = "", suffixes: Collection[str] = image.SUFFIXES) -> Source:
    """The images of a folder, sorted by class folder and then by name; hidden ones are left out.

    With sub-folders, each is a class, named by itself or by `class_names` (`naming.find`). Without sub-folders the
    images are unlabelled. Where most images have a text file of the same name beside them (img2dataset's layout), the
    texts are captions and folders are not classes. Links are followed. Raises InputError for an empty folder, an empty
    class folder, images beside class folders, and folders below class folders (often splits: name one of them).
    """
    path = source.as_path(path)
    if not path.is_dir():
        there = _folders(path.parent)
        raise InputError(
            f"{path}: no such folder{nearest(path.name, there)}; give the folder that holds the images or the class "
            f"folders{f' ({path.parent} has {some(sorted(there))})' if there else ''}"
        )
    endings = tuple(suffix.lower() for suffix in suffixes)
    passed_over: Counter[str] = Counter()
    folders, files = _listing(path, endings, passed_over)
    if folders and files:
        raise InputError(
            f"{path} holds images ({files[0]}) beside folders ({folders[0]}); give a folder of class folders or a"
            " flat folder of images"
        )
    if not folders and not files:
        also = f"; {note}" if (note := image.passed_over_note(path, passed_over)) else ""
        raise InputError(f"{path} holds no images (looked for {', '.join(sorted(endings))}){also}")
    if folders:
        passed_over.clear()  # files beside class folders are lists of names, notes, licences
    inside = {folder: _class_files(path, folder, endings, passed_over) for folder in folders}
    files = files or [f"{folder}/{file}" for folder, names in inside.items() for file in names]
    captions = _captions(path, files)
    if captions is not None:
        passed_over.pop(".txt", None)
    if note := image.passed_over_note(path, passed_over):
        say(f"note: {note}")
    values = [folder for folder, names in inside.items() for _ in names]
    labels = None
    if folders and captions is None:
        if not class_names and all(name.lower() in shared.PARTS for name in folders):
            raise InputError(
                f"{path} holds parts of a data set ({', '.join(folders)}); name one: --config.data.split={folders[0]}; "
                f"if they are classes: --config.data.class_names={','.join(f'{name}={name}' for name in folders)}"
            )
        labels = naming.labels(values, str(path), class_names, [path, path.parent])
    elif class_names:
        raise InputError(f"{path} has no class folders, and data.class_names names classes; leave it out")
    root = os.fspath(path)
    return Source(path.name or root, files, lambda i: source.as_path(os.path.join(root, files[i])), labels, captions)


def _captions(path: Path, files: list[str]) -> np.ndarray | None:
    """The texts beside the images, a tuple each, where most images have one."""
    beside = [path / f"{os.path.splitext(file)[0]}.txt" for file in files]
    if "://" in os.fspath(path) or sum(text.is_file() for text in beside[:64]) * 2 <= len(beside[:64]):
        return None
    say(f"note: {path}: text files beside the images are read as their captions; folders are not classes")
    rows = (_caption(text) if text.is_file() else () for text in beside)
    return np.fromiter(rows, object, len(beside))


def _caption(path: Path) -> tuple[str, ...]:
    with converted(f"{path} cannot be read", "check its access rights", OSError):
        if path.stat().st_size > LARGEST_CAPTION:
            raise InputError(f"{path}: exceeds {LARGEST_CAPTION} bytes; a caption beside an image is a short text")
        data = path.read_bytes()
    with converted(f"{path} is not UTF-8 text", "save it as UTF-8", UnicodeDecodeError):
        text = data.decode("utf-8-sig").strip()
    return (text,) if text else ()


def _folders(path: Path) -> list[str]:
    return [entry.name for entry in path.iterdir() if entry.is_dir()] if path.is_dir() else []


def _class_files(path: Path, folder: str, endings: tuple[str, ...], passed_over: Counter[str]) -> list[str]:
    below, files = _listing(path / folder, endings, passed_over)
    if below:
        raise InputError(
            f"{path / folder} holds folders of its own ({below[0]}); give {path / folder} itself if {path} holds"
            " splits, else put each class into one folder"
        )
    if not files:
        raise InputError(f"{path / folder} holds no images (looked for {', '.join(sorted(endings))}); remove it")
    return files


def _listing(folder: Path, endings: tuple[str, ...], passed_over: Counter[str]) -> tuple[list[str], list[str]]:
    """Sorted names of the folders and of the images directly in `folder`; other files are counted by suffix."""
    folders: list[str] = []
    files: list[str] = []
    # A bucket answers over the network: what is called like an image is not asked whether it is a folder.
    remote = "://" in os.fspath(folder)
    with (
        converted(f"{folder} cannot be listed", "check its access rights", OSError),
        _entries(folder, remote) as entries,
    ):
        for entry in entries:
            if entry.name.startswith("."):
                continue
            is_image = entry.name.lower().endswith(endings)
            if (not is_image or not remote) and entry.is_dir():
                folders.append(entry.name)
            elif is_image:
                files.append(entry.name)
            else:
                passed_over[os.path.splitext(entry.name)[1].lower()] += 1
    return sorted(folders), sorted(files)


def _entries(folder: Path, remote: bool) -> contextlib.AbstractContextManager[Iterable[os.DirEntry | Path]]:
    return contextlib.nullcontext(folder.iterdir()) if remote else os.scandir(folder)
