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


Sums = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
Start = tuple[np.ndarray, np.ndarray]  # weights [C, D] and bias [C] to begin from


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
    decide = metric

    def solve(C: float, start: Start | None) -> Fit:
        return problem.solve(C, max_iter, rows=train, initial=start, tolerance=SWEEP_TOLERANCE)

    def score(found: Fit) -> metrics.Record:
        return decide(scores(held_features, found.weights, found.bias), held_labels)

    best, records = search(solve, score)
    refit = problem.solve(best.C, max_iter, initial=best[:2])
    path = [(r.C, r.value) for r in records]
    return Sweep(refit.C, refit.weights, refit.bias, path, records, refit, held)


def search(
    solve: Callable[[float, Start | None], Fit], score: Callable[[Fit], metrics.Record]
) -> tuple[Fit, list[metrics.Record]]:
    """`sweep`'s walk over C. solve: a fit to the training rows from a start; score: what it is worth on the others."""
    fits: dict[int, Fit] = {}
    records: list[metrics.Record] = []

    def visit(i: int) -> None:
        fits[i] = found = solve(10.0 ** (i / PER_DECADE), _warm_start(fits, i))
        records.append(replace(score(found), C=found.C, iterations=found.iterations, converged=found.converged))

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
    return fits[best()], records


def _warm_start(fits: dict[int, Fit], i: int) -> Start | None:
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
        self._space = Space.of(self._center, scatter / len(self.features), self.classes)

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
        check(C, max_iter)
        rows = np.ones(len(self.features), bool) if rows is None else np.asarray(rows, bool)
        counted = self.labels[rows]
        positive = counted.sum(0) if self.many else np.bincount(counted, minlength=self.classes)
        weight = self._place(rows.astype(np.float32))
        asked = self._space.asked(C, len(counted), positive, self.many)
        start = self._space.inner(initial, asked.present)
        end = _minimise(
            _Data(self._x, self._y, weight, asked), start, jnp.int32(max_iter), jnp.float32(tolerance), self.mesh,
            self.blocks,
        )  # fmt: skip
        found = self._space.fit(end, C, len(counted), asked.present, self.many)
        if self.many:
            found.bias[counted.all(0)] = np.inf  # a class that every example has
        return found

    def _place(self, array: np.ndarray, center: np.ndarray | None = None) -> jax.Array:
        """Over the devices by rows, less the center, the rest filled with zeros (their weight is 0)."""
        shape = (self._rows, *array.shape[1:])

        def part(index):
            piece = array[index[0]] if center is None else array[index[0]] - center
            missing = len(range(*index[0].indices(self._rows))) - len(piece)
            return np.concatenate([piece, np.zeros((missing, *array.shape[1:]), array.dtype)]) if missing else piece

        return jax.make_array_from_callback(shape, parallel.by_rows(self.mesh), part)


