"""open_clip: OpenAI's tensor names, and a configuration (open_clip_config.json) that says what shapes cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from checkpoints_convert import families, openai, timm
from checkpoints_convert.encoders import openai_encoders
from checkpoints_convert.families.clip import EPS
from checkpoints_convert.options import Options
from clipjax import stored
from clipjax.errors import InputError, located
from clipjax.files import write_folder
from clipjax.models import config as configs
from clipjax.models import weights
from clipjax.models.config import CLIP
from clipjax.models.kinds.resnet import ResNet
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT

CONFIG_FILE = "open_clip_config.json"
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")


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


def read_config(folder: Path, options: Options | None = None) -> tuple[CLIP, tuple[str, ...]]:
    """A folder's open_clip_config.json -> our configuration, and notes; it says all that options could."""
    path, remedy = folder / CONFIG_FILE, "this is not an open_clip configuration"
    data = stored.read(path, dict[str, Any], remedy)
    stored.check(data, _File, str(path), remedy)
    return families.of_open_clip(data["model_cfg"]).of_open_clip(data, str(path)), ()


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
        "preprocess_cfg": {"size": image.image_size, "mode": "RGB", "mean": list(config.pixels.mean),
                           "std": list(config.pixels.std),
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
    with located(path):
        described = config_json(config)
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
