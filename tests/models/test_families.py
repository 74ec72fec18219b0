"""Every family gives what its peer computes, layer by layer; and each choice of a family shows in the numbers.

Golden files: tests/golden/families, made by tests/golden/make_families.py with timm and open_clip themselves.
"""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.amount import EXHAUSTIVE
from support.family_models import MODELS

import checkpoints_convert
from checkpoints_convert import dialects, rules
from clipjax.errors import InputError
from clipjax.models import catalog, clip, shapes, text, vit
from clipjax.models.kinds.vit import Rope

GOLDEN = Path(__file__).parents[1] / "golden" / "families"
# Of the largest value: in float64, timm keeps the angles of rotary positions in float32 buffers; in float32, of the
# features, and as in test_parity.py of a layer, whose rows may be small beside one another.
FLOAT64, ROTATED, FLOAT32, LAYER_FLOAT32 = 1e-12, 1e-7, 2e-6, 1e-5
ACTIVATIONS = {"gelu": ("GELU()", "GELU(approximate='none')"), "gelu_tanh": ("GELUTanh()",), "silu": ("SiLU()",)}


@functools.cache
def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return dict(stored)


@functools.cache
def parameters(name):
    """The peer's state dict, as a conversion reads it."""
    state = {k.removeprefix("state/"): v for k, v in golden(name).items() if k.startswith("state/")}
    state = {k: v.astype(np.float64) if v.dtype == np.float16 else v for k, v in state.items()}
    flat, unknown = rules.to_native(dialects.of(state), state, name)
    shapes.check(MODELS[name], flat, name, unknown)
    return flat


def ours(config, name, dtype, flat=None):
    """{"image/ln_post": ...}: what our encoders compute of the golden inputs."""
    found, stored = {}, golden(name)
    params = clip.unflatten({k: jnp.asarray(v, dtype) for k, v in (flat or parameters(name)).items()})
    with jax.default_matmul_precision("highest"):
        image, texts = {}, {}
        image["features"] = clip.apply_image(config, params, jnp.asarray(stored["pixels"], dtype), image)
        texts["features"] = clip.apply_text(config, params, jnp.asarray(stored["tokens"], jnp.int32), dtype, texts)
    found |= {f"image/{k}": np.asarray(v) for k, v in image.items()}
    return found | {f"text/{k}": np.asarray(v) for k, v in texts.items()}


def errors(found, stored):
    """Largest difference of each layer, of its largest value."""
    out = {}
    for layer, want in stored.items():
        if not layer.startswith(("image/", "text/")):
            continue
        if layer == "image/ln_post" and want.ndim == 3 and found[layer].ndim == 2:
            want = want[:, 0]  # only the row that is read: the class token's, the first query's
        assert found[layer].shape == want.shape, layer
        out[layer] = error(found, {layer: want}, layer)
    return out


def error(found, stored, layer):
    return np.abs(found[layer] - stored[layer]).max() / np.abs(stored[layer]).max()


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_equals_the_peers_in_float64(x64, name):
    config, said = MODELS[name], json.loads(str(golden(name)["said"]))
    assert said["activation"] in ACTIVATIONS[config.image.activation]
    assert (said["eps"], said["text_eps"]) == (config.image.eps, config.text.eps)
    found = errors(ours(config, name, jnp.float64), golden(name))
    assert len(found) >= 7
    bound = {"image": ROTATED if config.image.rope else FLOAT64, "text": FLOAT64}
    assert {k: v for k, v in found.items() if v > bound[k.partition("/")[0]]} == {}


@pytest.mark.parametrize(
    "name",
    [name if name == "eva02" else pytest.param(name, marks=pytest.mark.exhaustive) for name in MODELS],
)
def test_every_layer_equals_the_peers_in_float32(name):
    """By default the one with most kinds of layers; float64 tests the same code to a millionth of these errors."""
    found = errors(ours(MODELS[name], name, jnp.float32), golden(name))
    assert {k: v for k, v in found.items() if v > (FLOAT32 if k.endswith("features") else LAYER_FLOAT32)} == {}


