"""Accuracy by group, worst group, gap, ratio, averages and fairness differences: by hand, by enumeration, by peers."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clipjax.analysis import groups, simultaneous
from clipjax.analysis.rates import Cells, Method
from clipjax.errors import InputError

K, N, NAMES = [18, 9, 5], [20, 12, 8], ["A", "B", "C"]
counts = st.lists(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2, max_size=4
)


def cells(values):
    """The groups of images with these values; "" is in none."""
    names = sorted(set(values) - {""})
    return Cells([{"g": name} for name in names], np.array([names.index(v) if v else -1 for v in values]))


def bits(text):
    return np.array([c == "1" for c in text])


def test_accuracy_by_group():
    right = bits("110101")
    found = groups.accuracy_by_group(right, cells(["b", "a", "a", "", "b", "a"]), metric="top5")
    assert [(r.metric, r.group["g"], r.k, r.n) for r in found] == [("top5", "a", 2, 3), ("top5", "b", 1, 2)]
    assert found[0].small


def test_worked_example():
    worst = groups.worst_group(K, N, NAMES, of="top1")
    assert (worst.metric, worst.worst, worst.k, worst.n, worst.value) == ("top1_worst_group", "C", 5, 8, 0.625)
    assert (worst.low, worst.high) == pytest.approx((0.190208, 0.943033), abs=5e-7)
    gap = groups.group_difference(K, N, NAMES)
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.275, 0, 0.652450), abs=5e-7)
    assert (gap.highest, gap.lowest, gap.n, gap.groups) == ("A", "C", 40, 3)
    assert (gap.p, gap.expected_if_equal) == pytest.approx((0.266733, 0.201762), abs=5e-7)
    assert groups.group_difference(K, N, against="to_overall").value == pytest.approx(0.175)
    assert groups.group_ratio(K, N, NAMES).value == pytest.approx(0.694444, abs=5e-7)
    assert groups.group_ratio(K, N, against="to_overall").value == pytest.approx(0.781250)
    assert groups.mean_of_groups(K, N).value == pytest.approx(0.758333, abs=5e-7)
    assert groups.weighted_mean_of_groups(K, N, [0.7, 0.2, 0.1]).value == pytest.approx(0.8425)
    assert groups.between_group_variance(K, N).value == pytest.approx(0.000537, abs=5e-7)


def test_waterbirds_three_averages():
    """Accuracies .99, .80, .60 and .95: by test sizes, by training sizes, and unweighted."""
    n = np.array([2255, 2255, 642, 642]) * 100
    k = np.round(n * [0.99, 0.80, 0.60, 0.95]).astype(int)
    training = np.array([3498, 184, 56, 1057])
    assert groups.weighted_mean_of_groups(k, n, n / n.sum()).value == pytest.approx(0.868407, abs=5e-7)
    assert groups.weighted_mean_of_groups(k, n, training / training.sum()).value == pytest.approx(0.969337, abs=5e-7)
    assert groups.mean_of_groups(k, n).value == pytest.approx(0.835, abs=5e-7)


def test_fairness_worked_example():
    groups_of = ["a"] * 8 + ["b"] * 6 + ["c"] * 6
    truth, answer = bits("11110000111000110000"), bits("11101000110110100001")
    found = groups.demographic_parity_difference(answer, cells(groups_of), set="crime")
    assert (found.value, found.set, found.highest, found.lowest) == (pytest.approx(1 / 3), "crime", "b", "c")
    assert groups.demographic_parity_difference(answer, cells(groups_of), against="to_overall").value == pytest.approx(
        1 / 6
    )
    assert groups.demographic_parity_ratio(answer, cells(groups_of)).value == pytest.approx(0.5)
    assert groups.equal_opportunity_difference(answer, truth, cells(groups_of)).value == pytest.approx(0.25)
    odds = groups.equalized_odds_difference(answer, truth, cells(groups_of))
    assert (odds.value, odds.tpr_difference, odds.fpr_difference) == pytest.approx((5 / 12, 0.25, 5 / 12))
    assert groups.equalized_odds_difference(answer, truth, cells(groups_of), agg="mean").value == pytest.approx(1 / 3)


def test_fairness_of_several_classes():
    """cook, doctor, thief: thief is never the truth of group f, whose true positive rate is undefined, not 0."""
    labels, answers = np.array([*map(int, "0001110011")]), np.array([*map(int, "0011120210")])
    groups_of = cells([*"mmmmmfffff"])
    found = {}
    for c in range(3):
        truth, answer = labels == c, answers == c
        tpr = groups.equal_opportunity_difference(answer, truth, groups_of)
        odds = groups.equalized_odds_difference(answer, truth, groups_of)
        found[c] = tpr.value, odds.fpr_difference, groups.demographic_parity_difference(answer, groups_of).value
    assert found[0] == pytest.approx((1 / 6, 1 / 3, 0))
    assert found[1] == pytest.approx((2 / 3, 1 / 3, 0.4))
    assert found[2] == (None, pytest.approx(0.4), pytest.approx(0.4))
    thief = groups.equalized_odds_difference(answers == 2, labels == 2, groups_of)
    assert (thief.value, thief.undefined, thief.p) == (None, ["f", "m"], None)


def test_a_group_without_positives_changes_nothing():
    """fairlearn's difference moves from .25 to .75 here (its rate of no positives is 0)."""
    groups_of = ["a"] * 8 + ["b"] * 6 + ["c"] * 6 + ["d"] * 2
    truth, answer = bits("1111000011100011000000"), bits("1110100011011010000100")
    found = groups.equal_opportunity_difference(answer, truth, cells(groups_of))
    assert (found.value, found.undefined) == (pytest.approx(0.25), ["d"])


