"""Wording sweeps: planted sensitivity by group and class, and sweeps of both probes from a command."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.probe_processes import argv

from clipjax import design
from clipjax.analysis.rates import Method
from clipjax.analysis.run import FLIPS
from clipjax.cli.main import main
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.runs import wording
from clipjax.runs.task import Task

BASE = design.of_classes(["thief", "cook"], source="here")


def test_a_planted_sensitivity_by_group():
    """The second wording turns the class vector: images of group "A" between the two change, those of "B" do not."""
    asked = [BASE, BASE.reword("thief", "robber")]
    weights = [np.array([(1, 0), (0, 1.0)]), np.array([(0.6, 0.8), (0, 1.0)])]
    group = np.array(["A", "B"] * 20, object)
    features = np.where((group == "A")[:, None], [[0.6, 0.8]], [[1, 0.0]]).astype(np.float32)
    records, columns = wording.records(features, asked, weights, {"g": group}, [(), ("g",)], Method())
    found = {(r.metric, r.class_, *r.cell): r for r in records}
    assert columns[FLIPS].tolist() == [1, 0] * 20
    assert found["answers_changed", None].value == 0.5
    assert found["answers_changed", None, "A"].value == 1
    assert found["flip_rate", None, "B"].value == 0
    assert found["answers_changed", "cook"].value == 1
    assert found["answers_changed", "thief"].value == 0
    assert found["answers_changed_group_difference", None].value == 1
    assert found["fleiss_kappa", None].raters == 2
    same, _ = wording.records(features, [BASE, asked[1]], [weights[0]] * 2, {}, [()], Method())
    assert [r.value for r in same[:2]] == [0, 0], "equal vectors give equal answers"


def test_designs_with_other_classes_are_not_wordings():
    asked = [BASE, BASE.add(["child"])]
    assert wording.records(np.ones((3, 2)), asked, [np.eye(2), np.ones((3, 2))], {}, [], Method()) == ([], {})


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_QUIET", "1")


def test_zeroshot_from_a_command(world, tmp_path):
    more = ["--config.sweep.rename=cat=kitten|feline", "--config.sweep.templates=a {}|the {}", "--config.batch_size=8"]
    assert main(argv(world, tmp_path / "run", *more)) == 0
    records = json.loads((tmp_path / "run" / "metrics.json").read_text())["records"]
    found = next(r for r in records if r["metric"] == "answers_changed" and "class" not in r)
    assert (found["wordings"], found["n"]) == (6, 41)
    flips = np.array(pq.read_table(tmp_path / "run" / "predictions.parquet")[FLIPS])
    assert (flips > 0).sum() == found["k"]
    assert records[0]["metric"] == "top1"


def test_rates_from_a_command(world, tmp_path):
    more = ["--config.classes=cat,dog", "--config.sweep.rename=cat=kitten", "--config.sweep.add=child"]
    words = argv(world, tmp_path / "run", *more, "--config.data.source=folder", "--config.batch_size=8", config="rates")
    assert main(words) == 0
    records = json.loads((tmp_path / "run" / "metrics.json").read_text())["records"]
    assert next(r for r in records if r["metric"] == "answers_changed")["wordings"] == 2
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert [one["name"] for one in manifest["result"]["sweep"]][-1].endswith("~cat=kitten")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thief", "'thief' is not CLASS=TEXT"),
        ("thief=", "'thief=' is not CLASS=TEXT"),
        ("thief=thief", "wording 'thief=thief' is the class itself"),
        ("thief=cook", "wording 'thief=cook' gives the text of class 'cook' twice"),
        ("baker=cook", 'no class "baker"'),
    ],
)
def test_refusals(text, message):
    with pytest.raises(InputError, match=message):
        wording.variants(wording.Sweep(rename=text), BASE)


@pytest.mark.parametrize("protocol", ["lexicon", "video"])
def test_wordings_of_a_set_that_is_scored_otherwise_are_refused(protocol):
    """Within each image's own lexicon, or over clips, an image's answer over all classes is not what is scored."""
    image = np.zeros((1, 1, 3), np.uint8)
    plain = Source("s", ["a.png"], lambda row: image)
    own = dataclasses.replace(plain, protocol={protocol: np.zeros(1, np.int64)})
    sweep = wording.Sweep(rename="thief=robber")
    wording.check(sweep, Task(plain, BASE))
    wording.check(wording.Sweep(), Task(own, BASE))
    with pytest.raises(InputError, match=f"scored by {protocol}"):
        wording.check(sweep, Task(own, BASE))
