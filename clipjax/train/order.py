"""Which pair comes at which place of the endless stream of examples: a function of seed and place only."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import grain

from clipjax.errors import InputError

LAST_BATCH = ("drop", "carry")


def epoch_batches(n: int, batch: int, last_batch: str) -> float:
    """Batches in one pass over n pairs: whole ones with "drop"."""
    return n // batch if last_batch == "drop" else n / batch


@dataclasses.dataclass(frozen=True)
class Epochs:
    """Every one of `n` pairs once an epoch, shuffled anew in each.

    last_batch: what becomes of the rest of an epoch that does not fill a batch: "drop" (another rest in every epoch),
    so that no pair comes twice in a batch, or "carry" (the batch is filled from the next epoch).
    """

    n: int
    batch: int
    seed: int
    last_batch: str = "drop"

    def __post_init__(self):
        if self.last_batch not in LAST_BATCH:
            raise InputError(f"data.last_batch={self.last_batch!r}; choose {' or '.join(LAST_BATCH)}")

    @property
    def epoch_batches(self) -> float:
        """Batches in one pass over the data."""
        return epoch_batches(self.n, self.batch, self.last_batch)

    @functools.cached_property
    def _shuffled(self) -> Any:
        return grain.MapDataset.range(self.n).seed(self.seed).shuffle().repeat()

    def __call__(self, place: int) -> int:
        """The pair at a place: batch `place // batch`, example `place % batch`."""
        if self.last_batch == "drop":
            number, example = divmod(place, self.batch)
            epoch, number = divmod(number, self.n // self.batch)
            place = epoch * self.n + number * self.batch + example
        return int(self._shuffled[place])
