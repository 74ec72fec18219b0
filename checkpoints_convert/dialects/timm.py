"""Names of open_clip's models whose image encoder is timm's: `visual.trunk.` and `text.`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from checkpoints_convert.dialects.openai import pairs, scalars, text
from checkpoints_convert.rules import CONV, LINEAR, ONE, SAME, VECTOR, ZEROS, Dialect, Layout, Rule

T, B, O = "visual.trunk.", "visual.trunk.blocks.{n}.", "visual.transformer.resblocks.{n}."
_BN_EPS = 1e-5  # of MobileCLIP's stem
_IGNORED = {
    "text.attn_mask": "the causal mask, derived",
    **{
        f"{T}{name}": "angles of rotary positions, derived"
        for name in ("rope.freqs_cos", "rope.freqs_sin", "rope.bands")
    },
}


def _trunk(*attention: Rule) -> tuple[Rule, ...]:
    """An image encoder; its rows for q, k, v and the first products of the mlp are given."""
    pool = "visual.attn_pool."
    return (
        Rule("visual.conv1.weight", T + "patch_embed.proj.weight", CONV),
        Rule("visual.conv1.bias", T + "patch_embed.proj.bias", SAME),
        Rule("visual.class_embedding", T + "cls_token", VECTOR),
        Rule("visual.positional_embedding", T + "pos_embed", ONE),
        *pairs(SAME, "visual.ln_pre", T + "norm_pre"),
        *pairs(SAME, "visual.ln_post", T + "norm"),
        *pairs(SAME, O + "ln_1", B + "norm1"),
        *pairs(SAME, O + "ln_2", B + "norm2"),
        *attention,
        *pairs(LINEAR, O + "attn.out_proj", B + "attn.proj"),
        *pairs(LINEAR, O + "mlp.c_proj", B + "mlp.fc2"),
        Rule(pool + "probe", T + "attn_pool.latent", ONE),
        Rule(pool + "in_proj_weight", (T + "attn_pool.q.weight", T + "attn_pool.kv.weight"), LINEAR, (1, 2)),
        Rule(pool + "in_proj_bias", (T + "attn_pool.q.bias", T + "attn_pool.kv.bias"), SAME, (1, 2)),
        *pairs(LINEAR, pool + "out_proj", T + "attn_pool.proj"),
        *pairs(SAME, pool + "ln", T + "attn_pool.norm"),
        *pairs(LINEAR, pool + "mlp.c_fc", T + "attn_pool.mlp.fc1"),
        *pairs(LINEAR, pool + "mlp.c_proj", T + "attn_pool.mlp.fc2"),
        Rule("visual.proj", T + "head.weight", LINEAR),
        Rule("visual.proj_bias", T + "head.bias", SAME),
    )


_QKV = Rule(O + "attn.in_proj_weight", B + "attn.qkv.weight", LINEAR)
_PLAIN = (_QKV, Rule(O + "attn.in_proj_bias", B + "attn.qkv.bias", SAME), *pairs(LINEAR, O + "mlp.c_fc", B + "mlp.fc1"))
_EVA = (
    _QKV,
    Rule(O + "attn.in_proj_bias", (B + "attn.q_bias", ZEROS, B + "attn.v_bias"), SAME),
    *pairs(LINEAR, O + "mlp.c_fc", B + "mlp.fc1"),
)
_EVA02 = (
    Rule(O + "attn.in_proj_weight", tuple(f"{B}attn.{p}_proj.weight" for p in "qkv"), LINEAR),
    Rule(O + "attn.in_proj_bias", (B + "attn.q_proj.bias", ZEROS, B + "attn.v_proj.bias"), SAME),
    *pairs(SAME, O + "attn.ln_inner", B + "attn.norm"),
    *pairs(LINEAR, O + "mlp.c_gate", B + "mlp.fc1_g"),
    *pairs(LINEAR, O + "mlp.c_fc", B + "mlp.fc1_x"),
    *pairs(SAME, O + "mlp.ln", B + "mlp.norm"),
)
_TEXT = (*text("text."), Rule("text_projection", "text.text_projection", SAME), *scalars())
_SIGLIP_TEXT = (
    *text("text."),
    Rule("text_projection", "text.text_projection.weight", LINEAR),
    Rule("text_projection_bias", "text.text_projection.bias", SAME),
    *scalars(),
)
# One way: after folding, the BatchNorm cannot be separated from the convolution.
_FOLDED, _FOLDED_CONV = Layout(SAME.to_ours, None), Layout(CONV.to_ours, None, 4)
_STEM = tuple(
    rule for i in range(3) for rule in (
        Rule(f"visual.stem.{i}.weight", f"{T}patch_embed.backbone.{i}.conv.weight", _FOLDED_CONV),
        Rule(f"visual.stem.{i}.bias", f"{T}patch_embed.backbone.{i}.conv.bias", _FOLDED),
    )
)  # fmt: skip


def _folded(theirs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """MobileCLIP-B's stem with each BatchNorm in the weights of the convolution before it.

    Computed in float64 and kept in float32 at least: in float16 the products would be rounded once more than theirs.
    """
    out = {name: array for name, array in theirs.items() if ".bn." not in name}
    for name in [n for n in theirs if n.endswith(".bn.weight")]:
        weight, bias, mean, var = (
            np.asarray(theirs[name.removesuffix("weight") + leaf], np.float64)
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        conv = name.removesuffix("bn.weight") + "conv."
        scale, kernel = weight / np.sqrt(var + _BN_EPS), theirs[conv + "weight"]
        dtype = np.promote_types(kernel.dtype, np.float32)
        out[conv + "weight"] = (np.asarray(kernel, np.float64) * scale[:, None, None, None]).astype(dtype)
        out[conv + "bias"] = (bias - mean * scale).astype(dtype)
    return out


_FORMAT = "open_clip"
EVA02 = Dialect("timm's EVA02", _FORMAT, (*_trunk(*_EVA02), *_TEXT), _IGNORED, (T, ".attn.q_proj.weight"))
EVA = Dialect("timm's EVA", _FORMAT, (*_trunk(*_EVA), *_TEXT), _IGNORED, (T, ".attn.q_bias"))
MOBILECLIP_B = Dialect(
    "timm's MobileCLIP-B", _FORMAT, (*_trunk(*_PLAIN), *_STEM, *_TEXT), _IGNORED, (T + "patch_embed.backbone.0.conv",),
    _folded,
)  # fmt: skip
SIGLIP = Dialect(
    "timm's SigLIP", _FORMAT, (*_trunk(*_PLAIN), *_SIGLIP_TEXT), _IGNORED, (T, "text.text_projection.weight")
)
VIT = Dialect("timm's ViT", _FORMAT, (*_trunk(*_PLAIN), *_TEXT), _IGNORED, (T,))
