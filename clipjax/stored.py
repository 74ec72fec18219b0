"""JSON that anybody may have written: read whole and within bounds, and only in the shape that is asked for.

A shape is written as the value would be:

    {"n": int, "note?": str, "shards": {str: {"bytes": int}}, "skipped": [[int, str, str]], "size": (int, None)}

`{str: x}` is a mapping of any names, "name?" a key that may be missing, `[x]` a list of any length, a list of several
shapes exactly that list, a tuple one of several shapes, `None` null and `Any` whatever there is. Further keys are
let be.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from clipjax import signatures
from clipjax.errors import InputError, brief, one_line

LARGEST = 256 << 20  # bytes of one file: the manifest of a million unreadable pictures
DEEPEST = 60  # brackets within brackets; ours are six deep


def read(
    path: str | os.PathLike, shape: Any = Any, remedy: str = "fetch or copy it again", largest: int = LARGEST
) -> Any:
    """The value in a JSON file. InputError, naming the file, where it is missing, no JSON, or of another shape."""
    path = Path(path)
    if path.is_file():
        signatures.check(path, "a JSON file", text=True)
    try:
        size = path.stat().st_size
        if size > largest:
            raise InputError(f"{path}: {size} bytes are too many to be true; {remedy}")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {remedy}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"{path}: cannot be read ({reason}); {remedy}") from error
    return parse(text, str(path), shape, remedy)


def parse(text: str | bytes, where: str, shape: Any = Any, remedy: str = "fetch or copy it again") -> Any:
    """The value of a JSON text that came from `where`, which leads every message."""
    try:
        found = json.loads(text, parse_constant=_no_number, object_pairs_hook=_once)
        _check_depth(found)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: cannot be read: it is not JSON ({one_line(error, 120)}); {remedy}") from error
    try:
        check(found, shape)
    except InputError as error:
        raise InputError(f"{where}: {error}; {remedy}") from error
    return found


def check(value: Any, shape: Any, at: str = "") -> None:
    """InputError that says which part, `at` and below, has another shape."""
    if shape is Any:
        return
    if isinstance(shape, tuple):
        if not any(_fits(value, one) for one in shape):
            raise _other(value, shape, at)
    elif isinstance(shape, list):
        if not isinstance(value, list) or (len(shape) > 1 and len(value) != len(shape)):
            raise _other(value, shape, at)
        shapes = shape if len(shape) > 1 else shape * len(value)
        for i, (item, one) in enumerate(zip(value, shapes, strict=True)):
            check(item, one, f"{at}[{i}]")
    elif isinstance(shape, dict):
        _check_mapping(value, shape, at)
    elif not _is(value, shape):
        raise _other(value, shape, at)


def _check_mapping(value: Any, shape: dict[Any, Any], at: str) -> None:
    if not isinstance(value, dict):
        raise _other(value, shape, at)
    if str in shape:
        for name, item in value.items():
            check(name, str, f"a key of {at or 'it'}")
            check(item, shape[str], f"{at}.{brief(name)}".lstrip("."))
        return
    for key, one in shape.items():
        name = key.removesuffix("?")
        if name in value:
            check(value[name], one, f"{at}.{name}".lstrip("."))
        elif key == name:
            raise InputError(f"{at or 'it'} has no {name!r}")


def _fits(value: Any, shape: Any) -> bool:
    try:
        check(value, shape)
    except InputError:
        return False
    return True


def _is(value: Any, kind: type | None) -> bool:
    if kind is None:
        return value is None
    if kind is int:
        return type(value) is int and abs(value) < 2**63
    if kind is float:
        return math.isfinite(value) if type(value) is float else _is(value, int)
    if kind is str:  # "\\ud800" is JSON and no text: no file can be written with it
        return isinstance(value, str) and (value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value))
    return isinstance(value, kind)


def _other(value: Any, shape: Any, at: str) -> InputError:
    return InputError(f"{at or 'it'} is {brief(value)}, not {_named(shape)}")


def _named(shape: Any) -> str:
    if isinstance(shape, tuple):
        return " or ".join(dict.fromkeys(map(_named, shape)))
    kind = dict if isinstance(shape, dict) else list if isinstance(shape, list) else shape
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "an object",
             list: "a list", None: "null"}  # fmt: skip
    return names[kind]


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


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