def brute_force(k, n):
    """Every way to deal sum(k) right answers to sum(n) images: the gaps, and how many there are of each."""
    member = np.repeat(np.arange(len(n)), n)
    for chosen in itertools.combinations(range(len(member)), int(np.sum(k))):
        yield np.ptp(np.bincount(member[list(chosen)], minlength=len(n)) / n)


def test_the_permutation_test_is_the_enumeration():
    k, n = np.array([3, 1, 2]), np.array([4, 5, 3])
    gaps = np.array(list(brute_force(k, n)))
    found = groups.group_difference(k, n)
    assert found.p == pytest.approx((gaps >= found.value - 1e-12).mean(), abs=1e-12)
    assert found.expected_if_equal == pytest.approx(gaps.mean(), abs=1e-12)


def test_sampled_permutations_are_near_the_exact_ones(monkeypatch):
    exact = groups.group_difference(K, N)
    monkeypatch.setattr(simultaneous, "EXACT", 0)
    drawn = groups.group_difference(K, N)
    assert drawn.p == pytest.approx(exact.p, abs=0.02)  # 4.5 standard errors of 9,999 draws
    assert drawn.expected_if_equal == pytest.approx(exact.expected_if_equal, abs=0.005)
    assert groups.group_difference(K[::-1], N[::-1]).p == drawn.p, "the order of the groups decides nothing"


def test_expected_gaps_of_equal_groups():
    """Expected max - min of equal groups at 80%: .238 of 7 groups of 20, .108 of 7 groups of 100."""
    for size, wanted in ((20, 0.238), (100, 0.108)):
        k = np.full(7, round(0.8 * size))
        assert groups.group_difference(k, np.full(7, size)).expected_if_equal == pytest.approx(wanted, abs=0.004)


def coverage(p, n, inside):
    """The chance that `inside(k)` holds, summed over every outcome of independent groups."""
    total = 0.0
    for k in itertools.product(*(range(m + 1) for m in n)):
        chance = np.prod(stats.binom.pmf(k, n, p))
        if chance > 1e-9:
            total += chance * inside(np.array(k), np.array(n))
    return total


@pytest.mark.parametrize("p", [(0.8, 0.8, 0.8), (0.9, 0.75, 0.6), (0.5, 0.95, 0.95)])
def test_intervals_cover_whichever_group_is_worst(p):
    """Exact coverage over all outcomes of groups of 10, 8 and 6."""
    n, p = (10, 8, 6), np.array(p)

    def holds(interval, truth):
        return coverage(p, n, lambda k, n: interval(k, n)[0] - 1e-12 <= truth <= interval(k, n)[1] + 1e-12)

    assert holds(simultaneous.minimum, p.min()) >= 0.95
    assert holds(simultaneous.gap, np.ptp(p)) >= 0.94
    overall = (p * n).sum() / sum(n)
    assert holds(simultaneous.gap_to, np.abs(p - overall).max()) >= 0.94


