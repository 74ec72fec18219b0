"""Intervals against the definition, scipy's beta, printed figures of the CLIP paper, and their own coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clipjax.analysis import clopper_pearson
from clipjax.analysis.intervals import (
    METHODS,
    bootstrap,
    bootstrap_rate,
    bootstrap_statistic,
    bounded_mean,
    expanded,
    interval,
    jeffreys,
    wilson,
)
from clipjax.errors import InputError


def test_the_papers_interval():
    """203 of 1,406: the one interval of the bias probe that says which method was used."""
    low, high = clopper_pearson(203, 1406)
    assert (round(low * 100, 2), round(high * 100, 2)) == (12.64, 16.39)
    assert round(clopper_pearson(0, 1437)[1] * 100, 2) == 0.26


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.995]))
def test_tails_hold_half_of_what_is_left_out(n, share, level):
    """By definition: at `low`, k or more has probability (1 - level) / 2; at `high`, k or fewer has."""
    k = round(share * n)
    low, high = clopper_pearson(k, n, level)
    tail = (1 - level) / 2
    assert 0 <= low <= k / n <= high <= 1
    if k > 0:
        assert stats.binom.sf(k - 1, n, low) == pytest.approx(tail, rel=1e-6)  # the root finder's own digits
        assert low == pytest.approx(stats.beta.ppf(tail, k, n - k + 1), rel=1e-9)
    else:
        assert low == 0
    if k < n:
        assert stats.binom.cdf(k, n, high) == pytest.approx(tail, rel=1e-6)
    else:
        assert high == 1


def test_broadcasts_and_says_nothing_about_nothing():
    low, high = clopper_pearson([[0], [3]], [0, 3, 10][1:])
    assert low.shape == high.shape == (2, 2)
    assert low[1, 0] == low[0, 0] + clopper_pearson(3, 3)[0]
    assert high[1, 0] == 1
    assert clopper_pearson(0, 0) == (0, 1)


@pytest.mark.parametrize(("k", "n"), [(4, 3), (-1, 3), (1.5, 3), (np.nan, 3), (0, -1)])
def test_counts_that_are_none(k, n):
    with pytest.raises(InputError, match="counts are whole"):
        clopper_pearson(k, n)


@pytest.mark.parametrize("level", [0, 1, 95, np.nan])
def test_level_is_a_probability(level):
    with pytest.raises(InputError, match=r"0\.95 is usual"):
        clopper_pearson(1, 2, level)
    with pytest.raises(InputError, match=r"0\.95 is usual"):
        bootstrap([0, 1], level=level)


def test_bootstrap_of_a_mean_is_the_normal_interval():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap(values, seed=3, resamples=20_000)
    error = values.std() / 20
    # The 2.5% point of 20,000 resamples has a standard error of 0.02 standard deviations; five of them.
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3) != bootstrap(values, seed=4)


@pytest.mark.parametrize("n", [2, 4, 8, 100])
def test_expanded_intervals_are_students(n):
    """With the standard error of a resample, sqrt((n - 1) / n) of the sample's, Student's interval."""
    normal = stats.norm.ppf((1 + expanded(0.95, n)) / 2) * np.sqrt((n - 1) / n)
    assert normal == pytest.approx(min(stats.t.ppf(0.975, n - 1), stats.norm.ppf(1 - 5e-13) * np.sqrt((n - 1) / n)))
    assert expanded(0.95, 10**9) == pytest.approx(0.95)


def test_bootstrap_draws_whole_clusters():
    """Fifty clusters of ten equal values carry fifty facts: the interval is that of fifty values."""
    once = (np.arange(50) % 2).astype(float)
    low, high = bootstrap(np.repeat(once, 10), clusters=np.repeat([f"c{i}" for i in range(50)], 10))
    assert (low, high) == bootstrap(once[np.argsort([f"c{i}" for i in range(50)])])
    narrow = bootstrap(np.repeat(once, 10))
    assert high - low > 2.5 * (narrow[1] - narrow[0])  # sqrt(10) = 3.2 in expectation


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_mean_of_yes_or_no_answers_has_their_exact_interval(values):
    assert bounded_mean(values) == pytest.approx(clopper_pearson(sum(values), len(values)), abs=1e-9)


def test_a_mean_of_what_varies_less_has_a_narrower_interval_and_a_constant_one_is_not_certain():
    """40 values of which none is 0 or 1; then values of which all are, and clusters of equal answers."""
    values = np.random.default_rng(0).uniform(0.4, 0.8, 40)
    low, high = bounded_mean(values)
    error = values.std() / np.sqrt(40)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)  # a binomial is not quite normal
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)
    assert bounded_mean(np.zeros(20)) == pytest.approx(clopper_pearson(0, 20))
    once = np.arange(20) % 4 > 0
    assert bounded_mean(np.repeat(once, 5), clusters=np.repeat(np.arange(20), 5)) == pytest.approx(bounded_mean(once))
    assert bounded_mean(values) == bounded_mean(values[::-1])


def test_resamples_do_not_depend_on_the_block(monkeypatch):
    values = np.arange(30.0)
    whole = bootstrap(values)
    monkeypatch.setattr("clipjax.analysis.intervals.BLOCK", 64)
    assert bootstrap(values) == whole


def test_undefined_resamples_do_not_count():
    with np.errstate(invalid="ignore"):
        low, high = bootstrap_statistic(lambda w: w[:, 0] / w[:, 0], 3)
    assert low == high == 1


def test_no_values():
    with pytest.raises(InputError, match="needs"):
        bootstrap([])


@given(st.integers(1, 2000), st.floats(0, 1), st.sampled_from(["clopper-pearson", "wilson", "jeffreys"]))
def test_every_method_holds_the_rate_and_is_symmetric(n, share, method):
    k = round(share * n)
    low, high = interval(k, n, method)
    assert 0 <= low <= k / n + 1e-12
    assert k / n - 1e-12 <= high <= 1
    mirrored = interval(n - k, n, method)
    np.testing.assert_allclose([low, high], [1 - mirrored[1], 1 - mirrored[0]], atol=1e-9)


def test_wilson_against_its_formula():
    """Wilson (1927): the p for which the rate is z standard errors of p away."""
    low, high = wilson(203, 1406)
    z = stats.norm.ppf(0.975)
    for p in (low, high):
        assert abs(203 / 1406 - p) == pytest.approx(z * np.sqrt(p * (1 - p) / 1406), rel=1e-9)
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize(("method", "name"), [(wilson, "wilson"), (jeffreys, "jeffreys")])
def test_statsmodels_gives_the_same(method, name):
    """Where it and we mean the same: it has no open ends at k = 0 and k = n for Jeffreys."""
    from statsmodels.stats.proportion import proportion_confint

    n = np.repeat([1, 7, 60, 1406], 50)
    k = np.random.default_rng(0).integers(1, np.maximum(n, 2), len(n)).clip(max=n)
    inside = (k > 0) & (k < n)
    for level in (0.9, 0.95):
        found = np.array(method(k, n, level))[:, inside]
        np.testing.assert_allclose(found, proportion_confint(k[inside], n[inside], 1 - level, name), rtol=1e-12)


def test_jeffreys_against_the_posterior():
    low, high = jeffreys([203, 0, 7], [1406, 20, 7])
    assert low[0] == pytest.approx(stats.beta.ppf(0.025, 203.5, 1203.5))
    assert (low[1], high[2]) == (0, 1)
    assert high[1] == pytest.approx(stats.beta.ppf(0.975, 0.5, 20.5))


def test_bootstrap_of_a_rate():
    low, high = bootstrap_rate(203, 1406)
    assert (low, high) == pytest.approx((0.1266, 0.1629), abs=1.5e-3)  # protocols' [12.66, 16.29], other draws
    assert bootstrap_rate([0, 20], [20, 20])[1].tolist() == [0, 1]  # nothing varies: a point
    assert bootstrap_rate(3, 10, seed=1) == bootstrap_rate(3, 10, seed=1)


def test_methods_by_name():
    assert set(METHODS) == {"clopper-pearson", "wilson", "jeffreys", "bootstrap"}
    assert interval(203, 1406) == clopper_pearson(203, 1406)
    with pytest.raises(InputError, match="unknown interval method 'wald'"):
        interval(1, 2, "wald")


@pytest.mark.parametrize("n", [20, 106])
def test_exact_intervals_never_cover_less_than_they_say(n):
    """Coverage summed over all k, no simulation."""
    low, high = clopper_pearson(np.arange(n + 1), n)
    for p in np.linspace(0.001, 0.999, 499):
        inside = (low <= p) & (p <= high)
        assert stats.binom.pmf(np.flatnonzero(inside), n, p).sum() >= 0.95
