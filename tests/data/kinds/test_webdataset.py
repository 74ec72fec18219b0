"""Tar shards, read in place."""

import io
import os
import tarfile

import pytest
from PIL import Image

from clipjax.data.kinds import webdataset
from clipjax.data.kinds.shared import Columns
from clipjax.errors import InputError


def png(level):
    file = io.BytesIO()
    Image.new("L", (3, 2), level).save(file, "PNG")
    return file.getvalue()


def write(path, members, mode="w", pax=tarfile.PAX_FORMAT):
    """Members are (name, bytes or text)."""
    with tarfile.open(path, mode, format=pax) as tar:
        for name, data in members:
            data = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def two_shards(folder):
    folder.mkdir(exist_ok=True)
    write(
        folder / "test-000.tar",
        [
            ("000.cls", "1"),
            ("000.png", png(10)),
            ("000.txt", "a cat\n\n a sleeping cat \n"),
            ("001.png", png(11)),
            ("001.cls", "0\n"),
            ("001.txt", "a dog"),
            ("001.json", "{}"),
        ],
    )
    write(folder / "test-001.tar", [("002.png", png(20)), ("002.cls", "1"), ("002.txt", "ein Käse")])
    return folder / "test-{000..001}.tar"


def test_samples_over_shards(tmp_path):
    s = webdataset.open_shards(two_shards(tmp_path), Columns(class_names="dog,cat"))
    assert s.name == "test"
    assert s.files.tolist() == ["test-000.tar/000.png", "test-000.tar/001.png", "test-001.tar/002.png"]
    assert s.labels.index.tolist() == [1, 0, 1]
    assert s.captions.tolist() == [("a cat", "a sleeping cat"), ("a dog",), ("ein Käse",)]
    assert [s.image(i).getpixel((0, 0)) for i in (2, 0, 1)] == [20, 10, 11]


