"""`clipjax embed`: broken images are left out and named, features are a probe's, and what was done is said."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.probe_processes import argv

import clipjax
from clipjax import image
from clipjax.cache import FeatureCache
from clipjax.cli.main import main
from clipjax.files import sha256
from clipjax.testing import pictures, tiny_model


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a model and `photos` of 20 images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_OFFLINE", "1")
    tiny_model(tmp_path / "tiny.safetensors", layers=1)
    pictures(tmp_path / "photos", {"a": 10, "b": 10})
    return tmp_path


def embed(*more: str, images: str = "photos") -> int:
    return main(["embed", "--model=tiny.safetensors", f"--images={images}", "--out=f.npz", *more])


def test_a_broken_image_is_left_out_named_and_counted(capsys, here):
    assert embed() == 0
    whole = dict(np.load("f.npz"))
    assert whole["skipped"].shape == whole["skipped_reasons"].shape == (0,)
    Path("photos/a/0003.jpg").write_text("not an image")
    assert embed() == 0
    out, err = capsys.readouterr()
    assert "1 of 20 images skipped" in out
    assert "data: photos, 19 images, 1 skipped" in err
    assert "photos/a/0003.jpg" in err
    less = dict(np.load("f.npz"))
    assert less["skipped"].tolist() == ["photos/a/0003.jpg"]
    assert "is not an image" in less["skipped_reasons"][0]
    keep = [f != "photos/a/0003.jpg" for f in whole["files"]]
    assert less["files"].tolist() == whole["files"][keep].tolist()
    np.testing.assert_allclose(less["image_features"], whole["image_features"][keep], rtol=0, atol=1e-5)


def test_too_many_are_refused_with_the_option_that_helps(capsys, here):
    """And the old output stays; the option, typed as it is named, works."""
    Path("f.npz").write_text("precious")
    Path("photos/a/0003.jpg").write_text("not an image")
    Path("photos/b/0007.jpg").unlink()
    Path("list.txt").write_text("\n".join(f"photos/{c}/{i:04}.jpg" for c in "ab" for i in range(10)))
    assert embed(images="list.txt") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 20 images cannot be read, and 1 may be skipped; the first: " in line
    assert "photos/a/0003.jpg" in line
    assert Path("f.npz").read_text() == "precious"
    option = line.split()[-1]
    assert option.startswith("--max-skipped=")
    assert embed(option, images="list.txt") == 0
    assert "photos/b/0007.jpg: no such file" in capsys.readouterr().err
    assert embed("--max-skipped=0") == 1
    assert "0 may be skipped" in capsys.readouterr().err
    assert embed("--max-skipped=2") == 1
    assert "max_skipped=2.0 is not a share" in capsys.readouterr().err


def test_nothing_readable_is_a_failure_whatever_may_be_skipped(capsys, here):
    Path("one.jpg").write_text("not an image")
    assert embed("--max-skipped=1", images="one.jpg") == 1
    assert "clipjax embed: " in capsys.readouterr().err
    assert not Path("f.npz").exists()


def test_a_list_keeps_its_order_and_repetitions(here):
    Path("list.txt").write_text("photos/b/0001.jpg\nphotos/a/0000.jpg\nphotos/b/0001.jpg\n")
    assert embed(images="list.txt") == 0
    found = np.load("f.npz")
    assert found["files"].tolist() == ["photos/b/0001.jpg", "photos/a/0000.jpg", "photos/b/0001.jpg"]
    model = clipjax.load("tiny.safetensors")
    want = model.encode_image(model.preprocess([image.open_image(f) for f in found["files"]]))
    np.testing.assert_allclose(found["image_features"], want, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found["image_features"][0], found["image_features"][2])


def test_features_are_a_probes_to_the_last_bit(here, monkeypatch):
    monkeypatch.setattr("clipjax.runs.embedding.BATCH", 2)  # on 4 devices 20 images are more than a full batch
    assert embed() == 0
    assert main(argv(here, here / "run", f"--config.cache_dir={here}/features")) == 0
    (folder,) = (here / "features" / "images").iterdir()
    with FeatureCache(folder, 32, {}) as cache:
        np.testing.assert_array_equal(cache.read().values, np.load("f.npz")["image_features"])


def test_what_was_used_is_said_on_stderr(capsys, here):
    Path("photos/a/notes.heic").write_bytes(b"?")
    Path("texts.txt").write_text("a dog\na cat\n")
    assert embed("--texts=texts.txt") == 0
    out, err = capsys.readouterr()
    assert out.startswith("f.npz: ")
    assert "model: tiny-vit\n" in err
    assert f"weights: tiny.safetensors, sha256 {sha256('tiny.safetensors')[:12]}\n" in err
    assert "data: photos, 20 images\n" in err
    assert 'texts: texts.txt, 2; the first: "a dog"\n' in err
    assert "note: photos: passed over 1 file by suffix (.heic 1)" in err


@pytest.mark.parametrize("verb", ["embed", "classify", "probe"])
def test_sixteen_bit_grey_is_the_same_image_at_every_door(here, verb, capsys):
    """A PNG of 16 bits a sample and its copy with 8 give one answer: today's peers see white."""
    values = np.arange(40 * 40, dtype=np.uint16).reshape(40, 40) * 40
    for name, pixels in (("eight", np.round(values / 257).astype(np.uint8)), ("sixteen", values)):
        (here / name).mkdir()
        Image.fromarray(pixels).save(here / name / "grey.png")
    if verb == "embed":
        answers = []
        for name in ("eight", "sixteen"):
            assert embed(images=name) == 0
            answers.append(np.load("f.npz")["image_features"].tolist())
    elif verb == "classify":
        answers = []
        for name in ("eight", "sixteen"):
            assert (
                main(["classify", f"{name}/grey.png", "--classes=dog,cat", "--json", "--model=tiny.safetensors"]) == 0
            )
            answers.append(capsys.readouterr().out.replace(name, ""))
    else:
        answers = []
        for name in ("eight", "sixteen"):
            words = argv(here, here / f"run-{name}", f"--config.data.path={name}", "--config.classes=dog,cat")
            assert main(words) == 0
            table = pq.read_table(here / f"run-{name}" / "predictions.parquet")
            answers.append(table.select(["prediction", "probability"]).to_pydict())
    assert answers[0] == answers[1]


def test_an_image_with_another_suffix_is_read_where_it_is_named(here, capsys):
    Path("photos/a/0000.jpg").rename("large.jpg_large")
    assert embed(images="large.jpg_large") == 0
    assert np.load("f.npz")["files"].tolist() == ["large.jpg_large"]
