"""Delimited text: which encoding and separator, whether quotation marks quote, and rows that all fit the header.

What a table does not say itself (no file notes its own dialect) is decided by evidence, and refused where the evidence
allows two readings: a caption too many is a wrong number.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import dataclasses
import gzip
import io
import itertools
import os
import re
import shlex
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TextIO, cast

from clipjax import signatures
from clipjax.errors import InputError, brief, converted, one_line

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_HEAD = 1 << 16  # bytes that tell encoding and line ends
_SAMPLE = 1000  # rows that tell separators apart where the header alone does not


@dataclasses.dataclass(frozen=True)
class Text:
    """A text file as it is to be opened: through gzip or not, its encoding, and what ends its lines."""

    path: Path
    packed: bool
    encoding: str
    newline: str

    @contextlib.contextmanager
    def opened(self) -> Iterator[TextIO]:
        """The characters of the file. Raises InputError where they cannot be read, or are not in its encoding."""
        try:
            with _readable(self.path), _bytes(self.path, self.packed) as stream:
                # A file without "\n" has the line ends of old Macs; in all others a lone "\r" is part of the text.
                yield io.TextIOWrapper(stream, self.encoding, newline=self.newline)
        except UnicodeDecodeError as error:
            raise _not_text(self) from error


@dataclasses.dataclass(frozen=True)
class Table:
    """A delimited table: its text, its dialect and its column names, surrounding spaces removed."""

    text: Text
    separator: str
    quoted: bool
    spaced: bool  # ", " separates, as the header shows
    names: tuple[str, ...]


def text(path: Path) -> Text:
    """How to open a text file. Raises InputError where it is empty, cannot be read or is not text."""
    with _readable(path):
        with path.open("rb") as file:
            first = file.read(signatures.HEAD)
        packed = signatures.kind(first) == "gzip file"
        if not packed and (leftover := signatures.refusal(first, os.fspath(path), "a table", text=True)):
            raise leftover
        with _bytes(path, packed) as stream:
            head = stream.read(_HEAD)
    if not head:
        raise InputError(f"{path}: is empty (0 bytes); download, copy or save it again")
    encoding = "utf-8-sig"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise _recode(path, "is UTF-32", "UTF-32")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"  # what Excel calls "Unicode text"
    elif b"\0" in head:
        little = head[1::2].count(0) >= head[::2].count(0)
        raise _recode(path, "holds zero bytes, as UTF-16 does", "UTF-16LE" if little else "UTF-16BE")
    start = head.decode(encoding, "ignore")
    return Text(path, packed, encoding, "\r" if "\r" in start and "\n" not in start else "\n")


def table(path: Path, names: Sequence[str] = ()) -> Table:
    """The dialect and header of a table; `names` are the columns that are wanted from it, which is evidence too."""
    content = text(path)
    own = "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else ","
    separator = _separator(content, own, names)
    quoted = separator != "\t" or _quotes_quote(content)
    _, header, _ = next(_records(content, separator, quoted, False))
    spaced = quoted and len(header) > 1 and all(name.startswith(" ") for name in header[1:])
    return Table(content, separator, quoted, spaced, tuple(name.strip() for name in header))


def rows(table: Table) -> Iterator[list[str]]:
    """The rows below the header, all of its width; blank lines are left out. Raises InputError naming the line."""
    width, path = len(table.names), table.text.path
    records = _records(table.text, table.separator, table.quoted, table.spaced)
    next(records)
    for line, row, raw in records:
        if len(row) != width:
            raise InputError(f"{path} line {line} has {_fields(len(row))}, the header has {width}; {_hint(table)}")
        if len(raw) > 1:
            _check_swallowed(path, table.separator, line, row, raw)
        elif f'{table.separator} "' in raw[0] and table.quoted and not table.spaced:
            _check_spaces(path, table.separator, line, row, raw[0])
        yield row


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _hint(table: Table) -> str:
    if table.quoted:
        return f"put a field that holds {SEPARATORS[table.separator]} in quotation marks"
    return "take tabs and line breaks out of the texts, or save the table as jsonl"


@contextlib.contextmanager
def _bytes(path: Path, packed: bool) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield cast(IO[bytes], unpacked)


def _readable(path: Path) -> contextlib.AbstractContextManager[None]:
    remedy = "fetch or copy it again, or check its access rights"
    return converted(f"{path} cannot be read", remedy, OSError, EOFError, zlib.error)


def _recode(path: Path, what: str, encoding: str) -> InputError:
    target = path.with_name("utf8-" + path.name.removesuffix(".gz"))
    source = f"{shlex.quote(str(path))}"
    command = f"iconv -f {encoding} -t UTF-8 {source} > {shlex.quote(str(target))}"
    return InputError(f"{path} {what}; tables are read in UTF-8: {command}")


def _not_text(text: Text) -> InputError:
    """Names the byte that is at fault, which a stream of characters cannot."""
    with _bytes(text.path, text.packed) as stream:
        data = stream.read()
    try:
        data.decode(text.encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        name = "UTF-16" if text.encoding == "utf-16" else "UTF-8"
        what = f"is not {name}: byte {error.start} (line {line}) is 0x{data[error.start]:02x}"
        return (
            _recode(text.path, what, "WINDOWS-1252")
            if name == "UTF-8"
            else InputError(f"{text.path} {what}; fetch or copy it again")
        )
    return InputError(f"{text.path} changed while it was read; run the command again")


def _records(
    text: Text, separator: str, quoted: bool, spaced: bool, most: int | None = None
) -> Iterator[tuple[int, list[str], list[str]]]:
    """(number of its first line, fields, lines) of every record that is not a blank line, header included."""
    with text.opened() as stream:
        lines = stream if most is None else itertools.islice(stream, most)
        if not quoted:
            for number, line in enumerate(lines, 1):
                whole = line.rstrip("\n").removesuffix("\r")
                if whole:
                    yield number, whole.split(separator), [line]
            return
        kept: list[str] = []
        reader = csv.reader(_kept(lines, kept), delimiter=separator, strict=True, skipinitialspace=spaced)
        start = 1
        try:
            for row in reader:
                if row:
                    yield start, row, kept
                start = reader.line_num + 1
                kept.clear()
        except csv.Error as error:
            raise InputError(f"{text.path} line {start}: {_fault(str(error))}") from error


def _kept(lines: Iterator[str], kept: list[str]) -> Iterator[str]:
    for line in lines:
        kept.append(line)
        yield line


def _fault(error: str) -> str:
    """What the csv library objects to, in words, with the remedy."""
    twice = "; write every quotation mark inside a field twice, or save the table as jsonl or parquet"
    if "unexpected end of data" in error:
        return f"a field begins with a quotation mark that is never closed{twice}"
    if "expected after" in error:
        return f"a field goes on after its closing quotation mark{twice}"
    if "field larger than" in error:
        return f"a field has more than 131072 characters, as where a quotation mark is never closed{twice}"
    if "new-line character" in error:
        return "a carriage return stands inside a field; put the field in quotation marks, or end lines with line feeds"
    return f"{one_line(error)}; save the table as jsonl or parquet"


def _separator(text: Text, own: str, names: Sequence[str]) -> str:
    """What separates the columns: `own` by the file's suffix, or what the header line shows."""
    with text.opened() as stream:
        first = next((line for line in stream if line.strip("\r\n")), "")
    if not first:
        raise InputError(f"{text.path} holds only blank lines; fetch or copy it again")
    readings = {one: _cells(first, one) for one in SEPARATORS}
    readings = {one: cells for one, cells in readings.items() if len(cells) > 1 or one == own}
    fitting = [one for one, cells in readings.items() if names and set(names) <= {cell.strip() for cell in cells}]
    if len(fitting) == 1:
        return fitting[0]
    left = [one for one in (fitting or readings) if len(readings[one]) > 1]
    if len(left) > 1:
        even = [one for one in left if _even(text, one)]
        left = even if len(even) == 1 else left
    if len(left) > 1:
        ways = " and ".join(
            f"as {len(readings[one])} columns at {SEPARATORS[one]} ({', '.join(map(brief, readings[one][:4]))})"
            for one in left
        )
        raise InputError(f"{text.path}: line 1 reads {ways}; put a name that holds a separator in quotation marks")
    return left[0] if left else own


