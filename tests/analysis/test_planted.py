"""What is planted is found within its interval, and nothing is found where nothing was: gaps, associations, skew,
miscalibration and sensitivity, to a change of the images and to the wording. Of sets: test_findings.py; of caption
choice: tests/probes/test_captions.py; of changes of skew: test_paired_numbers.py.
"""

import numpy as np
import pytest

from clipjax.analysis import calibration, eat, groups, skew, wording
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


def first(generator, planted):
    """MaxSkew of 150 images: one group is half of all, and by `planted` nats more of the first 50."""
    share = np.exp(planted) / 2
    group = (generator.random(150) > np.where(np.arange(150) < 50, share, (1.5 - share) / 2)).astype(int)
    found = skew.max_skew(np.where(np.arange(150) < 50, 1, 0) + generator.random(150) / 2, group, 50)
    return found.p, found.low <= planted <= found.high


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
    (gap, 0.35), (association, 1.0), (first, 0.5), (miscalibration, 0.15), (sensitivity, 0.1),
])  # fmt: skip
def test_what_is_planted_is_found_in_its_interval(probe, planted):
    found = [probe(np.random.default_rng(seed), planted) for seed in range(20)]
    assert np.mean([p <= 0.05 for p, _ in found]) >= 0.8
    assert np.mean([inside for _, inside in found]) >= 0.8


@pytest.mark.exhaustive
@pytest.mark.parametrize("probe", [gap, association, first, miscalibration, sensitivity])
def test_nothing_is_found_where_nothing_was_planted(probe):
    """False positives of 500 simulations at the level of 5%."""
    p = np.array([probe(np.random.default_rng(1000 + seed), 0.0)[0] for seed in range(NULLS)])
    assert np.mean(p <= 0.05) <= LIMIT


def test_answers_that_depend_on_the_wording():
    """4 wordings, each with another answer in one of ten; then none of it."""
    held = []
    for seed in range(20):
        answers = np.where(np.random.default_rng(seed).random((4, 200)) < 0.1, 1, 0)
        changed, flips = wording.answers_changed(answers), wording.flip_rate(answers)
        held.append(changed.low <= 1 - 0.9**4 - 0.1**4 <= changed.high and flips.low <= 0.18 <= flips.high)
    assert np.mean(held) >= 0.8
    same = np.repeat(np.random.default_rng(0).integers(0, 3, (1, 200)), 4, axis=0)
    for found in (wording.answers_changed(same), wording.flip_rate(same)):
        assert found.value == found.low == 0
        assert 0 < found.high < 0.03