# What can be got wrong without any shape to show it: model, encoder, fields, and the least error of its features.
FAULTS = [
    ("siglip", "image", {"activation": "gelu"}, 1e-5),
    ("siglip", "image", {"activation": "quick_gelu"}, 1e-3),
    ("siglip", "image", {"eps": 1e-5}, 1e-7),
    ("siglip", "text", {"activation": "gelu"}, 1e-6),
    ("siglip", "text", {"causal": True}, 1e-2),
    ("siglip", "text", {"pool": "argmax"}, 1e-2),
    ("siglip", "image", {"pool_heads": 8}, 1e-3),
    ("pe_core", "image", {"pool_heads": 4}, 1e-3),
    ("pe_core", "image", {"rope": Rope(None, 0, "xy", 1e4)}, 1e-3),
    ("pe_core", "image", {"rope": Rope(None, 1, "yx", 1e4)}, 1e-3),
    ("pe_core", "image", {"rope": None}, 1e-3),
    ("eva02", "image", {"rope": Rope(None, 0, "yx", 1e4)}, 1e-3),
    ("eva02", "image", {"rope": Rope(16, 0, "xy", 1e4)}, 1e-3),
    ("eva02", "image", {"rope": None}, 1e-3),
    ("eva02_e", "image", {"norm": "pre"}, 1e-2),
    ("eva01", "image", {"norm": "post"}, 1e-2),
    ("clipa", "image", {"final_norm": "before"}, 1e-2),
    ("clipa", "image", {"activation": "gelu_tanh"}, 1e-6),
    ("clipa", "image", {"pool": "class", "final_norm": "before"}, 1e-2),
    ("coca", "image", {"pool_heads": 4}, 1e-3),
    ("mobileclip_l", "image", {"activation": "quick_gelu"}, 1e-3),
    ("mobileclip_l", "text", {"causal": True}, 1e-2),
    ("metaclip2", "text", {"pool": "argmax", "eos_id": None}, 1e-2),
    ("metaclip2", "text", {"eos_id": 3}, 1e-2),
]


@pytest.mark.parametrize(("name", "encoder", "fields", "least"), FAULTS)
def test_a_wrong_choice_shows(x64, name, encoder, fields, least):
    wrong = dataclasses.replace(getattr(MODELS[name], encoder), **fields)
    config = dataclasses.replace(MODELS[name], **{encoder: wrong})
    assert error(ours(config, name, jnp.float64), golden(name), f"{encoder}/features") > least


def test_no_offset_shows_where_rope_is_relative(x64):
    """Without a class token only differences of positions count: nothing depends on PE-Core G's offset."""
    image = dataclasses.replace(MODELS["pe_core_g"].image, rope=Rope(None, 1, "xy", 1e4))
    config = dataclasses.replace(MODELS["pe_core_g"], image=image)
    assert error(ours(config, "pe_core_g", jnp.float64), golden("pe_core_g"), "image/features") < ROTATED


def test_gate_and_value_are_told_apart(x64):
    flat = {
        k.replace("c_gate", "c_x").replace("c_fc", "c_gate").replace("c_x", "c_fc") if "resblocks" in k else k: v
        for k, v in parameters("eva02").items()
        if k.startswith("visual.")
    }
    swapped = parameters("eva02") | flat
    assert error(ours(MODELS["eva02"], "eva02", jnp.float64, swapped), golden("eva02"), "image/features") > 1e-2


def test_pairs_that_rope_turns_are_neighbours(x64, monkeypatch):
    def halves(x, angles):
        if angles is None:
            return x
        cos, sin = (a[:, None] for a in angles)
        a, b = jnp.split(x, 2, -1)
        return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    monkeypatch.setattr("clipjax.models.layers.rotate", halves)
    assert error(ours(MODELS["pe_core"], "pe_core", jnp.float64), golden("pe_core"), "image/features") > 1e-3


def test_clipas_mean_is_of_the_patches(x64, monkeypatch):
    monkeypatch.setattr(vit.VisionTransformer, "_pooled", lambda self, x, lowering: x.mean(1))
    assert error(ours(MODELS["clipa"], "clipa", jnp.float64), golden("clipa"), "image/features") > 1e-3


