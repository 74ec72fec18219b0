"""One function tells what a file is: every reader answers a failed download with the same words, and the words work."""

import gzip
import json
import re
import subprocess

import numpy as np
import pytest

import checkpoints_convert
from checkpoints_convert import torchfile
from clipjax import image, signatures, stored
from clipjax.data import tables
from clipjax.errors import InputError
from clipjax.models import weights

LEFTOVERS = [
    (b"", "is empty"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer, not .*; run git lfs pull"),
    (b"\n <!DOCTYPE html><html>404", "web page"),
    (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "web page"),
    (gzip.compress(b"x" * 100), "gzip file"),
    (b"BZh91AY&SY", "bzip2 file"),
    (b"\xfd7zXZ\x00\x00", "xz file"),
    (b"\x28\xb5\x2f\xfd0000", "zstandard file"),
    (bytes(257) + b"ustar\0", "tar archive"),
]
READERS = {
    "weights": checkpoints_convert.read,
    "torch": torchfile.read,
    "native": weights.load,
    "json": stored.read,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("content", "words"), LEFTOVERS, ids=[w for _, w in LEFTOVERS])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "m.pt"])
def test_every_reader_names_what_a_download_left(tmp_path, reader, content, words, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: .*{words}") as caught:
        READERS[reader](path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", ["weights", "torch", "native"])
def test_an_error_message_in_json_is_quoted(tmp_path, reader):
    path = tmp_path / "model.safetensors"
    path.write_text(json.dumps({"error": "Repository not found"}))
    with pytest.raises(InputError, match=r"is a text in JSON .*Repository not found"):
        READERS[reader](path)


@pytest.mark.parametrize(("content", "words"), [LEFTOVERS[1], LEFTOVERS[2]], ids=["lfs", "page"])
def test_images_and_tables_say_it_too(tmp_path, content, words):
    for name in ("a.jpg", "a.csv", "a.jsonl", "a.parquet"):
        (tmp_path / name).write_bytes(content)
        read = image.open_image if name == "a.jpg" else tables.columns
        with pytest.raises(InputError, match=rf"{re.escape(name)}: .*{words}"):
            read(tmp_path / name)
    (tmp_path / "a.svg").write_text("<?xml version='1.0'?><svg/>")
    with pytest.raises(InputError, match="is not an image that Pillow"):
        image.open_image(tmp_path / "a.svg")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"file,label\na.png,cat\n"))
    assert tables.columns(tmp_path / "a.csv.gz") == ["file", "label"]


def test_the_remedy_unpacks(tmp_path):
    weights.save_tensors(tmp_path / "plain.safetensors", {"a": np.ones(3, np.float32)}, {})
    packed = tmp_path / "model.safetensors"
    packed.write_bytes(gzip.compress((tmp_path / "plain.safetensors").read_bytes()))
    with pytest.raises(InputError) as caught:
        signatures.check(packed, "weights")
    command = re.search(r"unpack it first: (.*)", str(caught.value))[1].replace("NEW", str(tmp_path / "new"))
    subprocess.run(command, shell=True, check=True)
    assert signatures.check(tmp_path / "new", "weights") == "safetensors file"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PK\x03\x04", "zip archive"), (b"\x82\xa1a", "msgpack"), (b"\xde\x01\x00", "msgpack"),
        (b"\x80\x04", "pickle"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "torch file from before version 1.6"), (b"hello", ""),
        (b"\x10\0\0\0\0\0\0\0{", "safetensors file"), (b"\x89HDF\r\n\x1a\n", "HDF5 file"), (b'{"a": 1}', "JSON text"),
    ],
)  # fmt: skip
def test_files_in_their_own_right_are_told_apart(head, kind):
    assert signatures.kind(head) == kind


def test_folders_and_missing_files_are_one_line(tmp_path):
    with pytest.raises(InputError, match="is a folder; name the file inside it"):
        signatures.check(tmp_path, "weights")
    with pytest.raises(InputError, match="no such file"):
        signatures.check(tmp_path / "x", "weights")
