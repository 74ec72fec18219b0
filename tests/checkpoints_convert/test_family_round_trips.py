"""Every family in every format: out and back bit for bit or refused by name; and what a file is packed in is nothing.

Small models stand for the sizes that timm has names of.
"""

import dataclasses
import functools
import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from support import checkpoints
from support.family_models import MODELS, WORDS

import checkpoints_convert
from checkpoints_convert import dialects, open_clip, open_clip_config, timm_encoders
from clipjax.errors import InputError
from clipjax.models import weights
from clipjax.models.inputs import CLIP_BPE, Pixels, Tokens

GOLDEN = Path(__file__).parents[1] / "golden" / "families"
TIMM = {
    "siglip": "siglip", "siglip_rest": "siglip", "pe_core": "pe-core", "pe_core_g": "pe-core-g", "eva01": "eva01",
    "eva02": "eva02", "eva02_e": "eva02-e", "mobileclip_b": "mobileclip-b", "mobileclip_l": "mobileclip-l",
}  # fmt: skip
# As open_clip's configurations have them, and as Hugging Face's.
TOKENS = {
    "siglip": Tokens("file", "canonicalize", 1, None, None, None),
    "siglip_rest": Tokens("file", "canonicalize", 1, None, None, None),
    "clipa": Tokens("file", "whitespace", 0, None, (102, 0), None),
    "metaclip2": Tokens("file", "whitespace", 1, None, None, None),
}
HUGGING_FACE = {
    "siglip": Tokens("file", "remove_punctuation", 1, None, None, None),
    "metaclip2": Tokens("file", "none", 1, None, None, None),
}
HALF = Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash", "bicubic", 0)
# What a format has no words for, by the words of the refusal. clipjax's own has words for all.
REFUSED = {
    "openai": dict.fromkeys(MODELS, r"OpenAI has no place for|OpenAI's format cannot express this model"),
    "huggingface": dict.fromkeys(MODELS.keys() - HUGGING_FACE.keys(), r"this format has no words for (image|text)\."),
    "open_clip": {"mobileclip_b": r"no place for visual\.stem\.0", "coca": r"no place for visual\.attn_pool\.query"},
}


@pytest.fixture(autouse=True)
def small_names(monkeypatch):
    """timm's names and the hub's tokenizers, of the sizes here."""
    for name, family in TIMM.items():
        image = MODELS[name].image
        sizes = (image.image_size, image.patch_size, image.width, image.layers, image.heads, image.mlp)
        named = timm_encoders.Named(family, *sizes, image.activation, image.eps)
        monkeypatch.setitem(timm_encoders.TIMM, f"small_{name}", named)
        assert timm_encoders.image_encoder(f"small_{name}") == image
    for (clean, pad, _), hub in list(open_clip_config._NAMES.items()):
        monkeypatch.setitem(open_clip_config._NAMES, (clean, pad, WORDS), hub)


def described(name, to):
    """The configuration of a family as the format's own files say it."""
    tokens = (HUGGING_FACE if to == "huggingface" else TOKENS).get(name, CLIP_BPE)
    config = dataclasses.replace(MODELS[name], tokens=tokens)
    return dataclasses.replace(config, pixels=HALF) if name.startswith("siglip") else config


def same(found, start):
    assert found.flat.keys() == start.flat.keys()
    for name, array in start.flat.items():
        assert found.flat[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found.flat[name], array, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(ml_dtypes.bfloat16, marks=pytest.mark.exhaustive)], ids=str)
@pytest.mark.parametrize("to", checkpoints_convert.FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_out_and_back_is_bit_identical_or_refused_by_name(tmp_path, name, to, dtype):
    start = checkpoints.random_weights(described(name, to), dtype)
    for key in start.flat:
        if name.startswith("eva") and key.startswith("visual.") and key.endswith("in_proj_bias"):
            start.flat[key][64:128] = 0  # EVA has no bias of k
    target = tmp_path / {"clipjax": "m.safetensors", "openai": "m.pt"}.get(to, "folder")
    if words := REFUSED.get(to, {}).get(name):
        with pytest.raises(InputError, match=words):
            checkpoints_convert.write(target, start, to)
        assert list(tmp_path.iterdir()) == []
        return
    checkpoints_convert.write(target, start, to)
    found = checkpoints_convert.read(target).weights
    assert found.config == start.config
    same(found, start)


@pytest.mark.parametrize("name", ["eva01", "eva02"])
def test_a_bias_of_k_that_is_not_nothing_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"no place for visual\.transformer\.resblocks\.0\.attn\.in_proj_bias"):
        checkpoints_convert.write(tmp_path / "x", checkpoints.random_weights(described(name, "open_clip")), "open_clip")


