"""One policy for images that cannot be used: skip, count, name, and stop where they are too many."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from clipjax.errors import InputError, brief

SHARE = 0.01  # the default of every verb that reads a data set
NAMED = 5  # files that a terminal shows one by one
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)


class Skipped(NamedTuple):
    """An image that was left out: its row (or place in the list), its file and the reason, one line."""

    index: int
    file: str
    reason: str


def allowed(total: int, share: float) -> int:
    """How many of `total` images may be skipped: `share` of them, and at least one unless the share is 0.

    Raises InputError for a share outside 0 to 1.
    """
    if not 0 <= share <= 1:  # NaN too
        raise InputError(f"max_skipped={share} is not a share; give a number from 0 (none) to 1 (all)")
    return 0 if share == 0 else max(1, math.floor(share * total + 1e-9))  # 0.07 * 100 is 7.000000000000001, 0.29 not


def check(skipped: Sequence[tuple[int, str, str]], total: int, share: float, where: str, option: str) -> None:
    """Raises InputError where more images were skipped than `allowed`, or all of them.

    Args:
        skipped: (row, file, reason) of the images skipped so far.
        total: Images of the whole data set.
        share: The largest share that may be skipped.
        where: What the images are, for the message: a data set's name, a folder.
        option: What raises the limit, as it is typed: "--max-skipped", "--config.data.max_skipped".
    """
    limit = allowed(total, share)
    if skipped and len(skipped) >= total:
        if total == 1:
            raise InputError(_reason(skipped[0]))
        raise InputError(f"{where}: none of {total} images can be read; the first: {_reason(skipped[0])}")
    if len(skipped) <= limit:
        return
    raise InputError(
        f"{where}: {len(skipped)} of {total} images cannot be read, and {limit} may be skipped; the first: "
        f"{_reason(skipped[0])}. {remedy(len(skipped), total, option)}"
    )


def remedy(skipped: int, total: int, option: str = "--config.data.max_skipped") -> str:
    """What to do where `skipped` of `total` images are too many, with a value of `option` that is enough."""
    # While images are still being read the final count is unknown: leave room for twice as many.
    enough = next(step for step in _STEPS if step == 1 or allowed(total, step) >= 2 * skipped)
    return f"Repair or remove them, or skip more: {option}={enough:g}"


def notes(skipped: Iterable[tuple[int, str, str]]) -> list[str]:
    """Lines for a terminal: the number, and the first files with their reasons."""
    skipped = list(skipped)
    if not skipped:
        return []
    lines = [f"skipped: {len(skipped)} {'image' if len(skipped) == 1 else 'images'}"]
    lines += [f"  {_reason(one)}" for one in skipped[:NAMED]]
    return lines + ([f"  and {len(skipped) - NAMED} more"] if len(skipped) > NAMED else [])


def _reason(one: tuple[int, str, str]) -> str:
    _, file, reason = one
    reason = brief(reason, 300).rstrip(".")
    return reason if file in reason else f"{brief(file, 200)}: {reason}"
