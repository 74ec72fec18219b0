"""Perturbed images in a probe: other features under their own key, paired with the clean run, and what is refused."""

import json

import pytest
from support.probe_processes import argv, encoded

from clipjax.cli.main import main


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_QUIET", "1")


def test_a_perturbed_run_is_compared_with_the_clean_one(world, tmp_path, capsys):
    runs = {}
    for change in ("", "grey", "pixelate:5", "grey"):
        out = tmp_path / f"run{len(runs)}"
        more = [f"--config.data.perturb={change}"] if change else []
        assert main(argv(world, out, *more, "--config.batch_size=8")) == 0
        runs[out] = encoded(out)
    assert list(runs.values()) == [41, 41, 41, 0], "features of each change are kept under a key of their own"
    clean, grey, *_ = runs
    fingerprints = {json.loads((out / "manifest.json").read_text())["data"]["fingerprint"] for out in runs}
    assert len(fingerprints) == 3
    capsys.readouterr()
    assert main(["compare", str(clean), str(grey), f"--out={tmp_path / 'compared'}"]) == 0
    said = capsys.readouterr().out
    assert "of 41 images got another class" in said
    assert "Both runs asked the same model the same thing" not in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("blur", "data.perturb=blur: no severity; choose 1 to 5, as blur:3"),
        ("blur:9", "severity 9; choose 1 to 5"),
        ("fog:1", "no change 'fog'"),
        ("written_word:3:pistol", "'pistol' is not a class of this design"),
    ],
)
def test_refusals(world, tmp_path, capsys, change, message):
    assert main(argv(world, tmp_path / "run", f"--config.data.perturb={change}")) == 1
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_prepared_images_stay_as_they_are(world, tmp_path, capsys):
    words = argv(world, tmp_path / "out", "--config.data.perturb=grey")
    assert main(["prepare", *words[1:]]) == 1
    assert "images are prepared as they are; leave it to the probe" in capsys.readouterr().err
