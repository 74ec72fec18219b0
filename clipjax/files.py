"""Files that appear whole or not at all, and their sums."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs

from clipjax.errors import InputError


def cache_dir() -> Path:
    """The folder of what is kept between runs: `CLIPJAX_CACHE`, or the user's cache folder of this system."""
    chosen = os.environ.get("CLIPJAX_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("clipjax", appauthor=False)


def sha256(path: str | os.PathLike) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: str | os.PathLike, write: Callable[[Path], Any]) -> None:
    """Calls `write(temporary)` in the target's folder, then renames: the target appears whole or not at all.

    Raises:
        InputError: the folder is missing or cannot be written, or the disk is full.
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise InputError(f"{path}: cannot write there ({error.strerror})") from error
    os.close(handle)
    try:
        write(Path(name))
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's 0600 would hide the file from the user's group
        os.replace(name, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def write_text(path: str | os.PathLike, text: str) -> None:
    """`write_atomically` of a text in UTF-8."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
