"""The groups of a probe's images: which columns of the source, and the bands made of them."""

from __future__ import annotations

import numpy as np

from clipjax.analysis import rates
from clipjax.analysis.intervals import interval
from clipjax.data.naming import differ_in_case
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.progress import say
from clipjax.runs.config import Counted, Groups, words

MOST_GROUPS = 50  # a column with more values is a name or a number, not a group


def columns(source: Source, group_columns: str, bands: str) -> dict[str, np.ndarray]:
    """Columns by name: those of data.group_columns, or every one with few values; and the bands made of them."""
    named = words(group_columns)
    if missing := [name for name in named if name not in source.columns]:
        there = ", ".join(source.columns) or "none"
        raise InputError(f"{source.name} has no column {missing[0]!r} to group by; it has {there}")
    kept: dict[str, np.ndarray] = {}
    for name in named or source.columns:
        values = source.columns[name]
        if not named and len(set(values.tolist())) > MOST_GROUPS:
            continue
        if (without := int((values == "").sum())) == len(values):
            if named:
                raise InputError(f"{source.name}: column {name!r} has no value for any image; leave it out")
            continue
        if without:
            say(
                f"note: {source.name}: {without} of {len(values)} images have no {name}; they are in none of its groups"
            )
        for one, other in differ_in_case(values.tolist())[:1]:
            say(f"note: {source.name}: {one!r} and {other!r} of {name} differ in case only and are two groups")
        kept[name] = values
    banded, notes = rates.bands(bands, kept)
    for note in notes:
        say(note)
    return kept | banded


def asked(config: Groups, source: Source) -> dict[str, np.ndarray]:
    """`columns` for a probe that has groups only where data.group_columns names them; else none, and InputError where
    `groups` or `bands` is set."""
    if not config.data.group_columns:
        if unread := [name for name in ("groups", "bands") if getattr(config, name)]:
            raise InputError(f"{unread[0]} is not read without groups; name columns: --config.data.group_columns=a,b")
        return {}
    found = columns(source, config.data.group_columns, config.bands)
    rates.groupings(config.groups, list(found))
    return found


def method_of(config: Counted) -> rates.Method:
    """The config's interval method, level and smallest n; InputError for an unknown method or level."""
    return checked_method(config.method, config.level, config.min_n, config.seed)


def checked_method(name: str, level: float, min_n: int, seed: int) -> rates.Method:
    """See `method_of`."""
    interval(0, 1, name, level)
    return rates.Method(name, level, min_n, seed)
