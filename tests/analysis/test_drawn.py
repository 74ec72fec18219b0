"""Differences of shares over the same draws and test images: the interval by hand, and how often it holds."""

import numpy as np
import pytest
from scipy import stats

from clipjax.analysis import drawn
from clipjax.analysis.paired import paired_difference


def planted(generator, apart, draws=3, n=300):
    """Right or wrong of two methods, bool [S, N] each: images are hard or easy for both, and so are draws."""
    image = generator.choice([-0.25, 0.25], (1, n))
    draw = generator.normal(0, 0.03, (draws, 1))
    chance = 0.6 + image + draw
    return (generator.random((draws, n)) < np.clip(chance + shift, 0, 1) for shift in (0, apart))


def test_the_difference_by_hand():
    a = np.array([[1, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, 0]], bool)
    b = np.array([[1, 1, 1, 0, 1, 0], [1, 1, 1, 0, 0, 1]], bool)
    found = drawn.difference(a, b)
    d = b.astype(float) - a
    error = np.sqrt(np.var(d.mean(1), ddof=1) / 2 + np.var(d.mean(0)) / 6)
    reach = stats.t.ppf(0.975, 1) * error
    assert (found.value, found.each) == (d.mean(), d.mean(1).tolist())
    assert (found.low, found.high) == (max(-1, d.mean() - reach), min(1, d.mean() + reach))


def test_equal_answers_have_newcombes_interval():
    right = np.arange(40)[None] % 2 == np.zeros((3, 1))
    found = drawn.difference(right, right)
    low, high = paired_difference(20, 0, 0, 20)
    assert (found.value, found.low, found.high) == (0, low, high)


@pytest.mark.parametrize("apart", [0.0, 0.1])
def test_the_interval_holds_as_often_as_it_says(apart):
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        a, b = planted(generator, apart)
        found = drawn.difference(a, b)
        held += found.low <= apart <= found.high
    assert held / 400 >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 400)  # three binomial errors
