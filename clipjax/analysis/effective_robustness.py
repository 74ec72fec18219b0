"""Effective robustness: how much more accurate a model is under a shift than models of its accuracy are.

A line through the baseline models on transformed accuracies, ordinary least squares of f(shifted) on f(in
distribution): Taori et al. (2020, logit), Miller et al. (2021, probit). A model's effective robustness is its accuracy
under the shift minus what the line expects of it, in points of accuracy. Evaluated models are not in the fit. Noise in
the accuracies flattens the line, which raises the value of accurate models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike
from scipy import special

from clipjax.analysis.intervals import percentile
from clipjax.analysis.rates import Method
from clipjax.analysis.records import Record
from clipjax.errors import InputError

Axis = Literal["logit", "probit", "linear"]
AXES = {
    "logit": (special.logit, special.expit),
    "probit": (special.ndtri, special.ndtr),
    "linear": (np.asarray, np.asarray),
}
USUAL = Method()
FEWEST = 3  # models for a line
FOR_INTERVAL = 10
DRAWS = 1000


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """f(y) = slope f(x) + intercept through the baselines' accuracies x, y [M] as shares; `r2` is on that scale.

    unit: 100 where the accuracies came in percent, as those of evaluated models then do.
    """

    x: np.ndarray
    y: np.ndarray
    axis: Axis
    names: tuple[str, ...]
    unit: float
    slope: float
    intercept: float
    r2: float

    def expected(self, x0: ArrayLike) -> np.ndarray:
        """In-distribution accuracies (shares) -> what the line expects under the shift."""
        forth, back = AXES[self.axis]
        return back(self.slope * forth(np.asarray(x0, np.float64)) + self.intercept)


def fit(x: ArrayLike, y: ArrayLike, axis: Axis = "logit", names: Sequence[str] = ()) -> Line:
    """Accuracies of the baseline models [M] in distribution and under the shift, as shares or in percent -> the line.

    Accuracies are percent where any of x and y is above 1.
    """
    if axis not in AXES:
        raise InputError(f"axis {axis!r}; choose {', '.join(AXES)}")
    x, y = (np.atleast_1d(np.asarray(v, np.float64)) for v in (x, y))
    if x.shape != y.shape or x.ndim != 1:
        raise InputError(f"accuracies are {x.shape} and {y.shape}; both are [M], one a model")
    if len(x) < FEWEST:
        raise InputError(f"{len(x)} baseline models; a line needs at least {FEWEST}, {FOR_INTERVAL} for an interval")
    unit = 100.0 if max(x.max(), y.max()) > 1 else 1.0
    x, y = x / unit, y / unit
    for value in (*x, *y):
        _check(value, axis)
    forth = AXES[axis][0]
    if np.ptp(x) == 0:
        raise InputError(f"all baseline models have accuracy {100 * x[0]:g}%; a line needs different ones")
    found = scipy.stats.linregress(forth(x), forth(y))
    return Line(x, y, axis, tuple(names), unit, float(found.slope), float(found.intercept), float(found.rvalue**2))


def of(
    line: Line, x0: float, y0: float, name: str = "", n: tuple[int, int] | None = None, method: Method = USUAL
) -> Record:
    """The effective robustness of a model with these accuracies, in the unit of the line's, in points.

    n: images of both accuracies. The interval, for FOR_INTERVAL baselines and with n, resamples baseline models and
    draws both accuracies anew.
    """
    if name and name in line.names:
        raise InputError(f"evaluated model {name!r} is in the baseline; leave it out of the fit")
    x0, y0 = x0 / line.unit, y0 / line.unit
    for value in (x0, y0):
        _check(value, line.axis)
    expected = float(line.expected(x0))
    low = high = None
    if n is not None and len(line.x) >= FOR_INTERVAL:
        low, high = percentile(_drawn(line, x0, y0, n, method.seed), method.level)
        low, high = 100 * low, 100 * high
    return Record(
        metric="effective_robustness", group={}, n=len(line.x), value=100 * (y0 - expected), low=low, high=high,
        level=None if low is None else method.level,
        method=None if low is None else "bootstrap over baseline models, binomial draws of both accuracies",
        slope=line.slope, intercept=line.intercept, r2=line.r2, axis=line.axis, expected=100 * expected,
    )  # fmt: skip


def share(k: int, n: int) -> float:
    """k right of n as an accuracy that has a logit: (k + 1/2) / (n + 1)."""
    return (k + 0.5) / (n + 1)


def _drawn(line: Line, x0: float, y0: float, n: tuple[int, int], seed: int) -> np.ndarray:
    """Effective robustness [DRAWS] of resampled baselines and accuracies; nan where a line is not defined."""
    generator, found = np.random.default_rng(seed), np.full(DRAWS, np.nan)
    hits = [generator.binomial(size, p, DRAWS) for size, p in zip(n, (x0, y0), strict=True)]
    forth, back = AXES[line.axis]
    fx, fy = forth(line.x), forth(line.y)
    for i in range(DRAWS):
        rows = generator.integers(0, len(fx), len(fx))
        if np.ptp(fx[rows]) > 0:
            slope, intercept = np.polyfit(fx[rows], fy[rows], 1)
            x, y = (share(int(k[i]), size) for k, size in zip(hits, n, strict=True))
            found[i] = y - back(slope * forth(x) + intercept)
    return found


def _check(value: float, axis: Axis) -> None:
    if not 0 <= value <= 1 or (axis != "linear" and value in (0, 1)):
        raise InputError(f"accuracy {100 * value:g}% has no {axis}; give (k + 1/2) / (n + 1) of k right of n")
