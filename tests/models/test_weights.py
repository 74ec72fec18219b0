"""The .safetensors writer and reader: the format's own bytes, nothing half-written, a header that may come late."""

import hashlib
import os

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import checkpoints_convert
from checkpoints_convert import convert, torchfile
from clipjax.errors import InputError
from clipjax.models import catalog, shapes, weights

CONFIG = catalog.openai(32, catalog.vit(32, 8, 64, 2), catalog.text(64, layers=2, context_length=16, vocab_size=96))


def every_dtype():
    rng = np.random.default_rng(0)
    dtypes = {k: v for k, v in weights.DTYPES.items() if v != ml_dtypes.bfloat16}  # its library cannot write that one
    flat = {f"{name} {shape}": (50 * rng.normal(size=shape)).astype(dtype)
            for name, dtype in dtypes.items()
            for shape in ((), (3,), (130, 70), (3, 3, 65, 66), (0, 4), (700, 900))}  # fmt: skip
    flat |= {f"{name} many chunks": np.ascontiguousarray(flat[f"{name} (700, 900)"].T).T for name in dtypes}
    flat |= {f"{name} convolution": flat[f"{name} (3, 3, 65, 66)"].transpose(3, 2, 0, 1) for name in dtypes}
    flat |= {f"{name} turned": np.ascontiguousarray(flat[f"{name} (130, 70)"].T).T for name in dtypes}
    return flat | {"ünïcödé": np.arange(3.0), "big endian": np.arange(5, dtype=">f4")}


@pytest.mark.parametrize("metadata", [{}, {"format": 'p"t\u00e9\n'}])
def test_bytes_are_those_of_the_formats_own_library(tmp_path, metadata):
    """One word of metadata at most: with several, its library writes them in an order that changes from run to run."""
    flat = every_dtype()
    plain = {k: np.array(v, v.dtype.newbyteorder("<"), order="C") for k, v in flat.items()}
    safetensors.numpy.save_file(plain, tmp_path / "theirs", metadata=metadata or None)
    weights.save_tensors(tmp_path / "ours", flat, metadata)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_equal_tensors_and_metadata_give_equal_bytes(tmp_path):
    flat = {"b": np.ones((70, 70), ml_dtypes.bfloat16).T, "a": np.zeros(3, np.float16)}
    metadata = {k: k * 3 for k in "zyxabc"}
    for name in ("one", "two"):
        weights.save_tensors(tmp_path / name, flat, metadata)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with weights.open_tensors(tmp_path / "one") as file:
        assert file.metadata() == metadata
        assert file.keys() == ["a", "b"]
        assert file.get_tensor("b").dtype == ml_dtypes.bfloat16


def test_what_is_read_is_what_was_written_and_stays_after_the_file_is_closed(tmp_path):
    flat = every_dtype()
    weights.save_tensors(tmp_path / "m", flat, {})
    with weights.open_tensors(tmp_path / "m") as file:
        back = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert back.keys() == flat.keys()
    for name, array in flat.items():
        assert back[name].shape == array.shape
        np.testing.assert_array_equal(back[name], array, strict=array.dtype.byteorder != ">")
        assert back[name].size == 0 or not back[name].flags.writeable or array.itemsize * array.size == 0


def test_a_tensor_that_cannot_be_written_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    path.write_text("precious")
    flat = {f"{i}": np.ones((70, 70), np.float32).T for i in range(9)}
    written = []

    def fails(array):
        written.append(array)
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    monkeypatch.setattr(weights, "_chunks", fails)
    with pytest.raises(InputError, match=r"m\.safetensors: cannot be written \(No space left"):
        weights.save_tensors(path, flat, {})
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["m.safetensors"]
    with pytest.raises(InputError, match="tensor c has the type complex64"):
        weights.save_tensors(path, {"c": np.ones(1, np.complex64)}, {})


@pytest.mark.parametrize("stem", ["m", "a name of quite another length"])
def test_translating_gives_the_bytes_of_reading_and_writing(tmp_path, stem, monkeypatch):
    """Also where the digest says that the file is a release, whose name is longer than the file's."""
    rng = np.random.default_rng(1)
    flat = {k: rng.normal(size=s).astype(np.float16) for k, s in shapes.shapes(CONFIG).items()}
    source = tmp_path / f"{stem}.pt"
    checkpoints_convert.write(source, weights.Weights(flat, CONFIG, "x", {}), "openai")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    for known in (False, True):
        if known:
            release = catalog.Release("ViT-B/32", CONFIG, "x.pt", digest, (), 0, 0.0)
            monkeypatch.setattr(catalog, "RELEASES", (release,))
        read = checkpoints_convert.read(source)
        checkpoints_convert.write(tmp_path / "apart.safetensors", read.weights, "clipjax")
        made = checkpoints_convert.translate(source, tmp_path / "together.safetensors")
        assert (tmp_path / "apart.safetensors").read_bytes() == (tmp_path / "together.safetensors").read_bytes()
        assert (made.weights.name, made.weights.source, made.notes) == (
            read.weights.name,
            read.weights.source,
            read.notes,
        )
        found = weights.load(tmp_path / "together.safetensors")
        assert found.source["sha256"] == digest
        assert found.name == ("ViT-B/32" if known else stem)


def test_translating_casts_and_writes_every_format(tmp_path):
    flat = {k: np.ones(s, np.float32) for k, s in shapes.shapes(CONFIG).items()}
    weights.save(tmp_path / "m.safetensors", weights.Weights(flat, CONFIG, "m", {"format": "test"}))
    made = checkpoints_convert.translate(tmp_path / "m.safetensors", tmp_path / "m.pt", "openai", "float16")
    assert made.weights.source == {"format": "test"}
    assert {a.dtype for n, a in torchfile.read(tmp_path / "m.pt").tensors.items()} == {np.dtype(np.float16)}


def test_a_source_that_cannot_be_hashed_leaves_nothing(tmp_path, monkeypatch):
    flat = {k: np.ones(s, np.float32) for k, s in shapes.shapes(CONFIG).items()}
    checkpoints_convert.write(tmp_path / "m.pt", weights.Weights(flat, CONFIG, "m", {}), "openai")

    def fails(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(convert, "sha256", fails)
    with pytest.raises(InputError, match="Input/output error"):
        checkpoints_convert.translate(tmp_path / "m.pt", tmp_path / "m.safetensors")
    assert os.listdir(tmp_path) == ["m.pt"]
