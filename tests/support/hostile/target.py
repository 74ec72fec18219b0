"""One reader of files from strangers as a function of bytes, and what its tests share."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipjax.errors import InputError
from support.hostile import mutators as m


@dataclasses.dataclass(frozen=True)
class Target:
    """`attempt(folder, data)` puts the input into an empty folder and reads it; `mutate` makes bad ones of `seeds`."""

    name: str
    seeds: Callable[[], list[bytes]]
    attempt: Callable[[Path, bytes], Any]
    mutate: m.Mutator = m.some_bytes


def refusal(call: Callable[..., Any], *given: Any, **named: Any) -> str:
    """The one line that a call is refused with; nothing where it works."""
    try:
        call(*given, **named)
    except InputError as error:
        message = str(error)
    else:
        return ""
    assert message
    assert "\n" not in message
    return message


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def put_all(folder: Path, data: bytes) -> dict[str, bytes]:
    files = m.unpacked(data)
    if files is None:
        raise InputError("not packed")
    for name, content in files.items():
        if "/" not in name and "\0" not in name and len(name.encode("utf-8", "replace")) < 200:
            (folder / name).write_bytes(content)
    return files


def written(write: Callable[[Path], Any], name: str = "x") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()
