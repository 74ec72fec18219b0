"""What several kinds of sources share: keys that mean the same in each, and the way from columns to a `Source`."""

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from clipjax.data import naming
from clipjax.data.contents import Packed
from clipjax.data.labels import Value
from clipjax.data.source import ImageData, Source
from clipjax.data.tables import Column
from clipjax.errors import InputError, require
from clipjax.keys import key


@dataclasses.dataclass(frozen=True)
class Split:
    """Of a source with several parts."""

    split: str = key("", "the part of the data set; empty: all of it, or the kind's own default")


@dataclasses.dataclass(frozen=True)
class Folder(Split):
    """Of a source that is a folder."""

    path: str = key("", "the folder; with `split`, the folder that holds one folder per split")


@dataclasses.dataclass(frozen=True)
class Named:
    """Of a source with labels."""

    class_names: str = key(
        "", "what the labels are called: names by position, or OLD=NEW; a list with commas, or a file with one a line"
    )


@dataclasses.dataclass(frozen=True)
class Grouped:
    """Of a source with groups."""

    group_columns: str = key("", "what images are grouped by, several by commas")


@dataclasses.dataclass(frozen=True)
class Described(Named, Grouped):
    """Of a source whose images are described by columns, or by members of a sample."""

    image_column: str = key(
        "", "where the image is; empty: file (csv), image (parquet, tfds), the image's suffix (webdataset)"
    )
    label_column: str = key("", "where the label is; empty: none (csv), label (parquet, tfds), cls (webdataset)")
    caption_columns: str = key(
        "", "where captions are, several by commas; empty: none (csv, parquet, tfds), txt (webdataset)"
    )


@dataclasses.dataclass(frozen=True)
class SeveralLabels(Described):
    """Of a described source whose images may have several labels in one text."""

    label_separator: str = key("|", "between several labels of one image; empty: labels are never split")


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


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns, fields or members say what of an image. Empty: none, or those that the kind of source has.

    class_names: what labels are called (`naming.find`). separator: between several labels of one image.
    """

    image: str = ""
    label: str = ""
    captions: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    class_names: str = ""
    separator: str = ""

    @staticmethod
    def of_keys(keys: Described) -> "Columns":
        """From the keys that name them."""
        captions, groups = column_names(keys.caption_columns), column_names(keys.group_columns)
        separator = keys.label_separator if isinstance(keys, SeveralLabels) else ""
        return Columns(keys.image_column, keys.label_column, captions, groups, keys.class_names, separator)

    @property
    def described(self) -> list[str]:
        """All but the image's, each once."""
        return list(dict.fromkeys([*([self.label] if self.label else []), *self.captions, *self.groups]))


NO_COLUMNS = Columns()


def source_of(
    columns: Columns, table: Mapping[str, Column], name: str, files: Sequence[str], read: Callable[[int], ImageData],
    where: str, places: Sequence[Path] = (), captions: Sequence[tuple[str, ...]] | None = None,
    packed: Sequence[Packed] = (),
) -> Source:  # fmt: skip
    """The source that a table describes: its labels with their names, its groups, and the captions given.

    where: the table, for messages. places: folders where names of the labels may lie.
    """
    labels = None
    if columns.label:
        column = table[columns.label]
        labels = naming.labels(column.values, where, columns.class_names, places, column.declared, columns.separator)
    groups = {name: group_texts(table[name].values) for name in columns.groups}
    return Source(name, files, read, labels, captions, groups, packed=packed)


def captions_of(columns: Columns, table: Mapping[str, Column]) -> list[tuple[str, ...]] | None:
    """Each image's captions over the caption columns, missing ones left out; None where no column has captions."""
    if not columns.captions:
        return None
    rows = zip(*(table[name].values for name in columns.captions), strict=True)
    return [tuple(text for value in row for text in _several(value) if text) for row in rows]


def _several(value: Value) -> Sequence[str | None]:
    return value if isinstance(value, tuple) else (value,)


def group_texts(values: Iterable[Value]) -> list[str]:
    """A group column, cleaned as labels are: lists joined by "|", "" where nothing is known."""
    return [unicodedata.normalize("NFC", "|".join(filter(None, _several(value)))).strip() for value in values]


def column_names(text: str) -> tuple[str, ...]:
    """ "age, gender" -> the names of columns."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def check_columns(source: Source, names: str) -> None:
    """InputError for a name of `data.group_columns` that a source with columns of its own does not have."""
    for column in column_names(names):
        require(column, source.columns, f"data.group_columns: {source.name}", "column")


def given(value: str, kind: str, what: str) -> str:
    """The value of a key that a kind cannot do without. InputError that names the key (`what`) where it is empty."""
    if not value:
        raise InputError(f"data.source={kind} needs {what}")
    return value


def of_split(path: str, split: str, layouts: Sequence[str]) -> str:
    """The files of a split: `path` with {split} filled in, or the first of the usual layouts below it that is there."""
    if not split:
        if "{split}" in path:
            raise InputError(f"{path}: name the split that {{split}} stands for: --config.data.split=NAME")
        return path
    if "{split}" in path:
        return path.replace("{split}", split)
    patterns = [layout.format(path=path.rstrip("/"), split=split) for layout in layouts]
    there = [one for one in patterns if any(Path(one).parent.glob(Path(one).name))]
    if not there:
        raise InputError(
            f"{path}: no files of a split {split!r} (looked for {', '.join(patterns)}); write the path with {{split}} "
            "in it, or name each part's own: --config.data.train_path, --config.data.test_path"
        )
    return there[0]
