"""Calibration error, Brier score, log loss and temperature: by hand, by scikit-learn and scipy, by simulation."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from clipjax.analysis import calibration
from clipjax.errors import InputError

CONFIDENCE = np.array([0.97, 0.93, 0.88, 0.83, 0.77, 0.72, 0.66, 0.61, 0.55, 0.52])
RIGHT = np.array([1, 1, 1, 0, 1, 1, 0, 1, 0, 0], bool)
LOGITS = np.array(
    [(2, 1, 0), (0.5, 1.5, 0), (0, 0.2, 1), (1.2, 1, 0.8), (0.3, 2, 0.1), (1, 0, 1.4)], float
)  # fmt: skip
LABELS = np.array([0, 1, 2, 1, 1, 0])
seeds = st.integers(0, 10_000)


def softmax(logits):
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def two(confidence, right):
    """Two classes of which the first is the answer: probabilities [N, 2] and labels."""
    return np.stack([confidence, 1 - np.asarray(confidence)], 1), np.where(right, 0, 1)


def drawn(seed, n=40, classes=4):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, classes)) * 2, generator.integers(0, classes, n)


@pytest.mark.parametrize(("bins", "ece"), [(5, 0.192), (10, 0.266), (15, 0.29)])
def test_worked_example_of_equal_width(bins, ece):
    assert calibration.expected_calibration_error(*two(CONFIDENCE, RIGHT), bins).value == pytest.approx(ece)


def test_worked_example_of_other_norms_and_bins():
    data = two(CONFIDENCE, RIGHT)
    assert calibration.maximum_calibration_error(*data, 5).value == pytest.approx(0.535)
    assert calibration.root_mean_square_calibration_error(*data, 5).value == pytest.approx(0.260744, abs=5e-7)
    assert calibration.expected_calibration_error(*data, 5, "mass").value == pytest.approx(0.266)
    assert calibration.debiased_square(CONFIDENCE, RIGHT, 5) == pytest.approx(0.0179875)


def test_edges():
    found = calibration.calibration_error([0.5, 0.5, 0.9, 0.9], [True, True, False, True], 2)
    assert found == pytest.approx(0.45), "(low, high]"
    probabilities, labels = two([0.75, 0.75, 0.75, 0.75], [False, True, True, True])
    assert calibration.expected_calibration_error(probabilities, labels, 2).value == pytest.approx(0)
    assert calibration.calibration_error([0.25, 0.25, 0.75, 0.75], [False, False, True, True], 2) == pytest.approx(0.25)
    # torchmetrics 1.9.0 puts 1.0 into a bin of its own: .525
    assert calibration.calibration_error([0.95, 1.0], [True, False], 10) == pytest.approx(0.475)


def test_brier_worked_example():
    found = calibration.brier_decomposition(CONFIDENCE, RIGHT, 5)
    assert found.value == pytest.approx(0.200100)
    parts = (found.reliability, found.resolution, found.uncertainty, found.within)
    assert parts == pytest.approx((0.0679875, 0.09, 0.24, -0.0178875))
    assert calibration.negative_log_likelihood(
        np.log(np.stack([1 - CONFIDENCE, CONFIDENCE], 1)), RIGHT.astype(int)
    ).value == pytest.approx(0.569827, abs=5e-7)


def test_worked_example_of_three_classes():
    p = softmax(LOGITS)
    assert calibration.brier_score(p, LABELS).value == pytest.approx(0.364168, abs=5e-7)
    assert calibration.negative_log_likelihood(LOGITS, LABELS).value == pytest.approx(0.653128, abs=5e-7)
    assert calibration.expected_calibration_error(p, LABELS, 5).value == pytest.approx(0.238224, abs=5e-7)
    assert calibration.classwise_calibration_error(p, LABELS, 5).value == pytest.approx(0.150149, abs=5e-7)


def test_temperature_worked_example():
    """The optimiser of the widely copied temperature_scaling.py stops at 1.412432 here."""
    found = calibration.fit_temperature(LOGITS, LABELS, scale=100.0, fitted_on="validation")
    assert (found.temperature, 1 / found.value) == pytest.approx((0.379140, 2.637545), abs=5e-7)
    assert (found.scale, found.fitted_on) == (pytest.approx(263.7545, abs=5e-5), "validation")
    scaled = LOGITS / found.temperature
    assert calibration.negative_log_likelihood(scaled, LABELS).value == pytest.approx(0.486018, abs=5e-7)
    assert calibration.brier_score(softmax(scaled), LABELS).value == pytest.approx(0.321947, abs=5e-7)
    assert calibration.expected_calibration_error(softmax(scaled), LABELS, 5).value == pytest.approx(0.262965, abs=5e-7)


@pytest.mark.parametrize("seed", range(200))
def test_scikit_learn_and_scipy_agree(seed):
    logits, labels = drawn(seed)
    p = softmax(logits)
    assert calibration.negative_log_likelihood(logits, labels).value == pytest.approx(
        log_loss(labels, p, labels=range(4)), rel=1e-9
    )
    onehot = np.eye(4)[labels]
    assert calibration.brier_score(p, labels).value == pytest.approx(4 * np.mean((p - onehot) ** 2))
    confidence, right = calibration.top(p, labels)
    assert calibration.brier_decomposition(confidence, right).value == pytest.approx(
        brier_score_loss(right, confidence)
    )
    accuracy, mean = calibration_curve(right, confidence, n_bins=10)
    curve = calibration.reliability_curve(p, labels, 10)
    assert [r.accuracy for r in curve] == pytest.approx(accuracy.tolist())
    assert [r.confidence for r in curve] == pytest.approx(mean.tolist())
    logits[np.arange(20), labels[:20]] += 3  # likelier than the others, but not always
    best = minimize_scalar(
        lambda beta: log_loss(labels, softmax(beta * logits), labels=range(4)), bounds=(1e-3, 20), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    assert 1 / calibration.fit_temperature(logits, labels).temperature == pytest.approx(best.x, rel=1e-5)


@given(seeds, st.integers(1, 20), st.sampled_from(["width", "mass"]))
def test_orders(seed, bins, scheme):
    logits, labels = drawn(seed)
    confidence, right = calibration.top(softmax(logits), labels)
    parts = calibration._bins(calibration.Top(confidence, right), bins, scheme)
    ece, rms, most = (f(parts) for f in (calibration._expected, calibration._root_mean_square, calibration._largest))
    assert ece <= rms + 1e-12
    assert rms <= most + 1e-12
    assert calibration.calibration_error(confidence, right, 1) == pytest.approx(abs(right.mean() - confidence.mean()))
    found = calibration.brier_decomposition(confidence, right, bins, scheme)
    assert found.reliability - found.resolution + found.uncertainty + found.within == pytest.approx(found.value)


@given(seeds)
def test_a_fitted_temperature_is_no_worse(seed):
    logits, labels = drawn(seed)
    logits[np.arange(20), labels[:20]] += 2
    assume((logits[np.arange(len(labels)), labels] - logits.mean(1)).mean() > 0)  # else no temperature is the best
    found = calibration.fit_temperature(logits, labels)
    fitted = calibration.negative_log_likelihood(logits / found.temperature, labels).value
    assert fitted <= calibration.negative_log_likelihood(logits, labels).value + 1e-12


def test_the_ece_of_a_calibrated_model_is_not_zero():
    """15 bins, confidences uniform in (.3, 1): .078 of 200 images; that is what `null_mean` says, and p is level."""
    generator, p = np.random.default_rng(0), []
    for _ in range(100):
        confidence = generator.uniform(0.5, 1, 200)
        right = generator.random(200) < confidence
        found = calibration.expected_calibration_error(*two(confidence, right))
        p.append(found.p)
        assert found.low == 0 or found.p <= 0.05, "the interval holds 0 where the test does not reject it"
        assert found.low <= found.value <= found.high
    assert found.null_mean == pytest.approx(0.078, abs=0.02)
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.065)  # three standard errors
    over = calibration.expected_calibration_error(*two(np.full(200, 0.95), generator.random(200) < 0.7))
    assert over.p == pytest.approx(1 / 1001)
    assert over.value > over.null_mean
    assert over.low > over.null_mean
    assert over.low < 0.25 < over.high
    # a bootstrap has the bias of the value once more: reflected, its longer side is the lower one
    under = calibration.expected_calibration_error(*two(generator.uniform(0.5, 1, 200), generator.random(200) < 0.6))
    assert under.value - under.low > under.high - under.value


def test_the_order_of_the_images_decides_nothing():
    logits, labels = drawn(1)
    for scheme in ("width", "mass"):
        one = calibration.expected_calibration_error(softmax(logits), labels, 5, scheme)
        assert calibration.expected_calibration_error(softmax(logits[::-1]), labels[::-1], 5, scheme) == one


def test_a_label_of_probability_zero():
    found = calibration.negative_log_likelihood(np.array([[0, -np.inf], [0, 0.0]]), np.array([1, 1]))
    assert (found.value, found.infinite) == (None, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration.brier_score([[0.5, 0.5], [0.5, 0.4]], [0, 1]), "probabilities of row 1 sum to 0.9"),
        (lambda: calibration.calibration_error(CONFIDENCE, RIGHT, 0), "bins=0; choose 1 or more"),
        (lambda: calibration.calibration_error(CONFIDENCE, RIGHT, 5, "equal"), "choose width or mass"),
        (lambda: calibration.brier_score([[0.5, 0.5]], [2]), "labels: row 0 is 2; the classes are 0 .. 1"),
        (lambda: calibration.brier_score([[0.5, np.nan]], [0]), "probabilities of row 0 are not numbers"),
        (
            lambda: calibration.fit_temperature(np.eye(3), np.arange(3)),
            "temperature is not identified: every answer of the fitting split is right",
        ),
        (lambda: calibration.fit_temperature(np.eye(3), np.array([1, 2, 0])), "no likelier than other classes"),
        (lambda: calibration.negative_log_likelihood(np.eye(3), np.arange(2)), r"they are \[N, C\] and \[N\]"),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
