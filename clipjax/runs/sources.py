"""`config.data` -> a source with its classes and prompts, checked before any compute."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from clipjax.classes import lines_of_file, read_classes
from clipjax.data import catalog as data_sets
from clipjax.data import folder, parquet, prepared, table, tfds, webdataset
from clipjax.data import info as infos
from clipjax.data.source import Source, as_path
from clipjax.errors import InputError, one_line
from clipjax.probes import zeroshot
from clipjax.runs.config import words

KINDS = ("folder", "csv", "tfds", "webdataset", "parquet", "prepared")


@dataclasses.dataclass(frozen=True)
class Task:
    """A source and what is asked of it: names[c] are the texts of class c, `metric` what the data set is judged by."""

    source: Source
    classes: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...]
    metric: str
    prompts_from: str


def load(config: Any, split: str | None = None) -> Task:
    """The task of a config; `split` overrides config.data.split (a probe's training part)."""
    data = config.data
    source, prompts, metric = _open(data, split or data.split)
    if data.limit:
        if data.limit < 0:
            raise InputError(f"data.limit={data.limit} is negative; 0 means all")
        source = source.select(np.arange(min(data.limit, len(source))))
    classes, names, origin = _classes(config, source, prompts)
    templates = templates_of(config.templates) or (prompts.templates if prompts else ()) or zeroshot.DEFAULT_TEMPLATES
    if classes:
        zeroshot.prompts(classes, templates)
    return Task(source, classes, names, templates, metric, origin)


def _open(data: Any, split: str) -> tuple[Source, infos.Prompts | None, str]:
    groups = words(data.group_columns)
    label = data.label_column or None
    if data.source == "csv":
        if not data.csv:
            raise InputError("data.source=csv needs the table: --config.data.csv=FILE")
        captions = words(data.caption_columns)
        columns = (*groups, "split") if split and "split" not in groups else groups
        found = table.load(data.csv, data.image_column, label, captions, columns, data.path or None)
        return (_of_split(found, split) if split else found), None, "top1"
    if not data.path and data.source != "tfds":
        raise InputError(f"data.source={data.source} needs to know where: --config.data.path=FOLDER")
    if data.source == "folder":
        return folder.load(as_path(data.path) / split if split else data.path), None, "top1"
    if data.source == "prepared":
        ready = prepared.load(as_path(data.path) / split if split else data.path)
        prompts, metric = _asked(ready.data_set) if ready.data_set else (None, "top1")
        return ready.source, prompts, metric
    if data.source == "tfds":
        if not data.csv:
            raise InputError(
                "data.source=tfds needs the prepared data set's name: --config.data.csv=NAME, for example cifar10"
            )
        captions = words(data.caption_columns)
        if len(captions) > 1:
            raise InputError(f"data.caption_columns={data.caption_columns}: TFDS has its captions under one key")
        key = label or (None if captions else "label")
        found = tfds.load(data.csv, data.path or None, split or "test", "image", key, groups, *captions)
        return found, None, "top1"
    if split and data.source in ("webdataset", "parquet"):
        raise InputError(
            f"data.split={split} means nothing to {data.source}: name the files of that split in data.path"
        )
    if data.source == "webdataset":
        return webdataset.load(data.path), None, "top1"
    if data.source == "parquet":
        column = data.image_column if data.image_column != "file" else "image"
        captions = words(data.caption_columns)
        return parquet.load(data.path, column, label or (None if captions else "label"), captions, groups), None, "top1"
    return _named(data, split)


def _named(data: Any, split: str) -> tuple[Source, infos.Prompts | None, str]:
    try:
        key = data_sets.find(data.source)
    except InputError as error:
        raise InputError(f"data.source: {error}; or one of {', '.join(KINDS)}") from error
    load_set = data_sets.module(key).load
    options = _options(key, load_set, words(data.options))
    try:
        found = load_set(data.path, split or None, **options)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{data.path}: not {key} as its readers know it ({type(error).__name__}: {one_line(error, 120)}); `clipjax "
            f"datasets {key}` shows the layout"
        ) from error
    prompts, metric = _asked(key)
    return found, prompts, metric


def _asked(key: str) -> tuple[infos.Prompts | None, str]:
    """Prompts and metric of a named data set."""
    metric = data_sets.info(key).metric
    try:
        return infos.prompts(key), metric
    except InputError:
        return None, metric  # a retrieval set, or one that brings its class names itself


def _options(key: str, load_set: Callable, given: tuple[str, ...]) -> dict[str, Any]:
    """("protocol=all", "fold=3") -> keyword arguments, checked against what the data set takes."""
    takes = [name for name in inspect.signature(load_set).parameters if name not in ("path", "split")]
    out: dict[str, Any] = {}
    for option in given:
        name, equals, value = option.partition("=")
        if not equals or name not in takes:
            known = f"takes {', '.join(takes)}" if takes else "takes none"
            raise InputError(f"data.options: {option!r} is no option of {key}; it {known}, as name=value")
        out[name] = int(value) if value.isdigit() else value
    return out


def _of_split(source: Source, split: str) -> Source:
    rows = np.flatnonzero(source.table["split"] == split)
    if not len(rows):
        there = sorted({str(s) for s in source.table["split"]})
        raise InputError(f"{source.name}: no row has split {split!r}; it has {', '.join(there[:8])}")
    return source.select(rows)


def _classes(config: Any, source: Source, prompts: infos.Prompts | None):
    """The classes in the order of the labels, the texts that ask for each, and where they come from."""
    if config.classes:
        given = config.classes
        listed = words(given) if not isinstance(given, str) or given[0] in "([" else read_classes(given)
        classes = zeroshot.check_classes(listed)
        _check_labels(source, classes)
        return classes, tuple((c,) for c in classes), "config"
    if source.classes is None:
        return (), (), "none"
    if prompts and prompts.classes and len(prompts.classes) == len(source.classes):
        return tuple(prompts.classes), tuple(prompts.names) or tuple((c,) for c in prompts.classes), prompts.source
    return tuple(source.classes), tuple((c,) for c in source.classes), "the data set's own names"


def templates_of(value: Any) -> tuple[str, ...]:
    """One template, several separated by |, or the lines of a file."""
    listed = lines_of_file(value, "templates") if isinstance(value, str) and value and "{}" not in value else None
    return words(value, "|") if listed is None else tuple(listed)


def _check_labels(source: Source, classes: tuple[str, ...]) -> None:
    if source.classes is None:
        return
    used = {source.classes[i] for i in np.unique(source.table["label"])} if "label" in source.table else set()
    if outside := sorted(used - set(classes)):
        raise InputError(
            f"{source.name}: label {outside[0]!r} is not among the {len(classes)} classes of the config"
            + (f" (and {len(outside) - 1} more)" if len(outside) > 1 else "")
        )
