"""Names of the EVA-CLIP release: `visual.blocks.` and `text.`."""

from __future__ import annotations

from checkpoints_convert.dialects.openai import pairs, scalars, text
from checkpoints_convert.rules import CONV, LINEAR, ONE, SAME, VECTOR, ZEROS, Dialect, Rule

V, B, O = "visual.", "visual.blocks.{n}.", "visual.transformer.resblocks.{n}."
_ANGLES = "angles of rotary positions, derived"
_IGNORED = {
    "text.attn_mask": "the causal mask, derived",
    **{f"{at}rope.freqs_{f}": _ANGLES for at in (V, B + "attn.") for f in ("cos", "sin")},
}
_BOTH = (
    Rule(V + "conv1.weight", V + "patch_embed.proj.weight", CONV),
    Rule(V + "conv1.bias", V + "patch_embed.proj.bias", SAME),
    Rule(V + "class_embedding", V + "cls_token", VECTOR),
    Rule(V + "positional_embedding", V + "pos_embed", ONE),
    *pairs(SAME, V + "ln_post", V + "norm"),
    Rule(V + "proj", V + "head.weight", LINEAR),
    Rule(V + "proj_bias", V + "head.bias", SAME),
    *pairs(SAME, O + "ln_1", B + "norm1"),
    *pairs(SAME, O + "ln_2", B + "norm2"),
    *pairs(LINEAR, O + "attn.out_proj", B + "attn.proj"),
    Rule(O + "attn.in_proj_bias", (B + "attn.q_bias", ZEROS, B + "attn.v_bias"), SAME),
    *text("text."),
    Rule("text_projection", "text.text_projection", SAME),
    *scalars(),
)
_FUSED = (
    Rule(O + "attn.in_proj_weight", B + "attn.qkv.weight", LINEAR),
    *pairs(LINEAR, O + "mlp.c_fc", B + "mlp.fc1"),
    *pairs(LINEAR, O + "mlp.c_proj", B + "mlp.fc2"),
)
_SPLIT = (
    Rule(O + "attn.in_proj_weight", tuple(f"{B}attn.{p}_proj.weight" for p in "qkv"), LINEAR),
    *pairs(SAME, O + "attn.ln_inner", B + "attn.inner_attn_ln"),
    *pairs(LINEAR, O + "mlp.c_gate", B + "mlp.w1"),
    *pairs(LINEAR, O + "mlp.c_fc", B + "mlp.w2"),
    *pairs(SAME, O + "mlp.ln", B + "mlp.ffn_ln"),
    *pairs(LINEAR, O + "mlp.c_proj", B + "mlp.w3"),
)
_MARK = V + "patch_embed.proj.weight"
EVA02 = Dialect("EVA02-CLIP", "eva", (*_BOTH, *_SPLIT), _IGNORED, (_MARK, ".attn.inner_attn_ln."))
EVA = Dialect("EVA-CLIP", "eva", (*_BOTH, *_FUSED), _IGNORED, (_MARK,))
