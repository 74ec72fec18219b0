"""open_clip: OpenAI's tensor names, and a configuration (open_clip_config.json) that says what shapes cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from checkpoints_convert import openai, timm
from checkpoints_convert.encoders import openai_encoders
from clipjax import stored
from clipjax.errors import InputError, brief
from clipjax.files import write_folder
from clipjax.models import catalog, weights
from clipjax.models import config as configs
from clipjax.models.config import CLIP
from clipjax.models.kinds.resnet import ResNet
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT

CONFIG_FILE = "open_clip_config.json"
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
EPS = 1e-5  # of every norm that a configuration does not speak of

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


class _Encoder(TypedDict, total=False):
    width: stored.Whole
    head_width: stored.Whole
    mlp_ratio: float
    norm_kwargs: dict[str, Any] | None


class _Model(TypedDict):
    embed_dim: stored.Whole
    vision_cfg: _Encoder
    text_cfg: _Encoder


class _File(TypedDict):
    model_cfg: _Model
    preprocess_cfg: NotRequired[dict[str, Any] | None]


# Training-time, or meaningful only beside an option that is refused above.
INERT = frozenset(
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


def read_config(path: Path) -> CLIP:
    """open_clip_config.json -> our configuration; what clipjax does not build is refused with every reason at once."""
    remedy = "this is not an open_clip configuration"
    data = stored.read(path, dict[str, Any], remedy)
    stored.check(data, _File, str(path), remedy)
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
        raise InputError(f"{path}: clipjax does not build this model: {'; '.join(reasons)}")
    try:
        texts = Text(
            t["context_length"], t["vocab_size"], t["width"], t["layers"], t["heads"],
            int(t["width"] * t["mlp_ratio"]), activation, text_eps,
        )  # fmt: skip
        return CLIP(embed_dim, _image_encoder(v, image_size, activation, image_eps), texts, mean, std, "clip-bpe")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _eps(encoder: dict[str, Any]) -> float:
    """Of its LayerNorms; other arguments of them stay where they are, to be refused."""
    arguments = encoder.get("norm_kwargs")
    if not arguments or arguments.keys() != {"eps"}:
        return EPS
    return encoder.pop("norm_kwargs")["eps"]


def _reasons(part: str, found: Mapping[str, Any], allowed: Mapping[str, tuple[Any, ...] | None]) -> Iterator[str]:
    for name, value in found.items():
        if name in INERT:
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
    return ViT(
        image_size, v["patch_size"], v["width"], v["layers"], v["width"] // v["head_width"],
        int(v["width"] * v["mlp_ratio"]), activation, eps,
    )  # fmt: skip


def config_json(config: CLIP) -> dict[str, Any]:
    """open_clip_config.json for our configuration, or InputError where open_clip has no word for it."""
    image, text = openai_encoders(config)
    vision: dict[str, Any] = {"image_size": image.image_size, "width": image.width}
    activations = {text.activation}
    if isinstance(image, ResNet):
        if image.eps != EPS:
            raise InputError(f"open_clip's ResNets have eps {EPS}, not {image.eps}; use --to=clipjax")
        # head_width = 64 in both dialects; the key is left out of open_clip's own ResNet files, as here when it is 64
        vision |= {"layers": list(image.layers), "patch_size": None, "head_width": image.width * 32 // image.heads}
    else:
        vision |= {"layers": image.layers, "patch_size": image.patch_size, "head_width": image.width // image.heads,
                   "mlp_ratio": timm.mlp_ratio(image)} | _norm_kwargs(image)  # fmt: skip
        activations.add(image.activation)
    if len(activations) > 1:
        raise InputError("open_clip has one activation for both encoders; use --to=clipjax or --to=huggingface")
    texts = {"context_length": text.context_length, "vocab_size": text.vocab_size, "width": text.width,
             "heads": text.heads, "layers": text.layers, "mlp_ratio": timm.mlp_ratio(text)}  # fmt: skip
    return {
        "model_cfg": {
            "embed_dim": config.embed_dim,
            "quick_gelu": activations == {"quick_gelu"},
            "vision_cfg": vision,
            "text_cfg": texts | _norm_kwargs(text),
        },
        "preprocess_cfg": {"size": image.image_size, "mode": "RGB", "mean": list(config.mean), "std": list(config.std),
                           "interpolation": "bicubic", "resize_mode": "shortest"},
    }  # fmt: skip


def _norm_kwargs(encoder: ViT | Text) -> dict[str, Any]:
    return {} if encoder.eps == EPS else {"norm_kwargs": {"eps": encoder.eps}}


def write(path: str | Path, flat: Mapping[str, np.ndarray], config: CLIP) -> None:
    """A new folder that open_clip and timm open as "local-dir:FOLDER"; or one bare file where `path` is a .safetensors.

    In the folder the configuration is a file. The bare file carries it in its header, where clipjax finds it again and
    open_clip does not look: there the architecture's name has to be given.
    """
    path = Path(path)
    try:
        described = config_json(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    tensors = openai.to_torch_layout(flat, str(path))
    if path.suffix == ".safetensors":
        metadata = {"format": "pt", "clipjax_config": json.dumps(configs.to_dict(config))}
        weights.save_tensors(path, tensors, metadata)
        return

    def fill(temporary: Path) -> None:
        weights.save_tensors(temporary / WEIGHT_FILES[0], tensors, {"format": "pt"})
        (temporary / CONFIG_FILE).write_text(json.dumps(described, indent=2) + "\n")
        if for_timm := timm.config_json(config):
            (temporary / timm.CONFIG_FILE).write_text(json.dumps(for_timm, indent=2) + "\n")

    write_folder(path, fill)
