"""`config.data` -> a source, with what a named data set asks and is judged by; every key is read or refused."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from clipjax.data import catalog as data_sets
from clipjax.data import info as infos
from clipjax.data import kinds, perturb
from clipjax.data.kinds import shared
from clipjax.data.source import Source
from clipjax.design import Design
from clipjax.errors import InputError, nearest
from clipjax.keys import Key, declared, key


def kind_names() -> tuple[str, ...]:
    """The kinds of sources, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(kinds.__path__) if m.name != "shared"))


@dataclasses.dataclass(frozen=True)
class Data:
    """`data` of a config: what every source has, read here and by the loop over images.

    given: every `data.` key of the config; those that the source reads become its own `Keys`.
    """

    source: str = key(
        "folder",
        f"{', '.join(kind_names())}, or a named data set; several by commas",
    )
    limit: int = key(0, "only the first rows; 0 is all")
    max_skipped: float = key(0.01, "stop when more than this share of the images cannot be read; 0: at the first")
    given: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def group_columns(self) -> str:
        """What images are grouped by; empty for a source that reads no such key."""
        return self.given.get("group_columns", "")


@dataclasses.dataclass(frozen=True)
class ProbeData(Data):
    """Of a probe: every image may be changed."""

    perturb: str = key(
        "", "of every crop: grey, blur:3, jpeg:3, pixelate:3 (severity 1 to 5), written_word:3:WORD; several by commas"
    )


@dataclasses.dataclass(frozen=True)
class TrainPart(ProbeData):
    """Of a probe that is fitted to one part and scores another."""

    train_path: str = key("", "the training part, where it is another path than the test part's; a table for csv")


@dataclasses.dataclass(frozen=True)
class TwoParts(TrainPart):
    """With a test part of its own."""

    test_path: str = key("", "the test part, as train_path")


@dataclasses.dataclass(frozen=True)
class ThreeParts(TwoParts):
    """With a part that chooses among fits."""

    validation_path: str = key("", "the validation part, as train_path")


@dataclasses.dataclass(frozen=True)
class DataSetKeys(shared.Grouped, shared.Split):
    """What is read of `data.` for a named data set."""

    path: str = key("", "where the data set lies; `clipjax datasets NAME` shows the files it expects")
    options: str = key("", "options of a named data set: protocol=all, fold=3, ... (clipjax datasets NAME)")


GENERAL = declared(Data)


@dataclasses.dataclass(frozen=True)
class Opened:
    """A source; of a named data set what it asks (None: its labels' names) and the metric it is judged by."""

    source: Source
    design: Design | None = None
    metric: str = "top1"


def kind(name: str) -> ModuleType | None:
    """The module of a kind; None for the name of a data set."""
    return importlib.import_module(f"clipjax.data.kinds.{name}") if name in kind_names() else None


def keys_of(name: str) -> Mapping[str, Key]:
    """The `data.` keys that a kind, or any named data set, reads."""
    return declared(keys_type(name))


def keys_type(name: str) -> type:
    """The dataclass of the `data.` keys that a kind, or any named data set, reads."""
    module = kind(name)
    return DataSetKeys if module is None else module.Keys


def readers_of(name: str) -> list[str]:
    """Who reads a `data.` key."""
    readers = [kind for kind in kind_names() if name in keys_of(kind)]
    return readers + ["named data sets"] * (name in declared(DataSetKeys))


@functools.cache
def every_key() -> dict[str, Key]:
    """All `data.` keys of all sources; several kinds may share one, with one default."""
    keys_by_name = dict(GENERAL)
    for keys in (*(keys_of(name) for name in kind_names()), declared(DataSetKeys)):
        for name, one in keys.items():
            keys_by_name.setdefault(name, one)
            if keys_by_name[name].default != one.default:
                raise ValueError(f"data.{name} has two defaults")
    return keys_by_name


