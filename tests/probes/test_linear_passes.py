"""The linear probe by passes over blocks: objective and answers of the one that holds all rows."""

import jax.numpy as jnp
import numpy as np
import pytest

from clipjax.errors import InputError
from clipjax.probes import linear, linear_passes
from clipjax.probes.linear_passes import Passes, Rows, held_out

from .test_linear import clip_like, objective

N, CLASSES = 900, 6


@pytest.fixture(scope="module")
def world():
    """Features, labels of which some are missing, digests."""
    x, y = clip_like(N)
    y[::50] = -1
    return x, y, np.random.default_rng(1).integers(0, 256, (N, 32), np.uint8)


def cut(world, cuts, dtype=np.float32):
    """The rows in parts that end at these places."""
    x, *rest = (values.astype(dtype) if i == 0 else values for i, values in enumerate(world))

    def source():
        for start, stop in zip([0, *cuts], [*cuts, N], strict=True):
            yield Rows(x[start:stop], *(values[start:stop] for values in rest))

    return source


@pytest.mark.parametrize("resident", [pytest.param(1 << 30, marks=pytest.mark.exhaustive), 0])
def test_the_optimum_of_all_rows_at_once(world, resident):
    x, y, _ = world
    passes = Passes(cut(world, [1, 300, 301]), CLASSES, rows=128, resident=resident)
    known = y >= 0
    for C in (0.01, 30.0):
        found = passes.solve(C)
        weights, bias = linear.fit(x[known], y[known], C, classes=CLASSES)
        best = objective(x[known], y[known], C, weights, bias)
        # Both stop within TOLERANCE of the optimum, by an estimate that is good to a factor of ten.
        assert objective(x[known], y[known], C, found.weights, found.bias) == pytest.approx(best, rel=1e-8)
        assert found.converged
        assert found.objective == pytest.approx(best, rel=1e-6)  # in float32


@pytest.mark.exhaustive
def test_a_search_chooses_the_c_of_the_one_that_holds_all_rows(world):
    x, y, digests = world
    passes = Passes(cut(world, [450]), CLASSES, 0.3, seed=5, rows=256)
    found, path = passes.sweep()
    held, known = held_out(digests, 0.3, 5), y >= 0
    fitted = known & ~held
    assert 0.25 < held.mean() < 0.35
    away = x[held & known], y[held & known]
    whole = linear.sweep(x[fitted], y[fitted], away, classes=CLASSES)
    assert found.C == whole.C
    assert [(r.C, r.n) for r in path] == [(r.C, r.n) for r in whole.records]
    apart = [abs(mine.k - theirs.k) for mine, theirs in zip(path, whole.records, strict=True)]
    assert max(apart) <= 1, "an image between two classes"
    # Of two solutions within TOLERANCE of the optimum, flat as it is at a large C.
    assert np.abs(found.weights - whole.weights).max() < 1e-3 * np.abs(whole.weights).max()


def test_how_the_rows_come_changes_nothing(world):
    """The blocks of the program are the same, wherever the parts end."""
    passes = Passes(cut(world, []), CLASSES, 0.3, rows=128)
    first = passes.solve(1.0, held=False)
    every = Passes(cut(world, []), CLASSES, rows=128).solve(1.0)
    assert (passes.solve(1.0).weights == every.weights).all(), "the rows held out too"
    assert np.abs(every.weights - first.weights).max() > 0.01
    for cuts in ([128, 256], [1, 2, 3, 899], [130]):
        found = Passes(cut(world, cuts), CLASSES, 0.3, rows=128).solve(1.0, held=False)
        assert (found.weights == first.weights).all()
        assert (found.bias == first.bias).all()


def test_what_rounding_takes_from_a_sum_is_added_in_the_end():
    added = linear_passes._Added((jnp.ones(2),))
    for _ in range(1000):
        added.add((jnp.array([2.0**-26, -(2.0**-26)]),))
    assert added.total[0].tolist() == np.float32([1 + 1000 * 2.0**-26, 1 - 1000 * 2.0**-26]).tolist()


def test_images_are_held_out_by_what_they_hold(world):
    digests = world[2]
    held = held_out(digests, 0.2, 0)
    order = np.random.default_rng(2).permutation(N)
    assert (held_out(digests[order], 0.2, 0) == held[order]).all()
    assert (held_out(digests, 0.2, 1) != held).any()
    assert (held_out(digests, 0.4, 0) >= held).all()


@pytest.mark.exhaustive
def test_float16_is_converted_block_by_block(world):
    x, y, _ = world
    found = Passes(cut(world, [500], np.float16), CLASSES, rows=128).solve(1.0)
    known, rounded = y >= 0, x.astype(np.float16).astype(np.float32)
    best = objective(rounded[known], y[known], 1.0, *linear.fit(rounded[known], y[known], 1.0, classes=CLASSES))
    assert objective(rounded[known], y[known], 1.0, found.weights, found.bias) == pytest.approx(best, rel=1e-8)


def test_what_cannot_be_fitted(world):
    x, y, digests = world
    broken = x.copy()
    broken[7, 3] = np.inf
    for features, labels, words in (
        (broken, y, "features are not finite"),
        (x, np.full(N, -1), "no labelled rows"),
    ):
        with pytest.raises(InputError, match=words):
            Passes(cut((features, labels, digests), []), CLASSES, rows=128)
    alone = Passes(cut((x, np.where(y >= 0, 2, -1), digests), []), CLASSES, rows=128)
    with pytest.raises(InputError, match="882 examples are of class 2; a linear probe needs two classes"):
        alone.solve(1.0)
    with pytest.raises(InputError, match="C=-1 is not a positive number"):
        alone.solve(-1)
