"""What a file is, by its first bytes: which distinguishes failed downloads from files of the requested kind.

A name promises nothing: a git-lfs pointer is called model.safetensors, a page that says "404" photo.jpg.
"""

from __future__ import annotations

import os
from pathlib import Path

from clipjax.errors import InputError, brief

HEAD = 512  # bytes that `kind` looks at

# (how it begins, what it is, what to do with {path}). Those without a remedy are files in their own right.
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "git-lfs pointer", "run git lfs pull in its folder"),
    (b"\x1f\x8b", "gzip file", "unpack it first: gzip -dc {path} > NEW"),
    (b"BZh", "bzip2 file", "unpack it first: bzip2 -dc {path} > NEW"),
    (b"\xfd7zXZ\x00", "xz file", "unpack it first: xz -dc {path} > NEW"),
    (b"\x28\xb5\x2f\xfd", "zstandard file", "unpack it first: zstd -dc {path} > NEW"),
    (b"PK\x03\x04", "zip archive", ""),
    (b"PK\x05\x06", "zip archive", ""),
    (b"\x89HDF\r\n\x1a\n", "HDF5 file", ""),
    (b"GGUF", "GGUF file", ""),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "torch file from before version 1.6", ""),
)


def kind(head: bytes) -> str:
    """What a file with these first bytes is: a name of the table above, or "empty file", "web page", "SVG drawing",
    "JSON text", "tar archive", "safetensors file", "pickle", "msgpack", else "".
    """
    if not head:
        return "empty file"
    if known := next((what for begin, what, _ in _BEGINNINGS if head.startswith(begin)), None):
        return known
    if head[8:9] == b"{" and head[6:8] == b"\0\0":  # its header's length: less than 2^48 bytes
        return "safetensors file"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] == b"<":
        return "SVG drawing" if b"<svg" in text.lower() else "web page"
    if text[:1] in (b"{", b"["):
        return "JSON text"
    if head[257:262] == b"ustar":
        return "tar archive"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return "pickle"
    if b"\x81" <= head[:1] <= b"\x8f" or head[:1] in (b"\xde", b"\xdf"):  # a map of 1 to 15 names, or of more
        return "msgpack"
    return ""


def head(path: str | os.PathLike) -> bytes:
    """The first bytes of a file. InputError where there is none, or it cannot be opened."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name the file inside it")
    try:
        with open(path, "rb") as file:
            return file.read(HEAD)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from None


def check(path: str | os.PathLike, wanted: str, text: bool = False) -> str:
    """The file's `kind`; InputError as `refusal` says. `path` is a local file."""
    first = head(path)
    if error := refusal(first, os.fspath(path), wanted, text):
        raise error
    return kind(first)


def refusal(first: bytes, where: str, wanted: str, text: bool = False) -> InputError | None:
    """Why what begins with these bytes is a leftover of a download or a package around what is wanted; None if not.

    Args:
        first: The first bytes, up to HEAD.
        where: What they are of, for the message: a path, an image's name.
        wanted: What it should be, for the message: "weights", "a JSON file".
        text: Whether the wanted file is text itself, so that "JSON text" and unknown beginnings are its own affair.
    """
    what = kind(first)
    remedy = next((how for begin, _, how in _BEGINNINGS if how and first.startswith(begin)), "")
    if remedy:
        return InputError(f"{where}: is a {what}, not {wanted}; {remedy.format(path=where)}")
    if what == "empty file":
        return InputError(f"{where}: is empty (0 bytes); download, copy or save it again")
    if what == "web page":
        return InputError(f"{where}: is a web page, not {wanted}; download the file itself")
    if what == "JSON text" and not text:
        said = brief(" ".join(first.decode("utf-8", "replace").split()), 80)
        return InputError(f"{where}: is a text in JSON ({said}), not {wanted}; download the file itself")
    if what == "tar archive":
        return InputError(f"{where}: is a tar archive, not {wanted}; unpack it first: tar -xf {where}")
    return None