def open_part(data: Data, part: str, split: str) -> Opened:
    """One of several parts ("train"): of its own path where `data.train_path` names one, else a split of data.path."""
    own = getattr(data, f"{part}_path", "")
    if not own:
        if not split:
            raise InputError(f"there is no {part} part: --config.data.{part}_path=PATH, or --config.{part}_split=NAME")
        return open_source(data, split)
    module = kind(data.source)
    place = "path" if module is None else module.PART
    changed = data.given | {place: own, "split": ""}
    changed.pop("split_column", None)  # of the parts that lie in one table
    return open_source(dataclasses.replace(data, given=changed))


def open_source(data: Data, split: str = "") -> Opened:
    """The source of config.data; `split` stands instead of data.split.

    InputError where a key is set that the source does not read, before any file is opened.
    """
    change = perturb.parse(data.perturb) if isinstance(data, ProbeData) else None
    name, module = data.source, kind(data.source)
    if module is None:
        name = _data_set(data.source)
    _refuse_unread(data, name)
    keys = keys_type(name)(**{name: data.given[name] for name in keys_of(name) if name in data.given})
    if split:
        keys = dataclasses.replace(keys, split=split)
    if module is None:
        opened = _named(name, keys)
    elif hasattr(module, "opened"):  # a prepared folder, which may have been a named data set
        ready = module.opened(keys)
        asked, metric = _asked(ready.data_set) if ready.data_set else (None, "top1")
        opened = Opened(ready.source, asked, metric)
    else:
        opened = Opened(module.open_source(keys))
    if data.limit < 0:
        raise InputError(f"data.limit={data.limit} is negative; 0 means all")
    if data.limit:
        rows = np.arange(min(data.limit, len(opened.source)))
        opened = dataclasses.replace(opened, source=opened.source.select(rows))
    if change is not None:
        opened = dataclasses.replace(opened, source=dataclasses.replace(opened.source, change=change))
    return opened


def check_keys(data: Data) -> None:
    """InputError where a key is set that the source does not read, or the source does not exist."""
    _refuse_unread(data, data.source if kind(data.source) else _data_set(data.source))


def _data_set(name: str) -> str:
    try:
        return data_sets.find(name)
    except InputError as error:
        near = nearest(name, kind_names())
        hint = f"no such source{near}" if near else f"{error}; or one of {', '.join(kind_names())}"
        raise InputError(f"data.source={name}: {hint}") from error


def _refuse_unread(data: Data, name: str) -> None:
    reads = keys_of(name)
    for one, spec in every_key().items():
        value = data.given.get(one, spec.default)
        if one in reads or one in GENERAL or value == spec.default:
            continue
        readers = readers_of(one)
        remedy = (
            f": --config.data.source={readers[0]}, or leave it out" if readers[0] in kind_names() else ": leave it out"
        )
        raise InputError(
            f"data.{one}={value} is not read by the source {name}; it is read by {', '.join(readers)}{remedy}"
        )


def _named(name: str, keys: DataSetKeys) -> Opened:
    if not keys.path:
        raise InputError(f"data.source={name} needs to know where: --config.data.path=FOLDER")
    options = _options(name, data_sets.module(name).open_source, shared.column_names(keys.options))
    source = data_sets.open_source(name, keys.path, keys.split or None, **options)
    shared.check_columns(source, keys.group_columns)
    return Opened(source, *_asked(name))


def _asked(name: str) -> tuple[Design | None, str]:
    """What a named data set asks, and its metric."""
    metric = data_sets.info(name).metric
    try:
        return infos.design(name), metric
    except InputError:
        return None, metric  # a retrieval set, or one that brings its class names itself


def _options(data_set: str, reader: Callable, given: tuple[str, ...]) -> dict[str, Any]:
    """("protocol=all", "fold=3") -> keyword arguments, checked against what the data set takes."""
    takes = [name for name in inspect.signature(reader).parameters if name not in ("path", "split")]
    out: dict[str, Any] = {}
    for option in given:
        name, equals, value = option.partition("=")
        if not equals or name not in takes:
            known = f"takes {', '.join(takes)}" if takes else "takes none"
            raise InputError(f"data.options: {option!r} is not an option of {data_set}; it {known}, as name=value")
        out[name] = int(value) if value.isdigit() else value
    return out
