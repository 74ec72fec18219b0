"""Effective robustness: by hand, by scipy, and of models that lie on the line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from clipjax.analysis import effective_robustness as er
from clipjax.errors import InputError

X, Y = [60, 65, 70, 75, 80], [45, 51, 58, 64, 71]


def test_worked_example():
    line = er.fit(X, Y)
    assert (line.slope, line.intercept, line.r2) == pytest.approx((1.115989, -0.645837, 0.999105), abs=5e-7)
    found = er.of(line, 76.2, 70.1)
    assert (found.expected, found.value) == pytest.approx((65.764406, 4.335594), abs=5e-7)
    assert (found.low, found.method, found.n) == (None, None, 5)
    probit = er.fit(X, Y, "probit")
    assert (probit.slope, probit.intercept, probit.r2) == pytest.approx((1.153354, -0.415380, 0.999311), abs=5e-7)
    found = er.of(probit, 76.2, 70.1)
    assert (found.expected, found.value, found.axis) == (
        pytest.approx(65.787647, abs=5e-7), pytest.approx(4.312353, abs=5e-7), "probit",
    )  # fmt: skip
    assert er.of(er.fit(X, Y, "linear"), 76.2, 70.1).value == pytest.approx(4.24)


@pytest.mark.parametrize("seed", range(200))
def test_scipy_agrees(seed):
    generator = np.random.default_rng(seed)
    x, y = generator.uniform(0.05, 0.95, (2, 8))
    line, wanted = er.fit(x, y), stats.linregress(special.logit(x), special.logit(y))
    assert (line.slope, line.intercept) == pytest.approx((wanted.slope, wanted.intercept))
    expected = special.expit(wanted.slope * special.logit(0.6) + wanted.intercept)
    assert er.of(line, 0.6, 0.5).value == pytest.approx(100 * (0.5 - expected))


@given(st.floats(0.3, 2), st.floats(-1, 1), st.floats(0.1, 0.9))
def test_models_on_the_line_have_none(slope, intercept, x0):
    x = np.linspace(0.2, 0.8, 6)
    y = special.expit(slope * special.logit(x) + intercept)
    line = er.fit(x, y)
    assert er.of(line, x0, special.expit(slope * special.logit(x0) + intercept)).value == pytest.approx(0, abs=1e-8)
    assert er.of(er.fit(100 * x, 100 * y), 100 * x0, 70.0).value == pytest.approx(er.of(line, x0, 0.7).value)


def test_the_interval_holds_what_was_planted():
    generator, held = np.random.default_rng(0), 0
    for _ in range(40):
        x = np.linspace(0.4, 0.8, 12)
        f = special.logit(x) - 0.6 + generator.normal(0, 0.05, 12)
        x0, y0 = 0.75, special.expit(special.logit(0.75) - 0.6) + 0.04
        seen = generator.binomial(5000, [x0, y0]) / 5000
        found = er.of(er.fit(x, special.expit(f)), *seen, n=(5000, 5000))
        held += found.low <= 4 <= found.high
    assert held >= 33  # of 40 at 95%: three standard errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: er.fit(X[:2], Y[:2]), "2 baseline models; a line needs at least 3, 10 for an interval"),
        (lambda: er.fit([60, 70, 100], Y[:3]), "accuracy 100% has no logit; give"),
        (lambda: er.fit(X, Y[:3]), "both are"),
        (lambda: er.fit([60, 60, 60], Y[:3]), "all baseline models have accuracy 60%"),
        (lambda: er.fit(X, Y, "cubic"), "choose logit, probit, linear"),
        (lambda: er.of(er.fit(X, Y), 0.0, 0.5), "accuracy 0% has no logit"),
        (
            lambda: er.of(er.fit(X, Y, names=["a", "b", "c", "d", "ViT-B/32"]), 70, 60, "ViT-B/32"),
            "evaluated model 'ViT-B/32' is in the baseline",
        ),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
