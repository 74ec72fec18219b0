"""The zero-shot probe's confidences: planted miscalibration by group, a temperature, a threshold, a command."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from support.probe_processes import argv

from clipjax import design
from clipjax.analysis import calibration as of_whole
from clipjax.analysis.rates import Method
from clipjax.cli.main import main
from clipjax.data.labels import Labels
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.runs import calibration
from clipjax.runs.calibration import Calibration
from clipjax.runs.task import Task


def planted(n=3000, sharpness=1.0, seed=0):
    """Three classes whose label is drawn with the probabilities of their logits, which are then made sharper."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, 3)) * 1.5
    odds = np.exp(logits)
    cumulated = np.cumsum(odds / odds.sum(1, keepdims=True), axis=1)
    labels = (generator.random((n, 1)) > cumulated).sum(1)
    of = np.array(["young", "old"], object)[np.arange(n) % 2]
    contents = generator.integers(0, 256, (n, 32), np.uint8)
    names = ("a", "b", "c")
    source = Source(
        "planted", [f"{i}.jpg" for i in range(n)], lambda i: b"", Labels(names, labels), columns={"age": of},
        contents=lambda rows: contents[rows],
    )  # fmt: skip
    task = Task(source, design.of_classes(names, source="here"), source.labels, groups={"age": of})
    return logits * sharpness, task


def found(logits, task, **keys):
    records = calibration.records(logits, task, np.arange(len(logits)), Calibration(**keys), "", Method(), 100.0)
    return {(r.metric, *r.cell, r.temperature): r for r in records if r.metric != "reliability"}


def test_a_calibrated_model_and_an_overconfident_one():
    good = found(*planted(), bins=15)["ece", None]
    assert good.p > 0.01
    assert good.value < 3 * good.null_mean
    bad = found(*planted(sharpness=3), bins=15)
    assert bad["ece", None].p == pytest.approx(1 / 1001)
    assert bad["ece", "old", None].value > 5 * bad["ece", "old", None].null_mean
    assert bad["brier", "young", None].n == 1500
    assert bad["ece", None].value <= bad["rmsce", None].value <= bad["mce", None].value
    parts = bad["brier_decomposition", None]
    assert parts.reliability - parts.resolution + parts.uncertainty + parts.within == pytest.approx(parts.value)
    assert bad["excess_aurc", None].value == pytest.approx(bad["aurc", None].value - bad["aurc", None].optimal)
    assert ("augrc", None) in bad
    assert ("mce", "old", None) not in bad


def test_the_temperature_is_found_on_other_images():
    records = found(*planted(sharpness=3), bins=15, fit=0.5)
    fitted = next(r for key, r in records.items() if key[0] == "temperature")
    assert fitted.temperature == pytest.approx(3, rel=0.1)
    assert fitted.scale == pytest.approx(100 / fitted.temperature)
    before, after = records["nll", None], records["nll", fitted.temperature]
    assert (before.n, after.n, after.fitted_on) == (1500, 1500, "1500 other images")
    assert after.value < before.value - 0.1
    assert records["ece", fitted.temperature].p > 0.001


def test_a_threshold_keeps_its_promise_for_everybody():
    logits, task = planted(sharpness=3)
    records = found(logits, task, bins=15, fit=0.5, risk=0.2, thresholds=(0.9, 0.8, 0.7))
    chosen = next(r for key, r in records.items() if key[0] == "threshold_for_risk")
    by = {key[1:-1]: r for key, r in records.items() if key[0] == "selective_risk"}
    assert by[()].threshold == chosen.threshold
    assert by[()].value < 0.2 + 3 * np.sqrt(0.16 / by[()].n)
    assert set(by) == {(), ("old",), ("young",)}
    assert by["old",].bound > by["old",].value


def of_each(n=3000):
    """Images of one of three classes, and logits whose sigmoid is how often that class is the label."""
    task = planted(n)[1]
    generator = np.random.default_rng(9)
    labels = generator.integers(0, 3, n)
    label = np.eye(3)[labels]
    z = 2.5 * (label - 0.5) + generator.normal(size=(n, 3)) * np.sqrt(2.5) + np.log(0.5)  # two normals: the odds are z
    source = dataclasses.replace(task.source, labels=Labels(("a", "b", "c"), labels))
    return z, dataclasses.replace(task, source=source, labels=source.labels)


