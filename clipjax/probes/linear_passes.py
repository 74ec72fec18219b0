"""The linear probe over features that are larger than memory: every evaluation of the objective is a pass over blocks.

Objective, variables and solver are those of `clipjax.probes.linear`. The rows come in blocks of any size, as often as
they are asked for, and are cut into blocks of one shape: one program for all of a pass. What fits stays on the devices,
as it is stored. The sums of blocks are added with the rounding error of each addition carried along (Neumaier), so that
a pass over 10^4 blocks has the digits of one over a few.

Rows that a search for C is scored on are chosen by a hash of what the image holds: no order of all rows, and no list of
them, is needed, and equal images are on one side.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from clipjax import parallel
from clipjax.errors import InputError
from clipjax.probes import _lbfgs, linear, metrics
from clipjax.probes.linear import HIGHEST, Fit, Space, Start, Sums

ROWS = 1 << 14  # of a block, over all devices
RESIDENT = 2 << 30  # bytes of features that stay on the devices


class Rows(NamedTuple):
    """features [M, D] as they are stored, labels int [M] (-1: without one), digests uint8 [M, 32] of the images."""

    features: np.ndarray
    labels: np.ndarray
    digests: np.ndarray


class Block(NamedTuple):
    """ROWS rows on the devices: those behind the last have the label 0 and no weight."""

    x: jax.Array  # [B, D] as stored
    y: jax.Array  # int [B]
    fitted: jax.Array  # float32 [B]: 1 for a labelled row that is not held out
    held: jax.Array  # the same of those held out


def held_out(digests: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """uint8 [M, 32] -> which rows are held out, bool [M]: by the image and the seed, wherever it stands."""
    limit, key = int(fraction * 2**32), str(seed).encode()
    hashed = (hashlib.blake2b(one.tobytes(), digest_size=4, key=key).digest() for one in digests)
    return np.array([int.from_bytes(one, "big") < limit for one in hashed], bool)


class Passes:
    """The rows of `source`, which is asked for them once for every pass; `fraction` of the labelled ones are held out.

    Raises:
        InputError: a feature is not finite, or no row has a label.
    """

    def __init__(
        self, source: Callable[[], Iterator[Rows]], classes: int, fraction: float = 0.0, seed: int = 0,
        rows: int = ROWS, resident: int = RESIDENT,
    ):  # fmt: skip
        self._source, self.classes, self._fraction, self._seed = source, classes, fraction, seed
        self._mesh = parallel.data_mesh(jax.local_devices())
        self._rows = -(-rows // self._mesh.size) * self._mesh.size
        self._kept: list[Block] = []
        self._whole = False  # whether all blocks are kept
        self._place = functools.partial(jax.device_put, device=parallel.by_rows(self._mesh))
        self._measure(resident)

    def _measure(self, resident: int) -> None:
        """One pass for means, counts and what is kept, another for the covariance."""
        total, self.counts, used = np.zeros(0), np.zeros((2, self.classes), np.int64), 0
        self._whole = True
        for block in self._read():
            x = np.asarray(block.x, np.float64)
            known = np.asarray(block.fitted + block.held)
            if not np.isfinite(x).all():
                raise InputError(
                    "features are not finite; the weights or the precision they were made with are at fault"
                )
            total = total + known @ x if len(total) else known @ x
            for i, part in enumerate((block.fitted, block.held)):
                self.counts[i] += np.bincount(np.asarray(block.y), np.asarray(part), self.classes).astype(np.int64)
            used += block.x.nbytes
            self._whole &= used <= resident
            if self._whole:
                self._kept.append(block)
        if not self._whole:
            self._kept = []
        n = int(self.counts.sum())
        if not n:
            raise InputError("no labelled rows to fit a linear probe on")
        self._center = jnp.asarray(total / n, jnp.float32)
        scatter = _Added((jnp.zeros((len(total), len(total)), jnp.float32),))
        for block in self._blocks():
            scatter.add(_scatter(block, self._center))
        self.space = Space.of(np.asarray(self._center), np.asarray(scatter.total[0], np.float64) / n, self.classes)

    def solve(
        self, C: float, max_iter: int = 1000, *, held: bool = True, initial: Start | None = None,
        tolerance: float = linear.TOLERANCE,
    ) -> Fit:  # fmt: skip
        """The optimum for this C; `held`: over all labelled rows, else over those that are not held out."""
        linear.check(C, max_iter)
        counts = self.counts.sum(0) if held else self.counts[0]
        n = int(counts.sum())
        asked = self.space.asked(C, n, counts, many=False)

        def sums(weights: jax.Array, bias: jax.Array) -> Sums:
            added = _Added((jnp.zeros(()), jnp.zeros_like(weights), jnp.zeros_like(bias), jnp.zeros_like(bias)))
            for block in self._blocks():
                added.add(_sums(block, held, self._center, asked.present, weights, bias))
            return added.total

        start = self.space.inner(initial, asked.present)
        end = linear.minimise(sums, asked, start, max_iter, tolerance, loops=_lbfgs.HOST)
        return self.space.fit(end, C, n, asked.present, many=False)

    def right(self, found: Fit) -> int:
        """How many of the held out rows have the label with the largest score."""
        weights, bias = jnp.asarray(found.weights), jnp.maximum(jnp.asarray(found.bias), metrics.NEVER)
        return sum(int(_right(block, weights, bias)) for block in self._blocks())

    def sweep(self, max_iter: int = 1000) -> tuple[Fit, list[metrics.Record]]:
        """As `linear.sweep`: the fit to all rows for the C that is best on the held out ones, and the path to it."""
        n = int(self.counts[1].sum())
        if not n:
            raise InputError("the hash holds no row out; give more rows, or a C")

        def solve(C: float, start: Start | None) -> Fit:
            return self.solve(C, max_iter, held=False, initial=start, tolerance=linear.SWEEP_TOLERANCE)

        best, path = linear.search(solve, lambda found: metrics.share("top1", self.right(found), n))
        return self.solve(best.C, max_iter, initial=best[:2]), path

    def _blocks(self) -> Iterator[Block]:
        return iter(self._kept) if self._whole else self._read()

    def _read(self) -> Iterator[Block]:
        """The source's rows in blocks of one shape."""
        held: list[Rows] = []
        n = 0
        for part in self._source():
            start = 0
            while start < len(part.labels):
                stop = min(len(part.labels), start + self._rows - n)
                held.append(Rows(*(values[start:stop] for values in part)))
                n, start = n + stop - start, stop
                if n == self._rows:
                    yield self._block(held)
                    held, n = [], 0
        if n:
            yield self._block(held)

    def _block(self, parts: list[Rows]) -> Block:
        labels = np.concatenate([part.labels for part in parts])
        x = np.zeros((self._rows, parts[0].features.shape[1]), parts[0].features.dtype)
        np.concatenate([part.features for part in parts], out=x[: len(labels)])
        known = labels >= 0
        away = np.zeros(len(labels), bool)
        if self._fraction:
            away = held_out(np.concatenate([part.digests for part in parts]), self._fraction, self._seed) & known
        columns = []
        for values, dtype in ((np.maximum(labels, 0), np.int32), (known & ~away, np.float32), (away, np.float32)):
            columns.append(np.zeros(self._rows, dtype))
            columns[-1][: len(labels)] = values
        return Block(*(self._place(values) for values in (x, *columns)))


