"""JSON that anybody may have written: read whole, within bounds, and only as the type that is asked for.

msgspec checks the type (a Struct, a TypedDict, `dict[str, int]`, ...) and refuses numbers that are not finite and text
that is not Unicode. What it lets pass is refused here: files without bound, a key that comes twice, endless nesting.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from clipjax import signatures
from clipjax.errors import InputError, brief, one_line

LARGEST = 256 << 20  # bytes of one file: the manifest of a million unreadable images
DEEPEST = 60  # brackets within brackets; ours are six deep
REMEDY = "fetch or copy it again"
Whole = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]  # beyond, a number of JSON is not exact everywhere
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


def read(path: str | os.PathLike, kind: Any = Any, remedy: str = REMEDY, largest: int = LARGEST) -> Any:
    """The value in a JSON file as a `kind`. InputError, naming the file, where it is missing, no JSON, or not one."""
    path = Path(path)
    if path.is_file():
        signatures.check(path, "a JSON file", text=True)
    try:
        size = path.stat().st_size
        if size > largest:
            raise InputError(f"{path}: {size} bytes exceed {largest}; {remedy}")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {remedy}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"{path}: cannot be read ({reason}); {remedy}") from error
    return parse(text, str(path), kind, remedy)


def events(log: Path) -> Iterator[dict[str, Any]]:
    """The objects of a log, one a line; an incomplete last line (after a kill) is left out, and a missing log is empty.

    Raises InputError for a line that is not a JSON object.
    """
    if not log.is_file():
        return
    for line in log.read_bytes().split(b"\n")[:-1]:
        try:
            yield msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise InputError(f"{log}: {line[:60]!r} is not JSON; restore the file, or choose another --out") from error


def parse(text: str | bytes, where: str, kind: Any = Any, remedy: str = REMEDY) -> Any:
    """The value of a JSON text that came from `where`, which leads every message."""
    try:
        found = json.loads(text, object_pairs_hook=_once)
        _check_depth(found)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: cannot be read: it is not JSON ({one_line(error, 120)}); {remedy}") from error
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {_reason(error, found)}; {remedy}") from error
    except (msgspec.DecodeError, ValueError) as error:  # NaN; half of a surrogate pair; UTF-16
        raise InputError(f"{where}: cannot be read: it is not JSON ({one_line(error, 120)}); {remedy}") from error


def check(value: Any, kind: Any, where: str, remedy: str = REMEDY) -> Any:
    """A value of JSON as a `kind`: for what is needed whole, further keys included, beside what its type names."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {_reason(error, value)}; {remedy}") from error


def _reason(error: msgspec.ValidationError, value: Any) -> str:
    """msgspec's message with the value that it is about: "records[0].n is 'x': expected int, got str"."""
    words, _, place = str(error).replace("`", "").partition(" - at $")
    place = place.lstrip(".")
    words = words[:1].lower() + words[1:]
    for name, index in re.findall(r"(\w+)|\[(\d+|\.\.\.)\]", place):
        if index == "...":  # the value of one of any keys: which one, msgspec does not say
            return f"{place}: {words}"
        value = value[name] if name else value[int(index)]
    return f"{place}: {words}" if place and "missing" in words else f"{place or 'it'} is {brief(value)}: {words}"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers disagree about which of two equal keys holds."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {brief(next(n for n in names if names.count(n) > 1))!r} comes twice")
    return found


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        inside = (x for v in level for x in (v.values() if isinstance(v, dict) else v))
        level = [x for x in inside if isinstance(x, dict | list)] if isinstance(value, dict | list) else []
        if not level:
            return
    raise ValueError(f"more than {DEEPEST} levels of brackets")
