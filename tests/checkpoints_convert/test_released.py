"""PE-Core and EVA-CLIP in their own files: the releases' names, and the configuration that their sizes say."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import checkpoints_convert
from checkpoints_convert import Options, dialects, open_clip_config, released, rules
from checkpoints_convert.dialects import eva, openai
from clipjax.errors import InputError
from clipjax.models.shapes import shapes

GOLDEN = Path(__file__).parents[1] / "golden" / "families"
# timm's name -> the release's
EVA = {"trunk.": "", "attn.norm.": "attn.inner_attn_ln.", "q_proj.bias": "q_bias", "v_proj.bias": "v_bias",
       "mlp.fc1_g": "mlp.w1", "mlp.fc1_x": "mlp.w2", "mlp.norm": "mlp.ffn_ln"}  # fmt: skip
PE = {"trunk.": "", "patch_embed.proj": "conv1", "cls_token": "class_embedding", "pos_embed": "positional_embedding",
      "norm_pre": "ln_pre", "visual.blocks.": "visual.transformer.resblocks.", "norm1": "ln_1", "norm2": "ln_2",
      "attn.proj": "attn.out_proj",
      "attn.qkv.weight": "attn.in_proj_weight", "attn.qkv.bias": "attn.in_proj_bias", "mlp.fc1": "mlp.c_fc",
      "mlp.fc2": "mlp.c_proj", "text.": ""}  # fmt: skip


def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as stored:
        state = {k.removeprefix("state/"): v for k, v in stored.items() if k.startswith("state/")}
    return state, rules.to_native(dialects.of(state), state, name)[0]


def renamed(state, names):
    for old, new in names.items():
        state = {k.replace(old, new): v for k, v in state.items()}
    return state


@pytest.mark.parametrize(("name", "dialect", "more"), [
    ("eva02", eva.EVA02, {"mlp.fc2": "mlp.w3"}), ("eva02_e", eva.EVA, {}), ("eva01", eva.EVA, {}),
])  # fmt: skip
def test_evas_own_names_give_the_same_parameters(name, dialect, more):
    state, want = golden(name)
    theirs = renamed(state, EVA | more) | {"visual.rope.freqs_cos": np.zeros(1, np.float32)}
    assert dialects.of(theirs) is dialect
    flat, unknown = rules.to_native(dialect, theirs, name)
    assert not unknown
    assert flat.keys() == want.keys()
    for key, array in want.items():
        np.testing.assert_array_equal(flat[key], array, err_msg=key)


def test_pe_cores_own_names_give_the_same_parameters():
    state, want = golden("pe_core")
    theirs = renamed(state, PE)
    pool = {k: theirs.pop(k) for k in list(theirs) if "attn_pool" in k}
    for part in ("weight", "bias"):
        q, kv = (pool.pop(f"visual.attn_pool.{p}.{part}") for p in ("q", "kv"))
        theirs[f"visual.attn_pool.attn.in_proj_{part}"] = np.concatenate([q, kv])
    names = {"latent": "probe", "pool.proj": "pool.attn.out_proj", "pool.norm": "pool.layernorm"}
    theirs |= renamed(pool, names) | {"visual.attn_pool.probe": pool["visual.attn_pool.latent"]}
    theirs["visual.class_embedding"] = theirs["visual.class_embedding"][0, 0]
    theirs["visual.positional_embedding"] = theirs["visual.positional_embedding"][0]
    theirs["visual.proj"] = theirs.pop("visual.head.weight").T
    del theirs["visual.head.bias"]
    theirs = {k.replace("visual.norm.", "visual.ln_post."): v for k, v in theirs.items()}
    assert dialects.of(theirs) is openai.PE_CORE
    flat, unknown = rules.to_native(openai.PE_CORE, theirs, "pe")
    assert not unknown
    assert flat.keys() == want.keys() - {"visual.proj_bias"}
    for key, array in flat.items():
        np.testing.assert_array_equal(want[key], array, err_msg=key)


def test_all_sizes_together_are_one_releases():
    all_of_them = [shapes(config) for _, config in released.configurations()]
    assert all(a != b for i, a in enumerate(all_of_them) for b in all_of_them[:i])
    for name, config in released.configurations():
        flat = {k: np.broadcast_to(np.float16(0), shape) for k, shape in shapes(config).items()}
        assert released.find(flat) == (name, config)
        flat["visual.positional_embedding"] = flat["visual.positional_embedding"][:-1]  # of another image size
        assert released.find(flat) is None


def test_other_sizes_of_these_names_are_refused(tmp_path):
    state, _ = golden("eva01")
    save_file({k: np.ascontiguousarray(v) for k, v in renamed(state, EVA).items()}, tmp_path / "eva.safetensors")
    with pytest.raises(InputError):
        checkpoints_convert.read(tmp_path / "eva.safetensors", Options(activation="gelu", heads=4, text_heads=3))


@pytest.mark.parametrize("name", released.RELEASED)
def test_open_clip_says_the_same_of_them(name):
    """Its configuration of the same model, but for the projection's bias, which timm adds to PE-Core."""
    config = dict(released.configurations())[name]
    image = dataclasses.replace(config.image, proj="bias")
    config = dataclasses.replace(config, image=image)
    assert open_clip_config.read(open_clip_config.config_json(config), name, None) == config
