"""Embedding association tests: are X nearer to A than to B, more than Y are? WEAT, SEAT, iEAT and across modalities.

X and Y are target stimuli, A and B attribute stimuli: features of words, texts or images, any mixture. With
s(w) = mean cosine with A - mean cosine with B, the effect size is d = (mean s over X - mean s over Y) / sd of s over
both (ddof 1), as in Caliskan et al. (2017) and their successors. p is the share of divisions of X and Y into sets of
the same sizes whose difference of means is at least the observed one, the observed one among them; `p_two_sided` by
absolute value. d says nothing without p and the sizes: without any association |d| grows as sets get smaller.

The interval resamples X and Y, and is widened for small sets (`intervals.expanded`); A and B are fixed sets of stimuli,
and d generalises over targets only.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from clipjax.analysis.intervals import RESAMPLES, expanded, percentile
from clipjax.analysis.rates import Method
from clipjax.analysis.records import Record, finite
from clipjax.errors import InputError

USUAL = Method()
EXACT = 10_000  # divisions up to which all are counted
DRAWS = 9_999  # of them otherwise
ROUNDING = 1e-12
FLAT = 1e-12  # a standard deviation of cosines below which they are all the same
BLOCK = 1 << 22


def association_test(
    x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, method: Method = USUAL, *, allow_unequal: bool = False
) -> Record:
    """x [n, E], y [m, E], a [p, E], b [q, E] -> the effect size d, with `p`, `p_two_sided`, `sizes`, `partitions`.

    Raises:
        InputError: sets of one stimulus; X and Y of unequal sizes, unless allowed (then means decide, not sums); a
            stimulus that is in X and in Y.
    """
    x, y, a, b = (_unit(v, name) for v, name in zip((x, y, a, b), "XYAB", strict=True))
    _same_width(x, y, a, b)
    for one, name in ((x, "X"), (y, "Y")):
        if len(one) < 2:
            raise InputError(f"{name} has {len(one)} stimulus; a partition needs at least 2 on each side")
    if len(x) != len(y) and not allow_unequal:
        raise InputError(
            f"X and Y have {len(x)} and {len(y)} stimuli; ieat and weat need equal sizes; allow_unequal uses the mean "
            "difference"
        )
    _apart(x, y, "X", "Y")
    sizes = [len(x), len(y), len(a), len(b)]
    return _tested("eat", association(x, a, b), association(y, a, b), sizes, method, "X and within Y")


def single_category_test(w: np.ndarray, a: np.ndarray, b: np.ndarray, method: Method = USUAL) -> Record:
    """w [E], a [p, E], b [q, E] -> SC-EAT (WEFAT): how much nearer one stimulus is to A than to B.

    d = (mean cosine with A - with B) / sd of all its cosines; A and B are what is divided.
    """
    w, a, b = _unit(np.asarray(w)[None], "w"), _unit(a, "A"), _unit(b, "B")
    _same_width(w, a, b)
    for one, name in ((a, "A"), (b, "B")):
        if len(one) < 2:
            raise InputError(f"{name} has {len(one)} stimulus; a partition needs at least 2 on each side")
    _apart(a, b, "A", "B")
    return _tested("sc_eat", (a @ w[0]), (b @ w[0]), [1, 0, len(a), len(b)], method, "A and within B")


def association(w: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Unit rows w [N, E], a [p, E], b [q, E] -> mean cosine with A minus mean cosine with B: [N]."""
    return (w @ a.T).mean(1) - (w @ b.T).mean(1)


def effect_size(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Associations [..., n] and [..., m] -> difference of means over the standard deviation of all (ddof 1); nan where
    all are the same."""
    deviation = np.concatenate([first, second], axis=-1).std(axis=-1, ddof=1)
    apart = first.mean(-1) - second.mean(-1)
    return np.where(deviation > FLAT, apart / np.where(deviation > FLAT, deviation, 1), np.nan)[()]


def partitions(first: np.ndarray, second: np.ndarray, seed: int = 0) -> tuple[np.ndarray, bool]:
    """Differences of means of divisions of both into sets of these sizes, and whether these are all of them."""
    everything, n = np.concatenate([first, second]), len(first)
    everything, total = np.sort(everything), math.comb(len(first) + len(second), len(first))
    if total <= EXACT:
        rows = np.array(list(itertools.combinations(range(len(everything)), n)))
        sums = everything[rows].sum(1)
    else:
        generator, sums = np.random.default_rng(seed), np.empty(DRAWS)
        step = max(1, BLOCK // len(everything))
        for start in range(0, DRAWS, step):
            tiled = np.tile(everything, (min(step, DRAWS - start), 1))
            sums[start : start + step] = generator.permuted(tiled, axis=1)[:, :n].sum(1)
    return sums / n - (everything.sum() - sums) / len(second), total <= EXACT


def _tested(
    metric: str, first: np.ndarray, second: np.ndarray, sizes: list[int], method: Method, within: str
) -> Record:
    d = float(effect_size(first, second))
    common = {"metric": metric, "n": len(first) + len(second), "group": {}, "sizes": sizes}
    if math.isnan(d):
        said = "every stimulus has the same association"
        return Record(**common, value=None, low=None, high=None, level=method.level, method=said)
    observed = float(first.mean() - second.mean())
    null, exact = partitions(first, second, method.seed)
    scale = max(float(np.abs(null).max()), abs(observed))
    above, two = null >= observed - ROUNDING * scale, np.abs(null) >= abs(observed) - ROUNDING * scale
    p, p_two = (float(hits.mean()) if exact else (int(hits.sum()) + 1) / (len(null) + 1) for hits in (above, two))
    low, high = _bootstrap(np.sort(first), np.sort(second), method)
    return Record(
        **common, value=d, low=finite(low), high=finite(high), level=method.level, p=p, p_two_sided=p_two,
        partitions=len(null) + (not exact),
        method=f"{'exact' if exact else 'sampled'} permutation; bootstrap within {within}",
    )  # fmt: skip


def _bootstrap(first: np.ndarray, second: np.ndarray, method: Method) -> tuple[float, float]:
    generator = np.random.default_rng(method.seed)
    drawn = [one[generator.integers(0, len(one), (RESAMPLES, len(one)))] for one in (first, second)]
    found = effect_size(*drawn)
    level = expanded(method.level, min(len(first), len(second)))
    return percentile(found, level) if not np.isnan(found).all() else (math.nan, math.nan)


def _unit(rows: np.ndarray, name: str) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or not rows.size:
        raise InputError(f"{name} has shape {rows.shape}; needed are features [N, E] with N > 0")
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if (bad := np.flatnonzero(~(np.isfinite(length) & (length > 0)).ravel())).size:
        raise InputError(f"{name}: stimulus {bad[0]} (from 0) has no direction: nan, infinity, or all zeros")
    return rows / length


def _same_width(*sets: np.ndarray) -> None:
    widths = [one.shape[1] for one in sets]
    if len(set(widths)) > 1:
        raise InputError(f"features have widths {', '.join(map(str, widths))}; all stimuli come from one model")


def _apart(one: np.ndarray, other: np.ndarray, name: str, other_name: str) -> None:
    """InputError where the same stimulus is in both sets."""
    known = {row.tobytes() for row in other}
    if rows := [i for i, row in enumerate(one) if row.tobytes() in known]:
        raise InputError(f"the same stimulus is in {name} and {other_name}: number {rows[0]} (from 0) of {name}")
