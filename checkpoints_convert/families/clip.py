"""CLIP as OpenAI released it, the architecture of MetaCLIP 1, DFN and LAION's models too.

What its tensors are called in each dialect, and what each library's configuration says of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from checkpoints_convert.rules import CONV, LINEAR, SAME, SCALAR, Layout, Rule
from clipjax.errors import InputError, brief, located
from clipjax.models import catalog, families
from clipjax.models.config import CLIP
from clipjax.models.inputs import CLIP_BPE, OPENAI_RESIZE, Pixels
from clipjax.models.kinds.base import ACTIVATIONS
from clipjax.models.kinds.resnet import ResNet
from clipjax.models.kinds.vit import ViT

MODEL_TYPE = "clip"  # of Hugging Face's config.json
EPS = 1e-5  # of every norm for which open_clip's configuration gives none

# --- names of tensors


def _same_names(layout: Layout, *names: str) -> tuple[Rule, ...]:
    return tuple(Rule(name, name, layout) for name in names)


def _block(prefix: str) -> tuple[Rule, ...]:
    b = prefix + "transformer.resblocks.{n}."
    return (
        *_same_names(
            LINEAR,
            b + "attn.in_proj_weight",
            b + "attn.out_proj.weight",
            b + "mlp.c_fc.weight",
            b + "mlp.c_proj.weight",
        ),
        *_same_names(
            SAME, b + "attn.in_proj_bias", b + "attn.out_proj.bias", b + "mlp.c_fc.bias", b + "mlp.c_proj.bias"
        ),
        *_same_names(SAME, b + "ln_1.weight", b + "ln_1.bias", b + "ln_2.weight", b + "ln_2.bias"),
    )


def _batch_norm(name: str) -> tuple[Rule, ...]:
    return _same_names(SAME, *(f"{name}.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")))


def _resnet() -> tuple[Rule, ...]:
    out: list[Rule] = []
    for stem in ("visual.", *(f"visual.layer{stage}.{{n}}." for stage in (1, 2, 3, 4))):
        for i in (1, 2, 3):
            out += _same_names(CONV, f"{stem}conv{i}.weight")
            out += _batch_norm(f"{stem}bn{i}")
        if stem != "visual.":
            out += _same_names(CONV, f"{stem}downsample.0.weight")
            out += _batch_norm(f"{stem}downsample.1")
    pool = "visual.attnpool."
    out += _same_names(SAME, pool + "positional_embedding")
    for p in ("q_proj", "k_proj", "v_proj", "c_proj"):
        out += (*_same_names(LINEAR, f"{pool}{p}.weight"), *_same_names(SAME, f"{pool}{p}.bias"))
    return tuple(out)


_VIT_RULES = (
    *_same_names(SAME, "visual.class_embedding", "visual.positional_embedding", "visual.proj"),
    *_same_names(SAME, "visual.ln_pre.weight", "visual.ln_pre.bias", "visual.ln_post.weight", "visual.ln_post.bias"),
    *_block("visual."),
)
_TEXT_RULES = (
    *_same_names(SAME, "token_embedding.weight", "positional_embedding", "text_projection"),
    *_same_names(SCALAR, "logit_scale"),
    *_same_names(SAME, "ln_final.weight", "ln_final.bias"),
    *_block(""),
)


def _huggingface_block(ours: str, theirs: str) -> tuple[Rule, ...]:
    o, t = ours + "transformer.resblocks.{n}.", theirs + "encoder.layers.{n}."
    qkv = [f"{t}self_attn.{p}_proj." for p in "qkv"]
    pairs = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
             "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}  # fmt: skip
    return (
        Rule(o + "attn.in_proj_weight", tuple(p + "weight" for p in qkv), LINEAR),
        Rule(o + "attn.in_proj_bias", tuple(p + "bias" for p in qkv), SAME),
        *(Rule(f"{o}{a}.weight", f"{t}{b}.weight", SAME if a.startswith("ln") else LINEAR) for a, b in pairs.items()),
        *(Rule(f"{o}{a}.bias", f"{t}{b}.bias", SAME) for a, b in pairs.items()),
    )


def _huggingface_norm(ours: str, theirs: str) -> tuple[Rule, ...]:
    return tuple(Rule(f"{ours}.{leaf}", f"{theirs}.{leaf}", SAME) for leaf in ("weight", "bias"))


# `visual.conv1.weight` is the stem's in a ResNet and the patch embedding in a ViT: the same layout, one rule.
RULES: dict[str, tuple[Rule, ...]] = {
    "openai": (*_resnet(), *_VIT_RULES, *_TEXT_RULES),
    "huggingface": (
        Rule("visual.class_embedding", "vision_model.embeddings.class_embedding", SAME),
        Rule("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight", SAME),
        Rule("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight", CONV),
        *_huggingface_norm("visual.ln_pre", "vision_model.pre_layrnorm"),  # the typing error is theirs
        *_huggingface_block("visual.", "vision_model."),
        *_huggingface_norm("visual.ln_post", "vision_model.post_layernorm"),
        Rule("visual.proj", "visual_projection.weight", LINEAR),
        Rule("token_embedding.weight", "text_model.embeddings.token_embedding.weight", SAME),
        Rule("positional_embedding", "text_model.embeddings.position_embedding.weight", SAME),
        *_huggingface_block("", "text_model."),
        *_huggingface_norm("ln_final", "text_model.final_layer_norm"),
        Rule("text_projection", "text_projection.weight", LINEAR),
        Rule("logit_scale", "logit_scale", SCALAR),
    ),
}

# --- Hugging Face's config.json

# transformers' own for `CLIPTextConfig` and `CLIPVisionConfig`, which its `save_pretrained` leaves out of the file.
TEXT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}  # fmt: skip
VISION_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "num_channels": 3, "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip


def refused_by_huggingface(text: Mapping[str, Any], vision: Mapping[str, Any]) -> list[str]:
    """What of these attributes clipjax does not build, one reason each."""
    reasons = []
    if vision["num_channels"] != 3:
        reasons.append(f"num_channels is {brief(vision['num_channels'])}; clipjax reads colour images (3)")
    reasons += [
        f"{name}.hidden_act {brief(part['hidden_act'])}: clipjax has {', '.join(ACTIVATIONS)}"
        for name, part in (("text_config", text), ("vision_config", vision)) if part["hidden_act"] not in ACTIVATIONS
    ]  # fmt: skip
    # 2 is transformers' old default: it then reads the highest id, as OpenAI does. The last id is the same rule.
    if text["eos_token_id"] not in (2, catalog.WORDS - 1) and text["eos_token_id"] != text["vocab_size"] - 1:
        reasons.append(
            f"eos_token_id {brief(text['eos_token_id'])} is not the highest of {brief(text['vocab_size'])} ids; "
            "clipjax reads a text at its highest id"
        )
    if type(text["vocab_size"]) is int and text["vocab_size"] > catalog.WORDS:
        reasons.append(f"vocab_size {text['vocab_size']} is not that of CLIP's tokenizer, {catalog.WORDS}")
    return reasons


def of_huggingface(embed_dim: int, text: Mapping[str, Any], vision: Mapping[str, Any], pixels: tuple[Any, Any]) -> CLIP:
    """The configuration of attributes that are not refused. InputError where a size cannot be."""
    image = families.image(
        "openai",
        vision["image_size"],
        vision["patch_size"],
        vision["hidden_size"],
        vision["num_hidden_layers"],
        vision["num_attention_heads"],
        vision["intermediate_size"],
        vision["hidden_act"],
        vision["layer_norm_eps"],
    )
    text_encoder = families.text(
        "openai",
        text["max_position_embeddings"],
        text["vocab_size"],
        text["hidden_size"],
        text["num_hidden_layers"],
        text["num_attention_heads"],
        text["intermediate_size"],
        text["hidden_act"],
        text["layer_norm_eps"],
    )
    return CLIP(embed_dim, image, text_encoder, Pixels(*pixels, **OPENAI_RESIZE), CLIP_BPE, False)


# --- open_clip's open_clip_config.json

# What open_clip assumes where a configuration is silent (CLIPVisionCfg and CLIPTextCfg). Read: the first group.
# The second group are options of other architectures: anything but the value here is refused by name.
VISION: dict[str, Any] = {
    "image_size": 224,
    "layers": 12,
    "width": 768,
    "head_width": 64,
    "mlp_ratio": 4.0,
    "patch_size": 16,
}
VISION_FIXED: dict[str, tuple[Any, ...]] = {
    "ls_init_value": (None,), "attentional_pool": (False,), "no_ln_pre": (False,), "pos_embed_type": ("learnable",),
    "final_ln_after_pool": (False,), "pool_type": ("tok",), "act_kwargs": (None, {}), "norm_kwargs": (None, {}),
    "block_type": (None, "default"), "qk_norm": (False,), "scaled_cosine_attn": (False,), "scale_heads": (False,),
    "scale_attn_inner": (False,), "scale_attn": (False,), "scale_fc": (False,), "timm_model_name": (None,),
}  # fmt: skip
TEXT: dict[str, Any] = {
    "context_length": 77,
    "vocab_size": 49408,
    "width": 512,
    "heads": 8,
    "layers": 12,
    "mlp_ratio": 4.0,
}
TEXT_FIXED: dict[str, tuple[Any, ...]] = {
    "hf_tokenizer_name": (None,), "tokenizer_mode": (None,), "tokenizer_kwargs": (None, {}), "ls_init_value": (None,),
    "embed_cls": (False,), "no_causal_mask": (False,), "final_ln_after_pool": (False,), "pool_type": ("argmax",),
    "proj_bias": (False,), "proj_type": ("linear",), "act_kwargs": (None, {}), "norm_kwargs": (None, {}),
    "block_type": (None, "default"), "qk_norm": (False,), "scaled_cosine_attn": (False,), "scale_heads": (False,),
    "scale_attn_inner": (False,), "scale_attn": (False,), "scale_fc": (False,), "hf_model_name": (None,),
}  # fmt: skip
# Training-time, or meaningful only beside an option that is refused above.
_INERT = frozenset(
    """patch_dropout attn_pooler_queries attn_pooler_heads output_tokens timm_model_pretrained timm_pool timm_proj
    timm_proj_bias timm_drop timm_drop_path pad_id eos_id hf_model_pretrained hf_proj_type hf_pooler_type""".split()
)
PREPROCESS_FIXED: dict[str, tuple[Any, ...]] = {
    "mode": ("RGB",), "interpolation": ("bicubic",), "resize_mode": ("shortest",), "fill_color": (0,),
}  # fmt: skip
# `custom_text` is about names alone; a logit bias moves every logit alike.
MODEL_FIXED: dict[str, tuple[Any, ...] | None] = {
    "custom_text": None, "init_logit_scale": None, "init_logit_bias": None, "cast_dtype": None, "quick_gelu": None,
    "nonscalar_logit_scale": None, "multimodal_cfg": (None,),
}  # fmt: skip
MEANINGS = {
    "timm_model_name": "an image encoder of timm",
    "hf_model_name": "a text encoder of Hugging Face",
    "hf_tokenizer_name": "another tokenizer than CLIP's",
    "tokenizer_kwargs": "texts are cleaned in another way",
    "multimodal_cfg": "CoCa's text decoder",
    "resize_mode": "clipjax scales the short side and crops",
    "interpolation": "clipjax resizes bicubic",
}


def has_open_clip(model: Mapping[str, Any]) -> bool:
    """Whether open_clip builds this `model_cfg` of its own encoders, not of timm's or Hugging Face's."""
    return "timm_model_name" not in model["vision_cfg"] and "hf_model_name" not in model["text_cfg"]


def of_open_clip(data: Mapping[str, Any], where: str) -> CLIP:
    """The configuration of an open_clip_config.json; what clipjax does not build is refused with every reason."""
    model, preprocess = dict(data["model_cfg"]), dict(data.get("preprocess_cfg") or {})
    embed_dim, vision, text = model.pop("embed_dim"), dict(model.pop("vision_cfg")), dict(model.pop("text_cfg"))
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    size = preprocess.pop("size", None)
    mean, std = preprocess.pop("mean", catalog.OPENAI_MEAN), preprocess.pop("std", catalog.OPENAI_STD)
    image_eps, text_eps = _eps(vision), _eps(text)
    reasons = [
        *_reasons("model_cfg", model, MODEL_FIXED),
        *_reasons("vision_cfg", {k: v for k, v in vision.items() if k not in VISION}, VISION_FIXED),
        *_reasons("text_cfg", {k: v for k, v in text.items() if k not in TEXT}, TEXT_FIXED),
        *_reasons("preprocess_cfg", preprocess, PREPROCESS_FIXED),
    ]
    v, t = VISION | vision, TEXT | text
    image_size = v["image_size"]
    if isinstance(image_size, list) and len(image_size) == 2 and image_size[0] == image_size[1]:
        image_size = image_size[0]
    if size is not None and size not in (image_size, [image_size, image_size], [3, image_size, image_size]):
        reasons.append(f"preprocess_cfg.size {brief(size)} is not the model's image size {brief(image_size)}")
    if odd := [r for r in (v["mlp_ratio"], t["mlp_ratio"]) if not 0 < r < 1000]:
        reasons.append(f"mlp_ratio is {odd[0]}: a number between 0 and 1000")
    if type(t["vocab_size"]) is int and t["vocab_size"] > catalog.WORDS:
        reasons.append(f"text_cfg.vocab_size {t['vocab_size']} is not that of CLIP's tokenizer, {catalog.WORDS}")
    if reasons:
        raise InputError(f"{where}: clipjax does not build this model: {'; '.join(reasons)}")
    with located(where):
        text_encoder = families.text(
            "openai",
            t["context_length"],
            t["vocab_size"],
            t["width"],
            t["layers"],
            t["heads"],
            int(t["width"] * t["mlp_ratio"]),
            activation,
            text_eps,
        )
        image = _image_encoder(v, image_size, activation, image_eps)
        return CLIP(embed_dim, image, text_encoder, Pixels(mean, std, **OPENAI_RESIZE), CLIP_BPE, False)


def _eps(encoder: dict[str, Any]) -> float:
    """Of its LayerNorms; other arguments of them stay where they are, to be refused."""
    arguments = encoder.get("norm_kwargs")
    if not arguments or arguments.keys() != {"eps"}:
        return EPS
    return encoder.pop("norm_kwargs")["eps"]


def _reasons(part: str, given: Mapping[str, Any], allowed: Mapping[str, tuple[Any, ...] | None]) -> Iterator[str]:
    for name, value in given.items():
        if name in _INERT:
            continue
        choices = allowed.get(name, ())
        if choices is not None and value not in choices:
            known = "" if name in allowed else ", an attribute that clipjax does not know"
            meaning = f" ({MEANINGS[name]})" if name in MEANINGS else known
            yield f"{part}.{brief(name)} = {brief(repr(value))}{meaning}"


def _image_encoder(v: Mapping[str, Any], image_size: int, activation: str, eps: float) -> ViT | ResNet:
    if v["head_width"] < 1:
        raise InputError(f"head_width is {v['head_width']}: a positive number")
    if isinstance(v["layers"], (list, tuple)):
        return ResNet(image_size, v["width"], tuple(v["layers"]), v["width"] * 32 // v["head_width"], 1e-5)
    return families.image(
        "openai",
        image_size,
        v["patch_size"],
        v["width"],
        v["layers"],
        v["width"] // v["head_width"],
        int(v["width"] * v["mlp_ratio"]),
        activation,
        eps,
    )