@functools.cache
def peers_tensors(name):
    """The family's tensors under open_clip's names, float16."""
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return {k.removeprefix("state/"): v for k, v in stored.items() if k.startswith("state/")}


def halves(folder, tensors):
    checkpoints.sharded(folder, tensors, "safetensors", checkpoints.save_safetensors)
    for path in list(folder.iterdir()):
        if path.name.startswith("model"):
            path.rename(folder / path.name.replace("model", "open_clip_model", 1))
    index = folder / "open_clip_model.safetensors.index.json"
    index.write_text(index.read_text().replace('"model-', '"open_clip_model-'))
    return folder


CONTAINERS = {
    "safetensors": lambda folder, t: checkpoints.save_safetensors(folder / open_clip.WEIGHT_FILES[0], t),
    "bin": lambda folder, t: checkpoints.torch_file(folder / open_clip.WEIGHT_FILES[2], t),
    "trainer": lambda folder, t: checkpoints.torch_file(
        folder / "epoch_3.pt", {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in t.items()}, "name": "x"}),
    "other order": lambda folder, t: checkpoints.torch_file(
        folder / "epoch_3.pt", {k: t[k] for k in sorted(t, reverse=True)}),
    "shards": halves,
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_what_a_file_is_packed_in_changes_nothing(tmp_path, name):
    tensors, start = peers_tensors(name), None
    for container, pack in CONTAINERS.items():
        folder = tmp_path / container
        folder.mkdir()
        checkpoints.open_clip_folder(folder, described(name, "open_clip"))
        found = checkpoints_convert.read(pack(folder, tensors)).weights
        start = start or found
        assert found.config == start.config == described(name, "open_clip")
        same(found, start)
    assert dialects.of(tensors).format == "open_clip"
    floats = {str(a.dtype) for k, a in start.flat.items()}
    assert floats <= {"float16", "float32", "float64"}
    weights.save(tmp_path / "m.safetensors", start)
    same(checkpoints_convert.read(tmp_path / "m.safetensors").weights, start)


@pytest.mark.parametrize("name", MODELS)
def test_a_tensor_too_many_or_too_few_is_named(tmp_path, name):
    tensors = dict(peers_tensors(name))
    checkpoints.open_clip_folder(tmp_path, described(name, "open_clip"))
    lost = "text.ln_final.bias"
    del tensors[lost]
    with pytest.raises(InputError, match=re.escape("ln_final.bias")):
        checkpoints_convert.read(CONTAINERS["safetensors"](tmp_path, tensors))
    more = CONTAINERS["safetensors"](tmp_path, peers_tensors(name) | {"visual.extra": np.ones(3, np.float32)})
    with pytest.raises(InputError, match=r"visual\.extra"):
        checkpoints_convert.read(more)


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_clips_tokenizer_in_another_family_is_refused(tmp_path, name):
    """Hugging Face's class would cut texts into the ids of its own tokenizer."""
    config = dataclasses.replace(described(name, "huggingface"), tokens=CLIP_BPE)
    with pytest.raises(InputError, match=r"Hugging Face has no words for this model \(tokens\."):
        checkpoints_convert.write(tmp_path / "x", checkpoints.random_weights(config), "huggingface")


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_texts_that_the_other_library_would_clean_otherwise_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"Hugging Face has no words for this model \(tokens\.clean: "):
        checkpoints_convert.write(
            tmp_path / "x", checkpoints.random_weights(described(name, "open_clip")), "huggingface"
        )
    with pytest.raises(InputError, match=r"open_clip has no tokenizer that cleans and pads like this one"):
        checkpoints_convert.write(
            tmp_path / "x", checkpoints.random_weights(described(name, "huggingface")), "open_clip"
        )
    assert list(tmp_path.iterdir()) == []
