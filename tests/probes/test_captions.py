"""Caption choice: the inequalities by hand, published averages, and what does not change the answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clipjax.errors import InputError
from clipjax.probes import captions

SCORES = np.array([
    (0.30, 0.25, 0.20, 0.28), (0.30, 0.28, 0.31, 0.33), (0.30, 0.30, 0.20, 0.35), (0.30, 0.25, 0.35, 0.35),
]).reshape(4, 2, 2)  # fmt: skip
POSITIVE, NEGATIVE = np.array([0.31, 0.28, 0.30, 0.25, 0.33]), np.array([0.30, 0.29, 0.30, 0.20, 0.33])
scores = st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=20)


def test_winoground_worked_example():
    found = {r.metric: r for r in captions.winoground(SCORES)}
    assert {name: r.value for name, r in found.items()} == {"text_score": 0.5, "image_score": 0.5, "group_score": 0.25}
    assert found["group_score"].ties == 2
    assert found["text_score"].chance == 0.25


def test_pairs_worked_example():
    (found,) = captions.choice_accuracy(POSITIVE, NEGATIVE)
    assert (found.value, found.ties, found.k, found.n) == (0.4, 2, 2, 5)
    assert found.p == pytest.approx(stats.binomtest(2, 5, 0.5).pvalue)


def test_published_averages():
    """OpenAI's ViT-B/32 on SugarCrepe: micro 76.554387, macro 73.054404."""
    k, n = (1502, 631, 973, 150, 426, 1592, 476), (1652, 788, 1406, 245, 666, 2062, 692)
    right = np.concatenate([np.arange(size) < hits for hits, size in zip(k, n, strict=True)])
    subset = np.repeat([f"subset {i}" for i in range(7)], n)
    found = captions.choice_accuracy(right.astype(float), np.full(len(right), 0.5), subset)
    assert 100 * found[0].value == pytest.approx(76.554387, abs=5e-7)
    assert 100 * found[-1].value == pytest.approx(73.054404, abs=5e-7)
    assert [r.subset for r in found[1:-1]] == sorted(set(subset))


def test_several_wrong_captions():
    negatives = np.array([[0.1, 0.4], [0.2, np.nan]])
    (found,) = captions.choice_accuracy(np.array([0.3, 0.3]), negatives)
    assert (found.k, found.chance) == (1, pytest.approx((1 / 3 + 1 / 2) / 2))


def test_visogender_worked_example():
    """masculine 7 of 9, feminine 5 of 8; the public code rounds and says .70 and .16."""
    truth = np.repeat(["masculine", "feminine"], [9, 8])
    right = np.concatenate([np.arange(9) < 7, np.arange(8) < 5])
    table = np.zeros((17, 3))
    table[np.arange(17), np.where(right, truth == "feminine", 2)] = 1
    found = {r.metric: r for r in captions.resolution_accuracy(table, truth, np.arange(17) % 4)}
    gap = found["resolution_gap"]
    assert found["resolution_accuracy_mean"].value == pytest.approx(0.701389, abs=5e-7)
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.152778, -0.250293, 0.509437), abs=5e-7)
    assert (gap.ra_first, gap.ra_second) == pytest.approx((7 / 9, 5 / 8))
    assert gap.groups == 4


@given(scores, st.integers(-5, 5))
def test_orders(rows, constant):
    s = np.array(rows, float).reshape(-1, 2, 2)
    right = captions.winoground_right(s)
    assert (right["group"] <= right["text"]).all()
    assert (right["group"] <= right["image"]).all()
    moved = captions.winoground_right(s + constant)
    assert all((moved[name] == right[name]).all() for name in right)
    flat = s.reshape(-1, 4)
    strict = captions.choice_right(flat[:, 0], flat[:, 1:])
    first = flat.argmax(1) == 0  # a tie favours the right caption where it comes first
    half = strict + 0.5 * (~strict & first)
    assert (strict <= half).all()
    assert (half <= first).all()


def test_chance_is_what_independent_scores_give():
    generator = np.random.default_rng(0)
    for record in captions.winoground(generator.random((20_000, 2, 2))):
        assert record.value == pytest.approx(record.chance, abs=0.01)  # three standard errors


def test_false_positives_and_a_planted_preference():
    generator, n = np.random.default_rng(0), 100
    p = [captions.choice_accuracy(*generator.random((2, n)))[0].p for _ in range(500)]
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 0.03
    found = captions.choice_accuracy(generator.random(n) + 0.5, generator.random(n))[0]
    assert found.low > 0.5
    assert found.p < 1e-6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: captions.winoground(np.zeros((3, 2, 3))), r"Winoground needs 2 images and 2 captions"),
        (lambda: captions.winoground(np.full((1, 2, 2), np.nan)), "scores of row 0 are not finite"),
        (lambda: captions.choice_accuracy([0.1, 0.2], [[0.1], [np.nan]]), "row 1 has no wrong caption"),
        (lambda: captions.choice_accuracy([0.1, 0.2], [0.1, 0.2], ["a"]), "1 subsets for 2 instances"),
        (lambda: captions.choice_accuracy([0.1], [0.1, 0.2]), r"they are \[N\] and \[N, M\]"),
        (lambda: captions.resolution_accuracy(np.zeros((1, 3)), ["neutral"]), "'neutral' has no pronoun here"),
        (lambda: captions.resolution_accuracy(np.zeros((1, 2)), ["masculine"]), r"they are \[N, 3\]"),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
