"""`clipjax prepare`, and probes over what it wrote: the same numbers and features as over the originals."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.probe_processes import argv, encoded, finals, run_on_two_hosts

from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.runs import prepare
from clipjax.testing import pictures, tiny_model


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    root = tmp_path_factory.mktemp("originals")
    tiny_model(root / "tiny.safetensors", layers=1)
    pictures(root / "photos", {"a": 7, "b": 5, "c": 6})
    (root / "photos" / "b" / "0002.jpg").write_bytes(b"no picture")
    return root


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_QUIET", "1")


def prepared(originals, tmp_path):
    """A folder as `originals`, whose photos are the prepared ones."""
    (tmp_path / "ready").mkdir()
    (tmp_path / "ready" / "tiny.safetensors").symlink_to(originals / "tiny.safetensors")
    words = argv(originals, tmp_path / "ready" / "photos", "--config.data.max_skipped=0.1")
    assert main(["prepare", *words[1:]]) == 0
    return tmp_path / "ready"


def test_a_probe_over_prepared_pictures_gives_the_same_bytes(originals, tmp_path, capsys):
    ready = prepared(originals, tmp_path)
    told = capsys.readouterr().out
    assert "18 images for models of 32 pixels, 1 of them could not be read" in told
    more = ["--config.data.max_skipped=0.1"]
    assert main(argv(originals, tmp_path / "run", *more)) == 0
    more.append("--config.cache_dir=none")  # the same images are found in a cache, whatever holds them
    assert main(argv(ready, tmp_path / "again", *more, config="zeroshot:prepared")) == 0
    ours, theirs = finals(tmp_path / "again"), finals(tmp_path / "run")
    assert ours["predictions.parquet"] == theirs["predictions.parquet"]
    assert ours["metrics.json"] == theirs["metrics.json"]
    assert ours["manifest"]["counts"] == theirs["manifest"]["counts"]
    assert ours["manifest"]["design"] == theirs["manifest"]["design"]
    assert encoded(tmp_path / "again") == encoded(tmp_path / "run") == 17


@pytest.mark.exhaustive  # test_runner has two hosts over originals
def test_two_hosts_share_prepared_pictures_by_rows(originals, tmp_path):
    ready = prepared(originals, tmp_path)
    more = ["--config.data.max_skipped=0.1"]
    assert main(argv(originals, tmp_path / "run", *more)) == 0
    more.append("--config.data.source=prepared")
    run_on_two_hosts(ready, tmp_path / "two", tmp_path / "hosts", *more)
    ours, theirs = (pq.read_table(tmp_path / name / "predictions.parquet").to_pydict() for name in ("two", "run"))
    assert ours["file"] == theirs["file"]
    assert ours["prediction"] == theirs["prediction"]
    np.testing.assert_allclose(ours["probability"], theirs["probability"], rtol=1e-5)  # other batches per device


def test_a_model_of_another_size_is_refused_in_one_line(originals, tmp_path, capsys):
    ready = prepared(originals, tmp_path)
    capsys.readouterr()
    words = argv(ready, tmp_path / "run", "--config.model=emoji-clip", config="zeroshot:prepared")
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "prepared for models of 32 pixels" in line
    assert "takes 64" in line
    assert not (tmp_path / "run").exists()


def test_a_named_data_set_keeps_its_prompts_when_prepared(originals, tmp_path):
    root = pictures(tmp_path / "country211" / "test", {"AD": 2, "AE": 2, "FR": 3}).parent
    out = tmp_path / "ready" / "test"
    words = argv(originals, out, f"--config.data.path={root}", config="zeroshot:country211")
    assert main(["prepare", *words[1:]]) == 0
    more = [f"--config.data.path={tmp_path}/ready", "--config.data.split=test"]
    assert main(argv(originals, tmp_path / "again", *more, config="zeroshot:prepared")) == 0
    assert main(argv(originals, tmp_path / "run", f"--config.data.path={root}", config="zeroshot:country211")) == 0
    again, run = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("again", "run"))
    assert again["design"] == run["design"]
    assert again["design"]["templates"][0] == "a photo i took in {}."


def test_the_size_of_a_released_model_needs_no_weights(monkeypatch):
    monkeypatch.setenv("CLIPJAX_OFFLINE", "1")
    assert prepare.image_size(("ViT-L/14@336px",)) == 336
    assert prepare.image_size(("ViT-B/32", "RN50", "ViT-L/14")) == 224
    with pytest.raises(InputError, match="ViT-B/32 224, RN50x4 288"):
        prepare.image_size(("ViT-B/32", "RN50x4"))
    with pytest.raises(InputError, match="at least one"):
        prepare.image_size(())


def test_one_data_set_at_a_time(originals, tmp_path, capsys):
    words = argv(originals, tmp_path / "out", "--config.data.source=food101,pets")
    assert main(["prepare", *words[1:]]) == 1
    assert "one data set at a time" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
