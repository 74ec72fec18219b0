"""Risk and coverage, AURC and the guaranteed threshold: by hand, in loops over orders, by simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clipjax.analysis import selective
from clipjax.errors import InputError

CONFIDENCE = np.array([0.97, 0.93, 0.88, 0.83, 0.77, 0.72, 0.66, 0.61, 0.55, 0.52])
RIGHT = np.array([1, 1, 1, 0, 1, 1, 0, 1, 0, 0], bool)
answers = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=7)


def test_worked_example():
    curve = selective.risk_coverage(CONFIDENCE, RIGHT)
    risks = [0, 0, 0, 0.25, 0.2, 1 / 6, 2 / 7, 0.25, 1 / 3, 0.4]
    assert curve.risk == pytest.approx(risks)
    assert curve.coverage == pytest.approx(np.arange(1, 11) / 10)
    found = selective.aurc(CONFIDENCE, RIGHT)
    assert (found.value, found.optimal) == pytest.approx((0.188571, 0.112619), abs=5e-7)
    assert found.low < found.value < found.high
    assert selective.excess_aurc(CONFIDENCE, RIGHT).value == pytest.approx(0.075952, abs=5e-7)
    assert selective.augrc(CONFIDENCE, RIGHT).value == pytest.approx(0.12)


def test_worked_example_of_ties():
    confidence, right = np.array([0.9, 0.8, 0.8, 0.8, 0.6]), np.array([1, 0, 1, 1, 0], bool)
    assert selective.aurc(confidence, right).value == pytest.approx(0.207778, abs=5e-7)
    curve = selective.risk_coverage(confidence, right)
    assert curve.threshold.tolist() == [0.9, 0.8, 0.6]
    assert curve.k.tolist() == [0, 1, 2]


def test_threshold_worked_example():
    thresholds = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    n, k = np.array([60, 90, 120, 160, 200]), np.array([1, 3, 6, 14, 26])
    confidence = np.repeat(thresholds, np.diff(n, prepend=0))
    right = np.concatenate([
        np.arange(size) >= errors
        for size, errors in zip(np.diff(n, prepend=0), np.diff(k, prepend=0), strict=True)
    ])  # fmt: skip
    found = selective.threshold_for_risk(confidence, right, thresholds, 0.1, 0.05)
    assert (found.threshold, found.k, found.n, found.coverage) == (0.7, 6, 120, 0.6)
    assert found.bound == pytest.approx(0.096296, abs=5e-7)
    bounds = [0.076640, 0.083900, 0.096296, 0.133406, 0.175771]
    assert selective.upper_bound(k, n, 0.05) == pytest.approx(bounds, abs=5e-7)
    assert selective.upper_bound(k, n, 0.05) == pytest.approx(stats.beta.ppf(0.95, k + 1, n - k))
    with pytest.raises(InputError, match=r"risk 0.1 at 95%: the strictest that could accepts 60 images"):
        selective.threshold_for_risk(confidence, right, thresholds, 0.1, 0.05, "bonferroni")


@given(answers)
def test_ties_are_the_mean_over_orders(rows):
    confidence, right = (np.array(x) for x in zip(*rows, strict=True))
    values = []
    for order in itertools.permutations(range(len(rows))):
        if all(confidence[a] >= confidence[b] for a, b in itertools.pairwise(order)):
            wrong = ~right[list(order)]
            values.append((np.cumsum(wrong) / np.arange(1, len(rows) + 1)).mean())
    found = selective.aurc(confidence, right)
    assert found.value == pytest.approx(np.mean(values))
    assert found.value >= found.optimal - 1e-12


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_constant_confidence_has_the_error_rate(right):
    right = np.array(right)
    assert selective.aurc(np.full(len(right), 0.5), right).value == pytest.approx((~right).mean())


@pytest.mark.parametrize("rule", ["fixed-sequence", "bonferroni"])
def test_the_guarantee_holds(rule):
    """True risk .101 at every threshold, target .10, delta .10, 25 thresholds, 300 images: at most 10% violations.

    Taking the lowest threshold whose own bound is low enough violates in 26%.
    """
    generator, violated = np.random.default_rng(0), 0
    thresholds = np.linspace(0, 0.9, 25)
    for _ in range(600):
        confidence, right = generator.random(300), generator.random(300) >= 0.101
        try:
            selective.threshold_for_risk(confidence, right, thresholds, 0.1, 0.1, rule)
        except InputError:
            continue
        violated += 1
    assert violated / 600 <= 0.1 + 3 * np.sqrt(0.09 / 600)


def test_a_threshold_by_group():
    found = selective.at_threshold(CONFIDENCE, RIGHT, 0.7)
    assert (found.k, found.n, found.coverage) == (1, 6, 0.6)
    assert found.bound == pytest.approx(stats.beta.ppf(0.95, 2, 5))
    assert selective.at_threshold(CONFIDENCE, RIGHT, 0.99).value is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: selective.aurc(CONFIDENCE, RIGHT.astype(int)), r"they are \[N\] and bool \[N\]"),
        (lambda: selective.aurc(CONFIDENCE[:3], RIGHT), r"they are \[N\] and bool \[N\]"),
        (lambda: selective.aurc(np.array([np.nan]), np.array([True])), "confidence of row 0 is nan"),
        (lambda: selective.threshold_for_risk(CONFIDENCE, RIGHT, [0.5], 1.5), "risk=1.5, delta=0.05"),
        (lambda: selective.threshold_for_risk(CONFIDENCE, RIGHT, [], 0.5), "thresholds: give at least one"),
        (lambda: selective.threshold_for_risk(CONFIDENCE, RIGHT, [0.5], 0.5, rule="sgr"), "choose fixed-sequence"),
        (
            lambda: selective.threshold_for_risk(CONFIDENCE, RIGHT, [0.8], 0.05),
            "no threshold reaches risk 0.05 at 95%: the strictest that could accepts 4 images with 1 errors",
        ),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
