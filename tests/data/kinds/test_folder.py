"""Folders of class folders and flat ones, local and in a bucket."""

import dataclasses
import os

import fsspec
import pytest
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from clipjax.data import source
from clipjax.data.kinds import folder
from clipjax.errors import InputError


def put(root, *names: str) -> None:
    for level, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("txt"):
            path.write_text("no picture")
        else:
            Image.new("L", (3, 2), level).save(path)


def test_class_folders_are_sorted_classes(tmp_path):
    put(tmp_path, "dog/b.png", "dog/a.JPG", "cat/x.png", "dog/notes.txt", ".git/x.png", "cat/.hidden.png")
    s = folder.open_folder(tmp_path)
    assert s.name == tmp_path.name
    assert s.labels.names == ("cat", "dog")
    assert s.files.tolist() == ["cat/x.png", "dog/a.JPG", "dog/b.png"]
    assert s.labels.index.tolist() == [0, 1, 1]
    assert [s.image(i).getpixel((0, 0)) for i in (0, 2)] == [2, 0]


def test_files_passed_over_by_suffix_are_counted_in_a_note(tmp_path, capsys):
    put(tmp_path, "a/1.png", "a/2.png", "b/3.png", "LICENSE.txt")
    for name in ("a/4.heic", "b/5.HEIC", "b/6"):
        (tmp_path / name).touch()
    folder.open_folder(tmp_path)
    assert "passed over 3 files by suffix (.heic 2, no suffix 1)" in capsys.readouterr().err
    for name in ("a/1.txt", "a/2.txt", "b/3.txt"):  # captions are read
        (tmp_path / name).write_text("a caption")
    folder.open_folder(tmp_path)
    assert "passed over 3 files by suffix (.heic 2, no suffix 1)" in capsys.readouterr().err
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "x.jxl").touch()
    with pytest.raises(InputError, match=r"holds no images .*passed over 1 file by suffix \(.jxl 1\)"):
        folder.open_folder(tmp_path / "flat")


def test_a_folder_called_like_a_picture_is_a_class(tmp_path):
    put(tmp_path, "x.png/1.png", "y/1.png")
    assert folder.open_folder(tmp_path).labels.names == ("x.png", "y")


def test_folders_may_be_called_otherwise(tmp_path, capsys):
    put(tmp_path, "0/b.png", "1/x.png")
    s = folder.open_folder(tmp_path, "emu,dog")
    assert (s.labels.names, s.labels.ids, s.labels.index.tolist()) == (("emu", "dog"), ("0", "1"), [0, 1])
    (tmp_path / "classes.txt").write_text("cat\nant\n")
    s = folder.open_folder(tmp_path)
    assert s.labels.names == ("cat", "ant")
    assert "classes.txt" in capsys.readouterr().err
    assert folder.open_folder(tmp_path, "0=emu,1=owl").labels.names == ("emu", "owl")
    with pytest.raises(InputError, match="gives no name to the label '0'"):
        folder.open_folder(tmp_path, "1=owl")


def test_texts_beside_images_are_captions(tmp_path, capsys):
    put(tmp_path, "00000/1.png", "00000/2.png", "00001/3.png")
    (tmp_path / "00000/1.txt").write_text("a cat\n")
    (tmp_path / "00001/3.txt").write_text("ein Käse", encoding="utf-8")
    s = folder.open_folder(tmp_path)
    assert (s.labels, s.captions.tolist()) == (None, [("a cat",), (), ("ein Käse",)])
    assert "captions" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"no class folders, and data\.class_names names classes"):
        folder.open_folder(tmp_path, "a,b")


def test_a_split_is_a_folder_below(tmp_path):
    put(tmp_path, "test/cat/1.png", "test/dog/2.png", "train/cat/3.png")
    keys = folder.Keys(path=str(tmp_path), split="test")
    assert folder.open_source(keys).files.tolist() == ["cat/1.png", "dog/2.png"]
    with pytest.raises(InputError, match='no such folder; nearest: "test"'):
        folder.open_source(dataclasses.replace(keys, split="tset"))


def test_a_flat_folder_has_no_labels(tmp_path):
    put(tmp_path, "2.png", "10.png", "readme.txt")
    s = folder.open_folder(tmp_path)
    assert s.files.tolist() == ["10.png", "2.png"]
    assert s.labels is None
    assert s.labels is None


