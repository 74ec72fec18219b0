"""flax_model.msgpack: read as flax wrote it; hostile or foreign ones are one line. Values: test_convert's matrix."""

import random

import msgpack
import numpy as np
import pytest
from flax import serialization
from support import checkpoints
from support.checkpoints import random_weights

from checkpoints_convert import flaxfile
from clipjax.errors import InputError


def packed(path, tree):
    path.write_bytes(serialization.to_bytes(tree))
    return path


def test_kernels_come_back_in_torchs_layout(tmp_path):
    kernel, convolution = np.arange(6.0).reshape(2, 3), np.arange(24, dtype=np.float16).reshape(1, 2, 3, 4)
    tree = {"a": {"kernel": kernel, "bias": np.ones(3)}, "c": {"kernel": convolution}, "n": {"scale": np.ones(2)}}
    found = flaxfile.read(packed(tmp_path / "m.msgpack", tree))
    assert found.keys() == {"a.weight", "a.bias", "c.weight", "n.weight"}
    np.testing.assert_array_equal(found["a.weight"], kernel.T)
    assert found["c.weight"].shape == (4, 3, 1, 2)
    assert found["c.weight"].dtype == np.float16


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x81\xa1a", "may be truncated"),
        (msgpack.packb({b"a": msgpack.ExtType(1, msgpack.packb([[1], "uint8", b"1"]))}), "which is not text"),
        (b"\x01", "holds a int"),
        (msgpack.packb({"a": msgpack.ExtType(9, b"")}), "extension 9"),
        (msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb([[3], "float32", b"1234"]))}), "says that its shape"),
        (msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb([[-1], "float32", b"1234"]))}), "as flax stores it"),
        (msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb([[1], "object", b"1234"]))}), "type object"),
        (msgpack.packb({"a": {"__msgpack_chunked_array__": True}}), "an array in chunks"),
        (b"\x81\xa1a" * 40 + b"\xc0", "nested deeper"),
        (b"\x81\xa1a" * 5000 + b"\xc0", "not readable as msgpack"),
    ],
)
def test_what_is_not_such_a_file_is_one_line(tmp_path, content, words):
    (tmp_path / "m.msgpack").write_bytes(content)
    with pytest.raises(InputError, match=rf"m\.msgpack: .*{words}"):
        flaxfile.read(tmp_path / "m.msgpack")


def test_every_truncation_is_refused(tmp_path):
    content = checkpoints.flax_file(tmp_path / "whole", random_weights()).read_bytes()
    for part in range(0, len(content) - 1, len(content) // 40):
        (tmp_path / "x").write_bytes(content[:part])
        with pytest.raises(InputError):
            flaxfile.read(tmp_path / "x")


def test_flipped_bytes_never_raise_anything_else(tmp_path):
    tree = {"a": {"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float16)}, "b": np.zeros(4)}
    content = packed(tmp_path / "whole", tree).read_bytes()
    draw, outcomes = random.Random(0), set()
    for _ in range(2000):
        damaged = bytearray(content)
        for _ in range(draw.choice((1, 1, 3))):
            end = 60 if draw.random() < 0.5 else len(damaged)
            damaged[draw.randrange(end)] = draw.randrange(256)
        (tmp_path / "x").write_bytes(damaged)
        try:
            flaxfile.read(tmp_path / "x")
            outcomes.add(True)
        except InputError:
            outcomes.add(False)
    assert outcomes == {True, False}
