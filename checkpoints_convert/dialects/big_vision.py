"""Names of big_vision's two_towers (SigLIP's and SigLIP 2's own `.npz`): `img/` and `txt/`, in JAX's layouts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from checkpoints_convert.rules import ONE, SAME, SCALAR, Dialect, Layout, Rule

# Heads are an axis of their own: [D, H, K] and [H, K] <-> [D, D] and [D]. One way: ours does not say how many they are.
_INTO = Layout(lambda x: x.reshape(len(x), -1), None, 3)
_BIAS = Layout(lambda x: x.reshape(-1), None, 2)
_OUT = Layout(lambda x: x.reshape(-1, x.shape[-1]), None, 3)
_SCANNED = "encoderblock/"  # all blocks in one tensor, a block per row


def _norm(ours: str, theirs: str) -> tuple[Rule, ...]:
    return Rule(f"{ours}.weight", f"{theirs}/scale", SAME), Rule(f"{ours}.bias", f"{theirs}/bias", SAME)


def _linear(ours: str, theirs: str) -> tuple[Rule, ...]:
    return Rule(f"{ours}.weight", f"{theirs}/kernel", SAME), Rule(f"{ours}.bias", f"{theirs}/bias", SAME)


def _attention(ours: str, theirs: str) -> tuple[Rule, ...]:
    at = f"{theirs}/MultiHeadDotProductAttention_0/"
    return (
        Rule(f"{ours}in_proj_weight", tuple(f"{at}{p}/kernel" for p in ("query", "key", "value")), _INTO),
        Rule(f"{ours}in_proj_bias", tuple(f"{at}{p}/bias" for p in ("query", "key", "value")), _BIAS),
        Rule(f"{ours}out_proj.weight", f"{at}out/kernel", _OUT),
        Rule(f"{ours}out_proj.bias", f"{at}out/bias", SAME),
    )


def _blocks(ours: str, theirs: str) -> tuple[Rule, ...]:
    o, t = ours + "transformer.resblocks.{n}.", theirs + "/encoderblock_{n}"
    return (
        *_norm(o + "ln_1", t + "/LayerNorm_0"),
        *_norm(o + "ln_2", t + "/LayerNorm_1"),
        *_attention(o + "attn.", t),
        *_linear(o + "mlp.c_fc", t + "/MlpBlock_0/Dense_0"),
        *_linear(o + "mlp.c_proj", t + "/MlpBlock_0/Dense_1"),
    )


def unrolled(theirs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without the "params/" around them, and each block's tensors by themselves."""
    out: dict[str, np.ndarray] = {}
    for full, array in theirs.items():
        name = full.removeprefix("params/")
        if _SCANNED in name and array.ndim:
            before, _, after = name.partition(_SCANNED)
            out |= {f"{before}encoderblock_{n}/{after}": row for n, row in enumerate(array)}
        else:
            out[name] = array
    return out


_POOL, _MAP = "visual.attn_pool.", "img/MAPHead_0"
BIG_VISION = Dialect(
    "big_vision", "big_vision",
    (
        *_linear("visual.conv1", "img/embedding"),
        Rule("visual.positional_embedding", "img/pos_embedding", ONE),
        *_blocks("visual.", "img/Transformer"),
        *_norm("visual.ln_post", "img/Transformer/encoder_norm"),
        Rule(_POOL + "probe", _MAP + "/probe", ONE),
        *_attention(_POOL, _MAP),
        *_norm(_POOL + "ln", _MAP + "/LayerNorm_0"),
        *_linear(_POOL + "mlp.c_fc", _MAP + "/MlpBlock_0/Dense_0"),
        *_linear(_POOL + "mlp.c_proj", _MAP + "/MlpBlock_0/Dense_1"),
        Rule("token_embedding.weight", "txt/Embed_0/embedding", SAME),
        Rule("positional_embedding", "txt/pos_embedding", ONE),
        *_blocks("", "txt/Encoder_0"),
        *_norm("ln_final", "txt/Encoder_0/encoder_norm"),
        Rule("text_projection", "txt/head/kernel", SAME),
        Rule("text_projection_bias", "txt/head/bias", SAME),
        Rule("logit_scale", "t", SCALAR),
        Rule("logit_bias", "b", SCALAR),
    ),
    {}, ("img/embedding/kernel", "txt/Embed_0/embedding"),
)  # fmt: skip
