"""The minimiser by itself: its direction against dense BFGS, its end on functions whose minimum is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipjax.probes import _lbfgs


def run(function, start, max_iter=200, tolerance=1e-9):
    def value(x):
        return *jax.value_and_grad(function)(x), jnp.ones(())

    return jax.jit(lambda x: _lbfgs.minimise(value, x, max_iter, tolerance))(jnp.asarray(start, jnp.float32))


@pytest.mark.parametrize("pairs", [0, 1, 4, 13])
def test_direction_is_that_of_dense_bfgs(pairs):
    """H by its definition, from gamma times the identity and the last ten pairs, oldest first."""
    r = np.random.default_rng(pairs)
    curve = np.diag(np.logspace(0, 1, 6))
    steps = r.normal(size=(pairs, 6))
    changes, g, gamma = steps @ curve, r.normal(size=6), 0.3
    state = run(lambda x: 1 + x @ x, np.ones(6), max_iter=0)
    H, eye = gamma * np.eye(6), np.eye(6)
    slots = {"steps": np.zeros((10, 6)), "changes": np.zeros((10, 6)), "rho": np.zeros(10)}
    for i, (s, y) in enumerate(zip(steps, changes, strict=True)):
        slots["steps"][i % 10], slots["changes"][i % 10], slots["rho"][i % 10] = s, y, 1 / (s @ y)
    for s, y in list(zip(steps, changes, strict=True))[-10:]:
        left = eye - np.outer(s, y) / (s @ y)
        H = left @ H @ left.T + np.outer(s, s) / (s @ y)
    slots = {k: jnp.asarray(v, jnp.float32) for k, v in slots.items()}
    state = state._replace(**slots, g=jnp.asarray(g, jnp.float32), gamma=jnp.float32(gamma), iteration=jnp.int32(pairs))
    # Ten updates in float32 against float64.
    assert np.abs(np.asarray(_lbfgs._direction(state)) + H @ g).max() < 1e-4 * np.abs(H @ g).max()


def test_a_long_valley():
    """Condition 1,000 in twelve dimensions: along the gradient alone this takes thousands of steps."""
    curve = np.logspace(0, 3, 12).astype(np.float32)
    end = run(lambda x: 1.0 + 0.5 * curve @ (x - 3) ** 2, np.zeros(12))
    assert end.converged
    assert not end.stuck
    assert end.iteration < 120
    assert float(end.f) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("start", [1e-3, 6.0])
def test_steps_too_short_and_too_long(start):
    """exp(x) - x + 1: near 0 unit steps are right, at 6 the slopes are -1 and 402."""
    end = run(lambda x: (jnp.exp(x) - x + 1).sum(), [start, -start])
    assert end.converged
    assert np.abs(np.asarray(end.x)).max() < 1e-3
    assert end.evaluations > end.iteration


def test_max_iter_and_a_start_at_the_end():
    valley = lambda x: 1.0 + 0.5 * jnp.asarray([1.0, 100.0]) @ x**2  # noqa: E731
    end = run(valley, [1.0, 1.0], max_iter=2)
    assert (int(end.iteration), bool(end.converged), bool(end.stuck)) == (2, False, False)
    end = run(valley, [0.0, 0.0])
    assert (int(end.iteration), int(end.evaluations), bool(end.converged)) == (0, 1, True)  # no slope at all


def test_no_way_down_ends():
    """A gradient that lies: every search fails, the history is dropped once, and the start is kept."""

    def value(x):
        return 1.0 + x @ x, -2 * x, jnp.ones(())

    end = jax.jit(lambda x: _lbfgs.minimise(value, x, 100, 1e-9))(jnp.ones(2))
    assert end.stuck
    assert not end.converged
    assert np.asarray(end.x).tolist() == [1, 1]


def test_a_known_diagonal_saves_the_learning():
    """A quadratic whose Hessian is given, three times over at first: a few steps instead of the long valley's."""
    curve = jnp.logspace(0, 3, 12)

    def value(x):
        return 1.0 + 0.5 * curve @ (x - 3) ** 2, curve * (x - 3), curve

    end = jax.jit(lambda x: _lbfgs.minimise(value, x, 200, 1e-9, lambda h, v: v / h))(jnp.zeros(12))
    assert end.converged
    assert end.iteration <= 5
    assert float(end.f) == pytest.approx(1, abs=1e-6)
    # CARE times the curvature; every step halves what is too much.
    expected = curve * (1 + (_lbfgs.CARE - 1) / 2.0**end.iteration)
    assert np.allclose(end.curvature, expected, rtol=1e-5, atol=0)


def test_a_failed_search_keeps_the_curvature():
    """What was seen at points that were refused says nothing about where the search stands."""
    value = lambda x: (1.0 + x @ x, -2 * x, 1.0 + 1e3 * jnp.abs(x - 1).sum()[None])  # noqa: E731
    end = jax.jit(lambda x: _lbfgs.minimise(value, x, 100, 1e-9, lambda h, v: v / h))(jnp.ones(2))
    assert end.stuck
    assert np.asarray(end.curvature).tolist() == [3]
