"""Few-shot probes: which rows are drawn, what is said about them, and that more shots help on easy data."""

import itertools

import numpy as np
import pytest
from scipy import stats

from clipjax.analysis.intervals import clopper_pearson
from clipjax.analysis.rates import Cells, Method, cells
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
    (one, eight), right, _ = fewshot.evaluate(x, y, test, truth, shots=(1, 8), seeds=(0, 1, 2, 3))
    assert (one.shots, eight.shots, one.n, one.metric) == (1, 8, 400, "top1")
    assert one.value < eight.value
    assert eight.spread < one.spread
    assert len(one.values) == len(one.seeds) == 4
    rows = fewshot.draw(y, 8, 2)
    weights, bias = linear.fit(x[rows], y[rows], fewshot.C)
    assert eight.values[2] == ((test @ weights.T + bias).argmax(1) == truth).mean()
    assert right[1].mean(1).tolist() == eight.values
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


def groups_of(letters):
    return cells(("g",), {"g": np.array([*letters], object)}, len(letters))


RIGHT = np.array([[1, 1, 1, 0, 0, 1], [1, 1, 0, 1, 0, 0]], bool)  # two draws of shots, six test examples


def test_groups_by_hand():
    a, b, worst, gap, mean = fewshot.of_groups(RIGHT, groups_of("aabbbb"), "g")
    assert [(r.metric, r.group, r.n, r.small) for r in (a, b)] == [
        ("top1", {"g": "a"}, 2, True), ("top1", {"g": "b"}, 4, True),
    ]  # fmt: skip
    assert (a.value, a.values, a.spread) == (1, [1, 1], 0)
    assert (b.value, b.values) == (0.375, [0.5, 0.25])
    error = np.sqrt(np.var([0.5, 0.25], ddof=1) / 2 + np.var([0.5, 0.5, 0, 0.5]) / 4)
    assert b.high == min(1, 0.375 + stats.t.ppf(0.975, 1) * error)
    assert (worst.metric, worst.worst, worst.value, worst.n, worst.over) == ("top1_worst_group", "b", 0.375, 4, "g")
    assert (gap.metric, gap.highest, gap.lowest, gap.value) == ("top1_group_difference", "a", "b", 0.625)
    assert (mean.metric, mean.value, mean.groups) == ("top1_mean_of_groups", 0.6875, 2)


def test_a_group_that_is_always_right_has_an_interval():
    of, right = groups_of("a" * 5 + "b" * 35), np.ones((3, 40), bool)
    a, b, worst, gap, mean = fewshot.of_groups(right, of, "g", Method(level=0.9))
    assert (a.low, a.high) == (clopper_pearson(5, 5, 0.9)[0], 1)
    assert (b.low, b.high) == (clopper_pearson(35, 35, 0.9)[0], 1)
    assert worst.low == clopper_pearson(5, 5, 0.95)[0]
    assert (gap.value, gap.low, gap.p, gap.expected_if_equal) == (0, 0, 1, 0)
    assert gap.high > 0.2
    assert mean.low < 1


def test_examples_are_dealt_to_groups_as_enumeration_deals_them():
    own = RIGHT.sum(0)
    deals = [np.isin(np.arange(6), chosen) for chosen in itertools.combinations(range(6), 2)]
    every = np.array([abs(own[deal].mean() - own[~deal].mean()) / 2 for deal in deals])
    gap = fewshot.of_groups(RIGHT, groups_of("aabbbb"), "g")[3]
    assert gap.p == pytest.approx((every >= gap.value - 1e-12).mean(), abs=0.02)  # 9,999 deals: 4 standard errors
    assert gap.expected_if_equal == pytest.approx(every.mean(), abs=0.01)
    renamed = fewshot.of_groups(RIGHT, groups_of("zzbbbb"), "g")[3]
    assert (gap.p, gap.expected_if_equal) == (renamed.p, renamed.expected_if_equal)


def test_the_intervals_hold_for_whichever_group_is_worst():
    """Four equal groups of 40 whose accuracy varies with the draw (sd 3 points): the smallest of four is low."""
    r = np.random.default_rng(0)
    of = groups_of("abcd" * 40)
    worst = gap = 0
    for _ in range(300):
        chance = np.clip(r.normal(0.7, 0.03, (3, 1)) + r.choice([-0.2, 0.2], (1, 160)), 0, 1)
        found = fewshot._Accuracies.of(r.random((3, 160)) < chance, of)
        low, high = found.bounds(1 - 0.05 / 4)
        worst += low.min() <= 0.7 <= high.min()
        gap += found.gap(0.95)[0] == 0
    assert min(worst, gap) / 300 >= 0.93  # binomial error 1.3 points


def test_examples_without_a_group_are_in_none():
    of = Cells([{"g": "a"}, {"g": "b"}], np.array([0, 0, 1, 1, -1, -1]))
    whole = fewshot.of_groups(RIGHT, of, "g")
    assert [r.n for r in whole] == [2, 2, 2, 4, 4]
    x, y = blobs(120, 1)
    by = [(("g",), groups_of("ab" * 60))]
    found = fewshot.evaluate(x, y, x, y, shots=(1, 2), seeds=(0, 1), by=by, method=Method(level=0.8)).records
    assert [(r.metric, r.shots, bool(r.group)) for r in found[:4]] == [
        ("top1", 1, False), ("top1", 2, False), ("top1", 1, True), ("top1", 1, True),
    ]  # fmt: skip
    assert {r.level for r in found} == {0.8}
    assert len(found) == 2 + 2 * 5
