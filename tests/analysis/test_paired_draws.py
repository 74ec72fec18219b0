"""Few-shot runs over the same draws and test images: the difference of every number, and what is not the same draw."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from clipjax import design
from clipjax.analysis import compare, drawn, gate
from clipjax.analysis.manifest import Manifest, Settings
from clipjax.analysis.paired_draws import PAIRED
from clipjax.analysis.records import Record
from clipjax.analysis.report import comparison
from clipjax.analysis.run import IMAGE, RIGHT_BY_DRAW, RIGHT_ZERO_SHOT, Run
from clipjax.errors import InputError
from clipjax.probes import draws, fewshot

ASKED = design.of_classes(["cat", "dog"], source="here")
GROUP = np.array(["old", "new"], object)[np.arange(120) % 2]
SHOTS = [1, 4]


def run_of(name, chance, probe="fewshot", images="x", zero_shot=None, seed=0, **outcome):
    """A run in memory: answers of three draws, right with this chance at each number of shots; one image without a
    label."""
    generator = np.random.default_rng(seed)
    right = generator.random((len(SHOTS), 3, 120)) < np.reshape(chance, (-1, 1, 1))
    right[:, :, 0] = False
    known = right[:, :, 1:]
    records = [msgspec.structs.replace(fewshot.summary(one), shots=k) for k, one in zip(SHOTS, known, strict=True)]
    if zero_shot is not None:
        records += [
            msgspec.structs.replace(draws.gain(one, zero_shot[1:]), shots=k)
            for k, one in zip(SHOTS, known, strict=True)
        ]
        records.append(Record(metric="top1", shots=0, n=119, value=float(zero_shot[1:].mean())))
    group = msgspec.structs.replace(fewshot.summary(known[0][:, GROUP[1:] == "old"]), shots=1, group={"age": "old"})
    worst = Record(metric="top1_worst_group", shots=1, group={}, over="age", n=60, value=0.5)
    manifest = msgspec.convert({
        "config": {"probe": probe}, "precision": "float32", "design": ASKED.manifest(),
        "model": {"name": "m", "weights_sha256": "0" * 64, "config": {}, "logit_scale": 100.0},
        "data": {"name": "d", "fingerprint": "f" * 64, "n": 120, "group_columns": ["age"]},
        "counts": {"seen": 120, "skipped": 0, "skipped_files": []},
        "result": {"shots": SHOTS, "draws": 3, "drawn": [f"{images}{k}" for k in SHOTS]} | outcome,
    }, Manifest)  # fmt: skip
    found = Run(Path(name), manifest, Settings(probe), [*records, group, worst])
    table = {
        "file": np.array([f"{i:03}" for i in range(120)], object),
        IMAGE: np.array([f"{i:016x}" for i in range(120)], object),
        "label": np.array(["", *["cat", "dog"] * 60], object)[:120], "age": GROUP,
        RIGHT_BY_DRAW: right.reshape(6, 120).T,
    }  # fmt: skip
    vars(found)["predictions"] = table if zero_shot is None else table | {RIGHT_ZERO_SHOT: zero_shot}
    return found, right


def numbers(a, b):
    return {one.name: one for one in compare.compare(a, b).numbers}


def test_differences_are_of_the_same_draws_and_images():
    (a, right_a), (b, right_b) = run_of("a", [0.5, 0.6]), run_of("b", [0.5, 0.95], seed=1)
    found = numbers(a, b)
    assert list(found) == ["top1 shots 1", "top1 shots 4", "top1 shots 1, age=old", "top1_worst_group age shots 1"]
    for i, k in enumerate(SHOTS):
        one, wanted = found[f"top1 shots {k}"], drawn.difference(right_a[i][:, 1:], right_b[i][:, 1:])
        assert (one.difference, one.low, one.high) == pytest.approx((wanted.value, wanted.low, wanted.high))
        assert one.method == f"t (2 df) over draws and examples, {PAIRED}"
    assert found["top1 shots 4"].low > 0
    assert found["top1 shots 1"].low < 0 < found["top1 shots 1"].high
    old = drawn.difference(*(right[0][:, (GROUP == "old") & (np.arange(120) > 0)] for right in (right_a, right_b)))
    assert (found["top1 shots 1, age=old"].low, found["top1 shots 1, age=old"].high) == (old.low, old.high)
    assert found["top1_worst_group age shots 1"].method is None
    (line,) = gate.breaches_of_change(gate.parse("top1[shots=4] > 0 @ lower"), [], list(found.values()))
    assert "shots=4" in line


def test_rows_in_another_order_are_the_same_images():
    (a, _), (b, _) = run_of("a", [0.5, 0.6]), run_of("b", [0.5, 0.95], seed=1)
    mixed = b.of_rows(np.random.default_rng(0).permutation(120))
    assert [one.to_dict() for one in numbers(a, mixed).values()] == [one.to_dict() for one in numbers(a, b).values()]


def test_gains_are_beside_zero_shot_of_either_run():
    zero = np.arange(120) % 3 > 0
    a, _ = run_of("a", [0.5, 0.6], "tip_adapter", zero_shot=zero)
    b, _ = run_of("b", [0.5, 0.95], "tip_adapter", zero_shot=zero, seed=1)
    found = numbers(a, b)
    assert found["top1 shots 0"].difference == 0
    assert found["top1 shots 0"].low < 0 < found["top1 shots 0"].high
    gain, top1 = found["top1_gain_over_zero_shot shots 4"], found["top1 shots 4"]
    assert gain.difference == pytest.approx(top1.difference)  # zero-shot is the same in both
    assert 0 < gain.low < gain.difference < gain.high


def test_two_methods_over_the_same_draws_are_compared():
    (a, _), (b, _) = run_of("a", [0.5, 0.6]), run_of("b", [0.5, 0.9], "coop", zero_shot=np.ones(120, bool))
    found = compare.compare(a, b)
    assert [one.name for one in found.numbers][:2] == ["top1 shots 1", "top1 shots 4"]
    assert not found.same
    assert "A is a run of the probe fewshot, B of coop, over the same draws." in comparison.notes(found)


@pytest.mark.parametrize(("other", "message"), [
    (lambda: run_of("b", [0.5, 0.6], images="y"), "drew other images at 1 shots, .* seed and number of draws$"),
    (lambda: run_of("b", [0.5, 0.6], "tip_adapter", images="y", zero_shot=np.ones(120, bool), n_validation=9),
     "tip_adapter holds images out of the training part unless validation_split names others"),
    (lambda: run_of("b", [0.5, 0.6], shots=[2, 8]), r"share no number of shots: \[1, 4\] and \[2, 8\]"),
    (lambda: run_of("b", [0.5, 0.6], drawn=None), "b: does not say which images were drawn .*; run the probe again"),
])  # fmt: skip
def test_other_draws_are_refused(other, message):
    with pytest.raises(InputError, match=message):
        compare.compare(run_of("a", [0.5, 0.6])[0], other()[0])
