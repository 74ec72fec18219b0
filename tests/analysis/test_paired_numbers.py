"""Differences of skew, calibration and associations between two runs of the same images, from planted predictions."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from clipjax import design
from clipjax.analysis import calibration, compare, eat, findings, gate, intervals, paired_numbers, skew, wording
from clipjax.analysis.manifest import Manifest, Settings
from clipjax.analysis.paired_numbers import BOOTSTRAP
from clipjax.analysis.rates import Method
from clipjax.analysis.records import Record
from clipjax.analysis.run import FLIPS, Run
from clipjax.errors import InputError
from clipjax.probes import metrics
from clipjax.runs.skew import SkewTask, skew_records

ASKED = design.of_classes(["doctor", "nurse"], source="here")


def run_of(probe, columns, records, groups=(), seed=0):
    """A run in memory: nothing of it is read from disk."""
    manifest = msgspec.convert({
        "config": {"probe": probe}, "precision": "float32", "design": ASKED.manifest(),
        "model": {"name": "m", "weights_sha256": "0" * 64, "config": {}, "logit_scale": 100.0},
        "data": {"name": "d", "fingerprint": "f" * 64, "n": 1, "group_columns": list(groups)},
        "counts": {"seen": 1, "skipped": 0, "skipped_files": []},
    }, Manifest)  # fmt: skip
    found = Run(Path("nowhere"), manifest, Settings(probe, seed=seed), list(records))
    vars(found)["predictions"] = dict(columns)
    return found


def skewed(lift, group, noise, seed=0):
    """Cosines of two classes; those of group A are higher by `lift` for the second."""
    cosines = noise.copy()
    cosines[:, 1] += lift * (group == "A")
    task = SkewTask(None, ASKED, {}, [("g",)], ("share",), ())
    records = skew_records(cosines, task, {"g": group}, (50,), Method())
    return run_of("skew", {"similarities": cosines, "g": group}, records, ["g"], seed)


def images(seed, n=120):
    generator = np.random.default_rng(seed)
    return np.array(["A", "B"], object)[generator.integers(0, 2, n)], generator.normal(size=(n, 2))


def by_name(found):
    return {one.name: one for one in found}


def test_a_planted_change_of_skew_is_in_its_interval_and_an_equal_run_has_none():
    group, noise = images(0)
    a, b = skewed(0.0, group, noise), skewed(2.0, group, noise)
    found = by_name(paired_numbers.paired_numbers(a, b))
    assert set(found) == {
        "max_skew@50 doctor g share", "ndkl doctor g share", "max_skew@50 nurse g share", "ndkl nurse g share",
        "mean_max_skew@50 g share", "mean_ndkl g share",
    }  # fmt: skip
    moved = found["ndkl nurse g share"]
    assert moved.method == BOOTSTRAP
    assert moved.difference == moved.b.value - moved.a.value
    assert 0 < moved.low < moved.difference < moved.high
    still = found["ndkl doctor g share"]
    assert (still.difference, still.low, still.high) == (0, 0, 0)
    same = paired_numbers.paired_numbers(a, a)
    assert {(one.difference, one.low, one.high) for one in same} == {(0, 0, 0)}


def test_runs_with_other_seeds_are_asked_for_the_same_draws():
    group, noise = images(0)
    a, b = skewed(0.0, group, noise), skewed(0.0, group, noise, seed=1)
    assert {(one.low, one.high) for one in paired_numbers.paired_numbers(a, b)} == {(0, 0)}


def test_draws_are_of_images_not_of_ranks():
    """The values of every draw are those of the drawn images alone."""
    group, noise = images(1, 60)
    run = skewed(1.0, group, noise)
    record = next(r for r in run.records if r.metric == "max_skew_at_k" and r.class_ == "nurse")
    (values,) = paired_numbers.statistic(run, record, 0)()
    weights = next(paired_numbers.draws(60, 0))
    rows = np.repeat(np.arange(60), weights[0].astype(int))
    cosines = run.predictions["similarities"][rows, 1]
    first = np.argsort(-cosines, kind="stable")[:50]
    shares = {g: (np.mean(group[rows][first] == g), np.mean(group[rows] == g)) for g in "AB"}
    assert values[0] == pytest.approx(max(np.log(p / q) for p, q in shares.values()), abs=0.05)  # ties at rank 50


@pytest.mark.exhaustive
def test_equal_rankings_differ_at_the_level():
    """Two rankings of the same images by chance, 500 times: the interval of the difference leaves out 0 in 5%."""
    wrong = []
    for seed in range(500):
        group, noise = images(seed, 150)
        of = np.unique(group, return_inverse=True)[1]
        ranked = [skew.rank(noise[:, i], of) for i in (0, 1)]
        (weights,) = intervals.draws(150, seed)
        apart = [skew.drawn(one, weights, 50, "share") for one in ranked]
        low, high = intervals.percentile(apart[1] - apart[0], 0.95)
        wrong.append(not low <= 0 <= high)
    assert np.mean(wrong) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)


def confident(seed, sharpen, n=400):
    """Probabilities of two classes, right as often as they say before they are sharpened."""
    generator = np.random.default_rng(seed)
    p = generator.uniform(0.5, 1, n)
    label = (generator.random(n) < p).astype(int)
    odds = (p / (1 - p)) ** sharpen
    p = np.stack([1 - odds / (1 + odds), odds / (1 + odds)], 1)
    records = [
        calibration.expected_calibration_error(p, label), calibration.brier_score(p, label),
        Record(metric="top1_worst_group", group={}, over="g", n=9, value=sharpen / 10),
    ]  # fmt: skip
    names = np.array(ASKED.names, object)
    table = {"label": names[label], "prediction": names[p.argmax(1)], "probabilities": p}
    return run_of("zeroshot", table, [Record(metric="top1", group={}, n=n, value=0.5), *records])


def test_a_planted_miscalibration_moves_the_confidence_and_a_worst_group_has_no_interval():
    found = by_name(paired_numbers.paired_numbers(confident(0, 1.0), confident(0, 4.0)))
    assert found["ece"].low > 0.05
    assert found["brier"].low > 0
    assert found["brier"].low < found["brier"].difference < found["brier"].high
    worst = found["top1_worst_group g"]
    assert worst.difference == pytest.approx(0.3)
    assert (worst.low, worst.high, worst.method) == (None, None, None)


def test_numbers_of_a_part_of_the_images_have_no_interval():
    a = confident(0, 1.0)
    a.records[2] = msgspec.structs.replace(a.records[2], n=200)
    assert by_name(paired_numbers.paired_numbers(a, a))["brier"].method is None


def associated(lift, noise):
    x, y = noise[:30] + lift, noise[30:]
    record = Record(metric="eat", label="t", group={}, n=60, value=float(eat.effect_size(x, y)), sizes=[30, 30, 2, 2])
    column = np.full((60, 2), np.nan)
    column[:30, 0], column[30:, 1] = x, y
    files = np.array([f"{i}.png" for i in range(60)], object)
    return run_of("association", {"association": column, "file": files}, [record])


def test_a_planted_change_of_association_is_in_its_interval():
    noise = np.random.default_rng(0).normal(size=60)
    (found,) = paired_numbers.paired_numbers(associated(0, noise), associated(1.5, noise))
    assert 0 < found.low < found.difference < found.high
    (same,) = paired_numbers.paired_numbers(associated(0, noise), associated(0, noise))
    assert (same.difference, same.low, same.high) == (0, 0, 0)


def test_single_images_are_paired_by_what_they_are():
    """The stimuli of B are in another order and under other names; the runs come with equal rows."""
    runs = []
    for names, values in ((["a", "b", "c"], [0.1, 0.2, 0.3]), (["z", "y", "x"], [0.1, 0.2, 0.3])):
        records = [
            Record(metric="sc_eat", label="t", class_=name, group={}, n=4, value=value, sizes=[1, 0, 2, 2])
            for name, value in zip(names, values, strict=True)
        ]
        order = records if names[0] == "a" else records[::-1]
        runs.append(run_of("association", {"file": np.array(names, object)}, order))
    found = by_name(paired_numbers.paired_numbers(*runs))
    assert {name: one.difference for name, one in found.items()} == {f"sc_eat t {name}": 0 for name in "abc"}


def test_tests_of_one_name_and_other_stimuli_are_refused():
    a, b = associated(0, np.zeros(60)), associated(0, np.zeros(60))
    with pytest.raises(InputError, match="does not say what its tests hold; run the probe again"):
        paired_numbers.check_stimuli(a, b)
    a.manifest.result.stimuli = {"t": {"x": "1", "y": "2", "a": "3", "b": "4"}}
    b.manifest.result.stimuli = {"t": {"x": "1", "y": "2", "a": "5", "b": "4"}, "u": {"x": "1"}}
    with pytest.raises(InputError, match=r"have a test 't' each, of other texts or images \(A\): rename one of them"):
        paired_numbers.check_stimuli(a, b)
    b.manifest.result.stimuli["t"]["a"] = "3"
    paired_numbers.check_stimuli(a, b)


def several(noise, seed=0, n=150, metric="map_all_point"):
    """Probabilities of two classes of images with none, one or both as labels."""
    generator = np.random.default_rng(seed)
    labels = generator.random((n, 2)) < 0.5
    labels[:, 0] |= ~labels.any(1)
    p = np.clip(labels + noise * generator.normal(size=(n, 2)), 0, 1).astype(np.float32)
    names = np.array(ASKED.names, object)
    texts = np.array(["|".join(names[row]) for row in labels], object)
    record = (metrics.map_all_point if metric == "map_all_point" else metrics.map_11pt)(p, labels)
    return run_of("zeroshot", {"label": texts, "prediction": names[p.argmax(1)], "probabilities": p}, [record])


@pytest.mark.parametrize("metric", ["map_all_point", "map_11pt"])
def test_a_planted_change_of_average_precision(metric):
    (found,) = paired_numbers.paired_numbers(several(1.5, metric=metric), several(0.5, metric=metric))
    assert found.method == BOOTSTRAP
    assert 0 < found.low < found.difference < found.high
    (same,) = paired_numbers.paired_numbers(several(1, metric=metric), several(1, metric=metric))
    assert (same.low, same.high) == (0, 0)
    difficult = several(1, metric=metric)
    difficult.records[0] = msgspec.structs.replace(difficult.records[0], value=0.9)  # some images left out
    (found,) = paired_numbers.paired_numbers(difficult, several(0.5, metric=metric))
    assert found.method is None


def test_the_mean_over_classes_is_paired():
    a, b = confident(0, 1.0), confident(0, 1.0)
    b.predictions["probabilities"] = b.predictions["probabilities"][:, ::-1].copy()
    b.predictions["probabilities"][:200] = a.predictions["probabilities"][:200]
    for run in (a, b):
        right = np.array(ASKED.names, object)[run.predictions["probabilities"].argmax(1)] == run.predictions["label"]
        value = np.mean([right[run.predictions["label"] == name].mean() for name in ASKED.names])
        run.records.append(Record(metric="mean_per_class", n=400, value=float(value)))
    found = by_name(paired_numbers.paired_numbers(a, b))["mean_per_class"]
    assert found.method == BOOTSTRAP
    assert found.low < found.difference < found.high


def reworded(chance, seed, wordings=4, n=300):
    """Answers to several wordings, each another class with this chance."""
    answers = (np.random.default_rng(seed).random((wordings, n)) < chance).astype(int)
    return run_of(
        "rates", {FLIPS: wording.flips(answers)}, [wording.answers_changed(answers), wording.flip_rate(answers)]
    )


def test_a_planted_change_of_sensitivity_to_wording():
    a, b = reworded(0.05, 0), reworded(0.3, 1)
    found = by_name(paired_numbers.paired_numbers(a, b))
    assert set(found) == {"answers_changed", "flip_rate"}
    for one in found.values():
        assert 0 < one.low < one.difference < one.high
        assert one.method == BOOTSTRAP
    same = paired_numbers.paired_numbers(a, a)
    assert {(one.low, one.high) for one in same} == {(0, 0)}
    assert paired_numbers.paired_numbers(a, reworded(0.05, 0, wordings=5)) == [], "more wordings change more answers"


def test_winogrounds_three_scores_are_paired():
    right = np.arange(6) % 2 == 0
    texts = np.array(["a | b"] * 6, object)
    table = {"label": texts, "prediction": np.where(right, texts, "x"), "right_text": ~right, "right_image": right}
    asked = compare.questions(run_of("captions", table, []))
    assert {q.name: values.tolist() for q, values in asked.items()} == {
        "top1": right.tolist(), "text_score": (~right).tolist(), "image_score": right.tolist(),
    }  # fmt: skip
    tallied = compare.tallies(asked, asked, {}, [()], {})
    moved = findings.moved(compare.records_of(list(asked), tallied, 0.95, 1))
    assert "accuracy, text score, image score" in moved[0].statement


def test_conditions_hold_differences():
    group, noise = images(0)
    numbers = paired_numbers.paired_numbers(skewed(0, group, noise), skewed(2.0, group, noise))
    condition = gate.parse("ndkl[class=*, over=g, reference=share] > 0 @ lower")
    (line,) = gate.breaches_of_change(condition, [], numbers)
    assert "class=nurse" in line
    with pytest.raises(InputError, match="matches nothing"):
        gate.breaches_of_change(gate.parse("ndkl[class=thief] > 0"), [], numbers)