class Space(NamedTuple):
    """The variables that are worked in: weights of centred features along the eigenvectors of their covariance."""

    center: np.ndarray  # [D]
    axes: np.ndarray  # [D, D] eigenvectors
    spread: np.ndarray  # [D] variance of the features along them
    classes: int

    @staticmethod
    def of(center: np.ndarray, covariance: np.ndarray, classes: int) -> Space:
        """Of features with this mean [D] and covariance [D, D]."""
        spread, axes = np.linalg.eigh(covariance)
        return Space(center, axes, np.maximum(spread, 0.0), classes)

    def asked(self, C: float, n: int, positive: np.ndarray, many: bool) -> Asked:
        """The problem for this C over n rows, of which so many [C] are of each class."""
        if not n:
            raise InputError("no examples to fit a linear probe on")
        present = (positive > 0) & (positive < n) if many else positive > 0
        if not many and present.sum() < 2:
            raise InputError(f"all {n} examples are of class {positive.argmax()}; a linear probe needs two classes")
        # scikit-learn's one vector for two classes costs twice what two opposite halves do.
        strength = (2.0 if present.sum() == 2 and not many else 1.0) / (C * n)
        return Asked(
            jnp.asarray(self.axes, jnp.float32), jnp.asarray(self.spread, jnp.float32), jnp.asarray(present),
            jnp.float32(1 / n), jnp.float32(strength),
        )  # fmt: skip

    def inner(self, initial: Start | None, known: jax.Array) -> jax.Array:
        """Weights and bias -> the variables [C, D + 1]; zeros without any."""
        d, present = len(self.center), np.asarray(known)
        if initial is None:
            return jnp.zeros((self.classes, d + 1), jnp.float32)
        weights, bias = (np.asarray(a, np.float64) for a in initial)
        if weights.shape != (self.classes, d) or bias.shape != (self.classes,):
            raise InputError(
                f"the warm start has weights {weights.shape} and bias {bias.shape}; "
                f"this problem needs ({self.classes}, {d}) and ({self.classes},)"
            )
        here = present & np.isfinite(bias)
        bias = np.where(here, np.where(here, bias, 0) + weights @ self.center, 0)
        return jnp.asarray(np.concatenate([weights @ self.axes, bias[:, None]], axis=1) * here[:, None], jnp.float32)

    def fit(self, end: _lbfgs.State, C: float, n: int, known: jax.Array, many: bool) -> Fit:
        """Where a search ended -> weights and bias, of features as they are."""
        inner, present = np.asarray(end.x, np.float64), np.asarray(known)
        weights, bias = inner[:, :-1] @ self.axes.T * present[:, None], inner[:, -1]
        if not many:  # one number added to every class changes no loss; at the optimum there is none
            weights[present] -= weights[present].mean(0)
            bias = bias - bias[present].mean()
        bias = np.where(present, bias - weights @ self.center, -np.inf).astype(np.float32)
        return Fit(
            weights.astype(np.float32), bias, float(C), float(end.f) * C * n, int(end.iteration), int(end.evaluations),
            bool(end.converged),
        )  # fmt: skip


class Asked(NamedTuple):
    """What is asked of the rows, beside these."""

    axes: jax.Array  # [D, D] eigenvectors: W.T = axes @ inner.T
    spread: jax.Array  # [D] variance of the features along them
    present: jax.Array  # bool [C]
    per_row: jax.Array  # 1 / n
    strength: jax.Array  # penalty per row


class _Data(NamedTuple):
    x: jax.Array  # [N, D] centred, by rows
    y: jax.Array  # int [N] or bool [N, C], by rows
    weight: jax.Array  # [N] 1 for a row that counts, by rows
    asked: Asked


@functools.partial(jax.jit, static_argnums=(4, 5))
def _minimise(data: _Data, start: jax.Array, max_iter, tolerance, mesh: Mesh, blocks: int) -> _lbfgs.State:
    """The whole fit; C and the rows that count are data, so that a sweep compiles once."""
    total = jax.shard_map(
        functools.partial(_sums, blocks=blocks),
        mesh=mesh,
        in_specs=(P("data"), P("data"), P("data"), P(), P(), P()),
        out_specs=P(),
    )

    def sums(weights: jax.Array, bias: jax.Array) -> Sums:
        return total(data.x, data.y, data.weight, data.asked.present, weights, bias)

    return minimise(sums, data.asked, start, max_iter, tolerance, many=data.y.ndim == 2)


