"""Runs: the folder's promises, resuming, refusing, and the same numbers on any devices and hosts."""

import json
import re

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support import drawings
from support.probe_processes import argv, encoded, finals, kill_at_random, run_on_two_hosts, run_with, two_hosts

from clipjax.cache import FeatureCache, read_features
from clipjax.cli.main import main
from clipjax.testing import pictures, tiny_config, tiny_model


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_OFFLINE", "1")


def test_a_run_holds_what_the_design_promises(world, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(argv(world, out)) == 0
    assert "top1" in capsys.readouterr().out
    table = pq.read_table(out / "predictions.parquet").to_pydict()
    n = 41
    assert list(table) == ["file", "image_sha256", "label", "prediction", "probability", "probabilities"]
    assert table["file"][0] == "cat/0000.jpg"
    assert len(table["file"]) == n
    probabilities = np.array(table["probabilities"])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)  # float32 softmax
    assert [("cat", "dog", "fish")[i] for i in probabilities.argmax(1)] == table["prediction"]
    records = {r["metric"]: r for r in json.loads((out / "metrics.json").read_text())["records"]}
    right = sum(a == b for a, b in zip(table["label"], table["prediction"], strict=True))
    assert (records["top1"]["k"], records["top1"]["n"]) == (right, n)
    assert records["top1"]["low"] < records["top1"]["value"] < records["top1"]["high"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["counts"] == {"seen": n, "skipped": 0, "skipped_files": []}
    assert manifest["design"]["classes"][0]["prompts"] == ["a photo of a cat."]
    assert len(manifest["model"]["weights_sha256"]) == 64
    assert manifest["versions"]["jax"]
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert {"time", "stage", "encoded", "n", "total"} <= events[0].keys()
    assert encoded(out) == n


def test_a_second_probe_never_runs_the_image_tower_again(world, tmp_path):
    assert main(argv(world, tmp_path / "a")) == 0
    assert main(argv(world, tmp_path / "b", "--config.classes=cat,dog,fish,key")) == 0
    assert encoded(tmp_path / "a") == 41
    assert encoded(tmp_path / "b") == 0
    table = pq.read_table(tmp_path / "b" / "predictions.parquet").to_pydict()
    assert len(table["probabilities"][0]) == 4


def test_the_cache_notices_another_picture_and_another_model(world, tmp_path):
    photos = pictures(tmp_path / "photos", {"a": 5, "b": 5})
    where = [f"--config.data.path={photos}"]
    assert main([*argv(world, tmp_path / "1"), *where]) == 0
    Image.new("RGB", (50, 50), "red").save(photos / "a" / "0001.jpg")
    assert main([*argv(world, tmp_path / "2"), *where]) == 0
    assert encoded(tmp_path / "2") == 10
    other = tiny_model(tmp_path / "other.safetensors", seed=1, layers=1)
    assert main([*argv(world, tmp_path / "3"), *where, f"--config.model={other}"]) == 0
    assert encoded(tmp_path / "3") == 10


def test_features_of_another_arithmetic_are_never_taken_from_the_cache(world, tmp_path):
    """What a TPU's or GPU's default is to a CPU's float32; the precision of products is the part that is had here."""
    assert main(argv(world, tmp_path / "1")) == 0
    with jax.default_matmul_precision("highest"):
        assert main(argv(world, tmp_path / "2")) == 0
        assert main(argv(world, tmp_path / "3")) == 0
    assert [encoded(tmp_path / name) for name in "123"] == [41, 41, 0]
    told = [json.loads((tmp_path / name / "manifest.json").read_text())["arithmetic"] for name in "123"]
    assert told == ["cpu", "cpu, highest products", "cpu, highest products"]
    assert len(list((tmp_path / "cache" / "features" / "texts").glob("*.npz"))) == 2


def test_the_same_command_again_does_nothing_and_another_config_is_refused(world, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(argv(world, out)) == 0
    before = finals(out)
    assert main(argv(world, out)) == 0
    assert "already complete" in capsys.readouterr().err
    assert finals(out) == before
    assert main(argv(world, out, "--config.data.limit=5")) == 1
    assert "data.limit: 0 != 5" in capsys.readouterr().err
    assert finals(out) == before


@pytest.mark.parametrize("lost", ["metrics.json", "predictions.parquet", "manifest.json"])
def test_a_finished_run_that_lost_a_file_gets_it_back(world, tmp_path, lost):
    out = tmp_path / "run"
    assert main(argv(world, out)) == 0
    before = finals(out)
    (out / lost).unlink()
    assert main(argv(world, out)) == 0
    assert finals(out) == before
    assert encoded(out) == 41  # from the cache


def test_corrupt_and_missing_pictures_are_skipped_named_counted_and_limited(world, tmp_path, capsys):
    photos = pictures(tmp_path / "photos", {"a": 10, "b": 10})
    (photos / "a" / "0003.jpg").write_text("not a picture")
    good = (photos / "b" / "0001.jpg").read_bytes()
    (photos / "b" / "0001.jpg").write_bytes(good[: len(good) // 2])
    where = [f"--config.data.path={photos}"]
    assert main([*argv(world, tmp_path / "strict"), *where]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "max_skipped" in line
    assert "0003.jpg" in line
    assert not (tmp_path / "strict" / "manifest.json").exists()
    assert main([*argv(world, tmp_path / "run"), *where, "--config.data.max_skipped=0.2"]) == 0
    counts = json.loads((tmp_path / "run" / "manifest.json").read_text())["counts"]
    assert (counts["seen"], counts["skipped"]) == (18, 2)
    assert [s["file"] for s in counts["skipped_files"]] == ["a/0003.jpg", "b/0001.jpg"]
    assert all(s["reason"] for s in counts["skipped_files"])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--config.data.path=nowhere"], "nowhere"),
        (["--config.data.limt=5"], 'nearest: "data.limit"'),
        (["--config.data.limit=many"], "many"),
        (["--config.classes=cat,dog"], "label 'fish' is not among the 2 classes asked"),
        (["--config.classes=cat,cat"], "given twice"),
        (["--config.templates=a photo"], "write {} once"),
        (["--config.model=ViT-B/3"], 'nearest: "ViT-B/32"'),
        (["--config.precision=float64"], "compute dtype"),
        (["--config.data.source=food1001"], "food101"),
        (["--config.data.source=webdataset", "--config.data.split=test"], "no files of a split 'test'"),
        (["stray"], "is not an override"),
        (["--config.data.csv=t.csv"], "data.csv=t.csv is not read by the source folder"),
        (["--config.shots=(1,2)"], "no key 'shots', which is read by coop, fewshot, tip_adapter"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_run(world, tmp_path, capsys, more, words):
    out = tmp_path / "run"
    assert main([*argv(world, out), *more]) == 1
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert words in stderr.splitlines()[-1]
    assert not (out / "manifest.json").exists()


def test_an_unknown_config_suggests_the_nearest(capsys, tmp_path):
    assert main(["probe", "zeroshoot", f"--out={tmp_path}/run"]) == 1
    assert 'nearest: "zeroshot"' in capsys.readouterr().err


def test_a_csv_without_the_named_column_suggests_the_nearest(world, tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("file,labels,race\ncat/0000.jpg,cat,x\ndog/0000.jpg,dog,y\n")
    base = [*argv(world, tmp_path / "run"), "--config.data.source=csv", f"--config.data.csv={table}"]
    assert main([*base, "--config.data.label_column=label"]) == 1
    assert "labels" in capsys.readouterr().err
    assert main([*base, "--config.data.label_column=labels", "--config.data.group_columns=race"]) == 0
    columns = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    assert columns["race"] == ["x", "y"]


def test_the_split_of_a_table_is_its_column(world, tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("file,split,label\ncat/0000.jpg,train,cat\ndog/0000.jpg,test,dog\ncat/0001.jpg,test,cat\n")
    base = ["--config.data.source=csv", f"--config.data.csv={table}", "--config.data.label_column=label"]
    assert main(argv(world, tmp_path / "run", *base, "--config.data.split=test")) == 0
    columns = pq.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    assert columns["file"] == ["dog/0000.jpg", "cat/0001.jpg"]
    assert main(argv(world, tmp_path / "no", *base, "--config.data.split=val")) == 1
    assert "it has test, train" in capsys.readouterr().err


def test_a_running_run_is_not_written_by_two(world, tmp_path, capsys):
    from clipjax.runs.folder import RunFolder

    held = RunFolder(tmp_path / "run", {})
    assert main(argv(world, tmp_path / "run")) == 1
    assert "another process is writing" in capsys.readouterr().err
    held.close()


def test_several_models_and_data_sets_make_a_summary(world, tmp_path, capsys):
    other = tiny_model(tmp_path / "other.safetensors", seed=1, layers=1)
    models = f"--config.model={world}/tiny.safetensors,{other}"
    with drawings.drawn():
        assert main([*argv(world, tmp_path / "run"), models]) == 0
    rows = (tmp_path / "run" / "summary.csv").read_text().splitlines()
    assert len(rows) == 3
    assert rows[0].startswith("model,folder (top1)")
    with Image.open(tmp_path / "run" / "figures" / "summary.png") as picture:
        assert picture.width > 400
    svg = (tmp_path / "run" / "figures" / "summary.svg").read_text()
    assert {"folder", "top1", "tiny.safetensors", "other.safetensors"} <= set(re.findall(r">([^<>\n]+)</t", svg))
    assert len(list((tmp_path / "run").glob("*/manifest.json"))) == 2


def test_features_that_are_kept_and_new_ones_come_in_the_order_of_the_source(world, tmp_path):
    """Kept are every other image's, as by one of two hosts."""
    assert main(argv(world, tmp_path / "1")) == 0
    (folder,) = (tmp_path / "cache" / "features" / "images").iterdir()
    found = read_features(folder, tiny_config().embed_dim)
    assert found.rows.tolist() == list(range(41))
    (folder / "0000.log").unlink()
    mine = found.rows % 2 == 1
    with FeatureCache(folder, tiny_config().embed_dim, {}) as kept:
        kept.append(found.rows[mine], found.values[mine], [])
    assert main(argv(world, tmp_path / "2")) == 0
    assert encoded(tmp_path / "2") == 21
    for name in ("predictions.parquet", "metrics.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


@pytest.mark.exhaustive  # five more processes that start JAX; tests/test_encoder.py has the features on 1 and 4 devices
def test_the_numbers_are_the_same_on_any_devices_and_hosts(world, tmp_path):
    """Byte for byte: predictions and metrics; the manifest differs in its mesh."""
    assert main(argv(world, tmp_path / "here")) == 0
    runs = [
        tmp_path / "here",
        run_on_two_hosts(world, tmp_path / "h", tmp_path / "ch"),
        run_with(world, tmp_path / "1", tmp_path / "c1", 1),
        run_with(world, tmp_path / "4", tmp_path / "c4", 4),
        run_with(world, tmp_path / "p", tmp_path / "cp", 4, "--config.mapping=pmap"),
    ]
    for name in ("predictions.parquet", "metrics.json"):
        assert len({(run / name).read_bytes() for run in runs}) == 1, name
    mesh = json.loads((tmp_path / "h" / "manifest.json").read_text())["mesh"]
    assert mesh == {"axes": {"data": 4}, "processes": 2}


@pytest.mark.exhaustive
def test_hosts_that_disagree_stop_together_before_any_compute(world, tmp_path):
    ends = two_hosts(world, tmp_path / "run", tmp_path / "c", second=["--config.data.limit=5"])
    for status, err in ends:
        assert status == 1, err
        assert "process 1 has another config than process 0" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.exhaustive  # test_custom_engine.py stops every probe, which goes on
def test_killed_runs_end_in_the_same_bytes(world, tmp_path):
    n = 400
    photos = pictures(tmp_path / "photos", {"a": n, "b": n})
    where = f"--config.data.path={photos}"
    whole = run_with(world, tmp_path / "whole", tmp_path / "c", 1, where)
    kills = kill_at_random(world, tmp_path / "killed", tmp_path / "k", 3, (10, 60), where)
    assert kills == 3
    assert not (tmp_path / "killed" / "manifest.json").exists()
    run_with(world, tmp_path / "killed", tmp_path / "k", 1, where)
    assert finals(whole) == finals(tmp_path / "killed")
    assert encoded(tmp_path / "killed") <= 2 * n + 3 * 2  # a kill costs at most one batch
