"""Data sets that TFDS has prepared as array_record, read without TensorFlow.

Preparing needs TensorFlow for most image sets and is done once, in an environment that has it:
`tfds build NAME --file_format=array_record`. Reading needs the same folder and nothing else.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipjax import stored
from clipjax.data import source, tables
from clipjax.data.kinds import shared
from clipjax.data.labels import Value
from clipjax.data.source import Source
from clipjax.errors import InputError, brief, converted, nearest, require, some
from clipjax.keys import key


@dataclasses.dataclass(frozen=True)
class Keys(shared.Described, shared.Split):
    """What is read of `data.`."""

    name: str = key("", "the prepared data set: cifar10, voc/2007, cifar10/3.0.2")
    path: str = key("", "TFDS's data_dir; empty: $TFDS_DATA_DIR, else ~/tensorflow_datasets")


PART = "path"  # the key that `data.train_path` and `data.test_path` stand for

_LABELLED = shared.Columns(label="label")
_CHUNK = 64  # records read at a time while the table is made: their images come along


def open_source(keys: Keys) -> Source:
    """A split ("test" where none is named)."""
    name = shared.given(keys.name, "tfds", "the prepared data set: --config.data.name=NAME, for example cifar10")
    columns = shared.Columns.of_keys(keys)
    if len(columns.captions) > 1:
        raise InputError(f"data.caption_columns={keys.caption_columns}: TFDS has its captions under one key; name one")
    label = columns.label or ("" if columns.captions else "label")
    return open_data_set(name, keys.path or None, keys.split or "test", dataclasses.replace(columns, label=label))


def open_data_set(
    name: str, data_dir: str | os.PathLike | None, split: str, columns: shared.Columns = _LABELLED
) -> Source:
    """A split of a prepared data set ("cifar10", "voc/2007", or with its version "cifar10/3.0.2").

    `data_dir` None means $TFDS_DATA_DIR, else ~/tensorflow_datasets. columns: nested features are written with slashes
    ("attributes/Male"; COCO's captions are "captions/text"); one of captions at most. Labels without class names are
    named by their own values or by `class_names` (`naming.find`); the label -1 is none. Files are named as in the data
    set where it keeps the names, else "test/000012". An array_record holds whole examples: learning the
    labels reads the split once, without decoding images.
    Raises InputError where the data set, split or key is not there, or is in a format that needs TensorFlow.
    """
    folder = _version_folder(name, data_dir)
    builder, records = open_split(folder, split)
    features, image = builder.info.features, columns.image or "image"
    names = {key: getattr(_feature(features, key, folder), "names", None) for key in columns.described}
    _feature(features, image, folder)
    if image not in (images := _images(features)):
        raise InputError(f'{folder}: "{image}" is not an image; images: {", ".join(images) or "none"}')
    file_key = _name_key(features)
    values = _columns(records, [*columns.described, *([file_key] if file_key else ())])
    files = values[file_key] if file_key else None
    if files is None or len(set(files)) != len(files):
        files = [f"{split}/{i:06d}" for i in range(len(records))]
    table = {
        key: tables.Column(tables.object_array([_named(value, own) for value in values[key]]), own and tuple(own))
        for key, own in names.items()
    }
    captions = values[columns.captions[0]] if columns.captions else None
    return shared.source_of(columns, table, name, files, _reader(records, image), str(folder), captions=captions)


def _named(value: Any, names: Sequence[str] | None) -> Value:
    """A value as text, None where there is none (-1 of a class label); several as a tuple."""
    if isinstance(value, tuple):
        return tuple(str(_named(int(v) if names else v, names)) for v in value)
    if value == "" or (names and value == -1):
        return None
    if names and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return str(value)


def open_split(folder: Path, split: str) -> tuple[Any, Any]:
    """TFDS's builder of a version folder and the split's examples by number, their images left encoded.

    Raises InputError where the split is not there, or is in a format that needs TensorFlow.
    """
    import tensorflow_datasets as tfds

    _check_classes(folder)
    # Of a damaged features.json or dataset_info.json TFDS raises almost anything.
    with converted(f"{folder} is not a data set that TFDS prepared", "prepare it again", Exception):
        builder = tfds.builder_from_directory(folder)
        there = sorted(builder.info.splits)
        images = _images(builder.info.features)
    require(split, there, folder, "split")
    skip: Any = {key: tfds.decode.SkipDecoding() for key in images}
    try:
        return builder, builder.as_data_source(split=split, decoders=skip)
    except NotImplementedError as error:
        raise InputError(
            f"{folder} is in a format that only TensorFlow reads; prepare it again with"
            f" tfds build {builder.name} --file_format=array_record"
        ) from error


def _check_classes(folder: Path) -> None:
    """Raises InputError where features.json names a class that is not TFDS's own: its module would be imported."""
    level = [stored.read(folder / "features.json", dict, "prepare the data set again")]
    while level:
        for value in level:
            for written in ("pythonClassName", "python_class_name", "type"):  # now, and by earlier versions
                name = value.get(written)
                if isinstance(name, str) and "." in name and not name.startswith("tensorflow_datasets."):
                    raise InputError(f"{folder / 'features.json'} asks for {brief(name)}, which is not TFDS's own")
        inside = (x for value in level for x in value.values())
        level = [y for x in inside for y in (x if isinstance(x, list) else [x]) if isinstance(y, dict)]


def newest(versions: Iterable[Path]) -> Path | None:
    """The newest version folder (with features.json) among these, 1.10.0 after 1.9.0; None where none is one."""
    prepared = [folder for folder in versions if (folder / "features.json").exists()]
    return max(prepared, key=lambda f: [int(n) if n.isdigit() else -1 for n in f.name.split(".")], default=None)


def _images(features: Any) -> list[str]:
    """The names of the top-level features that are images, sorted."""
    import tensorflow_datasets as tfds

    return sorted(key for key, kind in features.items() if isinstance(kind, tfds.features.Image))


def _version_folder(name: str, data_dir: str | os.PathLike | None) -> Path:
    root = source.as_path(data_dir or os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")
    folder = root / name
    if (folder / "features.json").exists():
        return folder
    if version := newest(folder.iterdir() if folder.is_dir() else ()):
        return version
    there = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    raise InputError(
        f"{folder} holds no prepared data set{nearest(name, there)}; give its data_dir, or prepare it once with"
        f" tfds build {name} --file_format=array_record"
    )


def _feature(features: Any, key: str, folder: Path) -> Any:
    for part in key.split("/"):
        if not hasattr(features, "keys") or part not in features.keys():  # noqa: SIM118 (FeaturesDict is not a dict)
            there = sorted(features.keys()) if hasattr(features, "keys") else []
            raise InputError(f'{folder} has no feature "{key}"{nearest(part, there)}; it has: {some(there)}')
        features = features[part]
    return features


def _name_key(features: Any) -> str | None:
    """Where TFDS's own data sets keep the name of the original file."""
    return next((key for key in ("file_name", "filename", "image/filename", "image_id") if key in features), None)


def _columns(records: Any, names: Sequence[str]) -> dict[str, list]:
    columns: dict[str, list] = {name: [] for name in names}
    for example in _examples(records):
        for name, values in columns.items():
            value = example
            # VOC has a feature that is itself called "image/filename"
            for part in [name] if name in example else name.split("/"):
                value = value[part]
            values.append(_as_python(value))
    return columns


def _examples(records: Any) -> Iterator[dict]:
    for start in range(0, len(records), _CHUNK):
        yield from records.__getitems__(list(range(start, min(start + _CHUNK, len(records)))))


def _as_python(value: Any) -> str | int | float | bool | tuple[str, ...]:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim):
        return tuple(str(_as_python(item)) for item in value)
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def _reader(records: Any, image_key: str) -> Callable[[int], bytes]:
    return lambda i: bytes(records[i][image_key])
