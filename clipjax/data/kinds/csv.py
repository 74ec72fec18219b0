"""A table with a row per image: csv, tsv, parquet or jsonl, which names the files of the images."""

from pathlib import Path
from typing import Any

from clipjax.data import naming, table, tables
from clipjax.data.kinds import shared
from clipjax.data.source import Source, as_path
from clipjax.errors import InputError, brief, some
from clipjax.keys import Key
from clipjax.progress import say

KEYS = {
    "csv": Key("", "the table: csv, tsv, parquet or jsonl"),
    "path": Key("", "the folder that the table's file names are relative to; empty: the table's own"),
    **shared.COLUMNS,
    "split": shared.SPLIT,
    "split_column": Key("split", "the column of a table that says which part a row belongs to"),
}
PART = "csv"  # the key that `data.train_path` and `data.test_path` stand for


def open_source(keys: Any) -> Source:
    """The images of the table, or of its rows that belong to `split`."""
    if not keys.csv:
        raise InputError("data.source=csv needs the table: --config.data.csv=FILE")
    if not keys.split and keys.split_column != KEYS["split_column"].default:
        raise InputError(f"data.split_column={keys.split_column}: name the part too: --config.data.split=VALUE")
    if keys.split and keys.split_column not in (there := tables.columns(as_path(keys.csv))):
        raise InputError(
            f"{keys.csv} has no column {keys.split_column!r} that says which rows are of the part {keys.split!r}; its "
            f"columns: {some([brief(name) for name in there])}; name one: --config.data.split_column=NAME, or a table "
            "for each part: --config.data.train_path, --config.data.test_path"
        )
    if not keys.split and keys.split_column in tables.columns(as_path(keys.csv)):
        say(f"note: {keys.csv}: all rows are read, of every {keys.split_column}; for one: --config.data.split=VALUE")
    place = Path(as_path(keys.csv)).parent

    def find(ids: tuple[str, ...]) -> naming.Naming | None:
        return naming.find(keys.class_names, ids, [place], keys.csv)

    return table.load(
        keys.csv, keys.image_column or "file", keys.label_column or None, shared.columns(keys.caption_columns),
        shared.columns(keys.group_columns), keys.path or None, find, keys.label_separator,
        (keys.split_column, keys.split) if keys.split else None,
    )  # fmt: skip
