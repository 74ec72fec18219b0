"""A folder of pictures: one sub-folder per class, or a flat folder without labels."""

import contextlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from clipjax import image
from clipjax.data import source
from clipjax.data.source import Source
from clipjax.errors import InputError


def load(
    path: str | os.PathLike,
    classes: Sequence[str] | None = None,
    suffixes: Collection[str] = image.SUFFIXES,
) -> Source:
    """The pictures of a folder, sorted by class folder and then by name; hidden ones are left out.

    With sub-folders, each is a class: named by itself and sorted, or, with `classes`, found by name in that list
    (classes without a folder are fine). Without sub-folders the pictures are unlabelled. Links are followed.
    Raises InputError for an empty folder, an empty class folder, a class folder outside `classes`, pictures beside
    class folders, and folders below class folders (often splits: name one of them).
    """
    path = source.as_path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give the folder that holds the pictures or the class folders")
    endings = tuple(suffix.lower() for suffix in suffixes)
    folders, files = _listing(path, endings)
    if folders and files:
        raise InputError(
            f"{path} holds pictures ({files[0]}) beside folders ({folders[0]}); give a folder of class folders or a"
            " flat folder of pictures"
        )
    if not folders:
        if not files:
            raise InputError(f"{path} holds no pictures (looked for {', '.join(sorted(endings))})")
        return _source(path, files, None, None)
    if classes is None:
        names = tuple(folders)
    else:
        names = tuple(map(str, classes))
        for folder in folders:
            if folder not in names:
                raise InputError(
                    f"{path / folder} is not among the {len(names)} classes{source.nearest(folder, names)}; rename or"
                    " remove the folder, or correct the class list"
                )
    index = {name: i for i, name in reversed(list(enumerate(names)))}
    found: list[str] = []
    labels: list[int] = []
    for folder in folders:
        inside = _class_files(path, folder, endings)
        found += (f"{folder}/{file}" for file in inside)
        labels += [index[folder]] * len(inside)
    return _source(path, found, labels, names)


def _source(path: Path, files: list[str], labels: list[int] | None, classes: tuple[str, ...] | None) -> Source:
    root = os.fspath(path)
    table = {"file": files} if labels is None else {"file": files, "label": labels}
    return Source(
        name=path.name or root,
        table=table,
        classes=classes,
        read=lambda i: source.as_path(os.path.join(root, files[i])),
        fingerprint=source.fingerprint(
            "files", files, source.stamp_files([os.path.join(root, file) for file in files])
        ),
    )


def _class_files(path: Path, folder: str, endings: tuple[str, ...]) -> list[str]:
    below, files = _listing(path / folder, endings)
    if below:
        raise InputError(
            f"{path / folder} holds folders of its own ({below[0]}); give {path / folder} itself if {path} holds"
            " splits, else put each class into one folder"
        )
    if not files:
        raise InputError(f"{path / folder} holds no pictures (looked for {', '.join(sorted(endings))}); remove it")
    return files


def _listing(folder: Path, endings: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Sorted names of the folders and of the pictures directly in `folder`."""
    folders, files = [], []
    # A bucket answers over the network: what is called like a picture is not asked whether it is a folder.
    remote = "://" in os.fspath(folder)
    try:
        with contextlib.nullcontext(folder.iterdir()) if remote else os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                picture = entry.name.lower().endswith(endings)
                if (not picture or not remote) and entry.is_dir():
                    folders.append(entry.name)
                elif picture:
                    files.append(entry.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be listed ({error.strerror}); check its access rights") from error
    return sorted(folders), sorted(files)
