"""A table with a row per image: csv, tsv, parquet or jsonl, which names the files of the images."""

import dataclasses

from clipjax.data import table, tables
from clipjax.data.kinds import shared
from clipjax.data.source import Source, as_path
from clipjax.errors import InputError, brief, some
from clipjax.keys import key
from clipjax.progress import say


@dataclasses.dataclass(frozen=True)
class Keys(shared.SeveralLabels, shared.Split):
    """What is read of `data.`."""

    csv: str = key("", "the table: csv, tsv, parquet or jsonl")
    path: str = key("", "the folder that the table's file names are relative to; empty: the table's own")
    split_column: str = key("split", "the column of a table that says which part a row belongs to")


PART = "csv"  # the key that `data.train_path` and `data.test_path` stand for


def open_source(keys: Keys) -> Source:
    """The images of the table, or of its rows that belong to `split`."""
    path = as_path(shared.given(keys.csv, "csv", "the table: --config.data.csv=FILE"))
    if not keys.split and keys.split_column != Keys.split_column:
        raise InputError(f"data.split_column={keys.split_column}: name the part too: --config.data.split=VALUE")
    there = tables.columns(path)
    if keys.split and keys.split_column not in there:
        raise InputError(
            f"{keys.csv} has no column {keys.split_column!r} that says which rows are of the part {keys.split!r}; its "
            f"columns: {some([brief(name) for name in there])}; name one: --config.data.split_column=NAME, or a table "
            "for each part: --config.data.train_path, --config.data.test_path"
        )
    if not keys.split and keys.split_column in there:
        say(f"note: {keys.csv}: all rows are read, of every {keys.split_column}; for one: --config.data.split=VALUE")
    rows = (keys.split_column, keys.split) if keys.split else None
    return table.open_table(path, shared.Columns.of_keys(keys), keys.path or None, rows)
