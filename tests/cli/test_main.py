"""The command line as a user meets it: output, exit status, one clear line for bad input, nothing half-written."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import clipjax
from clipjax import image
from clipjax.cli.main import _dropped, main, verbs
from clipjax.testing import tiny_model

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with two pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_OFFLINE", "1")
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(tmp_path / name)
    return tmp_path


def fails(capsys, *argv) -> str:
    """Runs a verb that must fail: status 1, nothing on stdout, and one line on stderr as the last word; returns it."""
    capsys.readouterr()
    assert main(argv) == 1
    out, err = capsys.readouterr()
    *before, last = err.splitlines()
    assert out == ""
    assert last.startswith(f"clipjax {argv[0]}: ")
    assert all(line.startswith(("note:", f"{argv[0]}: ")) for line in before), err  # notes, progress
    return last


def test_overview_names_every_verb_and_help_is_readable(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert {"classify", "convert", "demo", "embed", "models"} <= set(verbs())
    assert all(f"  {verb} " in out for verb in verbs())
    for verb in verbs():
        with pytest.raises(SystemExit) as stop:
            main([verb, "--help"])
        assert stop.value.code == 0
        assert f"usage: clipjax {verb}" in capsys.readouterr().out


def test_wrong_use_is_status_two(capsys):
    assert main([]) == 2
    assert main(["clasify"]) == 2
    assert 'nearest: "classify"' in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["convert", "only-one-argument"])
    assert stop.value.code == 2


def test_models_lists_every_released_model_and_the_embedded_one(capsys, here):
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [r["name"] for r in rows] == [
        "RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px",
        "emoji-clip",
    ]  # fmt: skip
    assert {r["parameters"] for r in rows if r["name"] == "ViT-B/32"} == {151_277_313}
    assert all(r["cached"] is None for r in rows[:-1])
    assert rows[-1]["parameters"] == sum(x.size for x in clipjax.loading.find_weights("emoji-clip").flat.values())
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "ViT-L/14@336px" in out
    assert "emoji-clip" in out


def test_classify_answers_like_the_library(capsys, here):
    argv = ["classify", "a.png", "b.jpg", "--classes=dog,cat,key", "--top=2", "--json"]
    assert main(argv) == 0
    out, err = capsys.readouterr()
    answers = json.loads(out)
    assert "demo" in err
    model = clipjax.load("emoji-clip")
    want = model.classify([image.open_image(f) for f in ("a.png", "b.jpg")], ["dog", "cat", "key"])
    assert want.shape == (2, 3)
    np.testing.assert_allclose(want.sum(1), 1, atol=1e-6)  # a softmax in float32
    for answer, row in zip(answers, want, strict=True):
        assert [t["class"] for t in answer["top"]] == [("dog", "cat", "key")[i] for i in np.argsort(-row)[:2]]
        np.testing.assert_allclose([t["probability"] for t in answer["top"]], np.sort(row)[::-1][:2], rtol=1e-6)
    Path("names.txt").write_text("dog\n\ncat\nkey\n")
    assert main([*argv[:3], "--classes=names.txt", *argv[4:]]) == 0
    assert json.loads(capsys.readouterr().out) == answers
    assert main(argv[:4]) == 0
    assert "%" in capsys.readouterr().out


def test_classify_refuses_bad_classes_templates_and_pictures(capsys, here):
    Path("notes.jpg").write_text("this is text")
    picture = Path("b.jpg").read_bytes()
    Path("cut.jpg").write_bytes(picture[: len(picture) // 2])
    ok = ["classify", "a.png"]
    assert "given twice" in fails(capsys, *ok, "--classes=dog,dog")
    assert "is empty" in fails(capsys, *ok, "--classes=dog,,cat")
    assert "is empty" in fails(capsys, *ok, "--classes=")
    assert "no such file" in fails(capsys, *ok, "--classes=missing.txt")
    assert "needs exactly one {}" in fails(capsys, *ok, "--classes=dog,cat", "--template=a photo")
    assert "nothing.png" in fails(capsys, "classify", "nothing.png", "--classes=a,b")
    assert "notes.jpg" in fails(capsys, "classify", "notes.jpg", "--classes=a,b")
    assert "cut.jpg" in fails(capsys, "classify", "cut.jpg", "--classes=a,b")
    assert 'nearest: "ViT-B/32"' in fails(capsys, *ok, "--classes=a,b", "--model=ViT-B/3")
    assert "no such file" in fails(capsys, *ok, "--classes=a,b", "--model=no/such/file.pt")
    assert sorted(p.name for p in here.iterdir() if p.name != "cache") == ["a.png", "b.jpg", "cut.jpg", "notes.jpg"]


def test_offline_download_is_one_line_with_the_ways_out(capsys, here):
    line = fails(capsys, "classify", "a.png", "--classes=a,b", "--model=ViT-B/32")
    assert "ViT-B-32.pt" in line
    assert "CLIPJAX_CACHE" in line
    assert "hf://" in line


def test_convert_refuses_bad_files_and_writes_nothing(capsys, here):
    whole = (GOLDEN / "openai_vit_torchscript.pt").read_bytes()
    Path("cut.pt").write_bytes(whole[: len(whole) // 2])
    Path("page.pt").write_text("<html>404</html>")
    with zipfile.ZipFile("foreign.pt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    for name in ("cut.pt", "page.pt", "foreign.pt", "missing.pt"):
        assert name in fails(capsys, "convert", name, "out.safetensors")
    assert "out" not in {p.stem for p in here.iterdir()}
    assert "nowhere" in fails(capsys, "convert", "emoji-clip", "nowhere/out.safetensors")


class Runs:
    """A pickle that would create a file when loaded carelessly."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_pickle_that_runs_code_is_named_and_not_run(capsys, here):
    data = io.BytesIO()
    pickle.dump({"state_dict": Runs()}, data, protocol=2)
    with zipfile.ZipFile("evil.pt", "w") as archive:
        archive.writestr("evil/data.pkl", data.getvalue())
        archive.writestr("evil/version", "3\n")
    assert "system" in fails(capsys, "convert", "evil.pt", "out.safetensors")
    assert not Path("executed").exists()
    assert not Path("out.safetensors").exists()


