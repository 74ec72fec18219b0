"""WebDataset shards: tar files that are indexed once, read in place and never unpacked.

The format's rules: a member's key is its path up to the first dot of the file name, its extension is all that follows,
in lower case; members of one key that lie together in one shard are one sample. Which member is the image goes by
its exact extension, never by the order in the tar. Names in a tar never become paths on disk.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np

from clipjax import image, signatures
from clipjax.data import tables
from clipjax.errors import InputError, brief, converted, some
from clipjax.files import lines

LARGEST_TEXT = 1 << 20  # bytes of a label, caption or json member, and of a tar's own extended headers
_MOST_SHARDS = 1_000_000
_META = re.compile(r"__[^/]*__($|/)")  # the format's own notes, which belong to no sample


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of a member lie."""

    shard: int
    name: str
    offset: int
    size: int


@dataclasses.dataclass(slots=True)
class Sample:
    """The members of one key that are of use, by extension, and the extensions of all of them."""

    shard: int
    key: str
    members: dict[str, Place]
    extensions: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """N samples in the order of the shards.

    `files` are "shard.tar/name.jpg", or "shard.tar/key" where a sample has no image; `images` the places of the images.
    `missing` says for the rows without an image what they lack. `extensions` counts all members by extension.
    """

    shards: tuple[Path, ...]
    samples: tuple[Sample, ...]
    files: tuple[str, ...]
    images: tuple[Place | None, ...]
    missing: Mapping[int, str]
    extensions: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, i: int) -> bytes:
        """The bytes of the image of row `i`, from any number of threads. Raises InputError where it has none."""
        place = self.images[i]
        if place is None:
            raise InputError(self.missing[i])
        with self.shards[place.shard].open("rb") as file:
            return self._at(file, place)

    def texts(self, extension: str) -> tuple[np.ndarray, dict[int, str]]:
        """The members with this extension as text: object [N] of str or None, and why for every row with None.

        Surrounding white space is left out, and what is then empty is missing, as is what is not UTF-8.
        """
        values, why = [], {}
        extension = extension.removeprefix(".").lower()
        for row, data in enumerate(self._members(extension)):
            value = None
            if isinstance(data, str):
                why[row] = data
            else:
                try:
                    value = data.decode("utf-8-sig").strip() or None
                    if value is None:
                        why[row] = f"{self._name(row, extension)} is empty"
                except UnicodeDecodeError as error:
                    why[row] = f"{self._name(row, extension)} is not UTF-8 (byte {error.start})"
            values.append(value)
        return np.fromiter(values, object, len(values)), why

    def captions(self, extension: str = "txt") -> tuple[np.ndarray, dict[int, str]]:
        """As `texts`, with the lines of each member: object [N] of tuples of str, blank lines left out, or None."""
        values, why = self.texts(extension)
        rows: list[tuple[str, ...] | None] = []
        for row, value in enumerate(values):
            try:
                listed = [line.strip() for line in lines(value or "")]
                rows.append(tuple(filter(None, listed)) if value else None)
            except InputError:
                name = self._name(row, extension)
                why[row] = f"{name} has lines that end at carriage returns alone; write it again with line feeds"
                rows.append(None)
        return np.fromiter(rows, object, len(rows)), why

    def fields(self, names: Sequence[str]) -> tuple[dict[str, tables.Column], dict[int, str]]:
        """Fields of the json members as columns (see `tables`), and why for every row that has no json.

        Raises InputError for a field that no sample has, with the nearest name.
        """
        rows, why = [], {}
        for row, data in enumerate(self._members("json")):
            record = {}
            if isinstance(data, str):
                why[row] = data
            else:
                try:
                    record = tables.json_value(data, self._name(row, "json"))
                except InputError as error:
                    why[row] = str(error)
                if not isinstance(record, dict):
                    why[row], record = f"{self._name(row, 'json')} is not an object", {}
            rows.append(record)
        where = self.shards[0]
        there = dict.fromkeys(key for record in rows for key in record)
        tables.check_names(where, names, list(there))
        share: dict[str, str] = {}
        columns = {}
        for name in dict.fromkeys(names):
            values = [record.get(name) for record in rows]
            columns[name] = tables.Column(tables.json_column(values, name, where.name, share))
        return columns, why

    def _name(self, row: int, extension: str) -> str:
        sample = self.samples[row]
        return f"{self.shards[sample.shard].name}/{sample.key}.{extension}"

    def _members(self, extension: str) -> Iterator[bytes | str]:
        """The bytes of the member with this extension of every sample, or in one line why there are none."""
        file: IO[bytes] | None = None
        shard = -1
        try:
            for row, sample in enumerate(self.samples):
                place = sample.members.get(extension)
                if place is None:
                    yield f"{self.shards[sample.shard].name}/{sample.key} has no .{extension}"
                elif place.size > LARGEST_TEXT:
                    yield f"{self._name(row, extension)} has {place.size} bytes, more than a text of 1 MiB"
                else:
                    if shard != place.shard or file is None:
                        if file is not None:
                            file.close()
                        file, shard = self.shards[place.shard].open("rb"), place.shard
                    yield self._at(file, place)
        finally:
            if file is not None:
                file.close()

    def _at(self, file: IO[bytes], place: Place) -> bytes:
        file.seek(place.offset)
        data = file.read(place.size)
        if len(data) < place.size:
            name = f"{self.shards[place.shard].name}/{place.name}"
            raise InputError(f"{name} ends after {len(data)} of {place.size} bytes; fetch the shard again")
        return data


