"""Linear probe: logistic regression on frozen features, to scikit-learn's objective (CLIP paper, appendix A.3).

    C * sum_n loss(y_n, W x_n + b)  +  1/2 ||W||^2        the intercept b is not penalised

`sum`, not mean: halving the examples halves the pull of the data. Loss and penalty are those of
`sklearn.linear_model.LogisticRegression(C=C)`, whose defaults the paper uses (openai/CLIP#39): multinomial for three
classes and more. For two, scikit-learn fits a single vector w; here weights are [-w/2, w/2] with the same w, so the
decision function and the probabilities are the same (and 1/2 ||w||^2 is ||W||^2: the penalty counts double).
Labels [N, C] of bool make C independent yes/no problems (multi-label sets), each with the two-class objective.

How it is solved. L-BFGS, whole on the devices in one program, examples cut over the `data` mesh, logits made one
block of rows at a time and never kept. Features are centred (absorbed by the free intercept) and the weights written
in the eigenbasis of the features' covariance: an exact change of variables that leaves objective and penalty as they
are. There the Hessian is nearly diagonal, class c and axis j having mean p_c (1 - p_c) * variance_j + penalty, and
every pass over the examples gives these means anew along with the gradient: L-BFGS starts from that diagonal instead
of from a multiple of one. Raw CLIP features (a large common mean, a spectrum over four decades) cost many more steps.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from msgspec.structs import replace

from clipjax import parallel
from clipjax.errors import InputError
from clipjax.probes import _lbfgs, metrics

TOLERANCE = 1e-9  # estimated relative distance to the optimum at which a fit is done; the true one is ten times that
SWEEP_TOLERANCE = 1e-7  # for the fits that only rank values of C; what a sweep returns is fitted to TOLERANCE
BLOCK = 1 << 18  # logits of one block on one device: 1 MiB in float32, which with its rows stays in a cache
DECADES, PER_DECADE = 6, 8  # the sweep goes from 1e-6 to 1e6
TINY = 1e-12  # curvature of the bias, where there is none (a class without examples)
ABSENT = -1e30  # the logit of a class without examples; finite, as inf - inf is not
HIGHEST = jax.lax.Precision.HIGHEST  # TPUs and GPUs would round float32 products to fewer bits


class Fit(NamedTuple):
    """A fitted probe, with how the fit went. `objective` is scikit-learn's, as at the top of this file."""

    weights: np.ndarray  # float32 [C, D]
    bias: np.ndarray  # float32 [C]; -inf for a class without examples
    C: float
    objective: float
    iterations: int
    evaluations: int
    converged: bool


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    C: float,
    max_iter: int = 1000,
    *,
    classes: int | None = None,
    initial: tuple[np.ndarray, np.ndarray] | None = None,
    mesh: Mesh | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """features [N, D], labels int [N] (or bool [N, C]) -> weights float32 [C, D], bias float32 [C].

    Scores are `features @ weights.T + bias`. There are `classes` of them, by default the largest label + 1; a class
    without examples gets weight 0 and bias -inf, the limit of the objective. `initial` (weights, bias) is a warm
    start: it changes the time, not the answer. Warns if max_iter comes before the optimum, as scikit-learn does.
    """
    solution = Problem(features, labels, classes=classes, mesh=mesh).solve(C, max_iter, initial=initial)
    if not solution.converged:
        remedy = "raise max_iter" if solution.iterations >= max_iter else "float32 leads no further; lower C"
        message = f"linear probe: not at the optimum after {solution.iterations} iterations at C={C:g}; {remedy}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return solution.weights, solution.bias


class Sweep(NamedTuple):
    """The best C on the validation rows, how it was found, and the model refitted on training and validation rows."""

    C: float
    weights: np.ndarray  # float32 [C, D], of the refit as `bias`
    bias: np.ndarray
    path: list[tuple[float | None, float | None]]  # (C, validation value) of every fit, in the order made
    records: list[metrics.Record]  # the same as the metric's records, with "C", "iterations" and "converged"
    refit: Fit
    held_out: np.ndarray  # int: the validation rows of `features`; given ones count on from its end


