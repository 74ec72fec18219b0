"""Which pair comes at which place of the endless stream of examples: a function of seed and place only."""

from __future__ import annotations

import dataclasses
import functools
import threading
from typing import Any, Protocol

import grain
import numpy as np

from clipjax.errors import InputError

LAST_BATCH = ("drop", "carry")


class Order(Protocol):
    """The pair at a place: batch `place // batch`, example `place % batch`."""

    def __call__(self, place: int) -> int: ...

    @property
    def epoch_batches(self) -> float:
        """Batches in one pass over the data."""
        ...


def epoch_batches(n: int, batch: int, last_batch: str) -> float:
    """Batches in one pass over n pairs: whole ones with "drop"."""
    return n // batch if last_batch == "drop" else n / batch


def of_weights(weights: np.ndarray, batch: int, seed: int, last_batch: str = "drop") -> Order:
    """The order of pairs with these weights [N], above 0; only their ratios count."""
    if (weights == weights[0]).all():
        return Epochs(len(weights), batch, seed, last_batch)
    if last_batch != "drop":
        raise InputError(
            f"data.last_batch={last_batch} is of pairs that come equally often; with weights every epoch is made of "
            "whole batches: data.last_batch=drop"
        )
    return Weighted(weights, batch, seed)


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


class Weighted:
    """Pairs as often as their weights say: in an epoch of M = N // batch * batch examples, pair i comes
    M * weights[i] / sum(weights) times, rounded down or up (at random, with the right mean over epochs).

    A pair never comes twice in a batch, unless it comes more often in an epoch than there are batches. An epoch is
    computed as a whole, so that any place of it is known at once: 8 bytes an example, a second per million.
    """

    def __init__(self, weights: np.ndarray, batch: int, seed: int):
        self.weights, self.batch, self.seed = np.asarray(weights, np.float64), batch, seed
        self.epoch_batches: float = len(self.weights) // batch
        self._lock = threading.Lock()
        self._known: dict[int, np.ndarray] = {}

    def __call__(self, place: int) -> int:
        """The pair at a place: batch `place // batch`, example `place % batch`."""
        epoch, example = divmod(place, int(self.epoch_batches) * self.batch)
        with self._lock:  # of several threads one computes the epoch
            if epoch not in self._known:
                self._known = {e: pairs for e, pairs in self._known.items() if abs(e - epoch) == 1}
                self._known[epoch] = self._epoch(epoch)
            return int(self._known[epoch][example])

    def _epoch(self, epoch: int) -> np.ndarray:
        """Pairs int64 [M], batch after batch."""
        rng = np.random.default_rng([self.seed, epoch])
        batches = int(self.epoch_batches)
        shuffled = rng.permutation(len(self.weights))
        # Systematic sampling (Madow 1949): the cumulated weights at steps of one, from a random start.
        ends = np.cumsum(self.weights[shuffled])
        ends = np.floor(ends * (batches * self.batch / ends[-1]) + rng.random()).astype(np.int64)
        ends[-1] = batches * self.batch  # whatever was rounded
        drawn = np.repeat(shuffled, np.diff(np.minimum(ends, ends[-1]), prepend=0))
        return dealt(drawn.reshape(self.batch, batches), rng).reshape(-1)


def dealt(rounds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cards [B, K] of which equal ones lie together, dealt to K batches: [K, B].

    Each round gives one card to every batch, in a random order. Equal cards that go on in the next round go there to
    the batches that have the fewest of them.
    """
    count = rounds.shape[1]
    to = rng.permuted(np.tile(np.arange(count), (len(rounds), 1)), axis=1)
    held = np.zeros(count, np.int64)  # how many of the equal cards each batch has
    for i in np.flatnonzero(rounds[1:, 0] == rounds[:-1, -1]) + 1:
        card = rounds[i, 0]
        if rounds[i - 1, 0] != card:
            held[:] = 0
        held[to[i - 1, rounds[i - 1] == card]] += 1
        first = to[i][np.argsort(held[to[i]], kind="stable")][: int((rounds[i] == card).sum())]
        others = np.ones(count, bool)
        others[first] = False
        to[i] = np.concatenate([first, to[i][others[to[i]]]])
    out = np.empty((count, len(rounds)), rounds.dtype)
    out[to, np.arange(len(rounds))[:, None]] = rounds
    return out
