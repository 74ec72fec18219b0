"""The largest batch that fits: predicted from two compilations, or searched for and compiled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from clipjax.plan.compiling import Compiled, DoesNotFit

MOST = 65_536  # images per chip: beyond it no chip here gains anything


@dataclasses.dataclass(frozen=True)
class Largest:
    """`fits` was compiled and fits (0: nothing did); `fails` is the next size tried and does not (0: not reached)."""

    fits: int
    fails: int
    compiled: dict[int, Compiled]
    tried: tuple[int, ...]


def grid(batch: float, per: int = 1) -> int:
    """The largest size not above `batch` with three leading bits (8 sizes per doubling), a multiple of `per`."""
    whole = int(batch) // per
    if whole < 1:
        return 0
    unit = max(1, 1 << max(whole.bit_length() - 4, 0))
    return whole // unit * unit * per


def above(batch: int, per: int = 1) -> int:
    """The next size of the grid."""
    whole = batch // per
    return grid(batch + max(1, 1 << max(whole.bit_length() - 4, 0)) * per, per)


def predict(
    compile_at: Callable[[int], Compiled], first: int, available: int, per: int, known: Mapping[int, Compiled]
) -> tuple[int, list[int]]:
    """The size at which memory would just be full, and the two sizes that it is predicted from: memory is nearly affine
    in the batch. Four times `first` is compiled if `first` is `known`, smaller sizes where that does not fit; 0 where
    fewer than two sizes fit. Against searches of evaluation steps on v5e, v5p and v6e it is exact, or too small by up
    to 36% (experiments/pod_plans)."""
    done, refused = dict(known), MOST + 1
    for size in dict.fromkeys(grid(first * factor, per) for factor in (*((4,) if known else ()), 0.5, 0.25, 0.125)):
        if len(done) == 2:
            break
        if size and size not in done:
            try:
                done[size] = compile_at(size)
            except DoesNotFit as refusal:
                refused, available = min(refused, size), refusal.available or available
    if len(done) < 2:
        return 0, sorted(done)
    a, b = sorted(done)
    slope = max((done[b].peak - done[a].peak) / (b - a), 1.0)
    return grid(min(b + (available - done[b].peak) / slope, refused - 1), per), [a, b]


def largest(
    compile_at: Callable[[int], Compiled],
    first: int,
    available: int,
    per: int = 1,
    known: Mapping[int, Compiled] | None = None,
) -> Largest:
    """Memory grows nearly linearly with the batch: extrapolate, compile there, and again until neighbours differ.

    `available` is a first guess of the chip's usable bytes; the compiler corrects it when it refuses. `per`: sizes
    must be multiples of it.
    """
    done = dict(known or {})
    tried: list[int] = []
    low, high = max(done, default=0), 0
    target = low or first
    while True:
        if target not in done:
            tried.append(target)
            try:
                done[target] = compile_at(target)
            except DoesNotFit as refusal:
                high = target
                available = refusal.available or available
        if target in done:
            low = max(low, target)
        if (high and above(low, per) >= high) or low >= MOST:
            return Largest(low, high, done, tuple(tried))
        target = _next(done, low, high, available, per, len(tried) + len(known or {}) - len(done))
        if not target:
            return Largest(0, high, done, tuple(tried))


def _next(done: dict[int, Compiled], low: int, high: int, available: int, per: int, refusals: int) -> int:
    """Where the memory should just be full, strictly between `low` and `high`; 0 where no size is left."""
    if not low:
        return grid(high / 2, per)
    ordered = sorted(done)
    if high and (len(ordered) < 2 or refusals > 1):  # the line lacks a point, or has had its chance: halve the rest
        guess = grid((low + high) / 2, per)
    elif len(ordered) < 2:  # a second point: far enough to see a slope above what is constant
        guess = grid(low * 4, per)
    else:
        a, b = ordered[-2:]
        slope = max((done[b].peak - done[a].peak) / (b - a), 1.0)
        guess = grid(b + (available - done[b].peak) / slope, per)
    # Where the line has been wrong more than once, go up faster than a size at a time.
    least = max(above(low, per), grid(low * (1 + 2.0 ** (len(ordered) - 7)), per))
    guess = min(max(guess, least), grid(MOST, per))
    return min(guess, grid(high - 1, per)) if high else guess