def sweep(
    features: np.ndarray,
    labels: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    fraction: float = 0.2,
    seed: int = 0,
    metric: Callable[[np.ndarray, np.ndarray], metrics.Record] | None = None,
    max_iter: int = 1000,
    classes: int | None = None,
    mesh: Mesh | None = None,
) -> Sweep:
    """The paper's search for the regularisation, then the final fit (appendix A.3).

    C from 1e-6 to 1e6: first every second decade, then half the interval on either side of the best so far, down to
    8 steps a decade, 15 fits in all; of equal scores the smallest C (the strongest regularisation) counts. Scored
    on the `validation` (features, labels), or on a seeded hold-out of `fraction` of each class (`hold_out`; the paper
    names no fraction). The model is refitted on both. `metric` (scores, labels) -> record decides; default top-1, for
    bool labels 11-point mAP. Each fit starts from the solution for the nearest C, or the mean of two.
    """
    metric = metric or (metrics.map_11pt if np.asarray(labels).ndim == 2 else metrics.top_k)
    if validation is None:
        held = hold_out(labels, fraction, seed)
    else:
        held = np.arange(len(labels), len(labels) + len(validation[1]))
        features = np.concatenate([features, validation[0]])
        labels = np.concatenate([labels, validation[1]])
    problem = Problem(features, labels, classes=classes, mesh=mesh)
    train = np.ones(len(problem.labels), bool)
    train[held] = False
    held_features, held_labels = problem.features[held], problem.labels[held]
    fits: dict[int, Fit] = {}
    records: list[metrics.Record] = []

    def visit(i: int) -> None:
        C, start = 10.0 ** (i / PER_DECADE), _warm_start(fits, i)
        fits[i] = solution = problem.solve(C, max_iter, rows=train, initial=start, tolerance=SWEEP_TOLERANCE)
        record = metric(scores(held_features, solution.weights, solution.bias), held_labels)
        records.append(replace(record, C=solution.C, iterations=solution.iterations, converged=solution.converged))

    def best() -> int:
        return max(zip(fits, records, strict=True), key=lambda item: (item[1].value, -item[0]))[0]

    for i in range(-DECADES * PER_DECADE, DECADES * PER_DECADE + 1, 2 * PER_DECADE):
        visit(i)
    step = PER_DECADE
    while step:
        middle = best()
        for i in (middle - step, middle + step):
            if abs(i) <= DECADES * PER_DECADE and i not in fits:
                visit(i)
        step //= 2
    chosen = best()
    refit = problem.solve(fits[chosen].C, max_iter, initial=fits[chosen][:2])
    path = [(r.C, r.value) for r in records]
    return Sweep(refit.C, refit.weights, refit.bias, path, records, refit, held)