@pytest.mark.parametrize("p", [0.02, 0.98])
def test_the_mean_of_groups_near_an_end_is_covered(p):
    """7 groups of 20, 300 simulations: square-and-add alone holds the mean in 88%."""
    k, n = np.random.default_rng(0).binomial(20, p, (300, 7)), np.full(7, 20)
    found = [groups.mean_of_groups(one, n) for one in k]
    assert np.mean([one.low <= p <= one.high for one in found]) >= 0.94


def test_the_variance_is_unbiased():
    """Its expectation over all outcomes is the variance of the true rates."""
    n, p = (4, 6, 5), np.array([0.9, 0.5, 0.6])
    total = 0.0
    for k in itertools.product(*(range(m + 1) for m in n)):
        total += np.prod(stats.binom.pmf(k, n, p)) * groups.between_group_variance(k, n).value
    assert total == pytest.approx(p.var(ddof=1), abs=1e-12)


@given(counts)
def test_orders_between_the_numbers(pairs):
    k, n = np.array(pairs).T
    worst, gap, ratio = groups.worst_group(k, n), groups.group_difference(k, n), groups.group_ratio(k, n)
    mean, best = groups.mean_of_groups(k, n).value, (k / n).max()
    assert worst.value - 1e-12 <= mean <= best + 1e-12
    assert groups.weighted_mean_of_groups(k, n, n / n.sum()).value == pytest.approx(k.sum() / n.sum())
    assert (gap.value == 0) == (ratio.value == 1 or k.sum() == 0)
    assert (ratio.value is None) == (k.sum() == 0)
    for found in (worst, gap, ratio):
        if found.value is not None:
            assert found.low - 1e-12 <= found.value <= found.high + 1e-12
    assert 0 <= gap.p <= 1


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("ab")), min_size=4, max_size=25))
def test_odds_and_their_complement(rows):
    """Equalised odds are at least equal opportunity, and the same of the complement of the set."""
    answer, truth, of = (np.array(x) for x in zip(*rows, strict=True))
    if len(set(of)) < 2:
        return
    odds = groups.equalized_odds_difference(answer, truth, cells(of.tolist()))
    other = groups.equalized_odds_difference(~answer, ~truth, cells(of.tolist()))
    assert (odds.value is None) == (other.value is None)
    if odds.value is not None:
        assert odds.value == pytest.approx(other.value)
        assert odds.value >= groups.equal_opportunity_difference(answer, truth, cells(of.tolist())).value - 1e-12


def test_small_groups_and_empty_ones():
    found = groups.worst_group([1, 0, 30], [3, 0, 40], NAMES, Method(min_n=20))
    assert (found.worst, found.small, found.groups) == ("A", True, 2)
    assert groups.between_group_variance([1, 3], [1, 4]).value is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: groups.worst_group([3], [4]), "1 group has images; a worst group and a gap need two"),
        (lambda: groups.group_difference([3, 0], [4, 0]), "1 group has images"),
        (lambda: groups.worst_group([5, 1], [4, 2]), "k=5 of n=4"),
        (lambda: groups.worst_group([3, 1], [4, 2], ["A"]), "1 names for 2 groups"),
        (lambda: groups.weighted_mean_of_groups(K, N, [0.5, 0.2, 0.2]), "weights sum to 0.9; they must sum to 1"),
        (
            lambda: groups.weighted_mean_of_groups(K, N, {"Asia": 1.0}, NAMES),
            "weights name 'Asia', which no image has; groups: A, B, C",
        ),
        (lambda: groups.weighted_mean_of_groups([1, 0], [2, 0], [0.5, 0.5], ["A", "B"]), "'B', which no image has"),
        (lambda: groups.group_difference(K, N, against="rest"), "choose between_groups or to_overall"),
        (
            lambda: groups.equalized_odds_difference(np.array([0, 1]), np.array([1, 1]), cells("ab")),
            "both are bool",
        ),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
