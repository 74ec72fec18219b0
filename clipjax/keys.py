"""Configs as types: frozen dataclasses whose fields are the keys, declared where they are read, printed by `--keys`."""

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


def key(default: Any, meaning: str) -> Any:
    """A field of a config's dataclass; `declared` reads it back."""
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata={"meaning": meaning})
    return dataclasses.field(default=default, metadata={"meaning": meaning})


def inside(config: type) -> Any:
    """A field with keys of its own: `sweep: Sweep = inside(Sweep)` declares sweep.add and the others."""
    return dataclasses.field(default_factory=config)


def declared(config: type) -> dict[str, Key]:
    """Every key of a config's dataclass, names with dots where they are nested."""
    found = {}
    for field in dataclasses.fields(config):
        nested = field.default_factory
        if "meaning" in field.metadata:
            default = field.default if nested is dataclasses.MISSING else nested()
            found[field.name] = Key(default, field.metadata["meaning"])
        elif isinstance(nested, type) and dataclasses.is_dataclass(nested):
            found |= {f"{field.name}.{name}": one for name, one in declared(nested).items()}
    return found


def defaults(keys: Mapping[str, Key]) -> dict[str, Any]:
    """Names, with dots where they are nested, -> a nested dict of defaults."""
    out: dict[str, Any] = {}
    for name, one in keys.items():
        *parents, last = name.split(".")
        place = out
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = one.default
    return out


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config as {name with dots: value}; an empty mapping is a value of its own."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        nested = isinstance(value, Mapping) and value
        out |= flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return out


def unknown(name: str, known: Iterable[str]) -> str:
    """The end of a message about a key that is not there: the nearest one."""
    return nearest(name, known) or f"; keys: {', '.join(sorted(known))}"
