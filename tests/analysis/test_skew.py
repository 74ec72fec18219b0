"""Skew@k, NDKL and Bias@k: by hand, against the definition in loops, by enumeration of all rankings."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.amount import amount

from clipjax.analysis import ranking, skew
from clipjax.errors import InputError

GROUPS = np.array([int(c) for c in "0010111111"])  # A A B A B B B B B B, best first
SCORES = np.arange(10, 0, -1) / 10
NAMES = ["A", "B"]
rankings = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=4, max_size=30).filter(
    lambda rows: len({g for _, g in rows}) > 1
)


def looped_ndkl(order, share):
    """The definition, for a ranking without ties: order of groups, reference by group."""
    z = sum(1 / math.log2(i + 1) for i in range(1, len(order) + 1))
    total = 0.0
    for i in range(1, len(order) + 1):
        p = [order[:i].count(g) / i for g in range(len(share))]
        total += sum(x * math.log(x / q) for x, q in zip(p, share, strict=True) if x) / math.log2(i + 1)
    return total / z


def skews(reference, k=5, scores=SCORES, group=GROUPS):
    return {r.group["group"]: r.value for r in skew.skew_at_k(scores, group, k, reference, NAMES)}


def test_worked_example():
    assert skews("share") == pytest.approx({"A": 0.693147, "B": -0.559616}, abs=5e-7)
    assert skews("uniform") == pytest.approx({"A": 0.182322, "B": -0.223144}, abs=5e-7)
    assert skew.ndkl(SCORES, GROUPS, "share").value == pytest.approx(0.531235, abs=5e-7)
    assert skew.ndkl(SCORES, GROUPS, "uniform").value == pytest.approx(0.281085, abs=5e-7)
    found = skew.bias_at_k(SCORES, GROUPS, 5, ("A", "B"), NAMES)
    assert (found.value, found.k_first, found.k_second, found.k) == (pytest.approx(0.2), 3, 2, 5)


def test_what_chance_gives_is_enumerated():
    found = skew.max_skew(SCORES, GROUPS, 5, "share", NAMES)
    assert (found.highest, found.value) == ("A", pytest.approx(math.log(2)))
    assert (found.null_mean, found.p) == pytest.approx((0.262991, 0.083333), abs=5e-7)
    found = skew.ndkl(SCORES, GROUPS, "share")
    assert (found.null_mean, found.p) == pytest.approx((0.214534, 0.016667), abs=5e-7)
    least = min(ranking.null(ranking.rank(SCORES, GROUPS), skew._NDKL((0.3, 0.7)))[0])
    orders = set(itertools.permutations(GROUPS[:7].tolist()))
    assert least == pytest.approx(0.094238, abs=5e-7)
    assert min(looped_ndkl((*order, 1, 1, 1), (0.3, 0.7)) for order in orders) >= least


def test_sampled_rankings_are_near_all(monkeypatch):
    exact = skew.ndkl(SCORES, GROUPS)
    monkeypatch.setattr(ranking, "EXACT", 0)
    ranking._null.cache_clear()
    drawn = skew.ndkl(SCORES, GROUPS)
    ranking._null.cache_clear()
    assert drawn.null_mean == pytest.approx(exact.null_mean, abs=0.02)
    assert drawn.p == pytest.approx(exact.p, abs=0.015)


def test_ties_count_by_expectation():
    """Scores .9 A, .8 B, .8 A, .8 B, k = 2: one A, and a third of each of three images for the second place."""
    scores, group = np.array([0.9, 0.8, 0.8, 0.8]), np.array([0, 1, 0, 1])
    assert skews("uniform", 2, scores, group) == pytest.approx({"A": 0.287682, "B": -0.405465}, abs=5e-7)
    found = skew.max_skew(scores, group, 2, "uniform")
    assert found.ties_at_k == 3
    means = []
    for last in itertools.permutations([1, 0, 1]):
        counts = [(0, *last)[: i + 1] for i in range(4)]
        means.append([[c.count(g) for g in (0, 1)] for c in counts])
    expected = np.mean(means, 0)
    wanted, z = 0.0, sum(1 / math.log2(i + 1) for i in range(1, 5))
    for i, row in enumerate(expected, 1):
        wanted += sum(c / i * math.log(c / i / 0.5) for c in row if c) / math.log2(i + 1)
    assert skew.ndkl(scores, group, "uniform").value == pytest.approx(wanted / z)


@given(st.lists(st.integers(0, 2), min_size=4, max_size=40).filter(lambda g: len(set(g)) > 1))
def test_ndkl_is_its_definition(order):
    group = np.unique(order, return_inverse=True)[1]
    scores = -np.arange(len(order), dtype=float)
    share = np.bincount(group) / len(group)
    found = skew.ndkl_values(group[None], np.arange(1, len(group) + 1), share)[0]
    assert found == pytest.approx(looped_ndkl(group.tolist(), share), abs=1e-12)
    ranked = ranking.rank(scores, group)
    assert skew.ndkl_values(ranked.group[None], ranked.ends, ranked.sizes / len(group))[0] == pytest.approx(found)


def numbers(scores, group, k, names=None, reference="uniform"):
    found = [skew.max_skew(scores, group, k, reference, names), skew.min_skew(scores, group, k, reference, names)]
    return [(r.value, r.low, r.high, r.p) for r in [*found, skew.ndkl(scores, group, reference, names)]]


@settings(max_examples=amount(6, 3))
@given(rankings, st.randoms())
def test_order_names_and_scale_change_nothing(rows, random):
    scores, group = (np.array(x) for x in zip(*rows, strict=True))
    k = len(rows) - 1
    if k < len(set(group.tolist())):
        return
    wanted = numbers(scores, group, k)
    assert numbers(np.exp(scores / 3.0), group, k) == wanted
    shuffled = list(range(len(rows)))
    random.shuffle(shuffled)
    assert numbers(scores[shuffled], group[shuffled], k) == wanted
    assert [v[0] for v in numbers(scores, 2 - group, k)] == pytest.approx([v[0] for v in wanted])


@given(rankings)
def test_shares_of_the_first_k_sum_to_one(rows):
    scores, group = (np.array(x) for x in zip(*rows, strict=True))
    ranked = ranking.rank(scores, group)
    for k in range(1, len(rows) + 1):
        counts = ranking.first(ranked, k, np.ones((1, len(rows))))
        assert counts.sum() == pytest.approx(k)
        share = ranked.sizes / len(rows)
        values = skew.skew_values(counts, k, share)[0]
        if (counts > 1e-9).all():
            assert (share * np.exp(values)).sum() == pytest.approx(1)
            assert values.min() <= 1e-12
            assert values.max() >= -1e-12
    assert values == pytest.approx(np.zeros(len(share))), "k = N measures the data set"


def test_bootstrap_of_planted_skew():
    """Two groups of 60; the first 40 are three quarters A: the interval holds what was planted, a fair one holds 0."""
    generator = np.random.default_rng(0)
    group = np.r_[np.repeat([0, 1], [30, 10]), np.repeat([0, 1], [30, 50])]
    scores = np.r_[2 + generator.random(40), generator.random(80)]
    found = skew.max_skew(scores, group, 40, "share", NAMES)
    assert found.value == pytest.approx(math.log(0.75 / 0.5))
    assert found.low < found.value < found.high
    assert found.p < 0.01
    third = np.repeat([0, 1], [37, 83])
    assert skew.max_skew(generator.random(120), third, 40, "share", NAMES).low == 0, "exactly, whatever the sizes are"
    for seed in range(5):
        scores = np.random.default_rng(seed).random(120)
        for reference in ("share", "uniform"):
            least, most = (of(scores, group, 40, reference, NAMES) for of in (skew.min_skew, skew.max_skew))
            assert most.p > 0.05
            assert most.low <= 0 <= most.high, "what the test does not reject is in the interval"
            assert least.low <= 0 <= least.high
        fair = skew.ndkl(scores, group, "share", NAMES)
        assert fair.low <= fair.null_mean <= fair.high or fair.p <= 0.05


def test_absent_groups_are_named():
    scores, group = np.arange(6, 0, -1.0), np.array([0, 0, 0, 1, 1, 1])
    found = skew.min_skew(scores, group, 2, "share", NAMES)
    assert (found.lowest, found.absent, found.value) == ("B", ["B"], 0.0)  # ln(1/2 / 1/2): at most
    assert skew.max_skew(scores, np.array([0, 0, 0, 1, 1, -1]), 3, "share", NAMES).n == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: skew.max_skew(SCORES, GROUPS, 11), "k=11 of 10 images; choose k below 10"),
        (lambda: skew.max_skew(SCORES, GROUPS, 0), "k=0 of 10 images"),
        (
            lambda: skew.max_skew(SCORES, GROUPS, 3, "share", NAMES),
            "k=3 is below 1/0.3 for group 'A': an absent group would count as over-represented; choose k of at least 4",
        ),
        (lambda: skew.max_skew(SCORES, GROUPS, 10), "k = N = 10 is 0 by construction; choose k below N, or uniform"),
        (lambda: skew.max_skew(np.where(SCORES == 0.3, np.nan, SCORES), GROUPS, 5), "nan among the similarities: im"),
        (lambda: skew.ndkl(SCORES, np.zeros(10, int)), "1 group among 10 images"),
        (lambda: skew.ndkl(SCORES, GROUPS, "equal"), "choose uniform or share"),
        (lambda: skew.bias_at_k(SCORES, GROUPS, 5, ("A", "C"), NAMES), "no image of group 'C'; groups: A, B"),
        (lambda: skew.bias_at_k(SCORES, GROUPS, 5, ("A", "A"), NAMES), "compared with itself"),
        (lambda: skew.ndkl(SCORES, GROUPS[:5]), "both are"),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
