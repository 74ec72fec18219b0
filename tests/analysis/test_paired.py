"""McNemar and paired differences against enumeration, statsmodels and printed examples."""

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from clipjax.analysis import mcnemar
from clipjax.analysis.paired import paired_difference, paired_rates, paired_records
from clipjax.errors import InputError


@pytest.mark.parametrize(("b", "c"), list(itertools.product(range(7), range(7))))
def test_mcnemar_by_enumeration(b, c):
    """All 2^(b+c) ways in which the discordant images could have fallen, each as likely."""
    n = b + c
    as_far = sum(comb(n, x) for x in range(n + 1) if abs(x - n / 2) >= abs(b - n / 2))
    wanted = Fraction(as_far, 2**n)
    assert mcnemar(b, c)[1] == pytest.approx(float(wanted), rel=1e-12)


def test_mcnemar_is_statsmodels():
    from statsmodels.stats.contingency_tables import mcnemar as wanted

    random = np.random.default_rng(0).integers(0, 60, (200, 2)).clip(min=[0, 1]).tolist()
    for b, c in ((12, 2), (30, 55), (1, 0), (140, 139), *random):
        for exact in (True, False):
            if b == c and not exact:
                continue  # the correction of a difference of 0 is 1 there, and 0 here
            theirs = wanted([[50, b], [c, 70]], exact=exact, correction=True)
            assert mcnemar(b, c, exact) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-9)


def test_worked_example_of_perturbed_images():
    (found,) = paired_records([70], [12], [3], [15])
    assert (found.difference, found.low, found.high) == pytest.approx((-0.09, -0.168412, -0.013094), abs=5e-7)
    assert found.p == pytest.approx(0.035156, abs=5e-7)


def test_mcnemar_of_arrays_and_of_nothing():
    statistic, p = mcnemar([0, 5], [0, 15])
    assert (statistic[0], p[0]) == (0, 1)
    assert mcnemar(0, 0, exact=False) == (0, 1)
    with pytest.raises(InputError, match="whole numbers"):
        mcnemar(-1, 2)


def test_newcombes_own_paired_examples():
    """Newcombe (1998), method 10: 20, 12, 2, 16 gives 0.0562 to 0.3290 (table III)."""
    assert paired_difference(20, 12, 2, 16) == pytest.approx((0.0562, 0.3292), abs=2e-4)
    low, high = paired_difference(54, 0, 0, 0)
    assert low < 0 < high
    assert paired_difference(0, 0, 0, 0) == (-1, 1)


def test_paired_intervals_cover():
    """Over all outcomes of 12 images in four kinds: 95% on average, and never below 90%."""
    n, kinds = 12, []
    for both, first, second in itertools.product(range(n + 1), repeat=3):
        if both + first + second <= n:
            kinds.append((both, first, second, n - both - first - second))
    bounds = np.array([paired_difference(*k) for k in kinds])
    weights = np.array([comb(n, a) * comb(n - a, b) * comb(n - a - b, c) for a, b, c, _ in kinds], float)
    cover = []
    for p in ((0.3, 0.1, 0.1, 0.5), (0.2, 0.3, 0.05, 0.45), (0.6, 0.1, 0.02, 0.28), (0.1, 0.25, 0.25, 0.4)):
        chance = weights * np.prod(np.power(p, kinds), axis=1)
        cover.append(chance[(bounds[:, 0] <= p[1] - p[2]) & (p[1] - p[2] <= bounds[:, 1])].sum())
        assert chance.sum() == pytest.approx(1)
    assert np.mean(cover) > 0.94
    assert min(cover) > 0.90


def test_paired_rates_counts():
    a = np.array([1, 1, 1, 0, 0, 0, 0, 1], bool)
    b = np.array([1, 0, 0, 0, 0, 1, 0, 1], bool)
    found = paired_rates(a, b)
    assert (found.n, found.k_a, found.k_b, found.only_a, found.only_b) == (8, 4, 3, 2, 1)
    assert found.difference == pytest.approx(-1 / 8)
    assert (found.low, found.high) == paired_difference(2, 1, 2, 3)  # B's own answers first: B - A
    assert found.p == 1
    with pytest.raises(InputError, match="image by image"):
        paired_rates(a, b[:3])


def test_cells_at_once_are_cells_one_by_one():
    tally = np.random.default_rng(0).integers(0, 40, (4, 60))
    tally[:, 0] = 0  # no images
    many = paired_records(*tally)
    assert many == [paired_records(*tally[:, [g]])[0] for g in range(60)]
    for g, record in enumerate(many):
        both, only_a, only_b, neither = tally[:, g]
        a = np.repeat([1, 1, 0, 0], [both, only_a, only_b, neither])
        b = np.repeat([1, 0, 1, 0], [both, only_a, only_b, neither])
        assert paired_rates(a, b) == record
    assert (many[0].value_a, many[0].low, many[0].high, many[0].p) == (None, -1, 1, 1)


def test_a_million_images_have_an_interval():
    """Four margins of half a million each: their product is beyond 64 bits."""
    (found,) = paired_records(400_000, 100_000, 101_000, 399_000)
    assert found.low < found.difference == 0.001 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(201_000) / 1e6, rel=0.01)
