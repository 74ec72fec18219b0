"""Data sets that TFDS has prepared, for readers whose labels have to be derived from the examples themselves."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.data import source
from clipjax.data.info import Info, design, name_key, own_index
from clipjax.data.kinds import tfds
from clipjax.data.kinds.shared import Columns
from clipjax.data.labels import Labels
from clipjax.data.source import Source
from clipjax.errors import InputError

# Where TFDS keeps the name of the original file; the slash is part of the feature's name.
_NAMES = ("file_name", "filename", "image/filename", "image/file_name")


def folder(info: Info, path: str | os.PathLike) -> Path | None:
    """The version folder with the records of `info.tfds`, at `path` or below it; None for another folder.

    Of several versions the newest. "coco_captions/2014" lies in coco_captions/2014/1.1.0, "clevr" in clevr/3.1.0.
    """
    path = source.as_path(path)
    if (path / "features.json").exists():
        return path
    if info.tfds is None:
        return None
    places = (path, path / info.tfds, path / info.tfds.split("/", 1)[-1])
    versions = (tfds.newest(place.iterdir()) for place in places if place.is_dir())
    return next((folder for folder in versions if folder is not None), None)


def open_data_set(info: Info, where: Path, split: str, label: str = "", groups: Sequence[str] = ()) -> Source:
    """`tfds.open_data_set` of a version folder, called by the data set's own key."""
    data = tfds.open_data_set(where.name, where.parent, split, Columns(label=label, groups=tuple(groups)))
    return dataclasses.replace(data, name=info.key)


def derived(
    info: Info,
    where: Path,
    split: str,
    derive: Callable[[dict[str, Any]], Mapping[str, Any]],
    classes: Sequence[str] | None = None,
) -> Source:
    """A source whose columns are derived from the examples: `derive` gives one row's. One pass over the records.

    `split` may join several ("train+validation"). Files are called by the original file names where TFDS keeps them.
    """
    parts = {name: tfds.open_split(where, name)[1] for name in split.split("+")}
    rows: list[Mapping[str, Any]] = []
    files: list[str] = []
    places: list[tuple[str, int]] = []
    for name, records in parts.items():
        for i in range(len(records)):
            example = records[i]
            rows.append(derive(example))
            own = next((example[key] for key in _NAMES if key in example), None)
            files.append(f"{name}/{i:06d}" if own is None else _text(own))
            places.append((name, i))
    if len(set(files)) < len(files):
        files = [f"{name}/{i:06d}" for name, i in places]
    columns = {key: [row[key] for row in rows] for key in (rows[0] if rows else ())}
    return source.of_columns(
        info.key,
        {"file": files, **columns},
        classes,
        lambda row: bytes(parts[places[row][0]][places[row][1]]["image"]),
    )


def examples(where: Path, split: str) -> Iterator[dict[str, Any]]:
    """Every example of a split in the order of `load`, images left encoded."""
    for name in split.split("+"):
        _, records = tfds.open_split(where, name)
        for i in range(len(records)):
            yield records[i]


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def feature_names(where: Path, *path: str) -> list[str]:
    """Class names of a nested feature: ("objects", "type") -> ["Car", "Van", ...]."""
    import tensorflow_datasets

    feature = tensorflow_datasets.builder_from_directory(where).info.features
    for part in path:
        feature = feature[part]
    return list(feature.names)


def with_columns(data: Source, classes: Sequence[str] | None, columns: Mapping[str, Any]) -> Source:
    """The same images with further columns, and the class names that their labels point into."""
    added = source.of_columns(data.name, {"file": data.files, **columns}, classes, data.read)
    return dataclasses.replace(
        data,
        labels=data.labels if added.labels is None else added.labels,
        columns={**data.columns, **added.columns},
        protocol={**data.protocol, **added.protocol},
    )


def by_name(whole: Source, key: str) -> Source:
    """Labels in the order of a data set's stored classes, matched by name; only names that occur have to be there.

    TFDS labels ImageNet-A and ImageNet-R over all 1,000 classes of ImageNet, of which 200 occur.
    """
    index, labels = own_index(key), whole.labels
    assert labels is not None, whole.name
    assert labels.index is not None, whole.name
    # By what the data calls them: WordNet ids, for which `labels` has names (`naming.imagenet`).
    order = np.array([*(index.get(name_key(name), -1) for name in labels.ids), -1], np.int64)
    label = order[labels.index]
    if (label < 0).any():
        row = int(np.argmax(label < 0))
        own = labels.ids[labels.index[row]] if labels.index[row] >= 0 else ""
        raise InputError(
            f'{whole.name} row {row}: "{own}" is not among the {len(index)} classes; is this another data set?'
        )
    return dataclasses.replace(whole, labels=Labels(design(key).names, label))
