"""Models in summaries and folders: short names, told apart by sha256, without the paths of this machine."""

import shutil

import pytest

from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.files import sha256
from clipjax.runs.runner import _file_name, short_names
from clipjax.testing import tiny_model


@pytest.fixture(scope="module")
def two(tmp_path_factory, world):
    """Two models in files of one name."""
    root = tmp_path_factory.mktemp("somewhere")
    for name, seed in (("one", 0), ("two", 1)):
        (root / name).mkdir()
        tiny_model(root / name / "m.safetensors", seed=seed, layers=1)
    return root


def test_names_are_short_and_told_apart(two):
    a, b = (str(two / name / "m.safetensors") for name in ("one", "two"))
    assert short_names([a, "ViT-B/32"]) == {a: "m.safetensors", "ViT-B/32": "ViT-B/32"}
    assert short_names([a, b]) == {path: f"m.safetensors-{sha256(path)[:8]}" for path in (a, b)}
    assert short_names(["vit-b-16", "hf://org/my-clip"]) == {"vit-b-16": "ViT-B/16", "hf://org/my-clip": "my-clip"}
    assert _file_name("ViT-B/16") == "ViT-B-16"
    assert short_names(["hf://x/m", "hf://y/m"]).keys() == {"hf://x/m", "hf://y/m"}
    assert len(set(short_names(["hf://x/m", "hf://y/m"]).values())) == 2


def test_one_file_under_two_paths_is_refused(two, tmp_path):
    copy = shutil.copy(two / "one" / "m.safetensors", tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="are one file"):
        short_names([str(two / "one" / "m.safetensors"), str(copy)])


def test_no_path_is_in_a_summary(two, world, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    models = ",".join(str(two / name / "m.safetensors") for name in ("one", "two"))
    argv = ["probe", "zeroshot", f"--config.model={models}", f"--config.data.path={world}/photos"]
    assert main([*argv, "--config.batch_size=8", f"--out={tmp_path / 'out'}"]) == 0
    sums = [sha256(two / name / "m.safetensors")[:8] for name in ("one", "two")]
    said = capsys.readouterr().out
    for text in (said, *((tmp_path / "out" / f"summary.{kind}").read_text() for kind in ("csv", "md"))):
        assert two.name not in text
        assert all(f"m.safetensors-{one}" in text for one in sums)
    folders = {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()} - {"figures"}
    assert folders == {f"m.safetensors-{one}-folder" for one in sums}
    assert two.name not in (tmp_path / "out" / "figures" / "summary.svg").read_text()
