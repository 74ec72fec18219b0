"""Webdataset tar shards: indexed once, read in place, never unpacked. Names in a tar never become paths on disk."""

import dataclasses
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from clipjax import image
from clipjax.data import source
from clipjax.data.source import Source
from clipjax.errors import InputError, one_line

_LARGEST_TEXT = 1 << 20  # bytes of a label or caption file: whatever is larger is none


@dataclasses.dataclass
class _Sample:
    """One picture and its texts: where the picture's bytes lie in which shard, None where there is none."""

    shard: int
    key: str
    file: str | None = None
    offset: int = 0
    size: int = 0
    texts: dict[str, str] = dataclasses.field(default_factory=dict)


def load(
    pattern: str | os.PathLike,
    label_key: str | None = "cls",
    caption_key: str | None = "txt",
    classes: Sequence[str] | None = None,
) -> Source:
    """The samples of one tar, of "shards-{000..012}.tar", or of "shards-*.tar" (sorted), in the order they lie in.

    Files of one sample share their name up to its first dot; the picture is the first with a suffix of a picture.
    Where samples have a `label_key` file, all must have it, and `classes` (else the different labels) are its
    classes. A `caption_key` file has one caption a line. Files are called "shard.tar/name.jpg". A sample without a
    picture keeps its row, and fails when it is read.
    Raises InputError where no shard is found, one is compressed, damaged or cut off, or labels are missing.
    """
    shards = _shards(os.fspath(pattern))
    samples = [
        sample for number, shard in enumerate(shards) for sample in _index(shard, number, label_key, caption_key)
    ]
    if not samples:
        raise InputError(f"{pattern} holds no samples; check the pattern")
    name = _name(shards)
    files = [f"{shards[s.shard].name}/{s.file or s.key}" for s in samples]
    table: dict[str, Any] = {"file": files}
    names = None if classes is None else tuple(classes)
    if label_key is not None and any(label_key in sample.texts for sample in samples):
        values = [_text(sample, label_key, file, name) for sample, file in zip(samples, files, strict=True)]
        whole = all(re.fullmatch(r"-?\d{1,18}", value) for value in values)
        numbers = [int(value) for value in values] if whole else values
        table["label"], names = source.class_index(numbers, classes, name, files)
    if caption_key is not None and any(caption_key in sample.texts for sample in samples):
        lines = [_text(sample, caption_key, file, name) for sample, file in zip(samples, files, strict=True)]
        table["captions"] = [tuple(filter(None, map(str.strip, text.splitlines()))) for text in lines]
    places = [(s.shard, s.offset, s.size) if s.file is not None else None for s in samples]

    def read(i: int) -> bytes:
        place = places[i]
        if place is None:
            raise InputError(f"{files[i]} has no picture beside its texts; write the shard again")
        shard, offset, size = place
        with shards[shard].open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        if len(data) < size:
            raise InputError(f"{files[i]} ends after {len(data)} of {size} bytes; fetch the shard again")
        return data

    stamps = source.stamp_files(shards)
    return Source(
        name=name,
        table=table,
        classes=names,
        read=read,
        fingerprint=source.fingerprint("webdataset", [shard.name for shard in shards], stamps),
    )


def _shards(pattern: str) -> list[Path]:
    found = [path for part in _braces(pattern) for path in _glob(part)]
    if not found:
        raise InputError(f"{pattern}: no such shards; give a tar, shards-{{000..012}}.tar or shards-*.tar")
    return found


def _braces(pattern: str) -> Iterator[str]:
    span = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if not span:
        yield pattern
        return
    first, last = span.groups()
    for number in range(int(first), int(last) + 1):
        yield from _braces(pattern[: span.start()] + f"{number:0{len(first)}d}" + pattern[span.end() :])


def _glob(pattern: str) -> list[Path]:
    path = source.as_path(pattern)
    if not any(c in path.name for c in "*?["):
        if not path.exists():
            raise InputError(f"{path}: no such shard; fetch it, or correct the pattern")
        return [path]
    return sorted(path.parent.glob(path.name))


def _name(shards: Sequence[Path]) -> str:
    """What the shards share: "train-000.tar" and "train-001.tar" are "train"."""
    return shards[0].name.split(".")[0].rstrip("-_0123456789") or shards[0].parent.name or "webdataset"


def _index(shard: Path, number: int, label_key: str | None, caption_key: str | None) -> Iterator[_Sample]:
    wanted = {key for key in (label_key, caption_key) if key is not None}
    sample: _Sample | None = None
    try:
        with shard.open("rb") as file, tarfile.open(fileobj=cast(IO[bytes], _Bounded(file)), mode="r:") as tar:
            before = -1
            while (member := tar.next()) is not None:
                if member.size < 0 or tar.offset <= before:
                    raise tarfile.ReadError("a member of negative size")
                before = tar.offset
                tar.members = []  # pyrefly: ignore[missing-attribute]  tarfile keeps every header otherwise, and a shard may have a million
                if not member.isreg() or member.issparse():
                    continue
                folder, _, base = member.name.rpartition("/")
                key, _, suffix = base.partition(".")
                if not key:
                    continue  # a hidden file, or what macOS adds
                key = f"{folder}/{key}" if folder else key
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    sample = _Sample(number, key)
                _add(sample, member, suffix.lower(), wanted, tar)
            # tarfile takes a shard that was cut between two members, or in a header, for a whole one.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("no end of archive")
    except (tarfile.TarError, ArithmeticError, ValueError) as error:
        raise InputError(
            f"{shard} is no plain tar, or is cut off ({one_line(error)}); fetch it again, or unpack a .tar.gz to .tar:"
            " compressed shards have no random access"
        ) from error
    except OSError as error:
        raise InputError(f"{shard} cannot be read ({error.strerror}); check its access rights") from error
    if sample is not None:
        yield sample


class _Bounded:
    """A shard as tarfile reads it: long names and extended headers come in one piece, as long as they claim to be."""

    def __init__(self, file: IO[bytes]):
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_TEXT:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _add(sample: _Sample, member: tarfile.TarInfo, suffix: str, wanted: set[str], tar: tarfile.TarFile) -> None:
    if sample.file is None and "." + suffix.rpartition(".")[2] in image.SUFFIXES:
        sample.file, sample.offset, sample.size = member.name, member.offset_data, member.size
    elif suffix in wanted and member.size <= _LARGEST_TEXT:
        with cast(IO[bytes], tar.extractfile(member)) as text:  # None only for what is no file
            sample.texts[suffix] = text.read().decode("utf-8", "replace").strip()


def _text(sample: _Sample, key: str, file: str, name: str) -> str:
    if key not in sample.texts:
        raise InputError(f"{name}: {file} has no .{key}, other samples have; write the shard again or ask for no {key}")
    return sample.texts[key]
