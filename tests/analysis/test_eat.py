"""Association tests: by hand, against scipy's permutation test, and the properties that make d and p what they are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clipjax.analysis import eat
from clipjax.errors import InputError

X = np.array([(1, 0), (2, 1), (1, 1), (3, 1)], float)
Y = np.array([(0, 1), (1, 2), (1, 3), (2, 3)], float)
A, B = np.array([(1, 0), (4, 1)], float), np.array([(0, 1), (1, 4)], float)
seeds = st.integers(0, 10_000)


def drawn(seed, sizes=(4, 4, 3, 2), width=5):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(n, width)) for n in sizes]


def test_worked_example():
    found = eat.association_test(X, Y, A, B)
    assert found.value == pytest.approx(1.623502, abs=5e-7)
    assert (found.p, found.p_two_sided) == pytest.approx((1 / 70, 2 / 70))
    assert (found.sizes, found.partitions, found.n) == ([4, 4, 2, 2], 70, 8)
    assert found.method == "exact permutation; bootstrap within X and within Y"
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (X, Y, A, B)]
    assert eat.association(unit[0], *unit[2:]) == pytest.approx([0.863803, 0.386305, 0, 0.546317], abs=5e-7)
    of_y = [-0.863803, -0.386305, -0.546317, -0.239576]
    assert eat.association(unit[1], *unit[2:]) == pytest.approx(of_y, abs=5e-7)


def test_the_largest_effect_size_of_four_and_four():
    assert eat.effect_size(np.ones((1, 4)), -np.ones((1, 4)))[0] == pytest.approx(1.870829, abs=5e-7)


def test_ties_count_as_reached():
    """With a larger-than instead of at-least, p would be 1/70."""
    y = np.array([(0, 1), (1, 2), (2, 1), (1, 1)], float)
    with pytest.raises(InputError, match="the same stimulus is in X and Y: number 1"):
        eat.association_test(X, y, A, B)
    y[2:] *= 1 + 1e-9  # the same directions, but for rounding
    y += np.array([0, 1e-13])
    found = eat.association_test(X, y, A, B)
    assert found.value == pytest.approx(1.205713, abs=5e-7)
    assert (found.p, found.p_two_sided) == pytest.approx((5 / 70, 10 / 70))


def test_single_category_example():
    found = eat.single_category_test(
        np.array([3.0, 1]), np.array([(1, 0), (4, 1), (2, 1)], float), np.array([(0, 1), (1, 4), (1, 1)], float)
    )
    assert (found.value, found.p) == pytest.approx((1.388279, 1 / 20), abs=5e-7)
    assert (found.metric, found.sizes) == ("sc_eat", [1, 0, 3, 3])


@pytest.mark.parametrize("seed", range(200))
def test_p_is_scipys(seed):
    x, y, a, b = drawn(seed)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y, a, b)]
    scores = [eat.association(one, *unit[2:]) for one in unit[:2]]
    found = eat.association_test(x, y, a, b)
    for alternative, p in (("greater", found.p), ("two-sided", found.p_two_sided)):
        wanted = stats.permutation_test(
            scores, lambda one, other, axis: one.mean(axis) - other.mean(axis), permutation_type="independent",
            alternative=alternative, n_resamples=np.inf, vectorized=True,
        )  # fmt: skip
        if alternative == "greater":
            assert p == pytest.approx(wanted.pvalue)
        else:  # scipy doubles the smaller tail; with equal sizes the null is symmetric and both are the same
            assert p == pytest.approx(wanted.pvalue)


@given(seeds)
@settings(max_examples=40)
def test_properties(seed):
    x, y, a, b = drawn(seed)
    found = eat.association_test(x, y, a, b)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))[0]
    assert eat.association_test(y, x, a, b).value == pytest.approx(-found.value)
    assert eat.association_test(x, y, b, a).value == pytest.approx(-found.value)
    assert eat.association_test(*(v @ rotation for v in (x, y, a, b))).value == pytest.approx(found.value)
    assert eat.association_test(3 * x, y / 7, 2 * a, b).value == pytest.approx(found.value)
    assert found.p + eat.association_test(y, x, a, b).p >= 1
    assert abs(found.value) <= 2 * math.sqrt(1 - 1 / 8) + 1e-12
    assert found.low <= found.high
    assert found.p >= 1 / found.partitions


def test_the_bound_is_attained_and_the_smallest_p():
    for n, least in ((2, 1 / 6), (3, 1 / 20), (4, 1 / 70)):
        spread = np.linspace(0, 1e-6, n)  # as good as two points
        x = np.stack([np.ones(n), spread], 1)
        y = np.stack([-np.ones(n), spread], 1)
        found = eat.association_test(x, y, np.array([[1.0, 0]]), np.array([[-1.0, 0]]))
        assert found.value == pytest.approx(2 * math.sqrt(1 - 1 / (2 * n)))
        assert found.p == pytest.approx(least)


def test_sampled_p_is_near_the_exact_one(monkeypatch):
    for seed in range(20):
        x, y, a, b = drawn(seed)
        exact = eat.association_test(x, y, a, b)
        with monkeypatch.context() as patch:
            patch.setattr(eat, "EXACT", 0)
            sampled = eat.association_test(x, y, a, b)
        assert sampled.method.startswith("sampled")
        assert sampled.partitions == 10_000
        assert sampled.p == pytest.approx(exact.p, abs=0.025)  # five standard errors


def test_false_positives_and_a_planted_association():
    """500 tests without association reject at their level; one that was planted is found."""
    p = np.array([eat.association_test(*drawn(seed, (8, 8, 4, 4), 16)).p for seed in range(500)])
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.03)  # three standard errors
    x, y, a, b = drawn(1, (8, 8, 4, 4), 16)
    found = eat.association_test(x + 3 * a.mean(0), y + 3 * b.mean(0), a, b)
    assert found.p < 0.001
    assert found.low > 0


def test_small_sets_have_wide_intervals():
    """Sets of 4 without association: a plain percentile interval holds 0 in 85% of 200 simulations."""
    found = [eat.association_test(*drawn(seed, (4, 4, 2, 2), 6)) for seed in range(200)]
    assert np.mean([one.low <= 0 <= one.high for one in found]) >= 0.9


def test_no_spread():
    x, y = (np.array([(1, 1, sign * z) for z in (1, 2, 3)], float) for sign in (1, -1))
    found = eat.association_test(x, y, np.array([[1.0, 0, 0]]), np.array([[0, 1.0, 0]]))
    assert (found.value, found.p, found.method) == (None, None, "every stimulus has the same association")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: eat.association_test(X[:1], Y, A, B), "X has 1 stimulus; a partition needs at least 2 on each side"),
        (lambda: eat.association_test(X[:3], Y, A, B), "X and Y have 3 and 4 stimuli; ieat and weat need equal sizes"),
        (lambda: eat.association_test(X, X, A, B), "the same stimulus is in X and Y: number 0"),
        (lambda: eat.association_test(X, Y, A[:, :1], B), "features have widths 2, 2, 1, 2"),
        (lambda: eat.association_test(X * 0, Y, A, B), "X: stimulus 0 .* has no direction"),
        (lambda: eat.association_test(X[0], Y, A, B), "X has shape"),
        (lambda: eat.single_category_test(X[0], A[:1], B), "A has 1 stimulus"),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_unequal_sizes_where_they_are_meant():
    assert eat.association_test(X[:3], Y, A, B, allow_unequal=True).partitions == 35
