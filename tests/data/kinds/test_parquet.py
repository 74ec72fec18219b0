"""Parquet files with the pictures inside, as Hugging Face writes them."""

import io
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipjax.data import pipeline
from clipjax.data.kinds import parquet
from clipjax.data.kinds.shared import Columns
from clipjax.errors import InputError
from clipjax.image import Preprocess


def png(level):
    file = io.BytesIO()
    Image.new("L", (3, 2), level).save(file, "PNG")
    return file.getvalue()


def write(path, first=0, n=10, paths="p{}.png", group=4, names=("dog", "cat"), labels=None, binary=False):
    """Pictures of levels first..first+n, labels alternating; `names` is what Hugging Face's `datasets` notes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = range(first, first + n)
    images = [{"bytes": png(i), "path": paths.format(i) if paths else None} for i in levels]
    rows = {
        "image": pa.array([i["bytes"] for i in images]) if binary else pa.array(images),
        "label": labels if labels is not None else [i % 2 for i in levels],
        "race": [("Black", "White")[i % 2] for i in levels],
        "caption": [[f"{i}", "x"] for i in levels],
    }
    data = pa.table(rows)
    if names:
        features = {"label": {"names": list(names), "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        data = data.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(data, path, row_group_size=group)
    return path


def levels(s):
    return [s.image(i).getpixel((0, 0)) for i in range(len(s))]


def test_pictures_labels_and_class_names_inside(tmp_path):
    s = parquet.open_files(write(tmp_path / "t.parquet"), Columns(groups=("race",), captions=("caption",)))
    assert s.name == "t.parquet"
    assert s.labels.names == ("dog", "cat")
    assert s.labels.index.tolist() == [0, 1] * 5
    assert s.files.tolist() == [f"p{i}.png" for i in range(10)]
    assert s.columns["race"].tolist() == ["Black", "White"] * 5
    assert s.captions[3] == ("3", "x")
    assert levels(s) == list(range(10))
    assert [s.image(i).getpixel((0, 0)) for i in (9, 0, 4, 3)] == [9, 0, 4, 3]


@pytest.mark.parametrize("how", ["data", "data/test-*.parquet"])
def test_several_files_in_order_of_their_names(tmp_path, how):
    for k, first in ((1, 7), (0, 0), (2, 12)):
        write(tmp_path / f"data/test-{k}.parquet", first, (7, 5, 3)[k], group=3)
    (tmp_path / "data/README.md").write_text("x")
    s = parquet.open_files(tmp_path / how)
    assert s.name == "data"
    assert levels(s) == list(range(15))
    assert s.labels.index.tolist() == [i % 2 for i in range(15)]


@pytest.mark.parametrize("paths", ["", "same.png"])
def test_pictures_without_names_of_their_own(tmp_path, paths):
    write(tmp_path / "d/a.parquet", 0, 5, paths=paths, group=2)
    write(tmp_path / "d/b.parquet", 5, 2, paths=paths)
    s = parquet.open_files(tmp_path / "d")
    assert s.files[4:].tolist() == ["a.parquet/000004", "b.parquet/000000", "b.parquet/000001"]


def test_plain_bytes_and_other_labels(tmp_path):
    path = write(tmp_path / "t.parquet", binary=True, names=None, labels=["emu", "cat"] * 5)
    s = parquet.open_files(path)
    assert levels(s) == list(range(10))
    assert (s.labels.index.tolist(), s.labels.names) == ([1, 0] * 5, ("cat", "emu"))
    given = parquet.open_files(path, Columns(class_names="emu=bird"))
    assert (given.labels.names, given.labels.ids) == (("cat", "bird"), ("cat", "emu"))
    assert given.labels.texts().tolist() == ["bird", "cat"] * 5
    assert not given.columns


def test_no_label_and_one_image_column_of_another_name(tmp_path):
    rows = {"photo": [{"bytes": png(1), "path": "a"}], "age": ["0-2"]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    s = parquet.open_files(tmp_path / "t.parquet", Columns(groups=("age",)))
    assert (s.labels, s.columns["age"].tolist(), levels(s)) == (None, ["0-2"], [1])


def test_group_columns_keep_their_class_names(tmp_path):
    features = {"race": {"names": ["East Asian", "Indian"], "_type": "ClassLabel"}}
    rows = pa.table({"image": [{"bytes": png(i), "path": f"{i}"} for i in range(3)], "race": [1, 0, -1]})
    noted = json.dumps({"info": {"features": features}})
    pq.write_table(rows.replace_schema_metadata({"huggingface": noted}), tmp_path / "t.parquet")
    s = parquet.open_files(tmp_path / "t.parquet", Columns(groups=("race",)))
    assert s.columns["race"].tolist() == ["Indian", "East Asian", ""]
    labelled = parquet.open_files(tmp_path / "t.parquet", Columns(label="race")).labels
    assert (labelled.names, labelled.index.tolist()) == (("East Asian", "Indian"), [1, 0, -1])


def test_in_order_each_group_is_read_once_and_two_are_held(tmp_path, monkeypatch):
    path = write(tmp_path / "t.parquet", n=40, group=4)
    read = []
    original = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda f, i, **kw: read.append(i) or original(f, i, **kw))
    s = parquet.open_files(path)
    assert levels(s) == list(range(40))
    assert read == list(range(10))
    assert len(s.read.__self__._held) == 2


def test_threads_that_want_one_group_at_once_read_it_once(tmp_path, monkeypatch):
    path = write(tmp_path / "t.parquet", n=8, group=8)
    read = []
    second = threading.Event()
    original = pq.ParquetFile.read_row_group

    def counted(self, i, **kwargs):
        read.append(i)
        if len(read) == 1:
            second.wait(0.2)  # room for a second reader, who never comes
        else:
            second.set()
        return original(self, i, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    s = parquet.open_files(path)
    with ThreadPoolExecutor(4) as pool:
        assert [picture.getpixel((0, 0)) for picture in pool.map(s.image, range(8))] == list(range(8))
    assert read == [0]


def test_through_the_pipeline(tmp_path):
    s = parquet.open_files(write(tmp_path / "t.parquet", n=40, group=4))
    found = list(pipeline.batches(s, range(40), Preprocess(2, (0, 0, 0), (1, 1, 1)), 8, threads=4, dtype=np.uint8))
    assert np.concatenate([b.pixels for b in found])[:, 0, 0, 0].tolist() == list(range(40))


def test_missing_pictures_fail_by_name(tmp_path):
    rows = {"image": [{"bytes": b"", "path": "a"}, {"bytes": None, "path": "b"}, None, {"bytes": png(1), "path": "d"}]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    s = parquet.open_files(tmp_path / "t.parquet")
    for i in range(3):
        with pytest.raises(InputError, match=rf"t\.parquet row {i}: .*no bytes"):
            s.image(i)
    assert s.image(3).getpixel((0, 0)) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image": "imgae"}, ['no column "imgae"', 'nearest: "image"']),
        ({"label": "labels"}, ['no column "labels"', 'nearest: "label"']),
        ({"groups": ("gender",)}, ['no column "gender"']),
        ({"image": "race"}, ['"race" is string', "bytes of images"]),
        ({"class_names": "dgo=cat,dog=cat"}, ["'dgo' is not a label", 'nearest: "dog"']),
    ],
)
def test_columns_and_labels_that_are_not_there(tmp_path, arguments, words):
    path = write(tmp_path / "t.parquet")
    with pytest.raises(InputError) as caught:
        parquet.open_files(path, Columns(**arguments))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_files_that_are_not_there_or_no_parquet(tmp_path):
    with pytest.raises(InputError, match="no parquet file there"):
        parquet.open_files(tmp_path)
    with pytest.raises(InputError, match="no parquet file there"):
        parquet.open_files(tmp_path / "t.parquet")
    path = write(tmp_path / "t.parquet")
    os.truncate(path, 200)
    with pytest.raises(InputError, match=r"t\.parquet is not a parquet file, or is cut off"):
        parquet.open_files(path)


@pytest.mark.parametrize("n", [0, 20])
def test_a_damaged_column_of_another_length(tmp_path, monkeypatch, n):
    """What Arrow makes of a column whose row count was damaged (found by experiments/fuzzing)."""
    path = write(tmp_path / "t.parquet")
    read, column = pq.ParquetFile.read, pa.chunked_array([[None] * n] if n else [], pa.int64())
    damaged = lambda self, columns: pa.table({"label": column}) if columns == ["label"] else read(self, columns)  # noqa: E731
    monkeypatch.setattr(pq.ParquetFile, "read", damaged)
    with pytest.raises(InputError, match=f"has {n} of 10 rows"):
        parquet.open_files(path)


def test_a_mangled_age_inside(tmp_path):
    rows = {"image": [{"bytes": png(1), "path": "a.png"}], "age": ["9-Mar"]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"9-Mar.*row 0, a\.png"):
        parquet.open_files(tmp_path / "t.parquet", Columns(groups=("age",)))


def test_the_fingerprint_is_of_the_images_and_not_of_files_or_labels(tmp_path):
    write(tmp_path / "one/t.parquet")
    before = parquet.open_files(tmp_path / "one").fingerprint
    assert parquet.open_files(tmp_path / "one/t.parquet").fingerprint == before
    (tmp_path / "one").rename(tmp_path / "two")
    assert parquet.open_files(tmp_path / "two/t.parquet").fingerprint == before
    os.utime(tmp_path / "two/t.parquet", ns=(0, 5))
    (tmp_path / "two/t.parquet").rename(tmp_path / "two/u.parquet")
    assert parquet.open_files(tmp_path / "two").fingerprint == before
    write(tmp_path / "two/u.parquet", group=3, binary=True)  # the same images, packed otherwise
    assert parquet.open_files(tmp_path / "two").fingerprint == before
    write(tmp_path / "two/u.parquet", first=1)
    assert parquet.open_files(tmp_path / "two").fingerprint != before
