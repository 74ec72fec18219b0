"""The order in which groups are shown: as a scale that is known, else by the numbers in their names, else by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Words of one scale, the least first. A column whose values are all of one scale is shown in that order.
SCALES = (
    (
        "baby", "infant", "toddler", "child", "kid", "teenager", "teen", "adolescent", "youth", "young", "young-adult",
        "adult", "middle-aged", "older-adult", "older", "old", "elderly", "senior",
    ),
    ("lightest", "light", "medium-light", "medium", "medium-dark", "dark", "darkest"),
    ("none", "very-low", "low", "medium", "moderate", "high", "very-high"),
    ("tiny", "small", "medium", "large", "huge"),
    ("never", "rarely", "sometimes", "often", "always"),
)  # fmt: skip
_NUMBERED = re.compile(
    r"(?P<less>under|below|less than|up to|[<≤])?(?P<more>over|above|more than|at least|[>≥])?\s*"
    r"(?P<number>-?\d+(\.\d+)?)",
    re.IGNORECASE,
)


def places(values: Iterable[str], known: Sequence[str] = ()) -> dict[str, int]:
    """value -> its place: as in `known` where it has all of them, else of a scale, by number, by name.

    Numbers lead a name ("0-2", "10-19", "more than 70", "<18"); values without any name are those of no group.
    """
    found = sorted(set(values))
    scale = next((s for s in (known, *SCALES) if {_word(v) for v in found if v} <= {_word(v) for v in s}), None)
    numbers = {value: _number(value) for value in found if value}
    if scale is not None and any(found):
        words = [_word(one) for one in scale]
        found.sort(key=lambda value: words.index(_word(value)) if value else -1)
    elif None not in numbers.values():
        found.sort(key=lambda value: numbers.get(value) or 0.0)
    return {value: place for place, value in enumerate(found)}


def in_order(groups: Sequence[Sequence[str]]) -> list[int]:
    """Groups as values of each column -> their order by `places`, the first column leading."""
    ranks = [places(column) for column in zip(*groups, strict=True)]
    return sorted(range(len(groups)), key=lambda g: [rank[v] for rank, v in zip(ranks, groups[g], strict=True)])


def _word(value: str) -> str:
    return re.sub(r"[\s_-]+", "-", value.strip().lower())


def _number(value: str) -> float | None:
    match = _NUMBERED.match(value)
    if match is None:
        return None
    return float(match["number"]) - 0.5 * bool(match["less"]) + 0.5 * bool(match["more"])
