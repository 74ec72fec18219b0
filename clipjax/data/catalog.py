"""Which named data sets there are: every file in `clipjax/data/sets`; the file's name is the registration."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from clipjax.data.info import Info, name_key
from clipjax.data.source import Source
from clipjax.errors import InputError, converted, nearest


def names() -> tuple[str, ...]:
    """The keys of all data sets, sorted. Imports none of them."""
    package = importlib.import_module("clipjax.data.sets")
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")))


def module(key: str) -> ModuleType:
    """The module of a data set: `INFO` and `open_source`. An unknown key is refused with the nearest known one."""
    if key not in names():
        key = find(key)
    return importlib.import_module(f"clipjax.data.sets.{key}")


def open_source(key: str, path: str, split: str | None = None, **options: str | int) -> Source:
    """A named data set. The boundary of its reader: what that makes of damaged annotation files is one line."""
    problem, remedy = f"{path}: not {key} as its readers know it", f"`clipjax datasets {key}` shows the layout"
    with converted(problem, remedy, ArithmeticError, LookupError, ValueError):
        return module(key).open_source(path, split, **options)


def info(key: str) -> Info:
    """What is known of a data set before it is read; `key` as in `find`."""
    return module(key).INFO


def find(name: str) -> str:
    """The key of a data set by key or by the model card's name, whatever the case and punctuation.

    "Food101", "food-101" and "FOOD 101" are all "food101". InputError, naming the nearest, where there is none.
    """
    known = _aliases()
    if own := known.get(name_key(name)):
        return own
    near = nearest(name_key(name), known)
    raise InputError(f"unknown data set {name!r}{near}; clipjax datasets lists all {len(names())}")


def _aliases() -> dict[str, str]:
    aliases = {name_key(key): key for key in names()}
    for key in names():
        aliases.setdefault(name_key(importlib.import_module(f"clipjax.data.sets.{key}").INFO.name), key)
    return aliases