def _warm_start(fits: dict[int, Fit], i: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Weights and bias to begin step `i` of a sweep from: the nearest fit's, or the mean of one on either side.

    Solutions move smoothly with log C: half the way between two is far nearer than either.
    """
    near = sorted(fits, key=lambda j: (abs(j - i), j))[:2]
    if not near:
        return None
    if sum(near) != 2 * i:  # not one on either side, equally far
        near = near[:1]
    return np.mean([fits[j].weights for j in near], axis=0), np.mean([fits[j].bias for j in near], axis=0)


def hold_out(labels: np.ndarray, fraction: float = 0.2, seed: int = 0) -> np.ndarray:
    """Rows to validate on, sorted: `fraction` of each class, rounded down, at random; of all rows for bool [N, C]."""
    if not 0 < fraction < 1:
        raise InputError(f"hold-out fraction {fraction} is not between 0 and 1")
    labels, generator = np.asarray(labels), np.random.default_rng(seed)
    groups = [np.arange(len(labels))] if labels.ndim == 2 else [np.flatnonzero(labels == c) for c in np.unique(labels)]
    held = np.concatenate([generator.permutation(rows)[: int(fraction * len(rows))] for rows in groups])
    if not len(held):
        raise InputError(f"{fraction:g} of {len(labels)} rows, class by class, holds none out; give a validation split")
    return np.sort(held)


class Problem:
    """Features and labels on the devices, ready to be fitted for any C and any subset of the rows.

    The features go to the devices once, as float32; everything else is a few [C, D] arrays.
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        *,
        classes: int | None = None,
        mesh: Mesh | None = None,
        block: int | None = None,
    ):
        self.features = metrics.check_features(features).astype(np.float32, copy=False)
        self.labels = _check_labels(labels, len(self.features), classes)
        self.many = self.labels.ndim == 2
        self.classes = self.labels.shape[1] if self.many else (classes or int(self.labels.max()) + 1)
        self.mesh = parallel.data_mesh() if mesh is None else mesh
        share = -(-len(self.features) // self.mesh.size)
        block = max(1, min(share, block or max(BLOCK // self.classes, 256)))
        self.blocks = -(-share // block)
        rows = self.blocks * -(-share // self.blocks) * self.mesh.size  # equal blocks: little to pad
        self._rows = rows
        self._center = self.features.mean(0, dtype=np.float64).astype(np.float32)
        self._x, self._y = self._place(self.features, self._center), self._place(self.labels)
        scatter = np.asarray(_scatter(self._x, self.mesh, self.blocks), np.float64)
        spread, self._axes = np.linalg.eigh(scatter / len(self.features))
        self._spread = np.maximum(spread, 0.0)

    def solve(
        self,
        C: float,
        max_iter: int = 1000,
        *,
        rows: np.ndarray | None = None,
        initial: tuple[np.ndarray, np.ndarray] | None = None,
        tolerance: float = TOLERANCE,
    ) -> Fit:
        """The optimum for this C over the rows where `rows` (bool [N]) is true; all by default."""
        if not (np.isfinite(C) and C > 0):
            raise InputError(f"C={C} is not a positive number; scikit-learn's C is 1 / regularisation strength")
        if max_iter < 1:
            raise InputError(f"max_iter={max_iter} leaves nothing to do; choose 1 or more")
        rows = np.ones(len(self.features), bool) if rows is None else np.asarray(rows, bool)
        counted = self.labels[rows]
        n, present = len(counted), self._present(counted)
        # scikit-learn's one vector for two classes costs twice what two opposite halves do.
        strength = (2.0 if present.sum() == 2 and not self.many else 1.0) / (C * n)
        start = self._to_inner(initial, present)
        data = _Data(
            x=self._x,
            y=self._y,
            weight=self._place(rows.astype(np.float32)),
            axes=jnp.asarray(self._axes, jnp.float32),
            spread=jnp.asarray(self._spread, jnp.float32),
            present=jnp.asarray(present),
            per_row=jnp.float32(1 / n),
            strength=jnp.float32(strength),
        )
        end = _minimise(data, start, jnp.int32(max_iter), jnp.float32(tolerance), self.mesh, self.blocks)
        weights, bias = self._to_outer(np.asarray(end.x, np.float64), present)
        if self.many:
            bias[counted.all(0)] = np.inf  # a class that every example has
        return Fit(
            weights,
            bias,
            float(C),
            float(end.f) * C * n,
            int(end.iteration),
            int(end.evaluations),
            bool(end.converged),
        )

    def _present(self, labels: np.ndarray) -> np.ndarray:
        """Which classes can be fitted: bool [C]."""
        if not len(labels):
            raise InputError("no examples to fit a linear probe on")
        if self.many:
            positive = labels.sum(0)
            return (positive > 0) & (positive < len(labels))
        present = np.bincount(labels, minlength=self.classes) > 0
        if present.sum() < 2:
            raise InputError(f"all {len(labels)} examples are of class {labels[0]}; a linear probe needs two classes")
        return present

    def _place(self, array: np.ndarray, center: np.ndarray | None = None) -> jax.Array:
        """Over the devices by rows, less the center, the rest filled with zeros (their weight is 0)."""
        shape = (self._rows, *array.shape[1:])

        def part(index):
            piece = array[index[0]] if center is None else array[index[0]] - center
            missing = len(range(*index[0].indices(self._rows))) - len(piece)
            return np.concatenate([piece, np.zeros((missing, *array.shape[1:]), array.dtype)]) if missing else piece

        return jax.make_array_from_callback(shape, parallel.by_rows(self.mesh), part)

    def _to_inner(self, initial, present) -> jax.Array:
        d = len(self._center)
        if initial is None:
            return jnp.zeros((self.classes, d + 1), jnp.float32)
        weights, bias = (np.asarray(a, np.float64) for a in initial)
        if weights.shape != (self.classes, d) or bias.shape != (self.classes,):
            raise InputError(
                f"the warm start has weights {weights.shape} and bias {bias.shape}; "
                f"this problem needs ({self.classes}, {d}) and ({self.classes},)"
            )
        known = present & np.isfinite(bias)
        bias = np.where(known, np.where(known, bias, 0) + weights @ self._center, 0)
        return jnp.asarray(np.concatenate([weights @ self._axes, bias[:, None]], axis=1) * known[:, None], jnp.float32)

    def _to_outer(self, inner, present) -> tuple[np.ndarray, np.ndarray]:
        weights, bias = inner[:, :-1] @ self._axes.T * present[:, None], inner[:, -1]
        if not self.many:  # one number added to every class changes no loss; at the optimum there is none
            weights[present] -= weights[present].mean(0)
            bias = bias - bias[present].mean()
        bias = bias - weights @ self._center
        return weights.astype(np.float32), np.where(present, bias, -np.inf).astype(np.float32)


class _Data(NamedTuple):
    x: jax.Array  # [N, D] centred, by rows
    y: jax.Array  # int [N] or bool [N, C], by rows
    weight: jax.Array  # [N] 1 for a row that counts, by rows
    axes: jax.Array  # [D, D] eigenvectors: W.T = axes @ inner.T
    spread: jax.Array  # [D] variance of the features along them
    present: jax.Array  # bool [C]
    per_row: jax.Array  # 1 / n
    strength: jax.Array  # penalty per row


@functools.partial(jax.jit, static_argnums=(4, 5))
def _minimise(data: _Data, start: jax.Array, max_iter, tolerance, mesh: Mesh, blocks: int) -> _lbfgs.State:
    """The whole fit; C and the rows that count are data, so that a sweep compiles once."""
    value = functools.partial(_objective, data, mesh=mesh, blocks=blocks)

    def inverse(curvature, vector):
        by_weights = vector[:, :-1] / (curvature[:, None] * data.spread + data.strength)
        by_bias = vector[:, -1:] / jnp.maximum(curvature[:, None], TINY)
        return _free(data, jnp.concatenate([by_weights, by_bias], axis=1))

    return _lbfgs.minimise(value, _free(data, start), max_iter, tolerance, inverse)


def _objective(data: _Data, inner: jax.Array, *, mesh: Mesh, blocks: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The objective per row, its gradient in the inner variables [C, D + 1], and the mean p (1 - p) of each class."""
    total = jax.shard_map(
        functools.partial(_sums, blocks=blocks),
        mesh=mesh,
        in_specs=(P("data"), P("data"), P("data"), P(), P(), P()),
        out_specs=P(),
    )
    weights = jnp.matmul(inner[:, :-1], data.axes.T, precision=HIGHEST)
    sums = total(data.x, data.y, data.weight, data.present, weights, inner[:, -1])
    loss, by_weights, by_bias, curvature = (a * data.per_row for a in sums)
    f = loss + 0.5 * data.strength * jnp.vdot(inner[:, :-1], inner[:, :-1], precision=HIGHEST)
    by_weights = jnp.matmul(by_weights, data.axes, precision=HIGHEST) + data.strength * inner[:, :-1]
    return f, _free(data, jnp.concatenate([by_weights, by_bias[:, None]], axis=1)), curvature


def _free(data: _Data, vector: jax.Array) -> jax.Array:
    """Without what all classes share, which changes no loss: rounding would let it drift, as the bias is free."""
    if data.y.ndim == 2:
        return vector
    here = data.present[:, None]
    return jnp.where(here, vector - jnp.mean(vector, axis=0, where=here), 0.0)


def _sums(x, y, weight, present, weights, bias, *, blocks: int):
    """One device's rows, block by block, then the sum over devices: loss, d/dW [C, D], d/db [C], p (1 - p) [C]."""

    def block(carry, rows):
        x, y, weight = rows
        logits = jnp.matmul(x, weights.T, precision=HIGHEST) + bias
        loss, slope = (_binary if y.ndim == 2 else _multinomial)(logits, y, present)
        slope, wrong = slope * weight[:, None], jnp.abs(slope)  # of p - 1 or p
        by_weights = jnp.matmul(slope.T, x, precision=HIGHEST)
        curvature = jnp.matmul(weight, wrong * (1 - wrong), precision=HIGHEST)
        sums = (by_weights, slope.sum(0), curvature)
        return jax.tree.map(jnp.add, carry, sums), jnp.vdot(loss, weight, precision=HIGHEST)

    cut = [a.reshape(blocks, -1, *a.shape[1:]) for a in (x, y, weight)]
    zeros = (jnp.zeros_like(weights), jnp.zeros_like(bias), jnp.zeros_like(bias))
    zeros = jax.lax.pcast(zeros, ("data",), to="varying")
    sums, losses = jax.lax.scan(block, zeros, tuple(cut))
    return jax.lax.psum((losses.sum(), *sums), "data")


def _multinomial(logits, labels, present):
    """Loss [B] and its slope in the logits [B, C]. The label's logit is the origin: near 0 both keep their digits."""
    hit = labels[:, None] == jnp.arange(logits.shape[1])
    logits = jnp.where(present, logits, ABSENT)
    own = jnp.where(hit, logits, 0.0).sum(1, keepdims=True)
    logits = jnp.where(hit, 0.0, logits - own)  # compiled apart, a number minus itself need not be 0
    top = jnp.maximum(logits.max(1), 0.0)
    odds = jnp.exp(logits - top[:, None])
    others = jnp.where(hit, 0.0, odds).sum(1)
    own = jnp.exp(-top)
    loss = jnp.where(top > 0, top + jnp.log(own + others), jnp.log1p(others))
    return loss, jnp.where(hit, -others[:, None], odds) / (own + others)[:, None]


def _binary(logits, labels, present):
    """As `_multinomial`, for one yes/no problem per class."""
    signed = jnp.where(labels, -logits, logits)
    loss = jnp.where(present, jax.nn.softplus(signed), 0.0).sum(1)
    slope = jnp.where(labels, -1.0, 1.0) * jax.nn.sigmoid(signed)
    return loss, jnp.where(present, slope, 0.0)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _scatter(x: jax.Array, mesh: Mesh, blocks: int) -> jax.Array:
    """Sum of x x^T over the rows [D, D]; it only chooses the variables to work in: float32 is exact enough."""

    def local(x):
        def block(carry, x):
            return carry + jnp.matmul(x.T, x, precision=HIGHEST), None

        d = x.shape[1]
        zeros = jax.lax.pcast(jnp.zeros((d, d), x.dtype), ("data",), to="varying")
        return jax.lax.psum(jax.lax.scan(block, zeros, x.reshape(blocks, -1, d))[0], "data")

    return jax.shard_map(local, mesh=mesh, in_specs=P("data"), out_specs=P())(x)


def scores(features: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """features [N, D] -> scores float32 [N, C], as scikit-learn's decision_function (for two classes, one a column).

    A class without training examples (bias -inf) has the lowest finite score: it is never predicted.
    """
    out = metrics.check_features(features) @ weights.T + bias
    return np.maximum(out, out.dtype.type(metrics.NEVER))


def _check_labels(labels: np.ndarray, n: int, classes: int | None) -> np.ndarray:
    """int32 [N], or bool [N, C] as it is."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.dtype == bool and len(labels) == n:
        return labels
    return metrics.check_labels(labels, n, classes).astype(np.int32)