def sigmoid(logits, task, **keys):
    rows = np.arange(len(logits))
    records = calibration.records(logits, task, rows, Calibration(**keys), "", Method(), 100.0, "sigmoid")
    assert {r.probability for r in records} == {"sigmoid"}
    return {(r.metric, *r.cell, r.temperature): r for r in records if r.metric != "reliability"}


def test_the_sigmoid_of_each_class():
    z, task = of_each()
    found, label = sigmoid(z, task, bins=15), np.eye(3)[task.labels.column]
    p = 1 / (1 + np.exp(-z))
    assert found["brier", None].value == pytest.approx(((p - label) ** 2).sum(1).mean())
    losses = -np.log(np.where(label, p, 1 - p)).sum(1)
    assert found["nll", None].value == pytest.approx(losses.mean())
    assert found["nll", "old", None].value == pytest.approx(losses[task.groups["age"] == "old"].mean())
    sharp = sigmoid(z * 3, task, bins=15, fit=0.5)
    fitted = next(r for key, r in sharp.items() if key[0] == "temperature")
    assert fitted.temperature == pytest.approx(3, rel=0.1)
    best = minimize_scalar(lambda t: sigmoid_loss(3 * z / t, label), bounds=(0.5, 10), method="bounded")
    whole = of_whole.fit_temperature(3 * z, task.labels.column, probability="sigmoid")
    assert whole.temperature == pytest.approx(best.x, rel=1e-4)  # scipy's search stops there
    certain = np.where(label == 1, 5.0, -5.0)
    with pytest.raises(InputError, match="every answer of the fitting split is right"):
        of_whole.fit_temperature(certain, task.labels.column, probability="sigmoid")
    with pytest.raises(InputError, match="no likelier than other classes"):
        of_whole.fit_temperature(-certain, task.labels.column, probability="sigmoid")


def sigmoid_loss(z, label):
    return (np.logaddexp(0, z) - label * z).sum(1).mean()


def test_no_threshold_is_a_note(capsys):
    logits, task = planted(n=60)
    assert not [k for k in found(logits, task, bins=5, fit=0.5, risk=0.01) if k[0] == "threshold_for_risk"]
    assert "no threshold reaches risk 0.01 at 95%" in capsys.readouterr().err


def test_the_order_of_the_images_decides_nothing():
    logits, task = planted(n=200)
    rows = np.random.default_rng(1).permutation(200)
    keys = Calibration(bins=5, fit=0.3)
    one, other = (
        calibration.records(logits[order], task, order, keys, "", Method(), 1.0) for order in (np.arange(200), rows)
    )
    assert [(r.metric, r.value) for r in one] == [(r.metric, pytest.approx(r.value)) for r in other]


def test_from_the_command_line(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_QUIET", "1")
    out = tmp_path / "run"
    more = ["--config.calibration.bins=5", "--config.calibration.fit=0.5"]
    assert main(argv(world, out, *more, config="zeroshot")) == 0
    records = json.loads((out / "metrics.json").read_text())["records"]
    assert {"ece", "brier", "nll", "aurc", "reliability"} <= {r["metric"] for r in records}
    curve = [r for r in records if r["metric"] == "reliability" and "temperature" not in r]
    assert sum(r["n"] for r in curve) == next(r["n"] for r in records if r["metric"] == "ece")
    capsys.readouterr()
    assert main(["report", str(out), f"--out={tmp_path / 'report'}"]) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["calibration.bins=-1"], "bins=-1; choose 1 or more"),
        (["calibration.fit=0.5"], "calibration.fit and calibration.risk need calibration.bins"),
        (["calibration.bins=5", "calibration.fit=1.5"], "calibration.fit=1.5; choose a share from 0, below 1"),
        (["calibration.bins=5", "calibration.risk=0.1"], "needs images to choose the threshold on"),
        (["calibration.bins=5", "calibration.scheme=equal"], "calibration.scheme"),
        (["calibration.bins=5", "calibration.fit=0.5", "calibration.risk=2.0"], "both are above 0 and below 1"),
        (["group_weights=age: old=1"], "group_weights needs groups"),
    ],
)
def test_refusals(more, message, world, tmp_path, capsys):
    assert main(argv(world, tmp_path / "run", *[f"--config.{one}" for one in more], config="zeroshot")) == 1
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1