class _Added:
    """Sums of blocks, with what rounding took from each."""

    def __init__(self, zeros: tuple[jax.Array, ...]):
        self._sum, self._lost = zeros, jax.tree.map(jnp.zeros_like, zeros)

    def add(self, part: tuple[jax.Array, ...]) -> None:
        """Waits for the block before: else all blocks of a pass would be read, and in memory, before they are used."""
        jax.block_until_ready(self._sum)
        self._sum, self._lost = _neumaier(self._sum, self._lost, part)

    @property
    def total(self):
        return jax.tree.map(jnp.add, self._sum, self._lost)


@jax.jit
def _neumaier(total, lost, part):
    new = jax.tree.map(jnp.add, total, part)
    rounding = jax.tree.map(
        lambda t, p, s: jnp.where(jnp.abs(t) >= jnp.abs(p), (t - s) + p, (p - s) + t), total, part, new
    )
    return new, jax.tree.map(jnp.add, lost, rounding)


def _centred(block: Block, center: jax.Array) -> jax.Array:
    return block.x.astype(jnp.float32) - center


@functools.partial(jax.jit, static_argnums=1)
def _sums(block: Block, held: bool, center, present, weights, bias) -> Sums:
    weight = block.fitted + block.held if held else block.fitted
    return linear.of_rows(_centred(block, center), block.y, weight, present, weights, bias)


@jax.jit
def _scatter(block: Block, center: jax.Array) -> tuple[jax.Array]:
    x = _centred(block, center) * (block.fitted + block.held)[:, None]
    return (jnp.matmul(x.T, x, precision=HIGHEST),)


@jax.jit
def _right(block: Block, weights: jax.Array, bias: jax.Array) -> jax.Array:
    scores = jnp.matmul(block.x.astype(jnp.float32), weights.T, precision=HIGHEST) + bias
    return ((scores.argmax(1) == block.y) * block.held).sum()
