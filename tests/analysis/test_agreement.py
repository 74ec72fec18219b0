"""Kappas, error consistency, flips and wordings: by hand, by scikit-learn and statsmodels, by brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as of_statsmodels

from clipjax.analysis import agreement, wording
from clipjax.analysis.rates import Method
from clipjax.errors import InputError


def digits(text):
    return np.array([int(c) for c in text])


A, B, LABELS = digits("000111222012"), digits("001111220022"), digits("000112222112")
ANSWERS = np.array([digits(x) for x in ("0000", "0010", "1111", "1211", "2222", "2021")]).T  # [R, N]
wordings = st.integers(2, 5).flatmap(
    lambda r: st.lists(st.lists(st.integers(0, 3), min_size=r, max_size=r), min_size=1, max_size=12)
)


def right(a, b, labels):
    """Images that both have right, only A, only B, neither."""
    return np.bincount(2 * (a != labels) + (b != labels), minlength=4)


def test_cohens_worked_example():
    found = agreement.cohen_kappa(A, B)
    assert (found.value, found.agreement) == pytest.approx((0.625, 0.75))
    assert agreement.cohen_kappa(A[:6], B[:6]).value == pytest.approx(2 / 3)
    assert agreement.cohen_kappa(A[6:], B[6:]).value == pytest.approx(1 / 3)
    drawn = agreement.cohen_kappa(A, B, Method(seed=1))  # 3.2% of all draws agree about every image: high is 1 or 0.875
    assert (drawn.low, drawn.high) == pytest.approx((0.234043, 1), abs=5e-7)
    consistency = agreement.error_consistency(right(A, B, LABELS))
    assert (consistency.value, consistency.agreement, consistency.expected) == pytest.approx((0.4375, 0.75, 0.555556))


def test_kappa_depends_on_prevalence():
    for (a, b, c, d), kappa in (((45, 5, 5, 45), 0.8), ((85, 5, 5, 5), 0.444444)):
        x, y = np.repeat([0, 0, 1, 1], (a, b, c, d)), np.repeat([0, 1, 0, 1], (a, b, c, d))
        found = agreement.cohen_kappa(x, y)
        assert (found.value, found.agreement) == pytest.approx((kappa, 0.9), abs=5e-7)


def test_wordings_worked_example():
    found = wording.answers_changed(ANSWERS)
    assert (found.k, found.n, found.value, found.wordings) == (3, 6, 0.5, 4)
    flips = wording.flip_rate(ANSWERS)
    assert flips.value == pytest.approx(0.305556, abs=5e-7)
    assert flips.pairs == pytest.approx([1 / 3, 1 / 6, 1 / 6])
    kappa = agreement.fleiss_kappa(wording.votes(ANSWERS, 3))
    assert (kappa.value, kappa.agreement, kappa.expected) == pytest.approx((0.539267, 0.694444, 0.336806), abs=5e-7)
    assert kappa.raters == 4


@pytest.mark.parametrize("seed", range(200))
def test_scikit_learn_and_statsmodels_agree(seed):
    generator = np.random.default_rng(seed)
    a, b = generator.integers(0, 4, (2, 30))
    b = np.where(generator.random(30) < 0.5, a, b)
    assert agreement.cohen_kappa(a, b).value == pytest.approx(cohen_kappa_score(a, b))
    labels = generator.integers(0, 4, 30)
    assert agreement.error_consistency(right(a, b, labels)).value == pytest.approx(
        cohen_kappa_score(a == labels, b == labels)
    )
    answers = generator.integers(0, 3, (5, 20))
    counts = wording.votes(answers, 3)
    table, _ = aggregate_raters(answers.T, n_cat=3)
    assert (counts == table).all()
    assert agreement.fleiss_kappa(counts).value == pytest.approx(of_statsmodels(table, method="fleiss"))


@given(wordings)
def test_wordings_against_brute_force(rows):
    answers = np.array(rows).T
    pairs = list(itertools.combinations(range(len(answers)), 2))
    by_hand = np.mean([np.mean([row[r] != row[s] for r, s in pairs]) for row in rows])
    rate, share = wording.flip_rate(answers).value, wording.answers_changed(answers).value
    assert rate == pytest.approx(by_hand)
    assert share == np.mean([len(set(row)) > 1 for row in rows])
    assert share * 2 / len(answers) - 1e-12 <= rate <= share + 1e-12
    if len(answers) == 2:
        assert rate == pytest.approx(share)
    kappa = agreement.fleiss_kappa(wording.votes(answers, 4))
    assert rate == pytest.approx(1 - kappa.agreement)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=20))
def test_kappa_is_symmetric(rows):
    a, b = np.array(rows).T
    one, other = agreement.cohen_kappa(a, b), agreement.cohen_kappa(b, a)
    assert one.value == pytest.approx(other.value, nan_ok=True)
    itself = agreement.cohen_kappa(a, a).value
    assert itself == (None if len(set(a)) == 1 else pytest.approx(1))
    order = np.random.default_rng(0).permutation(len(a))
    assert agreement.cohen_kappa(a[order], b[order]) == one
    pairs, counts = np.unique(rows, axis=0, return_counts=True)
    assert agreement.cohen_kappa(*np.concatenate([pairs, [[7, 8]]]).T, images=np.append(counts, 0)) == one


def test_the_interval_is_of_the_images_and_not_of_the_names_of_classes():
    """Counts of pairs are drawn as the images would be: the same quantiles as of 4,000 resamples of images."""
    generator = np.random.default_rng(5)
    a = generator.integers(0, 3, 60)
    b = np.where(generator.random(60) < 0.7, a, generator.integers(0, 3, 60))
    found = agreement.cohen_kappa(a, b)
    rows = generator.integers(0, 60, (4000, 60))
    drawn = np.quantile([cohen_kappa_score(a[row], b[row]) for row in rows], [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(drawn, abs=0.03)  # three standard errors of a quantile of 1,000
    other = np.array([2, 0, 1])
    assert agreement.cohen_kappa(other[a], other[b]) == found


def test_always_the_same_answer_has_no_kappa():
    for found in (
        agreement.cohen_kappa(np.zeros(5, int), np.zeros(5, int)),
        agreement.fleiss_kappa(wording.votes(np.zeros((3, 5), int), 2)),
    ):
        assert (found.value, found.low, found.high) == (None, None, None)


def test_a_planted_sensitivity_and_none():
    """Each wording gives another class with probability .1: .41 of images change with 5; and none of others."""
    generator = np.random.default_rng(0)
    answers = np.where(generator.random((5, 4000)) < 0.1, 1, 0)
    found = wording.answers_changed(answers)
    assert found.low < 1 - 0.9**5 - 0.1**5 < found.high
    assert wording.flip_rate(answers).low < 2 * 0.1 * 0.9 < wording.flip_rate(answers).high
    assert wording.answers_changed(np.zeros((5, 400), int)).high < 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wording.flip_rate(ANSWERS[:1]), "one wording; sensitivity needs two"),
        (lambda: wording.answers_changed(ANSWERS / 2), r"they are classes int \[R, N\]"),
        (lambda: agreement.fleiss_kappa(np.array([[2, 1], [1, 1]])), "image 0 has 3 answers and image 1 has 2"),
        (lambda: agreement.fleiss_kappa(np.array([[1, 0]])), "1 rater; agreement needs two"),
        (lambda: agreement.fleiss_kappa(np.array([[1.5, 0.5]])), "whole numbers"),
        (lambda: agreement.cohen_kappa(A, B[:3]), r"both are \[N\], image by image"),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
