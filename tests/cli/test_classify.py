"""`clipjax classify`: readable images are answered, the others named; what was asked of which model is said."""

import json
from pathlib import Path

import pytest

from clipjax.cli.main import main
from clipjax.testing import pictures, tiny_model


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a model and four images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_OFFLINE", "1")
    tiny_model(tmp_path / "tiny.safetensors", layers=1)
    pictures(tmp_path, {"photos": 4})
    return tmp_path


def classify(*more: str, model: str = "--model=tiny.safetensors") -> int:
    images = [str(path) for path in sorted(Path("photos").iterdir())]
    return main(["classify", *images, "--classes=cat,dog", *[model] * bool(model), *more])


def test_readable_images_are_answered_and_the_others_named(capsys, here):
    assert classify("--json") == 0
    whole = json.loads(capsys.readouterr().out)
    Path("photos/0001.jpg").write_text("not an image")
    Path("photos/0002.jpg").write_bytes(b"")
    assert classify("--json") == 0
    out, err = capsys.readouterr()
    answers = json.loads(out)
    assert [a["file"] for a in answers] == ["photos/0000.jpg", "photos/0003.jpg"]
    want = [whole[0], whole[3]]
    for a, b in zip(answers, want, strict=True):
        assert [t["class"] for t in a["top"]] == [t["class"] for t in b["top"]]
    assert "2 images, 2 skipped" in err
    assert "photos/0001.jpg is not an image" in err
    assert "photos/0002.jpg: is empty" in err


def test_where_none_can_be_read_the_command_fails(capsys, here):
    for path in Path("photos").iterdir():
        path.write_bytes(b"")
    assert classify() == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "none of 4 images can be read; the first: photos/0000.jpg: is empty" in err
    assert err.count("\n") == 1


def test_a_limit_can_be_set(capsys, here):
    for name in ("0001", "0002"):
        Path(f"photos/{name}.jpg").write_bytes(b"")
    assert classify("--max-skipped=0.1") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 4 images cannot be read, and 1 may be skipped" in line
    assert classify(line.split()[-1]) == 0


def test_more_images_than_are_opened_at_once_keep_their_order(capsys, here, monkeypatch):
    monkeypatch.setattr("clipjax.cli.classify.AT_ONCE", 3)
    assert classify("--json") == 0
    assert [a["file"] for a in json.loads(capsys.readouterr().out)] == [f"photos/000{i}.jpg" for i in range(4)]


def test_what_was_asked_of_which_model_is_said_on_stderr(capsys, here):
    assert classify("--template=a {}.", "--template={}", model="") == 0
    err = capsys.readouterr().err
    assert "model: emoji-clip, the embedded demo (it has only seen emoji artwork); --model=ViT-B/32 answers" in err
    assert "weights: emoji-clip.safetensors, sha256 " in err
    assert 'prompts: 2 classes, 2 each; the first of each: "a cat.", "a dog."\n' in err
    assert classify() == 0
    err = capsys.readouterr().err
    assert "demo" not in err
    assert "model: tiny-vit\n" in err
    assert 'prompts: 2 classes, 1 each: "a photo of a cat.", "a photo of a dog."\n' in err
