"""Keys that several kinds of sources read; they mean the same in each."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from clipjax.data.source import Source
from clipjax.errors import InputError, nearest
from clipjax.keys import Key

SPLIT = Key("", "the part of the data set; empty: all of it, or the kind's own default")
CLASS_NAMES = Key(
    "", "what the labels are called: names by position, or OLD=NEW; a list with commas, or a file with one a line"
)
IMAGE_COLUMN = Key("", "where the image is; empty: file (csv), image (parquet, tfds), the image's suffix (webdataset)")
LABEL_COLUMN = Key("", "where the label is; empty: none (csv), label (parquet, tfds), cls (webdataset)")
LABEL_SEPARATOR = Key("|", "between several labels of one image; empty: labels are never split")
CAPTION_COLUMNS = Key("", "where captions are, several by commas; empty: none (csv, parquet, tfds), txt (webdataset)")
GROUP_COLUMNS = Key("", "what images are grouped by, several by commas")
# What a kind declares whose images are described by columns or by members of a sample.
COLUMNS = {
    "image_column": IMAGE_COLUMN,
    "label_column": LABEL_COLUMN,
    "label_separator": LABEL_SEPARATOR,
    "caption_columns": CAPTION_COLUMNS,
    "group_columns": GROUP_COLUMNS,
    "class_names": CLASS_NAMES,
}

# What people call the parts of a data set, in folders and at the head of file names.
PARTS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval")


def parts_among(names: Iterable[str]) -> list[str]:
    """The parts of a data set that names begin with, sorted: "train-00000-of-00002.parquet", "val_003.tar", "test"."""
    heads = {re.split(r"[-_.\d]", name.lower(), maxsplit=1)[0] for name in names}
    return sorted(heads.intersection(PARTS))


def check_one_part(path: Path, names: Sequence[str], pattern: str) -> None:
    """InputError where the files of a folder belong to several parts of a data set, which are not one test set."""
    if len(parts := parts_among(names)) > 1:
        raise InputError(
            f"{path} holds files of several parts of a data set ({', '.join(parts)}); name one: "
            f"--config.data.split={parts[0]}, or give all of them as --config.data.path='{path / pattern}'"
        )


def columns(text: str) -> tuple[str, ...]:
    """ "age, gender" -> the names of columns."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def check_columns(source: Source, names: str) -> None:
    """InputError for a name of `data.group_columns` that a source with columns of its own does not have."""
    for column in columns(names):
        if column not in source.columns:
            there = ", ".join(source.columns) or "none"
            near = nearest(column, source.columns)
            raise InputError(f"data.group_columns: {source.name} has no column {column!r}{near}; it has {there}")


def captions_of(row: Sequence[Any]) -> tuple[str, ...]:
    """The captions of one row over the caption columns, missing ones left out."""
    nested = (value if isinstance(value, tuple) else (value,) for value in row)
    return tuple(caption for values in nested for caption in values if caption)


def texts_of(values: Iterable[Any]) -> list[str]:
    """A group column, cleaned as labels are: lists joined by "|", "" where nothing is known."""
    texts = ("|".join(value) if isinstance(value, tuple) else value or "" for value in values)
    return [unicodedata.normalize("NFC", text).strip() for text in texts]


def of_split(path: str, split: str, layouts: Sequence[str]) -> str:
    """The files of a split: `path` with {split} filled in, or the first of the usual layouts below it that is there."""
    if not split:
        if "{split}" in path:
            raise InputError(f"{path}: name the split that {{split}} stands for: --config.data.split=NAME")
        return path
    if "{split}" in path:
        return path.replace("{split}", split)
    patterns = [layout.format(path=path.rstrip("/"), split=split) for layout in layouts]
    found = [one for one in patterns if any(Path(one).parent.glob(Path(one).name))]
    if not found:
        raise InputError(
            f"{path}: no files of a split {split!r} (looked for {', '.join(patterns)}); write the path with {{split}} "
            "in it, or name each part's own: --config.data.train_path, --config.data.test_path"
        )
    return found[0]
