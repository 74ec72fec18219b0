"""Where the files of a sharded run lie: a folder, or a bucket (gs://, s3://, az://) through fsspec.

Nothing is renamed and nothing is changed in place, so a bucket behaves as a disk does: a file is written whole under a
name that has its own sum in it, or is created only if it is absent.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import fsspec

from clipjax.data.source import as_path
from clipjax.errors import InputError, converted
from clipjax.files import write_atomically

REMEDY = "choose another place, or repair it"
NEW_PLAN = "make a new plan in another folder"


class Store:
    """The files below one place, by names with "/"."""

    def __init__(self, place: str | os.PathLike):
        self.place = os.fspath(place).rstrip("/")
        self._local = None if "://" in self.place else Path(self.place)
        self._fs: Any = None
        if self._local is None:
            if not self.place.startswith("memory://"):  # fsspec's own, for tests
                as_path(self.place)  # InputError for a scheme that is not known, or without its driver
            self._fs = fsspec.filesystem(self.place.partition("://")[0])

    def path(self, name: str) -> str:
        """What a file is called in messages, and by other tools."""
        return f"{self.place}/{name}"

    def names(self, folder: str) -> list[str]:
        """The names of a folder's files, sorted, without the folder; [] of a folder that does not exist."""
        with self._errors(folder):
            if self._local is not None:
                try:
                    found = [entry.name for entry in os.scandir(self._local / folder) if entry.is_file()]
                except FileNotFoundError:
                    found = []
                return sorted(name for name in found if not name.startswith("."))
            self._fs.invalidate_cache()  # a listing that is kept would not have what other workers wrote
            try:
                return sorted(path.rpartition("/")[2] for path in self._fs.ls(self.path(folder), detail=False))
            except FileNotFoundError:
                return []

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        with self._errors(name):
            return (self._local / name).exists() if self._local is not None else bool(self._fs.exists(self.path(name)))

    def size(self, name: str) -> int | None:
        """Its bytes; None of a file that does not exist."""
        with self._errors(name):
            try:
                return (self._local / name).stat().st_size if self._local else int(self._fs.size(self.path(name)))
            except FileNotFoundError:
                return None

    def open(self, name: str) -> IO[bytes]:
        """For reading, from anywhere in it. InputError for a file that does not exist."""
        with (
            converted(f"{self.path(name)}: no such file", "`clipjax shards verify` tells more", FileNotFoundError),
            self._errors(name),
        ):
            return open(self._local / name, "rb") if self._local is not None else self._fs.open(self.path(name), "rb")

    def read(self, name: str) -> bytes:
        """All of it."""
        with self.open(name) as file, self._errors(name):
            return file.read()

    def write(self, name: str, data: bytes) -> None:
        """The file appears whole, in place of one of that name."""
        self._put(name, lambda path: self._fs.pipe_file(path, data), lambda path: path.write_bytes(data))

    def copy(self, name: str, file: Path) -> None:
        """As `write`, of a file on a disk, which may be too large for memory."""
        self._put(name, lambda path: self._fs.put_file(os.fspath(file), path), lambda path: shutil.copyfile(file, path))

    def _put(self, name: str, put: Callable[[str], object], save: Callable[[Path], object]) -> None:
        """`put` into a bucket is one request, never a file that is open for writing: of that a driver uploads what it
        has where an error or a signal comes between."""
        with self._errors(name):
            if self._local is None:
                put(self.path(name))
                return
            path = self._local / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, save)

    def create(self, name: str, data: bytes) -> bool:
        """Writes the file, whole, only if the name is not taken; whether it did."""
        with self._errors(name):
            if self._local is None:
                try:
                    self._fs.pipe_file(self.path(name), data, mode="create")  # if-none-match of the store
                except FileExistsError:
                    return False
                return True
            path = self._local / name
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
            try:
                with open(handle, "wb") as file:
                    file.write(data)
                os.chmod(temporary, 0o644)
                os.link(temporary, path)  # fails where there is one, on network disks too; a rename would replace it
            except FileExistsError:
                return False
            finally:
                os.unlink(temporary)
            return True

    def remove(self, name: str) -> None:
        """Also of a file that is not there."""
        with self._errors(name), contextlib.suppress(FileNotFoundError):
            if self._local is not None:
                (self._local / name).unlink()
            else:
                self._fs.rm_file(self.path(name))

    def local(self, name: str) -> Path | None:
        """The file itself, where it lies on a disk: for memory maps."""
        return self._local and self._local / name

    def _errors(self, name: str) -> contextlib.AbstractContextManager[None]:
        @contextlib.contextmanager
        def one_line():
            try:
                yield
            except (FileNotFoundError, FileExistsError):
                raise
            except OSError as error:
                reason = error.strerror or str(error).splitlines()[0]
                raise InputError(f"{self.path(name)}: cannot be read or written ({reason}); {REMEDY}") from error

        return one_line()