def test_embed_writes_raw_features_in_order(capsys, here):
    Path("texts.txt").write_text("a dog\na photo of a red apple\n")
    argv = ["embed", "--model=emoji-clip", "--images=.", "--texts=texts.txt"]
    assert main([*argv, "--out=f.npz"]) == 0
    model = clipjax.load("emoji-clip")
    with np.load("f.npz") as stored:
        assert [Path(f).name for f in stored["files"]] == ["a.png", "b.jpg"]
        want = model.encode_image(model.preprocess([image.open_image(f) for f in ("a.png", "b.jpg")]))
        np.testing.assert_allclose(stored["image_features"], want, rtol=0, atol=1e-5)  # batches of another size
        texts = model.encode_text(clipjax.tokenize(["a dog", "a photo of a red apple"]))
        np.testing.assert_allclose(stored["text_features"], texts, rtol=0, atol=1e-5)
        assert list(stored["texts"]) == ["a dog", "a photo of a red apple"]
        assert np.isclose(np.exp(stored["logit_scale"]), model.scale)
    assert "f.txt" in fails(capsys, *argv, "--out=f.txt")
    assert "--images" in fails(capsys, "embed", "--model=emoji-clip", "--out=f.npz")


def test_demo_writes_what_it_says(demo_run):
    folder, status, out, _ = demo_run
    assert status == 0
    assert "first answer right" in out
    answers = json.loads((folder / "clipjax-demo" / "answers.json").read_text())["answers"]
    assert len(answers) == 30
    right = sum(max(a["probabilities"], key=a["probabilities"].get) == a["truth"] for a in answers[:24])
    assert f"first answer right: {right} of 24" in out
    assert "'man' under A" in out
    assert "under B for 0.0% (0 of 15)" in out  # who has no word, with the test of it
    assert "McNemar's exact test, adjusted p = 0.0078" in out
    assert right >= 12  # far beyond chance (1 of 24): the embedded weights are the trained ones
    with Image.open(folder / "clipjax-demo" / "demo.png") as picture:
        assert picture.width > 800


SIGNALLED = """
import gc, os, signal, sys
from clipjax.cli import main

def callback(phase, info):
    if signal.getsignal(signal.SIGTERM) is main._stop and not sent:
        sent.append(phase)
        os.kill(os.getpid(), signal.SIGTERM)

sent = []
gc.callbacks.append(callback)
sys.argv[0] = "clipjax"
sys.exit(main.main())
"""


def test_a_signal_that_comes_during_garbage_collection_is_not_lost(here):
    """Python drops what is raised there; JAX has a callback of the collector, in which a real SIGTERM was lost."""
    weights = tiny_model(here / "tiny.safetensors")
    words = ["embed", f"--model={weights}", f"--images={here}", f"--out={here / 'x.npz'}"]
    done = subprocess.run([sys.executable, "-c", SIGNALLED, *words], capture_output=True, text=True)
    assert done.returncode == 143, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("clipjax embed: stopped")
    assert not (here / "x.npz").exists()


def test_of_errors_that_reach_nobody_only_one_echo_is_silent(monkeypatch):
    """What TensorStore's threads say of a failed checkpoint (the real one, heavy: robustness/test_interruptions.py)."""
    shown = []
    monkeypatch.setattr(sys, "__unraisablehook__", shown.append)
    errors = [RuntimeError("Event loop is closed"), RuntimeError("something else"), OSError("Event loop is closed")]
    for error in errors:
        _dropped(SimpleNamespace(exc_value=error))
    assert [what.exc_value for what in shown] == errors[1:]