def test_nothing_is_unpacked(tmp_path, monkeypatch):
    pattern = two_shards(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    s = webdataset.open_shards(pattern)
    [s.image(i) for i in range(3)]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../../escape.png", "/etc/escape.png", "a/./b.png"])
def test_names_in_a_tar_never_become_paths(tmp_path, name):
    write(tmp_path / "x.tar", [(name, png(3))])
    s = webdataset.open_shards(tmp_path / "x.tar")
    assert s.image(0).getpixel((0, 0)) == 3
    assert s.files[0].startswith("x.tar/")
    assert not (tmp_path.parent.parent / "escape.png").exists()


def test_links_folders_and_hidden_members_are_no_samples(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (("a.png", tarfile.SYMTYPE), ("b.png", tarfile.DIRTYPE), ("c.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name in ("._d.png", "d.png"):
            info = tarfile.TarInfo(name)
            info.size = len(png(4))
            tar.addfile(info, io.BytesIO(png(4)))
    assert webdataset.open_shards(tmp_path / "x.tar").files.tolist() == ["x.tar/d.png"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_formats_of_tar_and_long_names(tmp_path, form):
    name = "/".join(["a" * 60] * 2)
    s = webdataset.open_shards(write(tmp_path / "x.tar", [(f"{name}.png", png(5)), (f"{name}.cls", "3")], pax=form))
    assert s.files[0] == f"x.tar/{name}.png"
    assert s.image(0).getpixel((0, 0)) == 5
    assert s.labels.names == ("3",)


def test_one_tar_a_pattern_and_folders_in_names(tmp_path):
    two_shards(tmp_path)
    assert len(webdataset.open_shards(tmp_path / "test-000.tar")) == 2
    assert webdataset.open_shards(tmp_path / "test-*.tar").files.tolist() == [
        "test-000.tar/000.png",
        "test-000.tar/001.png",
        "test-001.tar/002.png",
    ]
    write(tmp_path / "f.tar", [("a/1.png", png(1)), ("b/1.png", png(2))])
    assert webdataset.open_shards(tmp_path / "f.tar").files.tolist() == ["f.tar/a/1.png", "f.tar/b/1.png"]


def test_of_two_images_in_a_sample_one_is_named_exactly_or_by_the_user(tmp_path):
    write(tmp_path / "x.tar", [("1.mask.png", png(2)), ("1.png", png(1)), ("1.cls", "0")])
    assert webdataset.open_shards(tmp_path / "x.tar", Columns(image="mask.png")).image(0).getpixel((0, 0)) == 2
    write(tmp_path / "y.tar", [("1.jpg", png(2)), ("1.png", png(1))])
    with pytest.raises(InputError, match=r"several images.*--config\.data\.image_column=jpg"):
        webdataset.open_shards(tmp_path / "y.tar")
    s = webdataset.open_shards(tmp_path / "x.tar")
    assert s.files.tolist() == ["x.tar/1.png"]
    assert s.image(0).getpixel((0, 0)) == 1


def test_the_index_keeps_no_headers(tmp_path, monkeypatch):
    opened = []
    original = tarfile.open
    write(tmp_path / "x.tar", [(f"{i}.png", png(1)) for i in range(50)])
    monkeypatch.setattr(tarfile, "open", lambda *args, **kwargs: opened.append(original(*args, **kwargs)) or opened[-1])
    assert len(webdataset.open_shards(tmp_path / "x.tar")) == 50
    assert [len(tar.members) for tar in opened] == [0]


def test_text_labels_and_no_labels(tmp_path):
    write(tmp_path / "x.tar", [("1.png", png(1)), ("1.cls", "dog"), ("2.png", png(2)), ("2.cls", "cat")])
    s = webdataset.open_shards(tmp_path / "x.tar")
    assert (s.labels.index.tolist(), s.labels.names) == ([1, 0], ("cat", "dog"))
    write(tmp_path / "y.tar", [("1.png", png(1)), ("1.txt", "a dog")])
    assert webdataset.open_shards(tmp_path / "y.tar").labels is None


def test_a_list_of_names_beside_the_shards_names_numbers(tmp_path, capsys):
    pattern = two_shards(tmp_path / "wds")
    (tmp_path / "classnames.txt").write_text("dog\ncat\nant\n")
    s = webdataset.open_shards(pattern)
    assert s.labels.texts().tolist() == ["cat", "dog", "cat"]
    assert "classnames.txt" in capsys.readouterr().err


def test_fields_of_the_json_members(tmp_path):
    write(
        tmp_path / "x.tar",
        [("1.png", png(1)), ("1.json", '{"y": 1.10, "race": "Black"}'), ("2.png", png(2)), ("2.json", '{"y": 1.1}')],
    )
    s = webdataset.open_shards(tmp_path / "x.tar", Columns(label="y", groups=("race",)))
    assert s.labels.names == ("1.1", "1.10")
    assert s.columns["race"].tolist() == ["Black", ""]


def test_a_sample_without_picture_keeps_its_row_and_fails_by_name(tmp_path):
    write(tmp_path / "x.tar", [("1.cls", "0"), ("2.png", png(2)), ("2.cls", "0")])
    s = webdataset.open_shards(tmp_path / "x.tar")
    assert s.files.tolist() == ["x.tar/1", "x.tar/2.png"]
    with pytest.raises(InputError, match=r"x row 0: x\.tar/1 has no image, but \.cls"):
        s.image(0)
    assert s.image(1).getpixel((0, 0)) == 2


def test_a_damaged_picture_fails_by_name(tmp_path):
    write(tmp_path / "x.tar", [("1.png", png(1)[:40])])
    with pytest.raises(InputError, match=r"x row 0: x\.tar/1\.png"):
        webdataset.open_shards(tmp_path / "x.tar").image(0)


def test_a_shard_that_shrinks_under_the_run(tmp_path):
    path = write(tmp_path / "x.tar", [("1.png", png(1))])
    s = webdataset.open_shards(path)
    os.truncate(path, 530)
    with pytest.raises(InputError, match=r"x\.tar/1\.png ends after 18 of"):
        s.image(0)


def test_labels_outside_the_classes_or_missing(tmp_path):
    write(tmp_path / "x.tar", [("1.png", png(1)), ("1.cls", "0"), ("2.png", png(2)), ("2.cls", "2")])
    with pytest.raises(InputError, match=r"2 names by position, and x has the label 2; give 3 names, counted from 0"):
        webdataset.open_shards(tmp_path / "x.tar", Columns(class_names="a,b"))
    write(tmp_path / "y.tar", [("1.png", png(1)), ("1.cls", "0"), ("2.png", png(2))])
    assert webdataset.open_shards(tmp_path / "y.tar").labels.index.tolist() == [0, -1]


def test_shards_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such shard"):
        webdataset.open_shards(tmp_path / "x.tar")
    with pytest.raises(InputError, match="no such shards"):
        webdataset.open_shards(tmp_path / "x-*.tar")
    two_shards(tmp_path)
    with pytest.raises(InputError, match=r"test-002\.tar: no such shard"):
        webdataset.open_shards(tmp_path / "test-{000..002}.tar")
    write(tmp_path / "x.tar.gz", [("1.png", png(1))], "w:gz")
    with pytest.raises(InputError, match="is a gzip file, not a tar; unpack it first: gzip -dc"):
        webdataset.open_shards(tmp_path / "x.tar.gz")
    write(tmp_path / "empty.tar", [])
    with pytest.raises(InputError, match="holds no samples"):
        webdataset.open_shards(tmp_path / "empty.tar")


@pytest.mark.parametrize("cut", [520, 512 + 30, 1024, 1024 + 100, 2048])
def test_a_shard_that_is_cut_off(tmp_path, cut):
    path = write(tmp_path / "x.tar", [("1.png", png(1)), ("2.png", png(2))])
    os.truncate(path, cut)
    with pytest.raises(InputError, match=r"x\.tar is not a plain tar, or is cut off"):
        webdataset.open_shards(path)


def test_the_fingerprint_is_of_the_images_and_not_of_shards_or_labels(tmp_path):
    (tmp_path / "one").mkdir()
    pattern = two_shards(tmp_path / "one")
    before = webdataset.open_shards(pattern).fingerprint
    assert webdataset.open_shards(pattern).fingerprint == before
    (tmp_path / "one").rename(tmp_path / "two")
    moved = tmp_path / "two" / pattern.name
    assert webdataset.open_shards(moved).fingerprint == before
    assert webdataset.open_shards(tmp_path / "two/test-000.tar").fingerprint != before
    os.utime(tmp_path / "two/test-001.tar", ns=(0, 5))
    assert webdataset.open_shards(moved).fingerprint == before
    members = [("000.png", png(10)), ("001.png", png(11)), ("002.png", png(20))]
    assert webdataset.open_shards(write(tmp_path / "one.tar", members)).fingerprint == before
    members[1] = ("001.png", png(12))
    assert webdataset.open_shards(write(tmp_path / "other.tar", members)).fingerprint != before
