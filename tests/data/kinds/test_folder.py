"""Folders of class folders and flat ones, local and in a bucket."""

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
    s = folder.load(tmp_path)
    assert s.name == tmp_path.name
    assert s.labels.names == ("cat", "dog")
    assert s.files.tolist() == ["cat/x.png", "dog/a.JPG", "dog/b.png"]
    assert s.labels.index.tolist() == [0, 1, 1]
    assert [s.image(i).getpixel((0, 0)) for i in (0, 2)] == [2, 0]


def test_a_folder_called_like_a_picture_is_a_class(tmp_path):
    put(tmp_path, "x.png/1.png", "y/1.png")
    assert folder.load(tmp_path).labels.names == ("x.png", "y")


def test_given_classes_are_found_by_name_and_may_be_empty(tmp_path):
    put(tmp_path, "dog/b.png", "cat/x.png")
    s = folder.load(tmp_path, classes=["emu", "dog", "cat"])
    assert s.labels.names == ("emu", "dog", "cat")
    assert s.labels.index.tolist() == [2, 1]


def test_a_flat_folder_has_no_labels(tmp_path):
    put(tmp_path, "2.png", "10.png", "readme.txt")
    s = folder.load(tmp_path)
    assert s.files.tolist() == ["10.png", "2.png"]
    assert s.labels is None
    assert s.labels is None


def test_other_suffixes(tmp_path):
    put(tmp_path, "1.png", "2.bmp")
    assert folder.load(tmp_path, suffixes=[".BMP"]).files.tolist() == ["2.bmp"]


@pytest.mark.parametrize(
    ("names", "classes", "words"),
    [
        (["notes.txt"], None, ["holds no pictures"]),
        (["cat/1.png", "dog/notes.txt"], None, ["dog", "holds no pictures", "remove"]),
        (["cat/1.png", "2.png"], None, ["2.png", "beside folders", "cat"]),
        (["train/cat/1.png", "val/cat/1.png"], None, ["train", "folders of its own (cat)", "splits"]),
        (["cat/1.png", "dgo/2.png"], ["cat", "dog"], ["dgo", "not among the 2 classes", 'nearest: "dog"']),
    ],
)
def test_folders_that_are_not_what_they_seem(tmp_path, names, classes, words):
    put(tmp_path, *names)
    with pytest.raises(InputError) as caught:
        folder.load(tmp_path, classes)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_folder_that_is_not_there_or_is_empty(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        folder.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no pictures"):
        folder.load(tmp_path)


def test_fingerprint_changes_with_the_files_and_not_with_their_place(tmp_path):
    first, second = tmp_path / "one" / "set", tmp_path / "two" / "set"
    put(first, "cat/1.png", "cat/2.png", "dog/3.png")
    second.parent.mkdir()
    before = folder.load(first).fingerprint
    first.rename(second)
    assert folder.load(second).fingerprint == before
    assert folder.load(second, classes=["dog", "cat"]).fingerprint == before

    seen = {before}
    status = (second / "cat/1.png").stat()
    Image.new("L", (40, 40), 9).save(second / "cat/1.png")  # replaced, by another size
    os.utime(second / "cat/1.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    seen.add(folder.load(second).fingerprint)
    os.utime(second / "cat/1.png", ns=(0, 12345))  # replaced, at another time
    seen.add(folder.load(second).fingerprint)
    (second / "dog/3.png").rename(second / "dog/4.png")
    seen.add(folder.load(second).fingerprint)
    put(second, "dog/5.png")
    seen.add(folder.load(second).fingerprint)
    assert len(seen) == 5


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
    monkeypatch.setattr(source, "_has_driver", lambda scheme: scheme == "gs")
    type(backend.fsspec_backend)._get_filesystem.cache_clear()
    yield files
    type(backend.fsspec_backend)._get_filesystem.cache_clear()
    Bucket.store.clear()


def test_a_folder_in_a_bucket(bucket, tmp_path):
    put(tmp_path, "cat/1.png", "dog/2.png", "dog/3.png")
    for path in tmp_path.rglob("*.png"):
        bucket.pipe(f"gs://bucket/set/{path.relative_to(tmp_path)}", path.read_bytes())
    s = folder.load("gs://bucket/set")
    assert s.name == "set"
    assert s.files.tolist() == ["cat/1.png", "dog/2.png", "dog/3.png"]
    assert s.labels.index.tolist() == [0, 1, 1]
    assert s.image(2).getpixel((0, 0)) == 2
    before = s.fingerprint
    bucket.pipe("gs://bucket/set/dog/2.png", b"cut off")
    assert folder.load("gs://bucket/set").fingerprint != before
    bucket.rm("gs://bucket/set/dog/3.png")
    with pytest.raises(InputError, match="no such file"):
        s.image(2)
