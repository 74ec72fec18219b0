"""OpenAI's names, which open_clip's own encoders share, and what CLIPA, CoCa and PE-Core's release add to them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from checkpoints_convert.rules import CONV, FIRST, LINEAR, ONE, SAME, SCALAR, Dialect, Layout, Rule


def same_names(layout: Layout, *names: str) -> tuple[Rule, ...]:
    """Rules of tensors that have the same names with us."""
    return tuple(Rule(name, name, layout) for name in names)


def pairs(layout: Layout, ours: str, theirs: str) -> tuple[Rule, ...]:
    """Weight and bias of a norm (SAME) or of a Linear (LINEAR)."""
    return Rule(f"{ours}.weight", f"{theirs}.weight", layout), Rule(f"{ours}.bias", f"{theirs}.bias", SAME)


def text(theirs: str = "") -> tuple[Rule, ...]:
    """A text encoder of open_clip's but its projection, whose names begin with `theirs`."""
    return (
        *(
            Rule(name, theirs + name, SAME)
            for name in ("token_embedding.weight", "positional_embedding", "ln_final.weight", "ln_final.bias")
        ),
        *_block("", theirs),
    )


def scalars(layout: Layout = SCALAR) -> tuple[Rule, ...]:
    """Scale and bias of the logits."""
    return same_names(layout, "logit_scale", "logit_bias")


def _block(ours: str, theirs: str) -> tuple[Rule, ...]:
    b, t = ours + "transformer.resblocks.{n}.", theirs + "transformer.resblocks.{n}."
    return (
        Rule(b + "attn.in_proj_weight", t + "attn.in_proj_weight", LINEAR),
        Rule(b + "attn.in_proj_bias", t + "attn.in_proj_bias", SAME),
        *(rule for name in ("attn.out_proj", "mlp.c_fc", "mlp.c_proj") for rule in pairs(LINEAR, b + name, t + name)),
        *(rule for name in ("ln_1", "ln_2") for rule in pairs(SAME, b + name, t + name)),
    )


def _batch_norm(name: str) -> tuple[Rule, ...]:
    return same_names(SAME, *(f"{name}.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")))


def _resnet() -> tuple[Rule, ...]:
    out: list[Rule] = []
    for stem in ("visual.", *(f"visual.layer{stage}.{{n}}." for stage in (1, 2, 3, 4))):
        for i in (1, 2, 3):
            out += same_names(CONV, f"{stem}conv{i}.weight")
            out += _batch_norm(f"{stem}bn{i}")
        if stem != "visual.":
            out += same_names(CONV, f"{stem}downsample.0.weight")
            out += _batch_norm(f"{stem}downsample.1")
    pool = "visual.attnpool."
    out += same_names(SAME, pool + "positional_embedding")
    for p in ("q_proj", "k_proj", "v_proj", "c_proj"):
        out += pairs(LINEAR, pool + p, pool + p)
    return tuple(out)


# `visual.conv1.weight` is the stem's in a ResNet and the patch embedding in a ViT: the same layout, one rule.
_VIT = (
    *same_names(SAME, "visual.class_embedding", "visual.positional_embedding", "visual.proj"),
    *(rule for name in ("visual.ln_pre", "visual.ln_post") for rule in pairs(SAME, name, name)),
    *_block("visual.", "visual."),
)
_POOL = "visual.attn_pool."
_COCA = (
    Rule(_POOL + "query", _POOL + "query", FIRST),  # the others are for CoCa's text decoder
    *(rule for name in ("ln_q", "ln_k") for rule in pairs(SAME, _POOL + name, _POOL + name)),
    *same_names(LINEAR, *(f"{_POOL}attn.{p}_proj_weight" for p in "qkv")),
    *same_names(SAME, _POOL + "attn.in_proj_bias"),
    *pairs(LINEAR, _POOL + "attn.out_proj", _POOL + "attn.out_proj"),
)


def _contrastive(theirs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """CoCa without its text decoder, which no feature depends on."""
    return {name: array for name, array in theirs.items() if not name.startswith("text_decoder.")}


_PE_CORE = (
    *same_names(ONE, _POOL + "probe"),
    Rule(_POOL + "in_proj_weight", _POOL + "attn.in_proj_weight", LINEAR),
    Rule(_POOL + "in_proj_bias", _POOL + "attn.in_proj_bias", SAME),
    *pairs(LINEAR, _POOL + "out_proj", _POOL + "attn.out_proj"),
    *pairs(SAME, _POOL + "ln", _POOL + "layernorm"),
    *(rule for p in ("mlp.c_fc", "mlp.c_proj") for rule in pairs(LINEAR, _POOL + p, _POOL + p)),
)
_COUNTED = (
    "bn1.", "bn2.", "bn3.",
    *(f"layer{s}.{{n}}.{b}." for s in (1, 2, 3, 4) for b in ("bn1", "bn2", "bn3", "downsample.1")),
)  # fmt: skip
IGNORED = {
    "input_resolution": "a constant of the archive, checked against the shapes (`bare.check_constants`)",
    "context_length": "as above",
    "vocab_size": "as above",
    "attn_mask": "the causal mask, derived",
    "transformer.resblocks.{n}.attn_mask": "the same, where a scripted archive keeps it as an attribute",
    "visual.transformer.resblocks.{n}.attn_mask": "as above",
    **{f"visual.{at}num_batches_tracked": "BatchNorm's step counter: no inference reads it" for at in _COUNTED},
}

OPENAI = Dialect(
    "OpenAI", "openai", (*_resnet(), *_VIT, *text(), *same_names(SAME, "text_projection"), *scalars()), IGNORED
)
PE_CORE = Dialect(
    "Perception Encoder", "perception_encoder",
    (*same_names(CONV, "visual.conv1.weight"), *_VIT, *_PE_CORE, *text(), *same_names(SAME, "text_projection"),
     *scalars()),
    {}, ("visual.attn_pool.probe", "attn_pool.layernorm"),
)  # fmt: skip
# open_clip's encoders where the text encoder is a module of its own (`custom_text`); CoCa's among them.
CUSTOM = Dialect(
    "open_clip", "open_clip",
    (*_resnet(), *_VIT, *_COCA, *text("text."), Rule("text_projection", "text.text_projection", SAME),
     Rule("class_embedding", "text.cls_emb", SAME), *scalars()),
    {**IGNORED, "text.attn_mask": "the causal mask, derived"}, ("text.token_embedding.weight",), _contrastive,
)  # fmt: skip
