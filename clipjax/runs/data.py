"""`config.data` -> a source, with what a named data set asks and is judged by; every key is read or refused."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from clipjax.data import catalog as data_sets
from clipjax.data import info as infos
from clipjax.data import kinds
from clipjax.data.kinds import shared
from clipjax.data.source import Source
from clipjax.design import Design
from clipjax.errors import InputError, nearest
from clipjax.keys import Key

SOURCE = Key(
    "folder", "folder, csv, webdataset, parquet, tfds, prepared, imagefolder, or a named data set; several by commas"
)
# What every kind of source has: read here and by the loop over images.
GENERAL = {
    "source": SOURCE,
    "limit": Key(0, "only the first rows; 0 is all"),
    "max_skipped": Key(0.01, "stop when more than this share of the images cannot be read; 0: at the first"),
}
NAMED = {
    "path": Key("", "where the data set lies; `clipjax datasets NAME` shows the files it expects"),
    "split": shared.SPLIT,
    "options": Key("", "options of a named data set: protocol=all, fold=3, ... (clipjax datasets NAME)"),
    "group_columns": shared.GROUP_COLUMNS,
}
PARTS = {
    "train_path": Key("", "the training part, where it is another path than the test part's; a table for csv"),
    "validation_path": Key("", "the validation part, as train_path"),
    "test_path": Key("", "the test part, as train_path"),
}


@dataclasses.dataclass(frozen=True)
class Opened:
    """A source; of a named data set what it asks (None: its labels' names) and the metric it is judged by."""

    source: Source
    design: Design | None = None
    metric: str = "top1"


def kind_names() -> tuple[str, ...]:
    """The kinds of sources, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(kinds.__path__) if m.name != "shared"))


def kind(name: str) -> ModuleType | None:
    """The module of a kind; None for the name of a data set."""
    return importlib.import_module(f"clipjax.data.kinds.{name}") if name in kind_names() else None


def keys_of(name: str) -> Mapping[str, Key]:
    """The `data.` keys that a kind, or any named data set, reads."""
    module = kind(name)
    return NAMED if module is None else module.KEYS


@functools.cache
def every_key() -> dict[str, Key]:
    """All `data.` keys of all sources; several kinds may share one, with one default."""
    found = dict(GENERAL)
    for keys in (*(keys_of(name) for name in kind_names()), NAMED):
        for name, key in keys.items():
            found.setdefault(name, key)
            if found[name].default != key.default:
                raise ValueError(f"data.{name} has two defaults")
    return found


def open_part(data: Any, part: str, split: str) -> Opened:
    """One of several parts ("train"): of its own path where `data.train_path` names one, else a split of data.path."""
    own = data.get(f"{part}_path", "")
    if not own:
        if not split:
            raise InputError(f"there is no {part} part: --config.data.{part}_path=PATH, or --config.{part}_split=NAME")
        return open_source(data, split)
    module = kind(data.source)
    place = "path" if module is None else module.PART
    changed = data.copy_and_resolve_references()
    with changed.unlocked():
        changed[place], changed.split = own, ""
        if "split_column" in changed:  # of the parts that lie in one table
            changed.split_column = every_key()["split_column"].default
    return open_source(changed)


def open_source(data: Any, split: str = "") -> Opened:
    """The source of config.data; `split` stands instead of data.split.

    InputError where a key is set that the source does not read, before any file is opened.
    """
    name, module = data.source, kind(data.source)
    if module is None:
        name = _data_set(data.source)
    _refuse_unread(data, name)
    keys = SimpleNamespace(**{key: data.get(key, spec.default) for key, spec in keys_of(name).items()})
    if split:
        keys.split = split
    if module is None:
        found = _named(name, keys)
    elif hasattr(module, "opened"):  # a prepared folder, which may have been a named data set
        ready = module.opened(keys)
        asked, metric = _asked(ready.data_set) if ready.data_set else (None, "top1")
        found = Opened(ready.source, asked, metric)
    else:
        found = Opened(module.open_source(keys))
    if data.limit < 0:
        raise InputError(f"data.limit={data.limit} is negative; 0 means all")
    if data.limit:
        rows = np.arange(min(data.limit, len(found.source)))
        found = dataclasses.replace(found, source=found.source.select(rows))
    return found


def _data_set(name: str) -> str:
    try:
        return data_sets.find(name)
    except InputError as error:
        near = nearest(name, kind_names())
        hint = f"no such source{near}" if near else f"{error}; or one of {', '.join(kind_names())}"
        raise InputError(f"data.source={name}: {hint}") from error


def _refuse_unread(data: Any, name: str) -> None:
    reads = keys_of(name)
    for key, spec in every_key().items():
        if key in reads or key in GENERAL or data.get(key, spec.default) == spec.default:
            continue
        readers = [other for other in kind_names() if key in keys_of(other)] + ["named data sets"] * (key in NAMED)
        remedy = (
            f": --config.data.source={readers[0]}, or leave it out" if readers[0] in kind_names() else ": leave it out"
        )
        raise InputError(
            f"data.{key}={data[key]} is not read by the source {name}; it is read by {', '.join(readers)}{remedy}"
        )


def _named(key: str, keys: Any) -> Opened:
    if not keys.path:
        raise InputError(f"data.source={key} needs to know where: --config.data.path=FOLDER")
    options = _options(key, data_sets.module(key).open_source, shared.column_names(keys.options))
    source = data_sets.open_source(key, keys.path, keys.split or None, **options)
    shared.check_columns(source, keys.group_columns)
    return Opened(source, *_asked(key))


def _asked(key: str) -> tuple[Design | None, str]:
    """What a named data set asks, and its metric."""
    metric = data_sets.info(key).metric
    try:
        return infos.design(key), metric
    except InputError:
        return None, metric  # a retrieval set, or one that brings its class names itself


def _options(key: str, reader: Callable, given: tuple[str, ...]) -> dict[str, Any]:
    """("protocol=all", "fold=3") -> keyword arguments, checked against what the data set takes."""
    takes = [name for name in inspect.signature(reader).parameters if name not in ("path", "split")]
    out: dict[str, Any] = {}
    for option in given:
        name, equals, value = option.partition("=")
        if not equals or name not in takes:
            known = f"takes {', '.join(takes)}" if takes else "takes none"
            raise InputError(f"data.options: {option!r} is not an option of {key}; it {known}, as name=value")
        out[name] = int(value) if value.isdigit() else value
    return out
