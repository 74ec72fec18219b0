"""Data sets that TFDS has prepared as array_record, read without TensorFlow.

Preparing needs TensorFlow for most image sets and is done once, in an environment that has it:
`tfds build NAME --file_format=array_record`. Reading needs the same folder and nothing else.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipjax import stored
from clipjax.data import source
from clipjax.data.source import Source
from clipjax.errors import InputError, brief, one_line

_CHUNK = 64  # records read at a time while the table is made: their pictures come along


def load(
    name: str,
    data_dir: str | os.PathLike | None,
    split: str,
    image_key: str = "image",
    label_key: str | None = "label",
    group_keys: Sequence[str] = (), caption_key: str | None = None,
) -> Source:  # fmt: skip
    """A split of a prepared data set ("cifar10", "voc/2007", or with its version "cifar10/3.0.2").

    `data_dir` None means $TFDS_DATA_DIR, else ~/tensorflow_datasets. Nested features are written with slashes
    ("attributes/Male"; COCO's captions are "captions/text"). Labels without class names are named by their own values.
    Files are called by the data set's own file names where it keeps them, else "test/000012". An array_record holds
    whole examples: learning the labels reads the split once, without decoding pictures.
    Raises InputError where the data set, split or key is not there, or is in a format that needs TensorFlow.
    """
    folder = _version_folder(name, data_dir)
    builder, records = open_split(folder, split)
    features = builder.info.features
    for key in filter(None, (image_key, label_key, caption_key, *group_keys)):
        _feature(features, key, folder)
    if image_key not in (pictures := _pictures(features)):
        raise InputError(f'{folder}: "{image_key}" is no picture; pictures: {", ".join(pictures) or "none"}')
    kept = {
        "file": _name_key(features),
        "label": label_key,
        "captions": caption_key,
        **{key: key for key in group_keys},
    }
    kept = {column: key for column, key in kept.items() if key is not None}
    columns: dict[str, Any] = _columns(records, kept)
    files = columns.get("file")
    if files is None or len(set(files)) != len(files):
        columns["file"] = [f"{split}/{i:06d}" for i in range(len(records))]
    classes = None
    if label_key is not None:
        labels = columns["label"]
        names = getattr(_feature(features, label_key, folder), "names", None)
        columns["label"], classes = source.class_index(labels, names, str(folder), columns["file"])
    shards = sorted(os.fspath(file) for file in builder.info.splits[split].filepaths)
    return Source(
        name=name,
        table=columns,
        classes=classes,
        read=_reader(records, image_key),
        fingerprint=source.fingerprint(
            "tfds",
            [os.path.basename(shard) for shard in shards],
            source.stamp_files(shards),
            split=split,
            image=image_key,
        ),
    )


def open_split(folder: Path, split: str) -> tuple[Any, Any]:
    """TFDS's builder of a version folder and the split's examples by number, their pictures left encoded.

    Raises InputError where the split is not there, or is in a format that needs TensorFlow.
    """
    import tensorflow_datasets as tfds

    _check_classes(folder)
    try:
        builder = tfds.builder_from_directory(folder)
        there = sorted(builder.info.splits)
        pictures = _pictures(builder.info.features)
    except Exception as error:  # of a damaged features.json or dataset_info.json TFDS raises almost anything
        raise InputError(f"{folder} is no data set that TFDS prepared ({one_line(error)}); prepare it again") from error
    if split not in there:
        raise InputError(f'{folder} has no split "{split}"{source.nearest(split, there)}; it has: {", ".join(there)}')
    skip: Any = {key: tfds.decode.SkipDecoding() for key in pictures}
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
            for key in ("pythonClassName", "python_class_name", "type"):  # as written now, and by earlier versions
                name = value.get(key)
                if isinstance(name, str) and "." in name and not name.startswith("tensorflow_datasets."):
                    raise InputError(f"{folder / 'features.json'} asks for {brief(name)}, which is not TFDS's own")
        inside = (x for value in level for x in value.values())
        level = [y for x in inside for y in (x if isinstance(x, list) else [x]) if isinstance(y, dict)]


def newest(versions: Iterable[Path]) -> Path | None:
    """The newest version folder (with features.json) among these, 1.10.0 after 1.9.0; None where none is one."""
    found = [folder for folder in versions if (folder / "features.json").exists()]
    return max(found, key=lambda f: [int(n) if n.isdigit() else -1 for n in f.name.split(".")], default=None)


def _pictures(features: Any) -> list[str]:
    """The names of the top-level features that are pictures, sorted."""
    import tensorflow_datasets as tfds

    return sorted(key for key, kind in features.items() if isinstance(kind, tfds.features.Image))


def _version_folder(name: str, data_dir: str | os.PathLike | None) -> Path:
    root = source.as_path(data_dir or os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")
    folder = root / name
    if (folder / "features.json").exists():
        return folder
    if found := newest(folder.iterdir() if folder.is_dir() else ()):
        return found
    there = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    raise InputError(
        f"{folder} holds no prepared data set{source.nearest(name, there)}; give its data_dir, or prepare it once with"
        f" tfds build {name} --file_format=array_record"
    )


def _feature(features: Any, key: str, folder: Path) -> Any:
    for part in key.split("/"):
        if not hasattr(features, "keys") or part not in features.keys():  # noqa: SIM118 (FeaturesDict is no dict)
            there = sorted(features.keys()) if hasattr(features, "keys") else []
            raise InputError(
                f'{folder} has no feature "{key}"{source.nearest(part, there)}; it has: {", ".join(there)}'
            )
        features = features[part]
    return features


def _name_key(features: Any) -> str | None:
    """Where TFDS's own data sets keep the name of the original file."""
    return next((key for key in ("file_name", "filename", "image/filename", "image_id") if key in features), None)


def _columns(records: Any, keys: dict[str, str]) -> dict[str, list]:
    columns: dict[str, list] = {column: [] for column in keys}
    for example in _examples(records):
        for column, key in keys.items():
            value = example
            # VOC has a feature that is itself called "image/filename"
            for part in [key] if key in example else key.split("/"):
                value = value[part]
            columns[column].append(_plain(value))
    return columns


def _examples(records: Any) -> Iterator[dict]:
    for start in range(0, len(records), _CHUNK):
        yield from records.__getitems__(list(range(start, min(start + _CHUNK, len(records)))))


def _plain(value: Any) -> str | int | float | bool | tuple[str, ...]:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim):
        return tuple(str(_plain(item)) for item in value)
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def _reader(records: Any, image_key: str) -> Callable[[int], bytes]:
    return lambda i: bytes(records[i][image_key])
