"""Pictures prepared once: the same bits as the originals, in every column too; whole or resumable; refusals."""

import json
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipjax import image
from clipjax.data import arrays, pipeline, prepared
from clipjax.data.kinds import folder
from clipjax.data.labels import Labels
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.files import write_atomically
from clipjax.models.catalog import OPENAI_MEAN, OPENAI_STD
from clipjax.testing import pictures

SPEC = image.Preprocess(16, OPENAI_MEAN, OPENAI_STD)


@pytest.fixture
def photos(tmp_path):
    return folder.open_folder(pictures(tmp_path / "photos", {"a": 5, "b": 4}))


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(prepared, "SHARD_ROWS", 8)
    monkeypatch.setattr(prepared, "BATCH_ROWS", 4)


def crops(source, rows=None, dtype=np.uint8, threads=2):
    """Pixels and what was skipped, over all batches."""
    found = list(pipeline.batches(source, range(len(source)) if rows is None else rows, SPEC, 4, threads, dtype))
    return np.concatenate([b.pixels for b in found]), [s for b in found for s in b.skipped]


def write(source, out, **more):
    return prepared.write(source, 16, out, **more)


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(InputError) as error:
        call(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_pixels_are_the_originals_to_the_bit(photos, tmp_path, dtype):
    write(photos, tmp_path / "out")
    ready = prepared.open_prepared(tmp_path / "out").source
    ours, _ = crops(ready, dtype=dtype)
    theirs, _ = crops(photos, dtype=dtype)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
    some = ready.select([7, 1])
    np.testing.assert_array_equal(crops(some, dtype=dtype)[0], theirs[[7, 1]])
    np.testing.assert_array_equal(np.asarray(ready.image(3)), crops(photos)[0][3])


@pytest.mark.parametrize(("index", "present"), [([2, -1, 1], None), (None, np.eye(3, dtype=bool))])
def test_every_column_and_class_comes_back_as_it_was(tmp_path, index, present):
    n = 3
    labels = Labels(("x", "y", "z, w"), index, present, ("0", "1", "2"))
    protocol = {"difficult": ~np.eye(n, 3, dtype=bool), "annotation": np.array([1, 2, 3], np.int32), "video": ["v"] * n}
    own = {"race": ["", "007", "NA"], "label": ["1.10", "1.1", "x"], "video": ["a", "", "c"]}
    original = Source(
        "everything", ["a", "b", "c"], np.zeros((n, 20, 24, 3), np.uint8).__getitem__, labels,
        [("a", "b"), (), ("ä, c",)], own, protocol,
    )  # fmt: skip
    write(original, tmp_path / "out", data_set="cifar10")
    found = prepared.open_prepared(tmp_path / "out")
    ours, again = found.source, found.source.labels
    assert (ours.name, found.data_set) == ("everything", "cifar10")
    assert (again.names, again.ids, again.several) == (labels.names, labels.ids, labels.several)
    np.testing.assert_array_equal(again.column, labels.column)
    assert ours.captions.tolist() == original.captions.tolist()
    for theirs, those in ((original.columns, ours.columns), (original.protocol, ours.protocol)):
        assert list(those) == list(theirs)
        for key, values in theirs.items():
            assert those[key].dtype == values.dtype, key
            np.testing.assert_array_equal(those[key], values, err_msg=key)


def test_the_fingerprint_is_of_the_pixels_and_not_of_the_place(photos, tmp_path):
    write(photos, tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "copy", copy_function=shutil.copy)
    first, second = (prepared.open_prepared(tmp_path / name).source.fingerprint for name in ("out", "copy"))
    assert first == second
    write(photos.select([1, 0, 2, 3, 4, 5, 6, 7, 8]), tmp_path / "other")
    assert prepared.open_prepared(tmp_path / "other").source.fingerprint != first


def test_a_call_that_was_cut_off_goes_on_and_ends_the_same(photos, tmp_path, small_shards, monkeypatch):
    info = write(photos, tmp_path / "whole")
    asked = []

    def cut_off(path, make):
        if path.name.startswith("pixels-00001"):
            raise KeyboardInterrupt
        write_atomically(path, make)

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "write_atomically", cut_off)
        with pytest.raises(KeyboardInterrupt):
            write(photos, tmp_path / "out")
    assert "unfinished" in refusal(prepared.open_prepared, tmp_path / "out")
    crop = Source.crop
    monkeypatch.setattr(Source, "crop", lambda self, i, spec: asked.append(i) or crop(self, i, spec))
    again = write(photos, tmp_path / "out")
    assert sorted(asked) == [8]  # the first shard, rows 0 to 7, is not decoded again
    assert again == info
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole").iterdir()
    )
    np.testing.assert_array_equal(crops(prepared.open_prepared(tmp_path / "out").source)[0], crops(photos)[0])
    asked.clear()
    assert write(photos, tmp_path / "out") == info
    assert asked == []


def test_a_picture_that_cannot_be_read_stays_one(photos, tmp_path, small_shards):
    (tmp_path / "photos" / "a" / "0003.jpg").write_bytes(b"no picture")
    assert "2 of 9" not in refusal(write, photos, tmp_path / "refused", max_skipped=0.0)
    info = write(photos, tmp_path / "out", max_skipped=0.2)
    assert [row for row, _, _ in info["skipped"]] == [3]
    ours, theirs = crops(prepared.open_prepared(tmp_path / "out").source), crops(photos)
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert ours[1] == theirs[1]
    assert len(ours[1]) == 1


