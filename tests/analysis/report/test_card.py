"""The model card: its metadata as the Hugging Face hub reads it, and what the Markdown says beside the numbers."""

import json
import re
import shutil

import numpy as np
import pytest
from huggingface_hub import ModelCard
from support import planted_runs

from clipjax import design
from clipjax.analysis.report import card
from clipjax.analysis.run import read_run
from clipjax.cli.main import main


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    columns = {"age": np.array(["baby", "adult", "older", "child"] * 100, object)}
    answers = np.random.default_rng(0).integers(0, 21, 400)
    return planted_runs.write(
        tmp_path_factory.mktemp("card") / "run", design.read_design("fairface-default"), columns, answers
    )


def test_the_hub_reads_the_metadata(planted, capsys):
    assert main(["report", str(planted), "--to=model-card", "--license=mit", "--language=de"]) == 0
    read = ModelCard(capsys.readouterr().out, ignore_metadata_errors=False).data
    assert (read.license, read.language, read.library_name) == ("mit", ["de"], "clipjax")
    assert read.pipeline_tag == "zero-shot-image-classification"
    assert read.model_name == "ViT-L/14"
    records = {(r.set, tuple(r.cell)): r for r in read_run(planted).records if r.metric == "rate" and r.set}
    assert len(read.eval_results) == len(records)
    for found in read.eval_results:
        assert (found.task_type, found.dataset_name, found.dataset_split) == (
            "zero-shot-image-classification",
            "fairface",
            "first10k",
        )
        words = re.fullmatch(r"rate ([\w-]+)(?:, age (\w+))?", found.metric_name)
        record = records[words[1], (words[2],) if words[2] else ()]
        assert found.metric_value == pytest.approx(record.value, abs=1e-6)
        assert (found.metric_args["k"], found.metric_args["n"]) == (record.k, record.n)
        assert found.metric_args["interval"] == pytest.approx([record.low, record.high], abs=1e-6)


def test_several_runs_of_one_model_are_results_of_one_entry(planted, tmp_path):
    other = planted_runs.write(
        tmp_path / "b", design.read_design("fairface-child"), {"age": np.array(["a", "b"] * 50, object)},
        np.zeros(100, np.int64),
    )  # fmt: skip
    runs = [read_run(planted), read_run(other)]
    (entry,) = card.metadata(runs, card.Stated())["model-index"]
    assert [r["dataset"]["args"]["class_design"] for r in entry["results"]] == ["fairface-default", "fairface-child"]
    text = card.text(runs, [])
    assert ModelCard(text).data.license == "unknown"
    assert "Licence: not stated in the runs" in text


def test_date_version_and_training_data_are_said_where_they_are_known(planted, tmp_path):
    shutil.copytree(planted, tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    manifest["versions"] = {"clipjax": "1.2.3"}
    data = {"name": "train.jsonl", "fingerprint": "c3ce3c5bbf5fac2fdd", "pairs": 7262}
    first = {"data": data, "from": {"format": "random", "name": "tuned"}}
    manifest["model"]["source"] = {
        "trained": {"data": data | {"pairs": 12}, "from": {"name": "tuned", "trained": first}}
    }
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "run" / "SHA256SUMS").unlink()
    (tmp_path / "run" / "log.jsonl").write_text('{"time": 1795854159.9, "stage": "complete"}\n')
    text = card.text([read_run(tmp_path / "run")], [])
    assert "Evaluated: 2026-11-28, by clipjax 1.2.3." in text
    assert (
        "trained on 12 pairs of train.jsonl, fingerprint `c3ce3c5bbf5fac2f`, starting from weights named tuned" in text
    )
    assert (
        "trained on 7262 pairs of train.jsonl, fingerprint `c3ce3c5bbf5fac2f`, starting from random parameters" in text
    )
    assert "not stated in the weights" in card.text([read_run(planted)], [])
    (tmp_path / "run" / "log.jsonl").write_text("what\n")
    assert "on an unknown day" in card.text([read_run(tmp_path / "run")], [])


def test_a_run_says_when_it_was_completed(planted):
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", read_run(planted).date)


def test_the_card_is_printed_and_nothing_is_written(planted, capsys):
    before = sorted(planted.rglob("*"))
    assert main(["report", str(planted), "--to=model-card"]) == 0
    assert capsys.readouterr().out.startswith("---\nlanguage:\n- en\n")
    assert sorted(planted.rglob("*")) == before
    assert main(["report", str(planted), "--to=model-card", "--out=x"]) == 1
    assert "leave out --out" in capsys.readouterr().err