def test_cocas_mask_is_the_trained_one(x64, monkeypatch):
    """Not the corrected one, in which the class row sees itself and no padding."""

    def corrected(self, tokens):
        t = self.config.tokens
        words = jnp.concatenate([tokens != text.PAD, jnp.ones((len(tokens), 1), bool)], axis=1)
        return (jnp.tril(jnp.ones((t, t), bool)) & words[:, None]) | jnp.eye(t, dtype=bool)

    monkeypatch.setattr(text.TextTransformer, "_mask", corrected)
    assert error(ours(MODELS["coca"], "coca", jnp.float64), golden("coca"), "text/features") > 1e-3


@pytest.mark.parametrize(("name", "pad"), [("siglip", 0), ("clipa", 1)])
def test_padding_that_is_seen_shows(x64, name, pad):
    stored = golden(name)
    other = np.where(stored["tokens"] == MODELS[name].tokens.pad_id, pad, stored["tokens"])
    left = np.stack([np.roll(row, int((row == MODELS[name].tokens.pad_id).sum())) for row in stored["tokens"]])
    params = clip.unflatten({k: jnp.asarray(v, jnp.float64) for k, v in parameters(name).items()})
    want = stored["text/features"]
    for tokens in (other, left):
        found = clip.apply_text(MODELS[name], params, jnp.asarray(tokens, jnp.int32), jnp.float64)
        assert np.abs(found - want).max() > 1e-2 * np.abs(want).max()


@pytest.mark.parametrize("name", [name for name, config in MODELS.items() if not config.text.can_cut])
def test_texts_that_are_seen_whole_are_never_cut(name):
    config, tokens = MODELS[name], golden(name)["tokens"]
    assert config.text.lengths(tokens).tolist() == [tokens.shape[1]] * len(tokens)
    params = clip.unflatten(parameters(name))
    with pytest.raises(InputError, match=f"texts of 8 tokens; this text encoder reads {tokens.shape[1]}"):
        clip.apply_text(config, params, jnp.asarray(tokens[:, :8], jnp.int32))


@pytest.mark.parametrize("name", [name for name, config in MODELS.items() if config.text.can_cut])
def test_texts_that_are_read_at_their_end_may_be_cut_there(x64, name):
    config, tokens = MODELS[name], golden(name)["tokens"]
    params = clip.unflatten({k: jnp.asarray(v, jnp.float64) for k, v in parameters(name).items()})
    rows = list(zip(tokens, config.text.lengths(tokens), golden(name)["text/features"], strict=True))
    for row, length, want in rows if EXHAUSTIVE else rows[1:2]:  # each length is compiled
        assert EXHAUSTIVE or length < len(row)
        found = clip.apply_text(config, params, jnp.asarray(row[None, :length], jnp.int32), jnp.float64)[0]
        assert np.abs(found - want).max() <= FLOAT64 * np.abs(want).max()


@pytest.mark.parametrize(("name", "pixels", "clean", "words"), [
    ("hf_siglip", ("squash", "bilinear", 0.5), "remove_punctuation", "gelu_tanh"),
    ("hf_metaclip2", ("shortest", "bicubic", catalog.OPENAI_MEAN[0]), "none", "gelu"),
])  # fmt: skip
def test_hugging_faces_folders_are_read_as_it_computes(x64, name, pixels, clean, words):
    read = checkpoints_convert.read(GOLDEN / name).weights
    config, stored = read.config, golden(name)
    assert (config.pixels.resize, config.pixels.interpolation, config.pixels.mean[0]) == pixels
    assert (config.tokens.clean, config.image.activation) == (clean, words)
    params = clip.unflatten({k: jnp.asarray(v, jnp.float64) for k, v in read.flat.items()})
    pixels, tokens = jnp.asarray(stored["pixels"], jnp.float64), jnp.asarray(stored["tokens"], jnp.int32)
    image = jax.jit(lambda params: clip.apply_image(config, params, pixels))(params)
    texts = jax.jit(lambda params: clip.apply_text(config, params, tokens, jnp.float64))(params)
    for found, want in ((image, stored["image_features"]), (texts, stored["text_features"])):
        assert np.abs(found - want).max() <= FLOAT64 * np.abs(want).max()
    found = clip.logits(params, image, texts)  # in float32, bias included
    np.testing.assert_allclose(found, stored["logits"], rtol=0, atol=1e-5 * np.abs(stored["logits"]).max())