def index(shards: Sequence[Path], image_key: str = "", wanted: Iterable[str] = ("cls", "txt", "json")) -> Index:
    """The samples of the shards, with the places of their image and of the `wanted` other members.

    `image_key` is the image's extension, or several as in WebDataset, the first that a sample has counting:
    "jpg;png" or "left.jpg". Without it the image is the one member whose extension is that of an image file; where
    there is none such, the one with the only compound extension that ends so, as "left.jpg" for all samples.
    Raises InputError, naming shard and member, where a shard is not a plain tar or is cut off, a member comes twice,
    a sample has several images, or its members are spread over one shard or two.
    """
    keys = tuple(key.strip().removeprefix(".").lower() for key in image_key.split(";") if key.strip())
    useful = {*keys, *(extension.removeprefix(".").lower() for extension in wanted)}
    extensions: Counter[str] = Counter()
    samples: list[Sample] = []
    kinds: dict[tuple[str, ...], tuple[str, ...]] = {}  # a million samples share a few tuples
    for number, shard in enumerate(shards):
        for sample in _samples(shard, number, useful, images=not keys):
            sample.extensions = kinds.setdefault(sample.extensions, sample.extensions)
            extensions.update(sample.extensions)
            samples.append(sample)
    if not samples:
        raise InputError(f"{some([str(shard) for shard in shards])} holds no samples; check the pattern")
    keys = keys or _image_keys(shards, samples, extensions)
    images = [next((s.members[key] for key in keys if key in s.members), None) for s in samples]
    if not any(images):
        listed = some([f".{one}" for one, _ in extensions.most_common()])
        raise InputError(
            f"{shards[0]}: no sample has an image, but {listed}; name their extension:"
            " --config.data.image_column=EXTENSION"
        )
    missing = {}
    for row, (sample, place) in enumerate(zip(samples, images, strict=True)):
        if place is None:
            missing[row] = f"{shards[sample.shard].name}/{sample.key} has no image, but {_there(sample, keys)}"
    files = [
        f"{shards[sample.shard].name}/{sample.key if place is None else place.name}"
        for sample, place in zip(samples, images, strict=True)
    ]
    made = Index(tuple(shards), tuple(samples), tuple(files), tuple(images), missing, extensions)
    _check_across(made)
    return made


def _there(sample: Sample, keys: Sequence[str]) -> str:
    """What a sample without an image has, and how to take what may be one."""
    other = next((one for one in sample.extensions if _is_image(one)), None)
    remedy = f"; to take .{other} too: --config.data.image_column='{';'.join([*keys, other])}'" if other else ""
    return f"{some([f'.{one}' for one in sample.extensions])}{remedy}"


def _is_image(extension: str) -> bool:
    return f".{extension.rpartition('.')[2]}" in image.SUFFIXES


def _image_keys(shards: Sequence[Path], samples: Sequence[Sample], extensions: Mapping[str, int]) -> tuple[str, ...]:
    """The extensions of images where none was named. Raises InputError where that leaves a choice."""
    exact = tuple(one for one in extensions if _is_image(one) and "." not in one)
    if not exact:
        compound = [one for one in extensions if _is_image(one)]
        if len(compound) > 1:
            raise InputError(
                f"{shards[0]}: its images are called {some([f'.{one}' for one in sorted(compound)])}; name the one to"
                f" take: --config.data.image_column={min(compound)}"
            )
        return tuple(compound)
    for sample in samples:
        several = sorted(one for one in sample.extensions if one in exact)
        if len(several) > 1:
            raise InputError(
                f"{shards[sample.shard]}: {sample.key} has several images ({some([f'.{one}' for one in several])});"
                f" name the one to take: --config.data.image_column={several[0]}"
            )
    return exact


def _check_across(index: Index) -> None:
    """Raises InputError where shards share a sample: its image is in both, or its members are spread over them.

    A key alone may come again: some writers count anew in every shard.
    """
    first: dict[str, int] = {}
    same: dict[tuple[str, int], int] = {}
    for row, (sample, place) in enumerate(zip(index.samples, index.images, strict=True)):
        before = first.setdefault(sample.key, row)
        if before != row:
            other = index.samples[before]
            if (index.images[before] is None) != (place is None) and not set(other.extensions) & set(sample.extensions):
                raise InputError(
                    f"{index.shards[sample.shard]}: the members of {sample.key} are spread over this shard and"
                    f" {index.shards[other.shard].name}; a sample has to lie in one shard: write the shards again"
                )
        if place is not None:
            before = same.setdefault((sample.key, place.size), row)
            if before != row and index.read(before) == index.read(row):
                raise InputError(
                    f"{index.shards[sample.shard]}: {place.name} is in {index.files[before].partition('/')[0]} already,"
                    " with the same bytes; leave one of the two shards out"
                )


