"""What a file is decides how it is read; quantised, integer and broken numbers are named with their tensor."""

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from support import checkpoints
from support.checkpoints import VIT, random_weights

import checkpoints_convert
from checkpoints_convert import Options, containers
from clipjax.errors import InputError
from clipjax.models import weights

QUICK = Options(activation="quick_gelu")


def refused(path, options=QUICK):
    with pytest.raises(InputError) as caught:
        checkpoints_convert.read(path, options)
    return str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["token_embedding.weight", "visual.transformer.resblocks.1.mlp.c_fc.weight"])
def test_a_number_that_is_none_is_named_with_its_tensor(tmp_path, dtype, value, name):
    """One among all, in an array as it lies and in a transposed one; and the largest numbers are not taken for it."""
    start = random_weights(VIT, dtype)
    largest = float(ml_dtypes.finfo(dtype).max)
    start.flat[name][3, 5] = dtype(largest)
    tensors = checkpoints.openai_names(start)
    path = checkpoints.torch_file(tmp_path / "m.pt", tensors)
    assert checkpoints_convert.read(path, QUICK).weights.flat[name][3, 5] == dtype(largest)
    start.flat[name][3, 5] = value
    assert f"NaN or infinity in {name};" in refused(
        checkpoints.torch_file(tmp_path / "m.pt", checkpoints.openai_names(start))
    )
    weights.save(tmp_path / "m.safetensors", start)
    assert f"NaN or infinity in {name};" in refused(tmp_path / "m.safetensors", None)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64])
def test_integer_weights_are_named(tmp_path, dtype):
    tensors = checkpoints.openai_names(random_weights(VIT))
    tensors["text_projection"] = tensors["text_projection"].astype(dtype)
    for path in (
        checkpoints.torch_file(tmp_path / "m.pt", tensors),
        checkpoints.save_safetensors(tmp_path / "m.bin", tensors),
    ):
        message = refused(path)
        assert f"text_projection is {np.dtype(dtype)}: quantised or integer weights are not read" in message
        assert "float16, bfloat16 or float32" in message


def test_float8_is_named(tmp_path):
    tensors = checkpoints.openai_names(random_weights(VIT))
    tensors["text_projection"] = tensors["text_projection"].astype(ml_dtypes.float8_e4m3fn)
    safetensors.numpy.save_file(tensors, tmp_path / "m.safetensors")
    assert "tensor text_projection has the type F8_E4M3" in refused(tmp_path / "m.safetensors")


def test_nothing_is_written_that_does_not_fit(tmp_path):
    start = random_weights(VIT)
    start.flat["ln_final.weight"] = start.flat["ln_final.weight"][:3]
    for to in checkpoints_convert.FORMATS:
        name = {"openai": "m.pt", "huggingface": "f"}.get(to, "m.safetensors")
        with pytest.raises(InputError, match=r"ln_final\.weight \(3,\) instead of \(64,\)"):
            checkpoints_convert.write(tmp_path / name, start, to)
    start = random_weights(VIT)
    start.flat["ln_final.weight"] = np.ones(64, np.int32)
    with pytest.raises(InputError, match=r"ln_final\.weight is int32"):
        checkpoints_convert.write(tmp_path / "m.pt", start, "openai")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("transformer.resblocks.0.attn.lora_A",), "LoRA adapters: merge them first"),
        (("positional_embedding_res",), "Long-CLIP"),
        (("text_decoder.ln_final.weight", "visual.attn_pool.probe"), "attention pooling; CoCa"),
    ],
)
def test_other_models_are_recognised_by_their_tensors(tmp_path, names, kind):
    tensors = checkpoints.openai_names(random_weights(VIT)) | dict.fromkeys(names, np.ones(3, np.float32))
    message = refused(checkpoints.torch_file(tmp_path / "m.pt", tensors))
    assert f"its tensors are not those of its configuration: with {', '.join(names)}" in message
    assert f"({kind})" in message


@pytest.mark.parametrize(("content", "words"), [(b"\x89HDF\r\n\x1a\n", "HDF5 file"), (b"GGUF\3\0", "GGUF file")])
def test_other_libraries_files_are_named(tmp_path, content, words):
    (tmp_path / "m.bin").write_bytes(content)
    assert f"is a {words}, which is not read" in refused(tmp_path / "m.bin")


def test_native_files_are_known_by_their_header(tmp_path):
    weights.save(tmp_path / "m.bin", random_weights(VIT))
    assert containers.is_native(tmp_path / "m.bin")
    assert checkpoints_convert.read(tmp_path / "m.bin").weights.config == VIT
    checkpoints.save_safetensors(tmp_path / "m.safetensors", checkpoints.openai_names(random_weights(VIT)))
    assert not containers.is_native(tmp_path / "m.safetensors")
    assert not containers.is_native(tmp_path)
