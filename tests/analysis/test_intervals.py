"""Intervals against the definition, scipy's beta, printed figures of the CLIP paper, and their own coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clipjax.analysis import clopper_pearson
from clipjax.analysis.intervals import bootstrap, bootstrap_statistic
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


def test_bootstrap_draws_whole_clusters():
    """Fifty clusters of ten equal values carry fifty facts: the interval is that of fifty values."""
    once = (np.arange(50) % 2).astype(float)
    low, high = bootstrap(np.repeat(once, 10), clusters=np.repeat([f"c{i}" for i in range(50)], 10))
    assert (low, high) == bootstrap(once[np.argsort([f"c{i}" for i in range(50)])])
    narrow = bootstrap(np.repeat(once, 10))
    assert high - low > 2.5 * (narrow[1] - narrow[0])  # sqrt(10) = 3.2 in expectation


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
