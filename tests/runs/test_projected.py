"""Projected class texts in probes: what is removed, before and after in a comparison, and what is refused."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.probe_processes import argv

from clipjax import design
from clipjax.analysis import compare
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.explore.opened import open_run
from clipjax.runs import config as configs
from clipjax.runs import projected
from clipjax.runs.projected import Project


class Texts:
    """Features of texts by hand."""

    def __init__(self, known):
        self.known = known

    def texts(self, asked):
        return np.array([self.known[text] for text in asked], np.float32)


def test_the_directions_of_the_prompts_are_gone():
    features = Texts({"man": [1, 0, 0, 0], "doctor": [1, 1, 1, 0], "a": [0, 1, 0, 1], "b": [0, 0, 1, 1]})
    found = projected.texts(Project("man"), features, 0)(["doctor"])
    assert found == pytest.approx(np.array([[0, 1, 1, 0]]) / np.sqrt(2))
    apart = projected.texts(Project("man", "a|b"), features, 0)(["a", "b"])
    assert np.linalg.norm(apart[0] - apart[1]) < 0.01
    assert projected.texts(Project(), features, 0) == features.texts
    control = projected.texts(Project("man", control=True), features, 0)(["doctor"])
    assert control != pytest.approx(found)
    assert control == pytest.approx(projected.texts(Project("man", control=True), features, 0)(["doctor"]))


ASKED = [design.of_classes(["man", "doctor"], ("a photo of a {}.",), source="here")]


@pytest.mark.parametrize(("keys", "said"), [
    (Project(pairs="a|b"), "project.strength and project.control need project.prompts"),
    (Project(strength=1.0), "project.strength and project.control need project.prompts"),
    (Project("x", strength=1.0), "project.strength=1 is that of project.pairs"),
    (Project("x", "a|b; b|a"), "project.pairs names a|b twice"),
    (Project("x|x"), "names 'x' twice"),
    (Project("a photo of a man."), "is used to build and to test the projection"),
    (Project("x", pairs="y|a photo of a doctor."), "is used to build and to test the projection"),
    (Project("x", pairs="y"), "'y' is not ONE|OTHER"),
    (Project("x", pairs="y|z", control=True), "leave out project.pairs"),
])  # fmt: skip
def test_refusals(keys, said):
    with pytest.raises(InputError) as error:
        projected.check(keys, ASKED)
    assert said in str(error.value)


def test_a_projected_run_beside_the_plain_one(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    runs = [tmp_path / "plain", tmp_path / "projected"]
    for out in runs:
        more = ["--config.project.prompts=an animal|a drawing"] if out.name == "projected" else []
        assert main(argv(world, out, "--config.batch_size=8", *more)) == 0
    rows = [pq.read_table(out / "predictions.parquet")["probabilities"].to_pylist() for out in runs]
    assert rows[0] != rows[1]
    capsys.readouterr()
    assert main(["compare", *map(str, runs), f"--out={tmp_path / 'compared'}"]) == 0
    said = capsys.readouterr().out
    assert "B: The directions of 'an animal|a drawing' were removed from the class texts." in said
    assert "asked the same model the same thing" not in said
    assert json.loads((runs[1] / "manifest.json").read_text())["config"]["project"]["prompts"] == "an animal|a drawing"


@pytest.mark.parametrize(("a", "b"), [
    ({"project": {"prompts": "x", "pairs": "a|b", "strength": 1.0}}, {"project": {"strength": 1000.0}}),
    ({"project": {"prompts": "x", "control": True}, "seed": 0}, {"seed": 1}),
])  # fmt: skip
def test_other_strengths_and_subspaces_are_other_changes(a, b):
    b = {"seed": 0} | a | b | {"project": a["project"] | b.get("project", {})}
    one, other = (compare.changes(SimpleNamespace(manifest=SimpleNamespace(config=c))) for c in ({"seed": 0} | a, b))
    assert len(one) == len(other) == 2
    assert one != other


def test_the_explorer_does_not_answer_for_projected_texts():
    config = configs.plain(configs.load("rates", ["--config.project.prompts=x", "--config.data.csv=x.csv"]))
    manifest = SimpleNamespace(computed_by="", config=config)
    run = SimpleNamespace(probe="rates", path="RUN", manifest=manifest)
    with pytest.raises(InputError, match="RUN: its class texts are projected"):
        open_run(run)
