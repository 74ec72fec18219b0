"""What is left of a download that went wrong is named by every reader of data, not called damaged."""

import gzip
from pathlib import Path

import pytest

from clipjax import image
from clipjax.data import tables
from clipjax.data.kinds import parquet, webdataset
from clipjax.errors import InputError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = b"<!DOCTYPE html><html><head><title>404</title></head></html>"
READERS = {
    "a.csv": lambda path: tables.read(path, ["file"]),
    "a.tsv": lambda path: tables.read(path, ["file"]),
    "table.parquet": lambda path: tables.read(path, ["file"]),
    "images.parquet": parquet.open_files,
    "a-000.tar": webdataset.open_shards,
    "a.jpg": image.open_image,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (POINTER, ("is a git-lfs pointer", "git lfs pull")),
        (PAGE, ("is a web page", "download the file itself")),
        (b"", ("is empty (0 bytes)",)),
    ],
)
def test_leftovers_are_named(tmp_path, name, content, words):
    path = Path(tmp_path / name)
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        READERS[name](path)
    for word in (str(path), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["table.parquet", "images.parquet", "a-000.tar", "a.jpg"])
def test_a_packed_file_says_how_it_is_unpacked(tmp_path, name):
    path = Path(tmp_path / name)
    path.write_bytes(gzip.compress(b"anything"))
    with pytest.raises(InputError, match=r"is a gzip file, not .*; unpack it first: gzip -dc"):
        READERS[name](path)
