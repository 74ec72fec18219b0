"""SigLIP's own .npz: a tensor per block or all blocks in one, the same parameters and configuration."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.family_models import MODELS

import checkpoints_convert
from checkpoints_convert import big_vision, dialects, rules
from clipjax.errors import InputError
from clipjax.models.inputs import Tokens

GOLDEN = Path(__file__).parents[1] / "golden" / "families"
HEADS = {"img": 4, "txt": 3}


@pytest.fixture(scope="module")
def want():
    with np.load(GOLDEN / "siglip.npz") as stored:
        state = {k.removeprefix("state/"): v for k, v in stored.items() if k.startswith("state/")}
    return rules.to_native(dialects.of(state), state, "siglip")[0]


def theirs(flat):
    """The release's names and layouts, spelled out apart from the rules."""
    out = {}

    def attention(part, side, weight, bias, out_weight, out_bias):
        h, d = HEADS[side], len(weight)
        for name, w, b in zip(("query", "key", "value"), np.split(weight, 3, -1), np.split(bias, 3), strict=True):
            out[f"{part}/MultiHeadDotProductAttention_0/{name}/kernel"] = w.reshape(d, h, d // h)
            out[f"{part}/MultiHeadDotProductAttention_0/{name}/bias"] = b.reshape(h, d // h)
        out[f"{part}/MultiHeadDotProductAttention_0/out/kernel"] = out_weight.reshape(h, d // h, d)
        out[f"{part}/MultiHeadDotProductAttention_0/out/bias"] = out_bias

    def pairs(ours, name, weight):
        out[f"{name}/{weight}"], out[f"{name}/bias"] = flat[f"{ours}.weight"], flat[f"{ours}.bias"]

    for side, ours, stack in (("img", "visual.", "img/Transformer"), ("txt", "", "txt/Encoder_0")):
        for n in (0, 1):
            block, part = f"{ours}transformer.resblocks.{n}.", f"{stack}/encoderblock_{n}"
            pairs(block + "ln_1", part + "/LayerNorm_0", "scale")
            pairs(block + "ln_2", part + "/LayerNorm_1", "scale")
            pairs(block + "mlp.c_fc", part + "/MlpBlock_0/Dense_0", "kernel")
            pairs(block + "mlp.c_proj", part + "/MlpBlock_0/Dense_1", "kernel")
            a = block + "attn."
            attention(part, side, flat[a + "in_proj_weight"], flat[a + "in_proj_bias"], flat[a + "out_proj.weight"],
                      flat[a + "out_proj.bias"])  # fmt: skip
    pairs("visual.ln_post", "img/Transformer/encoder_norm", "scale")
    pairs("ln_final", "txt/Encoder_0/encoder_norm", "scale")
    pairs("visual.conv1", "img/embedding", "kernel")
    p = "visual.attn_pool."
    attention("img/MAPHead_0", "img", flat[p + "in_proj_weight"], flat[p + "in_proj_bias"], flat[p + "out_proj.weight"],
              flat[p + "out_proj.bias"])  # fmt: skip
    pairs(p + "ln", "img/MAPHead_0/LayerNorm_0", "scale")
    pairs(p + "mlp.c_fc", "img/MAPHead_0/MlpBlock_0/Dense_0", "kernel")
    pairs(p + "mlp.c_proj", "img/MAPHead_0/MlpBlock_0/Dense_1", "kernel")
    out["img/MAPHead_0/probe"] = flat[p + "probe"][None]
    out["img/pos_embedding"] = flat["visual.positional_embedding"][None]
    out["txt/pos_embedding"] = flat["positional_embedding"][None]
    out["txt/Embed_0/embedding"] = flat["token_embedding.weight"]
    out["txt/head/kernel"], out["txt/head/bias"] = flat["text_projection"], flat["text_projection_bias"]
    return out | {"t": flat["logit_scale"].reshape(1), "b": flat["logit_bias"].reshape(1)}


def scanned(tensors):
    """All blocks in one tensor."""
    out = {k: v for k, v in tensors.items() if "encoderblock" not in k}
    for name in [k for k in tensors if "encoderblock_0/" in k]:
        both = [tensors[name.replace("encoderblock_0", f"encoderblock_{n}")] for n in (0, 1)]
        out[name.replace("encoderblock_0", "encoderblock")] = np.stack(both)
    return out


@pytest.mark.parametrize("form", ["list", "scan", "params"])
def test_the_releases_file_is_read(tmp_path, want, form):
    tensors = theirs(want)
    tensors = scanned(tensors) if form == "scan" else tensors
    prefix = "params/" if form == "params" else ""
    np.savez(tmp_path / "m.npz", **{prefix + k: v for k, v in tensors.items()})
    read = checkpoints_convert.read(tmp_path / "m.npz")
    tokens = Tokens("file", "lower", 1, None, None, None)
    assert read.weights.config == dataclasses.replace(MODELS["siglip"], pixels=big_vision.PIXELS, tokens=tokens)
    assert "bilinear without antialiasing" in read.notes[0]
    assert read.weights.flat.keys() == want.keys()
    for key, array in want.items():
        np.testing.assert_array_equal(read.weights.flat[key], array, err_msg=key)


def test_what_is_not_whole_or_another_model_is_one_line(tmp_path, want):
    tensors = theirs(want)
    np.savez(tmp_path / "m.npz", **{k: v for k, v in tensors.items() if "MAPHead_0/Multi" not in k})
    with pytest.raises(InputError, match="not SigLIP's weights"):
        checkpoints_convert.read(tmp_path / "m.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="not a CLIP's weights"):
        checkpoints_convert.read(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], object))
    with pytest.raises(InputError, match=r"not a readable \.npz"):
        checkpoints_convert.read(tmp_path / "objects.npz")
    whole = (tmp_path / "m.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError):
        checkpoints_convert.read(tmp_path / "cut.npz")
