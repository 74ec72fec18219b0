"""open_clip_config.json <-> our configuration: what open_clip builds of each attribute, or the reason of a refusal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from checkpoints_convert import timm, timm_encoders
from checkpoints_convert.encoders import openai_encoders
from clipjax.errors import InputError, brief, located
from clipjax.models import catalog, families
from clipjax.models.config import CLIP, differences
from clipjax.models.inputs import CLIP_BPE, INTERPOLATIONS, RESIZES, Pixels, Tokens
from clipjax.models.kinds.resnet import ResNet
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT

Choices = Mapping[str, tuple[Any, ...] | None]  # attribute -> the values that clipjax reads; None: any
EPS = 1e-5  # of every norm for which a configuration gives none

# What open_clip assumes where a configuration is silent (CLIPVisionCfg and CLIPTextCfg). Sizes first; then options:
# what stands here is read, anything else is refused by name.
VISION: dict[str, Any] = {
    "image_size": 224, "layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16,
    "no_ln_pre": False, "pool_type": "tok", "final_ln_after_pool": False, "attentional_pool": False,
    "attn_pooler_heads": 8, "norm_kwargs": None, "act_kwargs": None, "timm_model_name": None, "timm_pool": "avg",
    "timm_proj": "linear",
}  # fmt: skip
TEXT: dict[str, Any] = {
    "context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12, "mlp_ratio": 4.0,
    "no_causal_mask": False, "pool_type": "argmax", "eos_id": 2, "proj_type": "linear", "proj_bias": False,
    "embed_cls": False, "pad_id": 0, "norm_kwargs": None, "act_kwargs": None, "hf_tokenizer_name": None,
    "tokenizer_mode": None, "tokenizer_kwargs": None,
}  # fmt: skip
_BLOCK: dict[str, Any] = {
    "ls_init_value": (None,), "block_type": (None, "default"), "qk_norm": (False,), "scaled_cosine_attn": (False,),
    "scale_heads": (False,), "scale_attn_inner": (False,), "scale_attn": (False,), "scale_fc": (False,),
}  # fmt: skip
_CHOICES: dict[str, Choices] = {
    "vision_cfg": dict.fromkeys(VISION) | {"pool_type": ("tok", "avg"), "attentional_pool": (False, True),
                                           "pos_embed_type": ("learnable",)} | _BLOCK,
    "text_cfg": dict.fromkeys(TEXT) | {"pool_type": ("argmax", "eos", "last"), "proj_type": ("linear", "none"),
                                       "final_ln_after_pool": (False,), "hf_model_name": (None,),
                                       "tokenizer_mode": (None, "clips")} | _BLOCK,
    "preprocess_cfg": {"mode": ("RGB",), "interpolation": INTERPOLATIONS, "resize_mode": RESIZES, "fill_color": None,
                       "mean": None, "std": None, "size": None},
    # `custom_text` is about names alone, and a scale's first value is replaced by the file's.
    "model_cfg": dict.fromkeys(("embed_dim", "vision_cfg", "text_cfg", "custom_text", "init_logit_scale",
                                "init_logit_bias", "cast_dtype", "quick_gelu", "nonscalar_logit_scale",
                                "multimodal_cfg")),
}  # fmt: skip
# Training-time, or meaningful only beside an option that is refused above.
_INERT = frozenset(
    """patch_dropout attn_pooler_queries output_tokens timm_model_pretrained timm_proj_bias timm_drop timm_drop_path
    hf_model_pretrained hf_proj_type hf_pooler_type""".split()
)
MEANINGS = {
    "timm_model_name": "an image encoder of timm that clipjax does not build",
    "hf_model_name": "a text encoder of Hugging Face",
    "hf_tokenizer_name": "a tokenizer whose padding clipjax does not know",
    "tokenizer_kwargs": "texts are cleaned in a way that clipjax does not know",
    "multimodal_cfg": "a text decoder without CoCa's encoders",
}
# Tokenizers by name: the id that pads, and BERT's [SEP]. open_clip takes them from the tokenizer's own files.
_PADS = {"SigLIP2": 0, "SigLIP": 1, "bert-base-uncased": 0, "xlm-v-base": 1}
_NAMES = {
    ("canonicalize", 1, 32_000): "timm/ViT-B-16-SigLIP", ("canonicalize", 1, 250_000): "timm/ViT-B-16-SigLIP-i18n-256",
    ("canonicalize", 0, 256_000): "timm/ViT-B-16-SigLIP2", ("whitespace", 0, 32_000): "bert-base-uncased",
    ("whitespace", 1, 901_629): "facebook/xlm-v-base",
}  # fmt: skip
_SEP = 102
_CLIPS = (1, 2, 101)  # start, end and class of OpenVision's texts


def read(data: Mapping[str, Any], where: str, tokenizer_sha256: str | None) -> CLIP:
    """The configuration of an open_clip_config.json; what clipjax does not build is refused with every reason.

    tokenizer_sha256: of the `tokenizer.json` beside it, for models whose tokenizer is not CLIP's.
    """
    model, preprocess = data["model_cfg"], data.get("preprocess_cfg") or {}
    vision, text = model["vision_cfg"], model["text_cfg"]
    v, t = VISION | vision, TEXT | text
    tokens = _tokens(t, tokenizer_sha256)
    reasons = [
        *_reasons("model_cfg", model), *_reasons("vision_cfg", vision), *_reasons("text_cfg", text),
        *_reasons("preprocess_cfg", preprocess),
        *_combinations(model, v, t, tokens),
    ]  # fmt: skip
    size = _square(v["image_size"])
    if _square(preprocess.get("size", size)) != size:
        reasons.append(f"preprocess_cfg.size {brief(preprocess['size'])} is not the model's image size {brief(size)}")
    if reasons or tokens is None:
        raise InputError(f"{where}: clipjax does not build this model: {'; '.join(reasons)}")
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    with located(where):
        pixels = Pixels(
            preprocess.get("mean") or catalog.OPENAI_MEAN, preprocess.get("std") or catalog.OPENAI_STD,
            preprocess.get("resize_mode") or "shortest", preprocess.get("interpolation") or "bicubic",
            preprocess.get("fill_color", 0),
        )  # fmt: skip
        bias = model.get("init_logit_bias") is not None
        return CLIP(model["embed_dim"], _image(v, size, activation), _text(t, activation), pixels, tokens, bias)


def _square(size: Any) -> Any:
    """A size that may be [S, S] or [3, S, S]."""
    if isinstance(size, list) and size and size[-1:] == size[-2:-1]:
        return size[-1]
    return size


def _reasons(part: str, given: Mapping[str, Any]) -> Iterator[str]:
    for name, value in given.items():
        allowed = _CHOICES[part].get(name, ())
        if name not in _INERT and allowed is not None and value not in allowed:
            known = "" if name in _CHOICES[part] else ", an attribute that clipjax does not know"
            yield _reason(part, name, value, known)


def _reason(part: str, name: str, value: Any, otherwise: str = "") -> str:
    meaning = f" ({MEANINGS[name]})" if name in MEANINGS else otherwise
    return f"{part}.{brief(name)} = {brief(repr(value))}{meaning}"


def _combinations(
    model: Mapping[str, Any], v: Mapping[str, Any], t: Mapping[str, Any], tokens: Tokens | None
) -> Iterator[str]:
    """What is refused because of other attributes, or of its value."""
    if (name := v["timm_model_name"]) is not None:
        named = timm_encoders.TIMM.get(name)
        if named is None:
            yield _reason("vision_cfg", "timm_model_name", name)
        else:
            for key, value in zip(("timm_pool", "timm_proj"), timm_encoders.POOLS[named.family], strict=True):
                if v[key] != value:
                    yield f"vision_cfg.{key} = {brief(repr(v[key]))} (of {name} clipjax builds {value!r})"
            if _square(v["image_size"]) != named.image_size:
                yield f"vision_cfg.image_size = {brief(v['image_size'])} (open_clip runs {name} at {named.image_size})"
    for part, encoder in (("vision_cfg", v), ("text_cfg", t)):
        if not 0 < encoder["mlp_ratio"] < 1000:
            yield f"{part}.mlp_ratio is {encoder['mlp_ratio']}: a number between 0 and 1000"
        if encoder["norm_kwargs"] and encoder["norm_kwargs"].keys() != {"eps"}:
            yield _reason(part, "norm_kwargs", encoder["norm_kwargs"])
        if encoder["act_kwargs"] not in (None, {}, {"approximate": "tanh"}) or (
            encoder["act_kwargs"] and model.get("quick_gelu")
        ):
            yield _reason(part, "act_kwargs", encoder["act_kwargs"])
    if t["embed_cls"] and t["pad_id"] != 0:
        yield _reason("text_cfg", "pad_id", t["pad_id"])
    if model.get("multimodal_cfg") and not (v["attentional_pool"] is True and t["embed_cls"]):
        yield _reason("model_cfg", "multimodal_cfg", "...")
    if tokens is None:
        yield from (_reason("text_cfg", k, t[k]) for k in ("hf_tokenizer_name", "tokenizer_kwargs") if t[k])
    elif tokens == CLIP_BPE and type(t["vocab_size"]) is int and t["vocab_size"] > catalog.WORDS:
        yield f"text_cfg.vocab_size {t['vocab_size']} is not that of CLIP's tokenizer, {catalog.WORDS}"


def _activation(encoder: Mapping[str, Any], plain: str) -> str:
    return "gelu_tanh" if encoder["act_kwargs"] else plain


def _eps(encoder: Mapping[str, Any]) -> float:
    return (encoder["norm_kwargs"] or {"eps": EPS})["eps"]


def _image(v: Mapping[str, Any], image_size: int, activation: str) -> ViT | ResNet:
    if v["timm_model_name"] is not None:
        return timm_encoders.image_encoder(v["timm_model_name"])
    if v["head_width"] < 1:
        raise InputError(f"head_width is {v['head_width']}: a positive number")
    if isinstance(v["layers"], (list, tuple)):
        return ResNet(image_size, v["width"], tuple(v["layers"]), v["width"] * 32 // v["head_width"], EPS)
    encoder = families.image(
        "openai", image_size, v["patch_size"], v["width"], v["layers"], v["width"] // v["head_width"],
        int(v["width"] * v["mlp_ratio"]), _activation(v, activation), _eps(v),
    )  # fmt: skip
    fields: dict[str, Any] = {"ln_pre": not v["no_ln_pre"]}
    if v["attentional_pool"]:
        fields |= {"pool": "query", "pool_heads": v["attn_pooler_heads"], "final_norm": "after"}
    elif v["pool_type"] == "avg":
        fields |= {"pool": "mean", "final_norm": "after" if v["final_ln_after_pool"] else "before"}
    return dataclasses.replace(encoder, **fields)


def _text(t: Mapping[str, Any], activation: str) -> Text:
    encoder = families.text(
        "openai", t["context_length"], t["vocab_size"], t["width"], t["layers"], t["heads"],
        int(t["width"] * t["mlp_ratio"]), _activation(t, activation), _eps(t),
    )  # fmt: skip
    pool = "class" if t["embed_cls"] else t["pool_type"]
    proj = "none" if t["proj_type"] == "none" else "bias" if t["proj_bias"] else "linear"
    end = t["eos_id"] if pool == "eos" else None
    return dataclasses.replace(encoder, causal=not t["no_causal_mask"], pool=pool, eos_id=end, proj=proj)


def _tokens(t: Mapping[str, Any], sha256: str | None) -> Tokens | None:
    """How texts become tokens; None where clipjax does not know."""
    name, given = t["hf_tokenizer_name"], dict(t["tokenizer_kwargs"] or {})
    if name is None:
        return CLIP_BPE if not given and t["tokenizer_mode"] is None else None
    pad = next((pad for part, pad in _PADS.items() if part in name), None)
    clean, strip_sep = given.pop("clean", "whitespace"), given.pop("strip_sep_token", False)
    if pad is None or given or clean not in ("whitespace", "canonicalize") or type(strip_sep) is not bool:
        return None
    relabel = (_SEP, 0) if strip_sep else None
    return Tokens("file", clean, pad, sha256, relabel, _CLIPS if t["tokenizer_mode"] == "clips" else None)


# --- and back


def config_json(config: CLIP) -> dict[str, Any]:
    """open_clip_config.json for our configuration, or InputError where open_clip has no word for it."""
    image, text = config.image, config.text
    if not isinstance(image, ViT | ResNet) or not isinstance(text, Text):
        openai_encoders(config)  # says which kind it is
        raise AssertionError(config)
    name = timm_encoders.name_of(image)
    activations = {text.activation} | ({image.activation} if isinstance(image, ViT) and not name else set())
    if isinstance(image, ResNet) and image.eps != EPS:
        raise InputError(f"open_clip's ResNets have eps {EPS}, not {image.eps}; use --to=clipjax")
    if len({activation for activation in activations if activation != "gelu_tanh"}) > 1:
        raise InputError("open_clip has one activation for both encoders; use --to=clipjax or --to=huggingface")
    model: dict[str, Any] = {
        "embed_dim": config.embed_dim,
        "quick_gelu": "quick_gelu" in activations,
        "vision_cfg": _image_written(image, name),
        "text_cfg": _text_written(text) | _tokens_written(config),
    }
    if name:
        model["custom_text"] = True
    if config.logit_bias:
        model["init_logit_bias"] = -10
    pixels = config.pixels
    fill = {"fill_color": pixels.fill} if pixels.fill else {}
    data = {
        "model_cfg": model,
        "preprocess_cfg": {"size": image.image_size, "mode": "RGB", "mean": list(pixels.mean), "std": list(pixels.std),
                           "interpolation": pixels.interpolation, "resize_mode": pixels.resize, **fill},
    }  # fmt: skip
    if lost := differences(config, read(data, "open_clip_config.json", config.tokens.file_sha256)):
        raise InputError(f"open_clip has no words for this model ({'; '.join(lost)}); use --to=clipjax")
    return data


def _image_written(image: ViT | ResNet, name: str | None) -> dict[str, Any]:
    sizes: dict[str, Any] = {"image_size": image.image_size}
    if name:
        pool, proj = timm_encoders.POOLS[timm_encoders.TIMM[name].family]
        return sizes | {"timm_model_name": name, "timm_model_pretrained": False, "timm_pool": pool, "timm_proj": proj}
    sizes["width"] = image.width
    if isinstance(image, ResNet):
        # head_width = 64 in both dialects; the key is left out of open_clip's own ResNet files, as here when it is 64
        return sizes | {"layers": list(image.layers), "patch_size": None, "head_width": image.width * 32 // image.heads}
    sizes |= {"layers": image.layers, "patch_size": image.patch_size, "head_width": image.width // image.heads}
    options: dict[str, Any] = {} if image.ln_pre else {"no_ln_pre": True}
    if image.pool == "mean":
        options |= {"pool_type": "avg"} | ({"final_ln_after_pool": True} if image.final_norm == "after" else {})
    elif image.pool == "query":
        options |= {"attentional_pool": True, "attn_pooler_heads": image.pool_heads}
    return sizes | {"mlp_ratio": timm.mlp_ratio(image)} | options | _block_written(image)


def _text_written(text: Text) -> dict[str, Any]:
    options: dict[str, Any] = {} if text.causal else {"no_causal_mask": True}
    if text.pool == "class":
        options["embed_cls"] = True
    elif text.pool != "argmax":
        options |= {"pool_type": text.pool} | ({} if text.eos_id is None else {"eos_id": text.eos_id})
    options |= {"linear": {}, "bias": {"proj_bias": True}, "none": {"proj_type": "none"}}[text.proj]
    sizes = {"context_length": text.context_length, "vocab_size": text.vocab_size, "width": text.width,
             "heads": text.heads, "layers": text.layers, "mlp_ratio": timm.mlp_ratio(text)}  # fmt: skip
    return sizes | options | _block_written(text)


def _block_written(encoder: ViT | Text) -> dict[str, Any]:
    out: dict[str, Any] = {} if encoder.eps == EPS else {"norm_kwargs": {"eps": encoder.eps}}
    return out | ({"act_kwargs": {"approximate": "tanh"}} if encoder.activation == "gelu_tanh" else {})


def _tokens_written(config: CLIP) -> dict[str, Any]:
    """The tokenizer by the name of a repository of the same vocabulary's size, cleaning and padding."""
    tokens = config.tokens
    if tokens == CLIP_BPE:
        return {}
    name = _NAMES.get((tokens.clean, tokens.pad_id, config.text.vocab_size))
    if name is None:
        raise InputError(f"open_clip has no tokenizer that cleans and pads like this one ({tokens}); use --to=clipjax")
    given = {} if tokens.clean == "whitespace" else {"clean": tokens.clean}
    given |= {"strip_sep_token": True} if tokens.relabel else {}
    mode = {"tokenizer_mode": "clips"} if tokens.clips else {}
    return {"hf_tokenizer_name": name} | ({"tokenizer_kwargs": given} if given else {}) | mode
