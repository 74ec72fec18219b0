"""Annotation files in JSON, read with one clear line where they are not what they should be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipjax import stored
from clipjax.data import annotations
from clipjax.errors import InputError, brief


def read(path: Path, kind: type[dict] | type[list] = dict) -> Any:
    """A JSON file whose outermost value is of `kind`. InputError where it is missing, damaged or something else."""
    content = stored.parse(annotations.read_text(path), str(path), remedy="unpack the data set again")
    if not isinstance(content, kind):
        raise InputError(f"{path} holds a {type(content).__name__}, not a {kind.__name__}: is it another file?")
    return content


def member(record: Any, key: str, path: Path) -> Any:
    """`record[key]`, or InputError naming the file where it is not there."""
    if not isinstance(record, Mapping) or key not in record:
        raise InputError(f'{path}: a record has no "{key}"; is it the annotation file of another data set?')
    return record[key]


def members(records: Any, keys: tuple[str, ...], path: Path) -> list[tuple[Any, ...]]:
    """The values of `keys` for every record of a list. InputError where it is not one, or a key is not there."""
    if not isinstance(records, list):
        raise InputError(f"{path}: {brief(records)} is not a list of records; is it the file of another data set?")
    return [tuple(member(record, key, path) for key in keys) for record in records]
