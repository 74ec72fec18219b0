"""Intervals: exact for proportions, by seeded resampling for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtr, ndtri, stdtrit

from clipjax.errors import InputError

RESAMPLES = 1000
RATE_RESAMPLES = 10000  # binomial draws are cheap
BLOCK = 1 << 22  # weights held at once while resampling: 32 MiB
ROUNDING = 1e-12


def clopper_pearson(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Exact binomial interval (low, high) for k successes of n; arrays broadcast.

    Never covers less than `level` (Clopper and Pearson 1934): the method of CLIP's bias probe, where 203 of 1,406 is
    printed as [12.6%, 16.4%]. No examples say nothing: n = 0 gives (0, 1).
    """
    k, n, tail = _counts(k, n, level)
    # Quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k); at k = 0 and k = n the open end is the bound itself.
    low = np.where(k > 0, betaincinv(np.maximum(k, 1), n - k + 1, tail), 0.0)
    high = np.where(k < n, betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail), 1.0)
    return low[()], high[()]


def wilson(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Score interval (Wilson 1927): covers `level` on average, less at some p. n = 0: (0, 1)."""
    k, n, tail = _counts(k, n, level)
    of, z2 = np.maximum(n, 1), ndtri(tail) ** 2
    rate = k / of
    centre, reach = rate + z2 / (2 * of), np.sqrt(z2 * (rate * (1 - rate) + z2 / (4 * of)) / of)
    low, high = ((centre + side * reach) / (1 + z2 / of) for side in (-1, 1))
    return np.where(n > 0, np.clip(low, 0, 1), 0.0)[()], np.where(n > 0, np.clip(high, 0, 1), 1.0)[()]


def jeffreys(k: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Equal tails of the posterior Beta(k + 1/2, n - k + 1/2), with the open end at k = 0 and k = n (Brown, Cai and
    DasGupta 2001). n = 0: (0, 1)."""
    k, n, tail = _counts(k, n, level)
    low = np.where(k > 0, betaincinv(k + 0.5, n - k + 0.5, tail), 0.0)
    high = np.where(k < n, betaincinv(k + 0.5, n - k + 0.5, 1 - tail), 1.0)
    return low[()], high[()]


def bootstrap_rate(k: ArrayLike, n: ArrayLike, level: float = 0.95, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of a resampled rate: drawing n of n yes-or-no answers is a binomial draw.

    Seeded: a function of k, n and the seed, whatever other cells are asked for with it. At k = 0 and k = n nothing
    varies and the interval is a point: a known weakness of the method, shown as it is. n = 0: (0, 1).
    """
    k, n, tail = _counts(k, n, level)
    cells, place = np.unique(np.stack([k.ravel(), n.ravel()]).astype(np.int64), axis=1, return_inverse=True)
    found = np.array([_drawn_rate(hits, of, tail, seed) for hits, of in cells.T.tolist()]).T
    low, high = found[:, place.ravel()].reshape(2, *np.shape(n))
    return low[()], high[()]


def _drawn_rate(k: int, n: int, tail: float, seed: int) -> tuple[float, float]:
    if not n:
        return 0.0, 1.0
    drawn = np.random.default_rng([seed, k, n]).binomial(n, k / n, RATE_RESAMPLES) / n
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


METHODS = {"clopper-pearson": clopper_pearson, "wilson": wilson, "jeffreys": jeffreys, "bootstrap": bootstrap_rate}


def interval(
    k: ArrayLike, n: ArrayLike, method: str = "clopper-pearson", level: float = 0.95, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of the rate k/n by the method of that name; `seed` is for "bootstrap"."""
    if method not in METHODS:
        raise InputError(f"unknown interval method {method!r}; choose {', '.join(METHODS)}")
    return bootstrap_rate(k, n, level, seed) if method == "bootstrap" else METHODS[method](k, n, level)


def _counts(k: ArrayLike, n: ArrayLike, level: float) -> tuple[np.ndarray, np.ndarray, float]:
    """float64 counts of one shape, checked, and the probability of one tail."""
    k, n = np.broadcast_arrays(np.asarray(k), np.asarray(n))
    level = check_level(level)
    check_counts(k, n)
    return k.astype(np.float64), n.astype(np.float64), (1 - level) / 2


def check_counts(k: np.ndarray, n: np.ndarray) -> None:
    """InputError, naming the first, where k of n of one shape are not whole numbers with 0 <= k <= n."""
    bad = ~((k == np.floor(k)) & (n == np.floor(n)) & (k >= 0) & (k <= n))
    if bad.any():
        raise InputError(
            f"k={k[bad][0]} of n={n[bad][0]} is not a count of successes; counts are whole and 0 <= k <= n"
        )


def bootstrap(
    values: ArrayLike,
    seed: int = 0,
    level: float = 0.95,
    *,
    clusters: ArrayLike | None = None,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Percentile interval of the mean of values [N], examples drawn with replacement.

    With `clusters` [N] whole clusters are drawn (the five captions of one image are not five independent answers),
    and the mean is over the values of those drawn. The order of the values decides nothing.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values):
        raise InputError(f"values have shape {values.shape}; a mean needs [N] with N > 0")
    if clusters is None:
        sums, sizes = values, np.ones(len(values))
    else:
        _, member = np.unique(np.asarray(clusters), return_inverse=True)
        sums, sizes = np.bincount(member, values), np.bincount(member).astype(np.float64)
    order = np.lexsort((sizes, sums))
    sums, sizes = sums[order], sizes[order]
    return bootstrap_statistic(lambda w: (w @ sums) / (w @ sizes), len(sums), seed, level, resamples=resamples)


def bounded_mean(values: ArrayLike, level: float = 0.95, *, clusters: ArrayLike | None = None) -> tuple[float, float]:
    """Interval of the mean of values [N] from 0 to 1: Clopper and Pearson's of as many yes-or-no answers as would vary
    as much (Korn and Graubard 1998, "effective sample size"). Of yes-or-no answers it is their own.

    Where nothing varies, each value (cluster) counts as one answer; a bootstrap would give a point. `clusters` [N] and
    the order of the values: see `bootstrap`.
    """
    values = np.asarray(values, np.float64)
    member = np.arange(len(values)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    sums, sizes = np.bincount(member, values), np.bincount(member).astype(np.float64)
    order = np.lexsort((sizes, sums))
    sums, sizes = sums[order], sizes[order]
    mean = sums.sum() / sizes.sum()
    variance = ((sums - sizes * mean) ** 2).sum() / sizes.sum() ** 2
    return of_effective_n(float(mean), float(variance), len(sums), level)


def of_effective_n(mean: float, variance: float, least: float, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share that has the variance of as many yes-or-no answers; of `least` answers
    where nothing varies."""
    mean = min(max(mean, 0.0), 1.0)
    binomial = mean * (1 - mean)
    n = binomial / variance if variance > ROUNDING * binomial else least
    k, tail = mean * n, (1 - check_level(level)) / 2
    low = betaincinv(k, n - k + 1, tail) if k > ROUNDING else 0.0
    high = betaincinv(k + 1, n - k, 1 - tail) if n - k > ROUNDING else 1.0
    return float(low), float(high)


def bootstrap_statistic(
    statistic: Callable[[np.ndarray], np.ndarray],
    n: int,
    seed: int = 0,
    level: float = 0.95,
    *,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Percentile interval of any statistic that can be computed from how often each of n examples was drawn.

    `statistic` takes draws float64 [B, n] (each row sums to n) and returns [B]; nan where it is undefined (a
    resample without a positive), which does not count. Weights instead of copies: an order is sorted once.
    """
    level = check_level(level)
    return percentile(np.concatenate([statistic(w) for w in draws(n, seed, resamples)]), level)


def draws(n: int, seed: int = 0, resamples: int = RESAMPLES) -> Iterator[np.ndarray]:
    """How often each of n examples is drawn with replacement: float64 [B, n] each, `resamples` rows in all."""
    generator = np.random.default_rng(seed)
    block = max(1, min(resamples, BLOCK // n))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        yield weights.astype(np.float64)


def percentile(found: np.ndarray, level: float) -> tuple[float, float]:
    """The central `level` of resampled statistics, nan left out."""
    low, high = np.nanquantile(found, [(1 - check_level(level)) / 2, (1 + level) / 2])
    return float(low), float(high)


def expanded(level: float, n: int) -> float:
    """The level of a percentile interval that is as wide as n examples need (Hesterberg 2015, "expanded percentile").

    A resample varies less than a sample, by (n - 1) / n, and its quantiles are the normal ones, not Student's. Of 8
    examples 95% become 98.9%, of 100 95.3%.
    """
    reach = stdtrit(max(n - 1, 1), (1 + check_level(level)) / 2) * np.sqrt(n / max(n - 1, 1))
    return min(1 - 2 * float(ndtr(-reach)), 1 - 1e-12)


def check_level(level: float) -> float:
    """The level, or InputError where it is not a probability."""
    if not 0 < level < 1:
        raise InputError(f"level {level} is not between 0 and 1; 0.95 is usual")
    return level
