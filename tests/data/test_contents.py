"""Fingerprints are of what images are: equal wherever they lie and whatever they are called, and hashed once."""

import io
import os
import shutil
import sqlite3
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipjax.data import contents, table
from clipjax.data.contents import Packed
from clipjax.data.kinds import folder, parquet, webdataset
from clipjax.data.kinds.shared import Columns
from clipjax.data.source import Source
from clipjax.errors import InputError

NAMES = ("a.png", "b.png", "c.png")


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (3, 2), level).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "contents.sqlite"


@pytest.fixture
def images(tmp_path, cache):
    where = tmp_path / "images"
    where.mkdir()
    for level, name in enumerate(NAMES):
        (where / name).write_bytes(png(level))
    return where


@pytest.fixture
def hashed(monkeypatch):
    """The files whose bytes were hashed."""
    found = []
    original = contents.hashlib.file_digest
    monkeypatch.setattr(
        contents.hashlib,
        "file_digest",
        lambda file, kind: found.append(os.path.basename(file.name)) or original(file, kind),
    )
    return found


def change(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def containers(where, levels=(0, 1, 2)):
    """The same images in every container: sources by name."""
    where.mkdir()
    with tarfile.open(where / "x.tar", "w") as tar:
        for level in levels:
            info = tarfile.TarInfo(f"{level}.png")
            info.size = len(png(level))
            tar.addfile(info, io.BytesIO(png(level)))
    pq.write_table(pa.table({"image": [{"bytes": png(i), "path": None} for i in levels]}), where / "x.parquet")
    for level in levels:
        (where / "flat").mkdir(exist_ok=True)
        (where / "flat" / f"{level}0.PNG").write_bytes(png(level))
    (where / "t.csv").write_text("file,label\n" + "".join(f"flat/{i}0.PNG,x\n" for i in levels))
    return {
        "tar": webdataset.open_shards(where / "x.tar"),
        "parquet": parquet.open_files(where / "x.parquet"),
        "folder": folder.open_folder(where / "flat"),
        "csv": table.open_table(where / "t.csv", Columns(label="label")),
        "bytes": Source("memory", [str(i) for i in levels], lambda i: png(levels[i])),
    }


def test_copies_times_names_and_containers_do_not_matter(images, tmp_path):
    before = folder.open_folder(images).fingerprint
    shutil.copytree(images, tmp_path / "copy", copy_function=shutil.copy)
    os.utime(tmp_path / "copy/b.png", ns=(0, 5))
    (tmp_path / "copy/b.png").rename(tmp_path / "copy/bb.jpeg")
    assert folder.open_folder(tmp_path / "copy").fingerprint == before
    assert {s.fingerprint for s in containers(tmp_path / "packed").values()} == {before}


def test_one_changed_byte_does_in_every_container(tmp_path, cache):
    first, second = containers(tmp_path / "one"), containers(tmp_path / "two", (0, 1, 3))
    (one,) = {s.fingerprint for s in first.values()}
    (two,) = {s.fingerprint for s in second.values()}
    assert one != two
    change(tmp_path / "one/flat/20.PNG")
    changed = {
        folder.open_folder(tmp_path / "one/flat").fingerprint,
        table.open_table(tmp_path / "one/t.csv").fingerprint,
    }
    assert len(changed) == 1
    assert not changed & {one, two}


@pytest.mark.parametrize("name", ["tar", "parquet", "folder", "csv", "bytes"])
def test_order_counts_and_a_selection_is_the_data_set_of_its_rows(tmp_path, cache, name):
    s = containers(tmp_path / "x")[name]
    prints = {s.select(rows).fingerprint for rows in ([0, 1, 2], [2, 1, 0], [0, 1], [1, 0])}
    assert len(prints) == 4
    fewer = containers(tmp_path / "y", (2, 0))[name if name in ("tar", "parquet", "csv", "bytes") else "csv"]
    assert s.select([2, 0]).fingerprint == fewer.fingerprint
    np.testing.assert_array_equal(s.digests(np.array([2, 0])), s.digests(np.arange(3))[[2, 0]])


def test_files_are_hashed_once(images, hashed):
    before = folder.open_folder(images).fingerprint
    assert sorted(hashed) == list(NAMES)
    hashed.clear()
    assert folder.open_folder(images).fingerprint == before
    assert hashed == []


def test_packed_files_are_hashed_once_and_again_when_they_change(tmp_path, cache, monkeypatch):
    read = []
    original = webdataset.tars.Index.read
    monkeypatch.setattr(webdataset.tars.Index, "read", lambda self, i: read.append(i) or original(self, i))
    containers(tmp_path / "x")
    before = webdataset.open_shards(tmp_path / "x/x.tar").fingerprint
    assert read == [0, 1, 2]
    assert webdataset.open_shards(tmp_path / "x/x.tar").fingerprint == before
    assert (
        webdataset.open_shards(tmp_path / "x/x.tar").select([1]).fingerprint != before
    )  # a part is cut from what is kept
    assert read == [0, 1, 2]
    containers(tmp_path / "y", (0, 1, 3))
    os.replace(tmp_path / "y/x.tar", tmp_path / "x/x.tar")
    assert webdataset.open_shards(tmp_path / "x/x.tar").fingerprint != before
    assert read == [0, 1, 2] * 2


def test_what_is_kept_is_believed_only_for_equal_size_and_times(images, cache, hashed):
    before = folder.open_folder(images).fingerprint
    with sqlite3.connect(cache) as base:  # what is kept is used at all: a wrong digest shows
        base.execute("UPDATE contents SET value = ? WHERE path = ?", [bytes(32), str(images / "a.png")])
    assert folder.open_folder(images).fingerprint != before
    os.utime(images / "a.png", ns=(0, 5))
    hashed.clear()
    assert folder.open_folder(images).fingerprint == before
    assert hashed == ["a.png"]


def test_other_bytes_of_the_same_size_and_modification_time_are_seen(images):
    before = folder.open_folder(images).fingerprint
    status = (images / "b.png").stat()
    change(images / "b.png")
    os.utime(images / "b.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    after = folder.open_folder(images).fingerprint
    assert after != before
    (images / "new.png").write_bytes(png(1))  # replaced by another file with everything equal but its number
    os.utime(images / "new.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(images / "new.png", images / "b.png")
    assert folder.open_folder(images).fingerprint == before


@pytest.mark.parametrize("damage", ["text", "cut", "folder", "table", "short", "type"])
def test_a_damaged_cache_is_harmless(images, cache, damage):
    before = folder.open_folder(images).fingerprint
    if damage == "text":
        cache.write_text("not a data base")
    elif damage == "cut":
        os.truncate(cache, cache.stat().st_size // 2)
    elif damage == "folder":
        cache.unlink()
        cache.mkdir()
    else:
        with sqlite3.connect(cache) as base:
            words = {"table": "DROP TABLE contents", "short": "UPDATE contents SET value = x'00'"}
            base.execute(words.get(damage, "UPDATE contents SET value = 'text', stamp = 3"))
    assert folder.open_folder(images).fingerprint == before
    assert folder.open_folder(images).fingerprint == before


def test_a_cache_that_cannot_be_written_is_harmless(images, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "file"))
    before = folder.open_folder(images).fingerprint
    monkeypatch.setenv("CLIPJAX_CACHE", "/proc/nowhere")
    assert folder.open_folder(images).fingerprint == before


def test_an_image_that_cannot_be_read_has_no_content_and_is_not_kept(images, tmp_path):
    s = folder.open_folder(images)
    (images / "b.png").unlink()
    digests = s.digests(np.arange(3))
    assert (digests == 0).all(1).tolist() == [False, True, False]
    (images / "b.png").write_bytes(png(1))
    assert (folder.open_folder(images).digests(np.arange(3)) != 0).any(1).all()


def test_packed_images_that_cannot_be_read_now_are_read_again_later(tmp_path, cache):
    packed = tmp_path / "x.bin"
    packed.write_bytes(b"images")
    broken = {1}

    def read(i):
        if i in broken:
            raise OSError(5, "Input/output error")
        return png(i)

    def digests():
        return contents.digests(read, np.arange(3), [Packed(str(packed), 0, 3)])

    assert (digests() == 0).all(1).tolist() == [False, True, False]
    broken.clear()
    assert not (digests() == 0).all(1).any()


def test_a_packed_file_that_has_gone_is_no_crash(tmp_path, cache):
    def read(i):
        raise InputError("gone")

    assert (contents.digests(read, np.arange(2), [Packed(str(tmp_path / "x.tar"), 0, 2)]) == 0).all()


def test_pixels_are_their_mode_shape_and_values():
    zeros = np.zeros((2, 3, 3), np.uint8)
    different = [
        zeros, zeros.reshape(3, 2, 3), zeros.astype(np.uint16), zeros + 1, Image.new("L", (2, 3)),
        Image.new("L", (3, 2)), Image.new("RGB", (2, 3)), b"", b"\0",
    ]  # fmt: skip
    found = contents.digests(different.__getitem__, np.arange(len(different)))
    assert len({row.tobytes() for row in found}) == len(different)
    turned = contents.digests([zeros.transpose(1, 0, 2).copy().transpose(1, 0, 2)].__getitem__, np.arange(1))
    assert (turned[0] == found[0]).all()


def test_many_images_keep_their_order_over_threads():
    n = 3 * contents.CHUNK + 7
    found = contents.digests(lambda i: str(i).encode(), np.arange(n)[::-1])
    assert len({row.tobytes() for row in found}) == n
    assert (found == contents.digests(lambda i: str(n - 1 - i).encode(), np.arange(n))).all()


def test_marked_digests_depend_on_image_and_mark():
    digests = contents.digests([b"a", b"b"].__getitem__, np.arange(2))
    found = {row.tobytes() for mark in ("x", "y") for row in contents.marked(digests, mark)}
    assert len(found | {row.tobytes() for row in digests}) == 6
