"""What is planted is found within its interval, and nothing is found where nothing was: gaps, associations,
miscalibration and sensitivity. Of skew: tests/runs/test_skew.py and test_paired_numbers.py; of sets: test_findings.py.
"""

import numpy as np
import pytest

from clipjax.analysis import calibration, eat, groups
from clipjax.analysis.paired import paired_rates

NULLS = 500
LIMIT = 0.05 + 3 * np.sqrt(0.05 * 0.95 / NULLS)  # three standard errors above the level


def gap(generator, planted):
    """Accuracies of five groups of 60; the first is lower by `planted`."""
    rates, n = np.array([0.7 - planted, 0.7, 0.7, 0.7, 0.7]), np.full(5, 60)
    found = groups.group_difference(generator.binomial(n, rates), n)
    return found.p, found.low <= planted <= found.high


def association(generator, planted):
    """Two sets of 25 stimuli; the association of X with A is higher by `planted` standard deviations."""
    a, b = np.eye(6)[:2], np.eye(6)[2:4]
    x, y = generator.normal(size=(2, 25, 6))
    x = x + planted * np.array([1, 1, -1, -1, 0, 0]) / 2
    found = eat.association_test(x, y, a, b)
    if not planted:
        return found.p, found.low <= 0 <= found.high
    large = np.random.default_rng(0).normal(size=(2, 20_000, 6))
    large[0] += planted * np.array([1, 1, -1, -1, 0, 0]) / 2
    unit = large / np.linalg.norm(large, axis=2, keepdims=True)
    true = eat.effect_size(eat.association(unit[0], a, b), eat.association(unit[1], a, b))
    return found.p, found.low <= true <= found.high


def miscalibration(generator, planted):
    """Answers that are right less often than their confidence by `planted`."""
    confidence = generator.uniform(0.5, 1, 300)
    right = generator.random(300) < confidence - planted
    found = calibration.error_of(confidence, right, 15)
    return found.p, found.low <= planted <= found.high


def sensitivity(generator, planted):
    """The same 300 images, clean and changed: `planted` lose a right answer, beyond the 10% that change anyway."""
    clean = generator.random(300) < 0.7
    changed = np.where(generator.random(300) < 0.1, generator.random(300) < 0.7, clean)
    changed &= ~(generator.random(300) < planted / 0.7)
    found = paired_rates(clean, changed)
    return found.p, found.low <= -planted <= found.high


@pytest.mark.parametrize(("probe", "planted"), [
    (gap, 0.35), (association, 1.0), (miscalibration, 0.15), (sensitivity, 0.1),
])  # fmt: skip
def test_what_is_planted_is_found_in_its_interval(probe, planted):
    found = [probe(np.random.default_rng(seed), planted) for seed in range(20)]
    assert np.mean([p <= 0.05 for p, _ in found]) >= 0.8
    assert np.mean([inside for _, inside in found]) >= 0.8


@pytest.mark.exhaustive
@pytest.mark.parametrize("probe", [gap, association, miscalibration, sensitivity])
def test_nothing_is_found_where_nothing_was_planted(probe):
    """False positives of 500 simulations at the level of 5%."""
    p = np.array([probe(np.random.default_rng(1000 + seed), 0.0)[0] for seed in range(NULLS)])
    assert np.mean(p <= 0.05) <= LIMIT
