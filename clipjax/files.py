"""Files that appear whole or not at all, their sums, and addresses that are not files of this machine."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

import platformdirs

from clipjax.errors import InputError, converted

# gs://bucket, and gs:/bucket, which is what pathlib makes of it. One letter alone is a drive of Windows.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://|(abfss?|az|file|gs|hf|https?|s3):/")
HUB = ("hf",)  # what options that take a model read beside local files
BUCKETS = ("gs", "s3", "az", "hf")  # what options that take a data set read beside local files
# Options, some of one verb alone, and config keys that take more than local paths. All others refuse addresses, those
# of a new verb too; texts that may hold anything are exempt.
ADDRESSES = {
    **dict.fromkeys(("model", "models", "src", "before", "after", "file"), HUB),
    **dict.fromkeys(("shards.what", "shards.test", "shards.place", "shards.out", "embed.out"), BUCKETS[:3]),
    **dict.fromkeys(("data.path", "data.csv", "data.train_path", "data.validation_path", "data.test_path"), BUCKETS),
}
TEXTS = ("template", "fail_if", "templates", "sweep.templates", "prefix")


def local_path(text: str | os.PathLike, option: str) -> Path:
    """The value of `option` as a path of this machine; see `check_address`."""
    check_address(text, option)
    return Path(text)


def check_address(text: str | os.PathLike, option: str, reads: Collection[str] = ()) -> None:
    """Raises InputError for an address (gs://bucket/x, s3://..., hf://org/name) whose scheme is not among `reads`.

    `Path("gs://bucket/x")` is the local folder `gs:/bucket/x`: results would be written to an unexpected place.
    """
    value = os.fspath(text)
    address = _ADDRESS.match(value)
    scheme = (address[1] or address[2]).lower() if address else ""
    if not scheme or scheme in reads:
        return
    if scheme == "file":
        remedy = f"leave out file://: {option}={value.partition(':')[2].replace('//', '', 1)}"
    else:
        also = f" or {', '.join(f'{name}://' for name in reads)}" if reads else ""
        remedy = f"give a local path{also}; copy from and to buckets yourself, or mount the bucket and give its folder"
    raise InputError(f"{option}={value}: {scheme}:// addresses are not read or written here; {remedy}")


def check_option(key: str, value: str, option: str, verb: str = "") -> None:
    """`check_address` of an option or config key; `option` is what it is called in messages."""
    key = re.sub(r"^data_sets\.[^.]+\.", "data.", key)  # of a panel: data of its probes
    if key not in TEXTS:
        check_address(value, option, ADDRESSES.get(f"{verb}.{key}", ADDRESSES.get(key, ())))


def cache_dir() -> Path:
    """The folder of what is kept between runs: `CLIPJAX_CACHE`, or the user's cache folder of this system."""
    if chosen := os.environ.get("CLIPJAX_CACHE"):
        return local_path(chosen, "CLIPJAX_CACHE").expanduser()
    return platformdirs.user_cache_path("clipjax", appauthor=False)


def lines(text: str, where: str | os.PathLike = "the text") -> list[str]:
    r"""The lines of a text, which end at "\n" or "\r\n" and nowhere else.

    str.splitlines also ends them at vertical tabs, form feeds and U+0085, U+2028 and U+2029, which stand inside
    captions; and a text file that is opened with universal newlines has lost the difference.
    Raises InputError, naming `where`, for the carriage returns of old Macs: such a list would be one long line.
    """
    if "\n" not in text and "\r" in text[:-1]:
        name = shlex.quote(os.fspath(where))
        raise InputError(
            f"{where}: lines end at carriage returns alone; write line feeds: tr '\\r' '\\n' < {name} > FILE"
        )
    parts = text.split("\n")
    if not parts[-1]:
        parts.pop()
    return [line.removesuffix("\r") for line in parts]


def sha256(path: str | os.PathLike) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: str | os.PathLike, write: Callable[[Path], object]) -> None:
    """Calls `write(temporary)` in the target's folder, then renames: the target appears whole or not at all.

    Raises:
        InputError: the folder is missing or cannot be written, or the disk is full.
    """
    path = Path(path)
    with converted(f"{path}: cannot write there", "choose another place", OSError):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    try:
        with converted(f"{path}: cannot be written", "check the disk's space and your access rights", OSError):
            write(Path(name))
            os.chmod(name, 0o666 & ~_umask())  # mkstemp's 0600 would hide the file from the user's group
            os.replace(name, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def write_folder(folder: str | os.PathLike, fill: Callable[[Path], object]) -> None:
    """Calls `fill(temporary)` on a new folder beside the target, then renames: the target appears whole or not at all.

    Raises:
        InputError: the target exists and is not an empty folder, its parent cannot be written, or the disk is full.
    """
    folder = Path(folder)
    check_new_folder(folder)
    with converted(f"{folder}: cannot write there", "choose another place", OSError):
        temporary = Path(tempfile.mkdtemp(dir=folder.absolute().parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        with converted(f"{folder}: cannot be written", "check the disk's space and your access rights", OSError):
            fill(temporary)
            temporary.chmod(0o777 & ~_umask())  # mkdtemp's 0700 would hide the folder from the user's group
            os.replace(temporary, folder)  # onto nothing, or onto the empty folder
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_new_folder(folder: Path) -> None:
    """Refuses a target of `write_folder` that holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not an empty folder; name a new one")


def write_text(path: str | os.PathLike, text: str) -> None:
    """`write_atomically` of a text in UTF-8."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
