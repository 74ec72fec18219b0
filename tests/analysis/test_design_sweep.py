"""The sweep of class designs against one argmax after another."""

import numpy as np
import pytest

from clipjax.analysis import sweep
from clipjax.analysis.design_sweep import COLUMNS, sweep_designs
from clipjax.errors import InputError


def unit(*shape, seed=0):
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def naive(images, weights, groups=None, n_groups=1):
    out = []
    for w in weights:
        winner = (images.astype(np.float64) @ w.T.astype(np.float64)).argmax(1)
        group = np.zeros(len(images), int) if groups is None else groups
        tally = np.zeros((n_groups, len(w)), int)
        for g, c in zip(group, winner, strict=True):
            if g >= 0:
                tally[g, c] += 1
        out.append(tally[0] if groups is None else tally)
    return out


def test_counts_are_those_of_argmax():
    images, weights = unit(5000, 24), unit(40, 7, 24, seed=1)
    found = sweep(images, weights)
    assert found.shape == (40, 7)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, naive(images, weights))
    assert (found.sum(1) == 5000).all()


def test_groups_add_an_axis_and_leave_out_minus_one():
    images, weights = unit(3000, 16), unit(9, 5, 16, seed=1)
    groups = np.random.default_rng(2).integers(-1, 4, 3000)
    found = sweep(images, weights, groups=groups)
    assert found.shape == (9, 4, 5)
    np.testing.assert_array_equal(found, naive(images, weights, groups, 4))


def test_the_length_of_image_features_does_not_matter():
    images, weights = unit(500, 16), unit(5, 6, 16, seed=1)
    lengths = np.random.default_rng(0).uniform(0.1, 9, (500, 1)).astype(np.float32)
    np.testing.assert_array_equal(sweep(images * lengths, weights), sweep(images, weights))


def test_the_first_of_equal_classes_wins():
    images, classes = unit(4096 + 77, 32), unit(3, 32, seed=1)
    weights = np.stack([classes[[0, 1, 1, 2]], classes[[1, 1, 0, 2]], classes[[2, 2, 2, 2]]])
    found = sweep(images, weights)
    assert found[0, 2] == found[1, 1] == 0
    assert found[0, 1] == found[1, 0]
    assert found[2].tolist() == [len(images), 0, 0, 0]


def test_designs_of_unequal_size_and_many_blocks(monkeypatch):
    images, table = unit(700, 16), unit(60, 16, seed=1)
    rng = np.random.default_rng(3)
    weights = [table[rng.permutation(60)[: rng.integers(1, 12)]] for _ in range(50)]
    wanted = naive(images, weights)
    for found in (sweep_designs(images, weights), _small_blocks(monkeypatch, images, weights)):
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    assert COLUMNS > 22


def _small_blocks(monkeypatch, images, weights):
    monkeypatch.setattr("clipjax.analysis.design_sweep.COLUMNS", 13)
    monkeypatch.setattr("clipjax.analysis.design_sweep.ROWS", 64)
    return sweep_designs(images, weights)


def test_nothing_to_sweep():
    assert sweep(unit(5, 4), np.zeros((0, 3, 4), np.float32)).shape == (0, 3)


@pytest.mark.parametrize(
    ("images", "weights", "groups", "message"),
    [
        (unit(5, 4), unit(3, 4), None, r"a sweep needs \[S, C, E\]"),
        (unit(5, 4), unit(2, 3, 5), None, r"features are \[N, 4\]"),
        (unit(5, 4)[0], unit(2, 3, 4), None, r"a sweep needs \[N, E\]"),
        (unit(5, 4) * np.nan, unit(2, 3, 4), None, "not finite"),
        (unit(5, 4), unit(2, 3, 4), np.zeros(4, int), "one whole number per image, 5"),
        (unit(5, 4), unit(2, 3, 4), np.zeros(5), "one whole number per image"),
    ],
)
def test_wrong_shapes(images, weights, groups, message):
    with pytest.raises(InputError, match=message):
        sweep(images, weights, groups)