def _cells(line: str, separator: str) -> list[str]:
    """The fields of one line by itself."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=separator), [])
    except csv.Error:
        return line.rstrip("\r\n").split(separator)


def _even(text: Text, separator: str) -> bool:
    """Whether the first rows have one width."""
    for quoted in (True, False) if separator == "\t" else (True,):
        try:
            if len({len(row) for _, row, _ in _records(text, separator, quoted, False, _SAMPLE)}) == 1:
                return True
        except InputError:
            continue
    return False


def _quotes_quote(text: Text) -> bool:
    """Whether the quotation marks of a tab-separated table enclose fields (Excel), or are part of the texts (CC3M).

    Only one reading gives every row the header's width, as a rule. Where both do, a writer that quotes only what
    needs it has doubled marks inside, and one that quotes a whole column leaves no field of it bare.
    """
    even, enclosed, width = True, False, 0
    with text.opened() as stream:
        for line in stream:
            if not line.strip("\r\n"):
                continue
            width = width or line.count("\t") + 1
            even = even and line.count("\t") + 1 == width
            enclosed = enclosed or '\t"' in line or line[0] == '"'
    if not enclosed:
        return False
    marks = _Marks()
    try:
        for line, row, raw in _records(text, "\t", True, False):
            width = len(row) if line == 1 else width
            if line == 1:
                marks.header = '\t"' in raw[0] or raw[0][0] == '"'
            if len(row) != width:
                return not even
            if len(raw) > 1:
                _check_swallowed(text.path, "\t", line, row, raw)
            marks.add(line, row, raw)
    except InputError:
        return False  # where this reading fails too, it names the line
    return not even or marks.quote(text.path)


class _Marks:
    """The fields of a tab-separated table that stand in quotation marks."""

    def __init__(self) -> None:
        self.header = False
        self.needed = self.excel = self.bare = 0
        self.first = (0, "")
        self.enclosed: dict[int, int] = {}  # column -> fields in quotation marks
        self.filled: dict[int, int] = {}  # column -> fields that are not empty

    def add(self, line: int, row: list[str], raw: list[str]) -> None:
        cells = raw[0].rstrip("\r\n").split("\t") if len(raw) == 1 else []
        if len(cells) != len(row):  # a tab or a line break inside
            self.needed += 1
            return
        for column, (cell, value) in enumerate(zip(cells, row, strict=True)):
            if value:
                self.filled[column] = self.filled.get(column, 0) + 1
            if cell == value or not value:
                continue
            self.enclosed[column] = self.enclosed.get(column, 0) + 1
            if '"' in value:
                self.needed += 1
            elif "," in value:
                self.excel += 1
                self.first = self.first if self.first[0] else (line, cell)
            else:
                self.bare += 1
                self.first = self.first if self.first[0] else (line, cell)

    def quote(self, path: Path) -> bool:
        if self.header or all(self.filled[column] - count <= 1 for column, count in self.enclosed.items()):
            return True  # the header's own field is bare
        if not self.bare and self.needed:
            return True
        if not self.needed and not self.excel:
            return False
        line, cell = self.first
        raise InputError(
            f"{path} line {line}: {brief(cell)} is either a field in quotation marks or a text that holds them; save"
            " the table as csv or jsonl, which leave no doubt"
        )


def _check_swallowed(path: Path, separator: str, line: int, row: list[str], raw: list[str]) -> None:
    """Raises InputError where a field with line breaks holds what looks like rows of the table itself.

    A quotation mark too many joins rows, and the next one ends the field: the count of fields can be right. A line that
    splits into as many fields, each of the kind that this row has there, is a row. Of the line where the field begins
    and of that where it ends, one side is this row's own in any case, and the other is compared.
    """
    broken = [i for i, cell in enumerate(row) if "\n" in cell or "\r" in cell]
    before, after = range(broken[0]), range(broken[-1] + 1, len(row))
    for number, text in (*enumerate(raw[1:], 1), (0, raw[0])):
        compared = after if number == 0 else before if number == len(raw) - 1 else [*before, *after]
        for cells in (text.rstrip("\r\n").split(separator), _cells(text, separator)):
            if len(cells) != len(row) or not any(row[i] for i in compared):
                continue
            if all(_kind(cells[i]) == _kind(row[i]) for i in compared):
                raise InputError(
                    f"{path} line {line}: a field in quotation marks goes on for {len(raw)} lines, and line"
                    f" {line + number} looks like a row of its own; close the quotation mark in line {line}, or replace"
                    " the line breaks in the texts"
                )


def _kind(cell: str) -> str:
    if cell != cell.strip():
        return "spaced"
    if re.fullmatch(r"[-+]?[0-9.]+", cell):
        return "number"
    suffix = re.search(r"\.[A-Za-z][A-Za-z0-9]{0,4}$", cell)
    return suffix[0].lower() if suffix else "" if not cell else "words" if " " in cell else "word"


def _check_spaces(path: Path, separator: str, line: int, row: list[str], raw: str) -> None:
    """Raises InputError for a field whose quotation marks come after a space, where they quote nothing."""
    for one, other in zip(row, next(csv.reader([raw], delimiter=separator, skipinitialspace=True)), strict=False):
        if one != other and one.lstrip(" ").startswith('"'):
            raise InputError(
                f"{path} line {line}: spaces stand before the quotation mark of {brief(one.strip())}; remove them"
            )
