"""Keys of configs: what each is by default and what it means, declared where it is read and printed by `--keys`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from clipjax.errors import nearest


@dataclasses.dataclass(frozen=True)
class Key:
    """A key's default, whose type is the type of every value, and its meaning in one sentence."""

    default: Any
    meaning: str


def defaults(keys: Mapping[str, Key]) -> dict[str, Any]:
    """Names, with dots where they are nested, -> a nested dict of defaults."""
    out: dict[str, Any] = {}
    for name, key in keys.items():
        *parents, last = name.split(".")
        inside = out
        for parent in parents:
            inside = inside.setdefault(parent, {})
        inside[last] = key.default
    return out


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config as {name with dots: value}; an empty mapping is a value of its own."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        inside = isinstance(value, Mapping) and value
        out |= flat(value, f"{prefix}{name}.") if inside else {prefix + name: value}
    return out


def unknown(name: str, known: Iterable[str]) -> str:
    """The end of a message about a key that is not there: the nearest one."""
    return nearest(name, known) or f"; keys: {', '.join(sorted(known))}"
