"""`clipjax rerun`: any number of a finished run can be made again from its manifest, and is compared."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.probe_processes import argv

from clipjax.cli.main import main
from clipjax.testing import pictures, tiny_model


@pytest.fixture
def finished(world, tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    assert main(argv(world, tmp_path / "run")) == 0
    return tmp_path / "run"


def test_the_same_numbers_come_again_without_the_cache_and_nothing_is_left(finished, capsys, tmp_path):
    before = sorted(p.name for p in tmp_path.rglob("*"))
    capsys.readouterr()
    assert main(["rerun", str(finished)]) == 0
    assert "Same: " in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    assert main(["rerun", str(finished), f"--out={tmp_path / 'again'}", "--cached"]) == 0
    assert (tmp_path / "again" / "predictions.parquet").read_bytes() == (finished / "predictions.parquet").read_bytes()


@pytest.mark.parametrize("name", ["metrics.json", "predictions.parquet"])
def test_a_number_that_was_changed_afterwards_is_found(finished, capsys, name):
    if name == "metrics.json":
        found = json.loads((finished / name).read_text())
        found["records"][0]["value"] += 1e-9
        (finished / name).write_text(json.dumps(found))
    else:
        table = pq.read_table(finished / name)
        labels = table["prediction"].to_pylist()
        labels[3] = "cat" if labels[3] == "dog" else "dog"
        at = table.column_names.index("prediction")
        pq.write_table(table.set_column(at, "prediction", pa.array(labels)), finished / name)
    assert main(["rerun", str(finished)]) == 3
    out = capsys.readouterr().out
    assert ("value: " if name == "metrics.json" else "prediction of 1 images, the first cat/0003.jpg") in out


def test_other_data_and_other_weights_are_told_as_circumstances(world, finished, capsys, tmp_path):
    moved = pictures(tmp_path / "photos", {"cat": 18, "dog": 13, "fish": 10})
    other = tiny_model(tmp_path / "other.safetensors", seed=1, layers=1)
    flags = [f"--config.data.path={moved}", f"--config.model={other}"]
    assert main(["rerun", str(finished), *flags]) == 3
    out = capsys.readouterr().out
    assert "model.weights_sha256: " in out
    assert "probabilities of 41 images" in out
    Image.new("RGB", (50, 50), "red").save(moved / "cat" / "0001.jpg")
    assert main(["rerun", str(finished), flags[0]]) == 3
    out = capsys.readouterr().out
    assert "data.fingerprint: " in out
    assert "other images: 1 gone, 1 new (['cat/0001.jpg', 'cat/0001.jpg'])" in out


def test_renamed_copies_give_the_same_numbers(world, finished, capsys, tmp_path):
    for path in sorted((world / "photos").rglob("*.jpg")):
        copy = tmp_path / "renamed" / path.parent.name / f"copy-{path.name}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    assert main(["rerun", str(finished), f"--config.data.path={tmp_path / 'renamed'}"]) == 0
    out = capsys.readouterr().out
    assert "Same: " in out
    assert "files: 41 of 41 images have other names (cat/0000.jpg != cat/copy-0000.jpg, ...)" in out


def test_from_another_folder_the_remedy_is_named_and_works(world, tmp_path, monkeypatch, capsys):
    """A run that names its data relative to the folder in which it was started."""
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    shutil.copytree(world, tmp_path / "there")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    words = ["probe", "zeroshot", "--config.model=tiny.safetensors", "--config.data.path=photos"]
    assert main([*words, "--config.batch_size=8", f"--out={tmp_path / 'run'}"]) == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["rerun", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "data.path=photos, model=tiny.safetensors: not in this folder" in said
    remedy = [word.replace("PATH", f"{tmp_path}/there/") for word in said.split() if word.startswith("--config.")]
    assert [word.split("=")[0] for word in remedy] == ["--config.data.path", "--config.model"]
    places = [f"{word}{name}" for word, name in zip(remedy, ("photos", "tiny.safetensors"), strict=True)]
    assert main(["rerun", str(tmp_path / "run"), *places]) == 0
    monkeypatch.chdir(tmp_path / "there")
    assert main(["rerun", str(tmp_path / "run")]) == 0


def test_what_is_no_run_and_what_has_gone_is_one_line(finished, capsys, tmp_path):
    for argument, words in ((tmp_path, "holds the runs run"), (tmp_path / "nothing", "no such run")):
        assert main(["rerun", str(argument)]) == 1
        assert words in capsys.readouterr().err
    assert main(["rerun", str(finished), f"--config.data.path={tmp_path / 'gone'}"]) == 1
    assert "gone" in capsys.readouterr().err.strip().splitlines()[-1]
    assert main(["rerun", str(finished), "--config.nonsense=1"]) == 1
    assert "nonsense" in capsys.readouterr().err