def _samples(shard: Path, number: int, useful: set[str], images: bool) -> Iterator[Sample]:
    """The samples of one shard; their members that are `useful`, and where `images` all that may be images."""
    sample: Sample | None = None
    seen: set[str] = set()
    there: dict[str, None] = {}
    for member in _members(shard):
        folder, _, base = member.name.rpartition("/")
        stem, dot, extension = base.partition(".")
        if not stem or not dot or _META.match(member.name):
            continue  # a hidden file, what macOS adds, or no member of a sample
        key, extension = f"{folder}/{stem}" if folder else stem, extension.lower()
        if sample is None or sample.key != key:
            if sample is not None:
                sample.extensions = tuple(there)
                yield sample
            if key in seen:
                raise InputError(
                    f"{shard}: {brief(member.name)} comes after other samples, and its sample {brief(key)} began before"
                    " them: members of a sample lie together, none comes twice; write the shard again (tar --sort=name)"
                )
            seen.add(key)
            sample, there = Sample(number, key, {}), {}
        if extension in there:
            raise InputError(f"{shard}: {brief(member.name)} comes twice in its sample; write the shard again")
        there[extension] = None
        if extension in useful or (images and _is_image(extension)):
            sample.members[extension] = Place(number, member.name, member.offset_data, member.size)
    if sample is not None:
        sample.extensions = tuple(there)
        yield sample


def _members(shard: Path) -> Iterator[tarfile.TarInfo]:
    """The plain files of a tar. Raises InputError where it is compressed, damaged or cut off."""
    remedy = "fetch it again, or unpack a .tar.gz to .tar: compressed shards have no random access"
    damage = (tarfile.TarError, ArithmeticError, ValueError)
    with (
        converted(f"{shard} cannot be read", "check its access rights", OSError),
        converted(f"{shard} is not a plain tar, or is cut off", remedy, *damage),
        shard.open("rb") as file,
    ):
        first = file.read(signatures.HEAD)
        leftover = signatures.refusal(first, os.fspath(shard), "a tar")
        if leftover and signatures.kind(first) != "tar archive":
            raise leftover
        file.seek(0)
        with tarfile.open(fileobj=cast(IO[bytes], _Bounded(file)), mode="r:") as tar:
            before = -1
            while (member := tar.next()) is not None:
                if member.size < 0 or tar.offset <= before:
                    raise tarfile.ReadError("a member of negative size")
                before = tar.offset
                tar.members = []  # pyrefly: ignore[missing-attribute]  tarfile keeps every header otherwise, and a shard may have a million
                if member.isreg() and not member.issparse():
                    yield member
            # tarfile takes a shard that was cut between two members, or in a header, for a whole one.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("no end of archive")


class _Bounded:
    """A shard as tarfile reads it: long names and extended headers come in one piece, as long as they claim to be."""

    def __init__(self, file: IO[bytes]):
        self._file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= LARGEST_TEXT:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


# Names of shards


def expand(pattern: str) -> list[str]:
    """The names that a pattern of shards means, in order: "a-{000..012}.tar", "{train,val}.tar", several with "::"."""
    every = (name for part in pattern.split("::") for name in _braces(part))
    names = list(itertools.islice(every, _MOST_SHARDS + 1))
    if len(names) > _MOST_SHARDS:
        raise InputError(f"{brief(pattern)} means more than {_MOST_SHARDS} shards; check its numbers")
    return names


def _braces(pattern: str) -> Iterator[str]:
    """Brace expansion as bash does it: ranges of numbers, with or without leading zeros and a step, and lists."""
    for opening, at in ((m.start(), m.end()) for m in re.finditer(r"\{", pattern)):
        closing = _closing(pattern, at)
        if closing is None:
            continue
        inside = list(_inside(pattern[at:closing]))
        if not inside:
            continue  # {name} is not an expansion
        for one in inside:
            for rest in _braces(pattern[closing + 1 :]):
                yield pattern[:opening] + one + rest
        return
    yield pattern


def _closing(pattern: str, at: int) -> int | None:
    depth = 1
    for i in range(at, len(pattern)):
        depth += {"{": 1, "}": -1}.get(pattern[i], 0)
        if not depth:
            return i
    return None


def _inside(text: str) -> Iterable[str]:
    span = re.fullmatch(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(-?\d{1,18}))?", text, re.ASCII)
    if span:
        first, last = int(span[1]), int(span[2])
        step = abs(int(span[3] or 1)) or 1
        padded = any(re.match(r"-?0\d", number) for number in (span[1], span[2]))
        width = max(len(span[1]), len(span[2])) if padded else 0
        numbers = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
        if len(numbers) > _MOST_SHARDS:
            raise InputError(f"{{{text}}} means more than {_MOST_SHARDS} shards; check its numbers")
        return (f"{number:0{width}d}" for number in numbers)
    options, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += {"{": 1, "}": -1}.get(c, 0)
        if c == "," and not depth:
            options.append(text[start:i])
            start = i + 1
    if not options:
        return ()
    return (one for option in (*options, text[start:]) for one in _braces(option))
