"""Few-shot probes: which rows are drawn, what is said about them, and that more shots help on easy data."""

import numpy as np
import pytest
from scipy import stats

from clipjax.errors import InputError
from clipjax.probes import fewshot, linear


def blobs(n, seed, c=4, d=8):
    r = np.random.default_rng(seed)
    labels = r.integers(0, c, n)
    return (2 * np.eye(c, d)[labels] + r.normal(size=(n, d))).astype(np.float32), labels


def test_draw():
    labels = np.random.default_rng(0).integers(0, 5, 200)
    rows = fewshot.draw(labels, 4, seed=1)
    assert np.bincount(labels[rows]).tolist() == [4] * 5
    assert len(set(rows)) == 20
    assert set(fewshot.draw(labels, 2, seed=1)) < set(rows)
    assert set(fewshot.draw(labels, 4, seed=2)) != set(rows)
    assert set(fewshot.draw(labels, 2, seed=1, classes=6)) == set(fewshot.draw(labels, 2, seed=1))  # class 5 has none
    with pytest.raises(InputError, match="0 shots"):
        fewshot.draw(labels, 0, seed=1)


def test_evaluate():
    x, y = blobs(300, 1)
    test, truth = blobs(400, 2)
    one, eight = fewshot.evaluate(x, y, test, truth, shots=(1, 8), seeds=(0, 1, 2, 3))
    assert (one.shots, eight.shots, one.n, one.metric) == (1, 8, 400, "top1")
    assert one.value < eight.value
    assert eight.spread < one.spread
    assert len(one.values) == len(one.seeds) == 4
    rows = fewshot.draw(y, 8, 2)
    weights, bias = linear.fit(x[rows], y[rows], fewshot.C)
    assert eight.values[2] == ((test @ weights.T + bias).argmax(1) == truth).mean()
    assert (eight.value, eight.spread) == (np.mean(eight.values), np.std(eight.values, ddof=1))


def test_the_interval_covers_as_often_as_it_says():
    """Accuracy varies with the draw (sd 3 points) and with 200 examples of unequal difficulty."""
    r = np.random.default_rng(0)
    held = 0
    for _ in range(600):
        chance = np.clip(r.normal(0.7, 0.03, (4, 1)) + r.choice([-0.2, 0.2], (1, 200)), 0, 1)
        found = fewshot.summary(r.random((4, 200)) < chance)
        held += found.low <= 0.7 <= found.high
    # Three degrees of freedom for a sum of which some is known better: on the safe side. Binomial error 0.9 points.
    assert 0.93 <= held / 600 <= 1.0


def test_the_interval_by_hand():
    right = np.array([[1, 1, 0, 0], [1, 1, 1, 0]], bool)
    found = fewshot.summary(right)
    error = np.sqrt(np.var([0.5, 0.75], ddof=1) / 2 + np.var([1, 1, 0.5, 0]) / 4)
    reach = stats.t.ppf(0.975, 1) * error
    assert found.value == 0.625
    assert (found.low, found.high) == (max(0.625 - reach, 0), min(0.625 + reach, 1))
    assert found.method == "t (1 df) over draws and examples"


def test_one_seed_has_no_spread():
    x, y = blobs(40, 1)
    with pytest.raises(InputError, match="two different seeds"):
        fewshot.evaluate(x, y, x, y, seeds=(3, 3))
