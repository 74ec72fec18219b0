"""Agreement of two runs of the same images: planted answers, groups, and a word that is written on the images."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from clipjax import design
from clipjax.analysis import agreement, compare, gate, predictions
from clipjax.analysis.manifest import Manifest, Settings
from clipjax.analysis.pairing import Paired
from clipjax.analysis.run import Run

NAMES = np.array(["cat", "dog", "newt"], object)
ASKED = design.of_classes(NAMES.tolist(), source="here")
N = 200
GROUP = np.array(["old", "new"], object)[np.arange(N) % 2]
LABEL = np.random.default_rng(0).integers(0, 3, N)


def run_of(answers, label=LABEL, perturb="", asked=ASKED):
    """A run in memory; a label below 0 is none."""
    manifest = msgspec.convert({
        "config": {"probe": "zeroshot", "data": {"perturb": perturb}}, "precision": "float32",
        "design": asked.manifest(), "model": {"name": "m", "weights_sha256": "0", "config": {}, "logit_scale": 100.0},
        "data": {"name": "d", "fingerprint": "f", "n": N, "group_columns": ["age"]},
        "counts": {"seen": N, "skipped": 0, "skipped_files": []},
    }, Manifest)  # fmt: skip
    found = Run(Path("nowhere"), manifest, Settings("zeroshot"), [])
    labels = np.where(label < 0, "", NAMES[label]).astype(object)
    vars(found)["predictions"] = {"prediction": NAMES[answers], "label": labels, "age": GROUP}
    return found


def of_runs(a, b):
    pairing = Paired(a, b, True, False, "equal", (), ())
    counted = compare._count(pairing)
    return compare.Compared(pairing, [], counted.transitions, [], [], judged=counted.judged).agreement


def moved(share, seed):
    generator = np.random.default_rng(seed)
    return np.where(generator.random(N) < share, generator.integers(0, 3, N), LABEL)


def test_planted_answers_for_everybody_and_each_group():
    a, b = moved(0.3, 1), moved(0.5, 2)
    found = {(r.metric, *(r.group or {}).values()): r for r in of_runs(run_of(a), run_of(b))}
    assert len(found) == 5 * 3  # kappa, consistency, churn and both flips of everybody and two groups
    assert found["cohen_kappa",].value == pytest.approx(agreement.cohen_kappa(a, b).value)
    right_a, right_b = a == LABEL, b == LABEL
    assert found["error_consistency",].value == pytest.approx(agreement.cohen_kappa(right_a, right_b).value)
    old = GROUP == "old"
    assert found["cohen_kappa", "old"].value == pytest.approx(agreement.cohen_kappa(a[old], b[old]).value)
    assert found["negative_flips", "old"].k == (right_a & ~right_b)[old].sum()
    assert found["positive_flips",].k == (right_b & ~right_a).sum()
    assert (found["churn", "old"].k, found["churn", "old"].n) == ((a != b)[old].sum(), old.sum())
    assert "attack_success" not in {metric for metric, *_ in found}
    (line,) = gate.breaches_of_change(gate.parse("cohen_kappa < 1 @ upper"), [], [], [*found.values()])
    assert "cohen_kappa" in line


@pytest.mark.parametrize("rows", [4, 7, 150])
def test_blocks_add_up(rows, monkeypatch):
    label = np.where(np.arange(N) % 5 < 3, LABEL, -1)
    label[:8] = -1  # blocks without labels
    runs = [run_of(moved(0.3, 1), label), run_of(moved(0.5, 2), label, perturb="written_word:2:newt")]
    wanted = of_runs(*runs)
    assert len(wanted) == 6 * 3
    monkeypatch.setattr(predictions, "ROWS", rows)
    assert of_runs(*runs) == wanted


def test_a_class_that_designs_call_otherwise_is_right_under_both_names():
    a, b = run_of(LABEL), run_of(LABEL)
    called = {name: np.where(values == "newt", "eft", values) for name, values in b.predictions.items()}
    found = {r.metric: r.k for r in of_runs(a, b.with_columns(called)) if not r.group}
    assert (found["negative_flips"], found["churn"]) == (0, (LABEL == 2).sum())


def test_images_without_a_label_count_for_kappa_only():
    label = np.where(np.arange(N) < 50, -1, LABEL)
    found = {r.metric: r for r in of_runs(run_of(moved(0.3, 1), label), run_of(LABEL, label))
             if not r.group}  # fmt: skip
    assert (found["cohen_kappa"].n, found["error_consistency"].n, found["churn"].n) == (N, N - 50, N - 50)
    none = np.full(N, -1)
    found = of_runs(run_of(moved(0.3, 1), none), run_of(LABEL, none))
    assert {r.metric for r in found} == {"cohen_kappa", "churn"}


@pytest.mark.parametrize("perturb", ["written_word:3:newt", "grey,written_word:2:newt"])
def test_a_word_on_the_images_becomes_their_answer(perturb):
    a = moved(0.2, 1)
    b = np.where(np.random.default_rng(3).random(N) < 0.6, 2, a)  # the word takes three in five
    found = [r for r in of_runs(run_of(a), run_of(b, perturb=perturb)) if r.metric == "attack_success"]
    asked = (a == LABEL) & (LABEL != 2)
    assert (found[0].k, found[0].n) == ((b[asked] == 2).sum(), asked.sum())
    assert found[0].low < 0.6 < found[0].high
    assert [r.group for r in found] == [{}, {"age": "new"}, {"age": "old"}]
    clean = of_runs(run_of(b, perturb=perturb), run_of(a))
    assert all(r.metric != "attack_success" for r in clean)
    never = [r for r in of_runs(run_of(LABEL % 2, LABEL % 2), run_of(LABEL % 2, LABEL % 2, perturb))
             if r.metric == "attack_success"]  # fmt: skip
    assert never[0].k == 0


def test_answers_that_are_not_classes_have_no_agreement():
    captions = design.Design("captions", (), ("{}",), source="the captions of the table")
    assert of_runs(run_of(LABEL, asked=captions), run_of(LABEL, asked=captions)) == []