def test_other_suffixes(tmp_path):
    put(tmp_path, "1.png", "2.bmp")
    assert folder.open_folder(tmp_path, suffixes=[".BMP"]).files.tolist() == ["2.bmp"]


@pytest.mark.parametrize(
    ("names", "classes", "words"),
    [
        (["notes.txt"], "", ["holds no images"]),
        (["cat/1.png", "dog/notes.txt"], "", ["dog", "holds no images", "remove"]),
        (["cat/1.png", "2.png"], "", ["2.png", "beside folders", "cat"]),
        (["train/cat/1.png", "val/cat/1.png"], "", ["train", "folders of its own (cat)", "splits"]),
        (["cat/1.png", "dgo/2.png"], "cat=a,dog=b", ["'dog' is not a label", 'nearest: "dgo"']),
    ],
)
def test_folders_that_are_not_what_they_seem(tmp_path, names, classes, words):
    put(tmp_path, *names)
    with pytest.raises(InputError) as caught:
        folder.open_folder(tmp_path, classes)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_folder_that_is_not_there_or_is_empty(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        folder.open_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no images"):
        folder.open_folder(tmp_path)


def test_fingerprint_is_of_the_images_and_not_of_names_times_or_place(tmp_path):
    first, second = tmp_path / "one" / "set", tmp_path / "two" / "set"
    put(first, "cat/1.png", "cat/2.png", "dog/3.png")
    second.parent.mkdir()
    before = folder.open_folder(first).fingerprint
    first.rename(second)
    assert folder.open_folder(second).fingerprint == before
    assert folder.open_folder(second, "cat=x").fingerprint == before

    os.utime(second / "cat/1.png", ns=(0, 12345))
    (second / "dog/3.png").rename(second / "dog/4.png")
    assert folder.open_folder(second).fingerprint == before
    seen = {before}
    status = (second / "cat/1.png").stat()
    Image.new("L", (3, 2), 9).save(second / "cat/1.png")  # another image, of the same size and time
    os.utime(second / "cat/1.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    seen.add(folder.open_folder(second).fingerprint)
    put(second, "dog/5.png")
    seen.add(folder.open_folder(second).fingerprint)
    assert len(seen) == 3


class Bucket(MemoryFileSystem):
    """gs:// in memory, standing in for gcsfs."""

    protocol = ("gs", "gcs")
    store: dict = {}  # noqa: RUF012 (fsspec keeps it on the class)
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).removeprefix("gs://").strip("/")


@pytest.fixture
def bucket(monkeypatch):
    files = Bucket(skip_instance_cache=True)
    monkeypatch.setattr(fsspec, "filesystem", lambda *args, **kwargs: files)
    monkeypatch.setattr(fsspec.core, "filesystem", lambda *args, **kwargs: files)
    monkeypatch.setattr(fsspec.core, "get_filesystem_class", lambda scheme: Bucket)
    monkeypatch.setattr(source, "_has_driver", lambda scheme: scheme == "gs")
    type(backend.fsspec_backend)._get_filesystem.cache_clear()
    yield files
    type(backend.fsspec_backend)._get_filesystem.cache_clear()
    Bucket.store.clear()


def test_a_folder_in_a_bucket(bucket, tmp_path):
    put(tmp_path, "cat/1.png", "dog/2.png", "dog/3.png")
    for path in tmp_path.rglob("*.png"):
        bucket.pipe(f"gs://bucket/set/{path.relative_to(tmp_path)}", path.read_bytes())
    s = folder.open_folder("gs://bucket/set")
    assert s.name == "set"
    assert s.files.tolist() == ["cat/1.png", "dog/2.png", "dog/3.png"]
    assert s.labels.index.tolist() == [0, 1, 1]
    assert s.image(2).getpixel((0, 0)) == 2
    before = s.fingerprint
    bucket.pipe("gs://bucket/set/dog/2.png", b"cut off")
    assert folder.open_folder("gs://bucket/set").fingerprint != before
    bucket.rm("gs://bucket/set/dog/3.png")
    with pytest.raises(InputError, match="no such file"):
        s.image(2)