def test_a_shard_that_may_not_grow_is_one_line(photos, tmp_path):
    """As on a full disk: what array_record raises is a RuntimeError."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limit[1]))  # the plan fits, the pixels do not
    try:
        assert "cannot be written (" in refusal(write, photos, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["plan.json"]
    write(photos, tmp_path / "out")
    assert prepared.open_prepared(tmp_path / "out").source.fingerprint


def test_another_image_size_is_refused_before_anything_is_read(photos, tmp_path):
    write(photos, tmp_path / "out")
    ready = prepared.open_prepared(tmp_path / "out").source
    other = image.Preprocess(32, OPENAI_MEAN, OPENAI_STD)
    told = refusal(pipeline.batches, ready, [0], other, 4)
    assert "16 pixels" in told
    assert "32" in told
    assert "clipjax prepare" in told
    assert "16 pixels" in refusal(ready.crop, 0, other)
    assert "prepared already" in refusal(prepared.write, ready, 16, tmp_path / "again")
    # other statistics are applied later, on the device: the same crops serve
    pipeline.batches(ready, [0], image.Preprocess(16, (0.5,) * 3, (0.5,) * 3), 4)
    # a part of it is as prepared as the whole
    assert "16 pixels" in refusal(pipeline.batches, ready.select([3]), [0], other, 4)


def test_what_lies_in_the_folder_is_not_overwritten(photos, tmp_path):
    write(photos, tmp_path / "out")
    assert "image_size: 16 there, 32 asked for" in refusal(prepared.write, photos, 32, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    assert "letter.txt" in refusal(write, photos, tmp_path / "full")
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal(write, photos, tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda out, shard: shard.unlink(), "is missing"),
        (lambda out, shard: shard.write_bytes(shard.read_bytes()[:-7]), "bytes"),
        (lambda out, shard: (out / "info.json").unlink(), "no info.json"),
        (lambda out, shard: (out / "info.json").write_text("{"), "cannot be read"),
        (lambda out, shard: (out / "info.json").write_text('{"format": "other"}'), "version 3"),
        (lambda out, shard: (out / "table.parquet").write_bytes(b"PAR1"), "table.parquet"),
    ],
)
def test_a_damaged_folder_is_told_when_it_is_opened(photos, tmp_path, break_it, words):
    out = tmp_path / "out"
    write(photos, out)
    break_it(out, next(out.glob("*.array_record")))
    assert words in refusal(prepared.open_prepared, out)


def test_a_damaged_record_is_a_skipped_picture(tmp_path):
    # Pictures as large as a block of the format, so that damage in one spares the others.
    rng = np.random.default_rng(0)
    original = arrays.of_array("noise", rng.integers(0, 256, (4, 160, 160, 3), np.uint8), {})
    spec = image.Preprocess(160, OPENAI_MEAN, OPENAI_STD)
    prepared.write(original, 160, tmp_path / "out")
    shard = next((tmp_path / "out").glob("*.array_record"))
    data = bytearray(shard.read_bytes())
    at = bytes(data).index(original.image(2).tobytes()[1000:1040])
    data[at] ^= 1
    shard.write_bytes(data)
    ready = prepared.open_prepared(tmp_path / "out").source
    (batch,) = pipeline.batches(ready, range(4), spec, 4, dtype=np.uint8)
    assert batch.rows.tolist() == [0, 1, 3]
    ((row, _, reason),) = batch.skipped
    assert row == 2
    assert "damaged at record 2" in reason


def test_many_threads_read_the_same_shards(tmp_path, small_shards):
    n = 40
    pixels = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 20, 20, 3))
    write(arrays.of_array("numbered", pixels, {}), tmp_path / "out")
    ready = prepared.open_prepared(tmp_path / "out").source
    rows = np.random.default_rng(0).integers(0, n, 2000)
    found, skipped = crops(ready, rows, threads=16)
    assert skipped == []
    np.testing.assert_array_equal(found[:, 0, 0, 0], rows)


def test_few_shards_are_open_at_a_time(tmp_path, small_shards, monkeypatch):
    monkeypatch.setattr(prepared, "READERS", 3)
    write(arrays.of_array("numbered", np.zeros((40, 20, 20, 3), np.uint8), {}), tmp_path / "out")
    ready = prepared.open_prepared(tmp_path / "out").source
    assert len(list((tmp_path / "out").glob("*.array_record"))) > 4
    for row in range(40):
        ready.read(row)
    fds = [os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.exists()]
    assert sum(fd.startswith(str(tmp_path)) for fd in fds) <= 3


def test_a_picture_in_another_mode_is_prepared_as_it_is_seen(tmp_path):
    seen = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 20, 4), np.uint8), "RGBA")
    original = Source("one", ["a"], lambda i: seen)
    write(original, tmp_path / "out")
    ours = prepared.open_prepared(tmp_path / "out").source.crop(0, SPEC)
    np.testing.assert_array_equal(ours, image.preprocess_uint8(seen, SPEC)[0])
    assert json.loads((tmp_path / "out" / "info.json").read_text())["n"] == 1