def minimise(
    sums: Callable[[jax.Array, jax.Array], Sums], asked: Asked, start: jax.Array, max_iter, tolerance,
    many: bool = False, loops: _lbfgs.Loops = _lbfgs.TRACED,
) -> _lbfgs.State:  # fmt: skip
    """The fit by `sums` over the rows: (W [C, D], b [C]) -> loss, its gradient, and p (1 - p) of every class."""
    present = None if many else asked.present

    def value(inner: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return loops.run(_objective)(asked, present, inner, sums(*loops.run(_outer)(asked, inner)))

    inverse = jax.tree_util.Partial(_inverse, asked, present)
    unknown = jnp.ones(len(start), start.dtype)
    return _lbfgs.minimise(value, _free(present, start), max_iter, tolerance, inverse, unknown, loops)


def _outer(asked: Asked, inner: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The inner variables [C, D + 1] -> weights [C, D] and bias [C] of centred features."""
    return jnp.matmul(inner[:, :-1], asked.axes.T, precision=HIGHEST), inner[:, -1]


def _objective(asked: Asked, present: jax.Array | None, inner: jax.Array, sums: Sums):
    """The objective per row, its gradient in the inner variables, and the mean p (1 - p) of each class."""
    loss, by_weights, by_bias, curvature = (a * asked.per_row for a in sums)
    f = loss + 0.5 * asked.strength * jnp.vdot(inner[:, :-1], inner[:, :-1], precision=HIGHEST)
    by_weights = jnp.matmul(by_weights, asked.axes, precision=HIGHEST) + asked.strength * inner[:, :-1]
    return f, _free(present, jnp.concatenate([by_weights, by_bias[:, None]], axis=1)), curvature


def _inverse(asked: Asked, present: jax.Array | None, curvature: jax.Array, vector: jax.Array) -> jax.Array:
    """The inverse Hessian where it is taken for diagonal."""
    by_weights = vector[:, :-1] / (curvature[:, None] * asked.spread + asked.strength)
    by_bias = vector[:, -1:] / jnp.maximum(curvature[:, None], TINY)
    return _free(present, jnp.concatenate([by_weights, by_bias], axis=1))


def _free(present: jax.Array | None, vector: jax.Array) -> jax.Array:
    """Without what all classes share, which changes no loss: rounding would let it drift, as the bias is free."""
    if present is None:
        return vector
    here = present[:, None]
    return jnp.where(here, vector - jnp.mean(vector, axis=0, where=here), 0.0)


def _sums(x, y, weight, present, weights, bias, *, blocks: int) -> Sums:
    """One device's rows, block by block, then the sum over devices."""

    def block(carry, rows):
        x, y, weight = rows
        loss, *sums = of_rows(x, y, weight, present, weights, bias)
        return jax.tree.map(jnp.add, carry, tuple(sums)), loss

    cut = [a.reshape(blocks, -1, *a.shape[1:]) for a in (x, y, weight)]
    zeros = (jnp.zeros_like(weights), jnp.zeros_like(bias), jnp.zeros_like(bias))
    zeros = jax.lax.pcast(zeros, ("data",), to="varying")
    sums, losses = jax.lax.scan(block, zeros, tuple(cut))
    return jax.lax.psum((losses.sum(), *sums), "data")


def of_rows(x, y, weight, present, weights, bias) -> Sums:
    """Rows [B, D] and their labels, each counted `weight` [B] times -> loss, d/dW [C, D], d/db [C], p (1 - p) [C]."""
    logits = jnp.matmul(x, weights.T, precision=HIGHEST) + bias
    loss, slope = (_binary if y.ndim == 2 else _multinomial)(logits, y, present)
    slope, wrong = slope * weight[:, None], jnp.abs(slope)  # of p - 1 or p
    by_weights = jnp.matmul(slope.T, x, precision=HIGHEST)
    curvature = jnp.matmul(weight, wrong * (1 - wrong), precision=HIGHEST)
    return jnp.vdot(loss, weight, precision=HIGHEST), by_weights, slope.sum(0), curvature


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


def check(C: float, max_iter: int) -> None:
    """InputError for values that cannot be meant."""
    if not (np.isfinite(C) and C > 0):
        raise InputError(f"C={C} is not a positive number; scikit-learn's C is 1 / regularisation strength")
    if max_iter < 1:
        raise InputError(f"max_iter={max_iter} leaves nothing to do; choose 1 or more")


def scores(features: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """features [N, D] -> scores float32 [N, C], as scikit-learn's decision_function (for two classes, one a column).

    A class without training examples (bias -inf) has the lowest finite score: it is never predicted.
    """
    return finite(metrics.check_features(features) @ weights.T + bias)


def finite(scores: np.ndarray) -> np.ndarray:
    """Scores [N, C], of which those of a class without examples are -inf."""
    return np.maximum(scores, scores.dtype.type(metrics.NEVER))


def _check_labels(labels: np.ndarray, n: int, classes: int | None) -> np.ndarray:
    """int32 [N], or bool [N, C] as it is."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.dtype == bool and len(labels) == n:
        return labels
    return metrics.check_labels(labels, n, classes).astype(np.int32)
