"""`clipjax embed` into a folder: the features of one .npz, in units, each image once, resumable."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from clipjax.cli.main import main
from clipjax.runs import embedding
from clipjax.runs.shards import embed, seal
from clipjax.runs.shards.store import Store
from clipjax.runs.shards.units import marker_name


@pytest.fixture(scope="module")
def photos(world, tmp_path_factory):
    """41 images and one that cannot be read."""
    folder = tmp_path_factory.mktemp("embed")
    for i, one in enumerate(sorted((world / "photos").rglob("*.jpg"))):
        (folder / f"{i:02}.jpg").write_bytes(one.read_bytes())
    (folder / "20b.jpg").write_bytes(b"nothing")
    return folder


def run(world, photos, out, *more):
    words = ["embed", f"--model={world}/tiny.safetensors", f"--images={photos}", f"--out={out}", "--max-skipped=0.1"]
    return main([*words, *more])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_folder_has_the_features_of_the_file(world, photos, tmp_path, monkeypatch, capsys, dtype):
    monkeypatch.setattr(embed.embed, "__defaults__", ("float32", 10))
    monkeypatch.setattr(embedding, "BATCH", 2)  # from one full batch on, features do not depend on how many there are
    assert run(world, photos, tmp_path / "f.npz") == 0
    assert run(world, photos, f"{tmp_path}/run/", f"--dtype={dtype}") == 0
    assert capsys.readouterr().out.count("1 of 42 images skipped") == 2
    store, one = Store(tmp_path / "run"), np.load(tmp_path / "f.npz")
    units = seal.sealed(store)
    assert [unit["rows"] for unit in units] == [10, 10, 9, 10, 2]
    vectors = np.concatenate([np.load(tmp_path / "run" / unit["features_file"]) for unit in units])
    assert np.array_equal(vectors, one["image_features"].astype(dtype))
    names = [k for unit in units for k in pq.read_table(tmp_path / "run" / unit["rows_file"])["key"].to_pylist()]
    assert names == one["files"].tolist()
    (lost,) = [unit for unit in units if unit["skipped"]]
    (reason,) = pq.read_table(tmp_path / "run" / lost["skipped_file"])["reason"].to_pylist()
    assert "row 21: " in reason
    with np.load(tmp_path / "run" / "texts.npz") as texts:
        assert float(texts["scale"]) == float(one["scale"])


def test_the_same_command_does_what_is_missing_and_other_images_are_refused(
    world, photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(embed.embed, "__defaults__", ("float32", 10))
    out = f"{tmp_path}/run/"
    assert run(world, photos, out) == 0
    store = Store(out)
    before = {name: store.read(f"features/{name}") for name in store.names("features")}
    times = {n: json.loads(store.read(f"done/{n}"))["time"] for n in store.names("done")}
    (Path(out) / marker_name(1)).unlink()
    assert run(world, photos, out) == 0
    assert {name: store.read(f"features/{name}") for name in store.names("features")} == before
    again = {n: json.loads(store.read(f"done/{n}"))["time"] for n in store.names("done")}
    assert [n for n in times if times[n] != again[n]] == ["000001.json"]
    for words, message in (
        ([f"--images={photos}/00.jpg"], "holds another plan"),
        (["--max-skipped=0"], "1 of 42 images cannot be read"),
    ):
        assert run(world, photos, out, *words) == 1
        assert message in capsys.readouterr().err
    assert main(["shards", "work", out]) == 1
    assert "is written by `clipjax embed`" in capsys.readouterr().err
    assert main(["shards", "verify", out]) == 0
    assert main(["shards", "export", out, f"--out={tmp_path}/tables"]) == 0


def test_a_folder_is_for_images(world, photos, tmp_path, capsys):
    (tmp_path / "t.txt").write_text("a cat\n")
    texts = f"--texts={tmp_path}/t.txt"
    assert main(["embed", f"--model={world}/tiny.safetensors", texts, f"--out={tmp_path}/run/"]) == 1
    assert run(world, photos, tmp_path / "f.npz", "--dtype=float16") == 1
    assert run(world, photos, tmp_path / "f") == 1
    err = capsys.readouterr().err
    for words in ("a folder is for images", "--dtype=float16 is for features in a folder", "a folder with a slash"):
        assert words in err
