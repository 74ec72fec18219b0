"""Two rates against printed examples, a likelihood maximised by brute force, and their own coverage."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar
from support.amount import amount

from clipjax.analysis import difference, ratio
from clipjax.analysis.two_rates import _score_difference, _score_ratio
from clipjax.errors import InputError


def test_newcombes_own_example():
    """56/70 against 48/80 (Newcombe 1998, tables II: methods 10 and 6)."""
    found = difference(56, 70, 48, 80)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    found = difference(56, 70, 48, 80, "miettinen-nurminen")
    assert (found.low, found.high) == pytest.approx((0.0528, 0.3382), abs=5e-5)


def drawn(least):
    """200 times (20 in a usual run) k1, n1, k2, n2, with `least` right answers or more."""
    generator = np.random.default_rng(least)
    n = generator.integers(2 * least + 5, 300, (200, 2))
    k = generator.integers(least, n - least + 1)
    return np.stack([k[:, 0], n[:, 0], k[:, 1], n[:, 1]], 1)[: amount(200, 20)].tolist()


def test_newcombe_is_statsmodels():
    from statsmodels.stats.proportion import confint_proportions_2indep

    for counts in ((203, 1406, 105, 1910), (0, 20, 3, 20), (20, 20, 20, 20), (1, 5, 2, 7), *drawn(0)):
        found = difference(*counts)
        wanted = confint_proportions_2indep(*counts, method="newcomb", compare="diff")
        assert (found.low, found.high) == pytest.approx(wanted, abs=1e-12)


def test_ratio_is_statsmodels_where_that_works():
    from statsmodels.stats.proportion import confint_proportions_2indep

    for counts in ((203, 1406, 105, 1910), (1, 5, 2, 7), (12, 20, 3, 40), *drawn(5)):
        found = ratio(*counts)
        wanted = confint_proportions_2indep(*counts, method="score", compare="ratio")
        assert (found.low, found.high) == pytest.approx(wanted, rel=1e-6)


def constrained(k1, n1, k2, n2, p1_of):
    """Maximises the likelihood under the hypothesis p1 = p1_of(p2), numerically."""

    def loss(p2):
        p1 = p1_of(p2)
        if not (0 < p1 < 1 and 0 < p2 < 1):
            return np.inf
        return -(stats.binom.logpmf(k1, n1, p1) + stats.binom.logpmf(k2, n2, p2))

    grid = np.linspace(1e-6, 1 - 1e-6, 4001)
    best = grid[np.argmin([loss(p) for p in grid])]
    p2 = minimize_scalar(loss, bounds=(max(best - 1e-3, 1e-9), min(best + 1e-3, 1 - 1e-9)), method="bounded").x
    return p1_of(p2), p2


@pytest.mark.parametrize(("counts", "d"), [((56, 70, 48, 80), 0.33), ((1, 5, 2, 7), -0.4), ((3, 20, 0, 20), 0.3)])
def test_score_of_a_difference_against_brute_force(counts, d):
    k1, n1, k2, n2 = counts
    p1, p2 = constrained(*counts, lambda p2: p2 + d)
    n = n1 + n2
    wanted = (k1 / n1 - k2 / n2 - d) ** 2 / ((p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2) * n / (n - 1))
    assert _score_difference(*map(np.float64, counts), d) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(("counts", "r"), [((56, 70, 48, 80), 1.1), ((1, 5, 2, 7), 3.0), ((203, 1406, 105, 1910), 2.0)])
def test_score_of_a_ratio_against_brute_force(counts, r):
    k1, n1, k2, n2 = counts
    p1, p2 = constrained(*counts, lambda p2: r * p2)
    n = n1 + n2
    wanted = (k1 / n1 - r * k2 / n2) ** 2 / ((p1 * (1 - p1) / n1 + r**2 * p2 * (1 - p2) / n2) * n / (n - 1))
    assert _score_ratio(*map(np.float64, counts), r / (1 + r)) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("method", ["newcombe", "miettinen-nurminen"])
def test_intervals_of_a_difference_cover(method):
    """Exact coverage over all outcomes at n = 15 and 12: near 95% on average, never far below."""
    k1, k2 = (x.ravel() for x in np.meshgrid(np.arange(16), np.arange(13), indexing="ij"))
    found = difference(k1, 15, k2, 12, method)
    cover = []
    for p1, p2 in itertools.product(np.linspace(0.05, 0.95, 7), repeat=2):
        chance = stats.binom.pmf(k1, 15, p1) * stats.binom.pmf(k2, 12, p2)
        cover.append(chance[(found.low <= p1 - p2) & (p1 - p2 <= found.high)].sum())
    assert np.mean(cover) > 0.945
    assert min(cover) > 0.90


def test_swapping_the_groups_mirrors():
    a, b = difference(3, 20, 9, 31), difference(9, 31, 3, 20)
    assert (a.value, a.low, a.high) == pytest.approx((-b.value, -b.high, -b.low))
    a, b = ratio(3, 20, 9, 31), ratio(9, 31, 3, 20)
    assert (a.value, a.low, a.high) == pytest.approx((1 / b.value, 1 / b.high, 1 / b.low))


def test_edges():
    empty = difference(0, 0, 1, 3)
    assert np.isnan(empty.value)
    assert (empty.low, empty.high) == (-1, 1)
    found = ratio(3, 20, 0, 20)
    assert np.isnan(found.value)
    assert found.high == np.inf
    assert 0 < found.low < 1
    assert (ratio(0, 20, 3, 20).low, ratio(0, 20, 3, 20).value) == (0, 0)
    assert (ratio(0, 20, 0, 20).low, ratio(0, 20, 0, 20).high) == (0, np.inf)
    assert difference(20, 20, 0, 20, "miettinen-nurminen").high == 1


def test_arrays_and_refusals():
    found = difference([1, 2], 10, 3, [10, 20])
    assert found.low.shape == (2,)
    assert found.low[1] == pytest.approx(difference(2, 10, 3, 20).low)
    with pytest.raises(InputError, match="k=11 of n=10"):
        ratio(11, 10, 1, 2)
    with pytest.raises(InputError, match="choose newcombe or miettinen-nurminen"):
        difference(1, 2, 1, 2, "wald")
