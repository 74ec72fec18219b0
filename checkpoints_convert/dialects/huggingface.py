"""Names of Hugging Face's CLIPModel, MetaClip2Model and SiglipModel."""

from __future__ import annotations

from checkpoints_convert.dialects.openai import pairs, scalars
from checkpoints_convert.rules import CONV, LINEAR, ONE, ONE_NUMBER, SAME, Dialect, Rule

_IGNORED = {
    "vision_model.embeddings.position_ids": "0, 1, 2, ...: derived",
    "text_model.embeddings.position_ids": "as above",
}


def _block(ours: str, theirs: str) -> tuple[Rule, ...]:
    o, t = ours + "transformer.resblocks.{n}.", theirs + "encoder.layers.{n}."
    qkv = [f"{t}self_attn.{p}_proj." for p in "qkv"]
    return (
        Rule(o + "attn.in_proj_weight", tuple(p + "weight" for p in qkv), LINEAR),
        Rule(o + "attn.in_proj_bias", tuple(p + "bias" for p in qkv), SAME),
        *pairs(SAME, o + "ln_1", t + "layer_norm1"),
        *pairs(SAME, o + "ln_2", t + "layer_norm2"),
        *pairs(LINEAR, o + "attn.out_proj", t + "self_attn.out_proj"),
        *pairs(LINEAR, o + "mlp.c_fc", t + "mlp.fc1"),
        *pairs(LINEAR, o + "mlp.c_proj", t + "mlp.fc2"),
    )


_BOTH = (
    Rule("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight", SAME),
    Rule("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight", CONV),
    *_block("visual.", "vision_model."),
    *pairs(SAME, "visual.ln_post", "vision_model.post_layernorm"),
    Rule("token_embedding.weight", "text_model.embeddings.token_embedding.weight", SAME),
    Rule("positional_embedding", "text_model.embeddings.position_embedding.weight", SAME),
    *_block("", "text_model."),
    *pairs(SAME, "ln_final", "text_model.final_layer_norm"),
)
CLIP = Dialect(
    "Hugging Face", "huggingface",
    (
        *_BOTH, *scalars(),
        Rule("visual.class_embedding", "vision_model.embeddings.class_embedding", SAME),
        *pairs(SAME, "visual.ln_pre", "vision_model.pre_layrnorm"),  # the typing error is theirs
        Rule("visual.proj", "visual_projection.weight", LINEAR),
        Rule("text_projection", "text_projection.weight", LINEAR),
    ),
    _IGNORED, ("vision_model.",),
)  # fmt: skip
_POOL, _HEAD = "visual.attn_pool.", "vision_model.head."
SIGLIP = Dialect(
    "Hugging Face's SigLIP", "huggingface",
    (
        *_BOTH, *scalars(ONE_NUMBER),
        Rule("visual.conv1.bias", "vision_model.embeddings.patch_embedding.bias", SAME),
        Rule(_POOL + "probe", _HEAD + "probe", ONE),
        Rule(_POOL + "in_proj_weight", _HEAD + "attention.in_proj_weight", LINEAR),
        Rule(_POOL + "in_proj_bias", _HEAD + "attention.in_proj_bias", SAME),
        *pairs(LINEAR, _POOL + "out_proj", _HEAD + "attention.out_proj"),
        *pairs(SAME, _POOL + "ln", _HEAD + "layernorm"),
        *pairs(LINEAR, _POOL + "mlp.c_fc", _HEAD + "mlp.fc1"),
        *pairs(LINEAR, _POOL + "mlp.c_proj", _HEAD + "mlp.fc2"),
        Rule("text_projection", "text_model.head.weight", LINEAR),
        Rule("text_projection_bias", "text_model.head.bias", SAME),
    ),
    _IGNORED, ("vision_model.", "text_model.head."),
)  # fmt: skip
