"""L-BFGS for smooth convex functions, in float32: as one device program, or with its loops on the host."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

HISTORY = 10  # pairs kept, as scipy's
SEARCH = 20  # evaluations a line search may cost
CARE = 3.0  # a curvature at the start counts this often: steps are long there, and it changes under them
Value = Callable[[jax.Array], tuple[jax.Array, jax.Array, jax.Array]]  # x -> f, gradient, curvature (see `minimise`)
Inverse = Callable[[jax.Array, jax.Array], jax.Array]  # curvature, vector -> vector
_dot = functools.partial(jnp.vdot, precision=jax.lax.Precision.HIGHEST)


class State(NamedTuple):
    """Where the search is. At the end `converged` or `stuck` (no step leads down in float32), or neither (max_iter)."""

    x: jax.Array
    f: jax.Array
    g: jax.Array
    steps: jax.Array  # [HISTORY, *x.shape]
    changes: jax.Array  # [HISTORY, *x.shape] of the gradient
    rho: jax.Array  # [HISTORY] 1 / <step, change>, 0 where empty
    gamma: jax.Array  # the inverse Hessian where the history says nothing is gamma times `inverse`
    curvature: jax.Array  # what `inverse` knows of the function: the mean of the last values, newer ones counting more
    iteration: jax.Array
    evaluations: jax.Array
    converged: jax.Array
    stuck: jax.Array


class _Search(NamedTuple):
    alpha: jax.Array
    f: jax.Array
    g: jax.Array
    curvature: jax.Array
    low: jax.Array  # a step too short, with the slope there
    low_slope: jax.Array
    high: jax.Array  # a step too long (inf: none known), with the slope there
    high_slope: jax.Array
    evaluations: jax.Array
    good: jax.Array


class Loops(NamedTuple):
    """What runs the search: `run` makes a function of arrays one step of it."""

    while_loop: Callable[..., Any]
    cond: Callable[..., Any]
    run: Callable[[Callable], Callable]


def _while(go_on: Callable, step: Callable, state: Any) -> Any:
    while go_on(state):
        state = step(state)
    return state


TRACED = Loops(jax.lax.while_loop, jax.lax.cond, lambda function: function)
HOST = Loops(_while, lambda test, yes, no: yes() if test else no(), jax.jit)


def _as_it_is(curvature: jax.Array, vector: jax.Array) -> jax.Array:
    return vector


def minimise(
    value: Value, start: jax.Array, max_iter: jax.Array, tolerance: jax.Array, inverse: Inverse = _as_it_is,
    unknown: jax.Array | None = None, loops: Loops = TRACED,
) -> State:  # fmt: skip
    """Goes down from `start` (Nocedal and Wright, algorithm 7.5); `value` gives f > 0 and its gradient. Traceable, but
    with the loops of the HOST, where `value` may do anything, and `inverse` is a jax.tree_util.Partial.

    `inverse` is the inverse Hessian as far as it is known beforehand (symmetric, positive), of the `curvature` that
    `value` gives with every gradient: an array of any one shape, linear in the Hessian; ones of that shape are
    `unknown`, where `value` cannot be traced. L-BFGS learns the rest.

    Done when what a quadratic model still has to gain is `tolerance` of f. Its size is <g, H g> / 2, which float32
    knows long after f itself has stopped changing. At the start little is known of H, so
    a warm start must be much nearer.
    """
    history, rho = jnp.zeros((HISTORY, *start.shape), start.dtype), jnp.zeros(HISTORY, start.dtype)
    unknown = jnp.ones_like(jax.eval_shape(value, start)[2]) if unknown is None else unknown
    zero, no, one = jnp.int32(0), jnp.bool_(False), jnp.ones((), start.dtype)
    # The start is evaluated by a search along nothing, not before the loop: `value` is compiled once.
    state = State(start, one * jnp.inf, jnp.zeros_like(start), history, history, rho, one, unknown, zero, zero, no, no)

    def go_on(s: State) -> jax.Array:
        return ~s.converged & ~s.stuck & ((s.iteration < max_iter) | (s.evaluations == 0))

    def step(s: State) -> State:
        direction = loops.run(_direction)(s, inverse)
        slope = _dot(direction, s.g)
        near = -0.5 * slope <= tolerance * s.f * jnp.where(s.iteration == 0, 1e-6, 1.0)
        near &= s.evaluations > 0
        found = loops.cond(near, lambda: _stay(s, slope), lambda: _line_search(value, s, direction, slope, loops))
        return loops.run(_advance)(s, direction, found, near, inverse)

    return loops.while_loop(go_on, step, state)


def _advance(s: State, direction: jax.Array, search: _Search, near: jax.Array, inverse: Inverse) -> State:
    """The state after a line search. One that failed drops the history: the bare gradient may still lead down."""
    x = jnp.where(search.good, s.x + search.alpha * direction, s.x)
    g = jnp.where(search.good, search.g, s.g)
    step, change = x - s.x, g - s.g
    product = _dot(step, change)
    kept = product > 0
    first = s.evaluations == 0
    # Half of the old: one long step into a corner where all is flat must not make the next one longer still.
    curvature = jnp.where(first, CARE * search.curvature, (s.curvature + search.curvature) / 2)
    curvature = jnp.where(search.good, curvature, s.curvature)
    slot = s.iteration % HISTORY
    rho = jnp.where(kept, s.rho.at[slot].set(1 / jnp.where(kept, product, 1)), s.rho)
    return State(
        x=x,
        f=jnp.where(search.good, search.f, s.f),
        g=g,
        steps=jnp.where(kept, s.steps.at[slot].set(step), s.steps),
        changes=jnp.where(kept, s.changes.at[slot].set(change), s.changes),
        rho=jnp.where(search.good, rho, 0.0),
        gamma=jnp.where(kept, product / jnp.where(kept, _dot(change, inverse(curvature, change)), 1), s.gamma),
        curvature=curvature,
        iteration=s.iteration + jnp.where(near | first, 0, 1),
        evaluations=s.evaluations + search.evaluations,
        converged=near,
        stuck=~search.good & (s.rho == 0).all(),
    )


def _direction(s: State, inverse: Inverse = _as_it_is) -> jax.Array:
    """-H g by the two-loop recursion; empty slots have rho 0 and change nothing."""
    newest = s.iteration - 1 + HISTORY

    def back(j, carry):
        q, alphas = carry
        i = (newest - j) % HISTORY
        alpha = s.rho[i] * _dot(s.steps[i], q)
        return q - alpha * s.changes[i], alphas.at[i].set(alpha)

    def forth(j, q):
        i = (newest + 1 + j) % HISTORY
        return q + (alphas[i] - s.rho[i] * _dot(s.changes[i], q)) * s.steps[i]

    q, alphas = jax.lax.fori_loop(0, HISTORY, back, (s.g, jnp.zeros_like(s.rho)))  # a loop compiles in half the time
    q = jax.lax.fori_loop(0, HISTORY, forth, s.gamma * inverse(s.curvature, q))
    return -q


def _stay(s: State, slope: jax.Array) -> _Search:
    """No step at all."""
    zero = jnp.zeros((), s.x.dtype)
    return _Search(zero, s.f, s.g, s.curvature, zero, slope, zero + jnp.inf, zero, jnp.int32(0), jnp.bool_(True))


def _line_search(value: Value, s: State, direction: jax.Array, slope: jax.Array, loops: Loops) -> _Search:
    """A step that meets the approximate Wolfe conditions (Hager and Zhang 2005), by bracketing and secants.

    Near the optimum f no longer changes in float32 while its slope still does. The function is convex, so a slope in
    the right range is a decrease good enough, as long as f is not plainly above the start.
    """
    ceiling = s.f * (1 + 1e-6)  # f itself is rounded

    def go_on(t: _Search) -> jax.Array:
        return ~t.good & (t.evaluations < SEARCH)

    def closer(t: _Search) -> _Search:
        alpha = loops.run(_next)(t)
        found = value(s.x + alpha * direction)
        return loops.run(_judged)(t, alpha, *found, direction, slope, ceiling)

    return loops.while_loop(go_on, closer, _stay(s, slope)._replace(good=jnp.bool_(False)))


def _next(t: _Search) -> jax.Array:
    """The step to try."""
    secant = t.low - t.low_slope * (t.high - t.low) / (t.high_slope - t.low_slope)
    margin = 0.1 * (t.high - t.low)
    inside = jnp.clip(secant, t.low + margin, t.high - margin)
    return jnp.where(t.evaluations == 0, 1.0, jnp.where(jnp.isfinite(t.high), inside, 4.0 * t.low))


def _judged(t: _Search, alpha, f, g, curvature, direction, slope, ceiling) -> _Search:
    """The search after it: too short, too long or good."""
    now = _dot(direction, g)
    long = ~(now <= -0.8 * slope) | ~(f <= ceiling)  # nan is too long as well
    short = (now < 0.9 * slope) & ~long
    return _Search(
        alpha=alpha,
        f=f,
        g=g,
        curvature=curvature,
        low=jnp.where(short, alpha, t.low),
        low_slope=jnp.where(short, now, t.low_slope),
        high=jnp.where(long, alpha, t.high),
        high_slope=jnp.where(long, jnp.where(now > 0, now, -slope), t.high_slope),
        evaluations=t.evaluations + 1,
        good=~short & ~long,
    )
