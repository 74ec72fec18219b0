"""timm: the config.json with which its `create_model("local-dir:FOLDER", pretrained=True)` reads an image encoder.

timm reads OpenAI's tensor names, so an open_clip folder needs only this file beside its own. It has no reader for
the names of Hugging Face's CLIPModel, and builds no ResNet but OpenAI's five.
"""

from __future__ import annotations

import math
from typing import Any

from checkpoints_convert.encoders import is_openai
from clipjax.models import catalog
from clipjax.models.config import CLIP
from clipjax.models.kinds.resnet import ResNet
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT

CONFIG_FILE = "config.json"
_CROPS = {"shortest": "center", "squash": "squash", "longest": "border"}  # how timm makes a square
_RESNETS = {"RN50": "resnet50_clip", "RN101": "resnet101_clip", "RN50x4": "resnet50x4_clip",
            "RN50x16": "resnet50x16_clip", "RN50x64": "resnet50x64_clip"}  # fmt: skip


def config_json(config: CLIP) -> dict[str, Any] | None:
    """config.json for the image encoder; None where timm cannot build it from a name and numbers."""
    image, embed_dim = config.image, config.embed_dim
    if not is_openai(config) or not isinstance(image, ViT | ResNet) or image.eps != 1e-5:
        return None
    size = [3, image.image_size, image.image_size]
    pretrained: dict[str, Any] = {
        "custom_load": False, "input_size": size, "fixed_input_size": True, "num_classes": embed_dim,
        "interpolation": config.pixels.interpolation, "crop_pct": 1.0, "crop_mode": _CROPS[config.pixels.resize],
        "mean": list(config.pixels.mean), "std": list(config.pixels.std),
    }  # fmt: skip
    if isinstance(image, ResNet):
        # blocks of another number or width cannot be said in JSON: the name stands for them
        name = next(
            (r.name for r in catalog.RELEASES if (r.config.image, r.config.embed_dim) == (image, embed_dim)), None
        )
        if name is None:
            return None
        grid = image.image_size // 32
        pretrained |= {"pool_size": [grid, grid], "first_conv": "stem.conv1.conv", "classifier": "head.proj"}
        return {"architecture": _RESNETS[name], "num_classes": embed_dim, "num_features": embed_dim,
                "pretrained_cfg": pretrained}  # fmt: skip
    pretrained |= {"pool_size": None, "first_conv": "patch_embed.proj", "classifier": "head"}
    # The name gives LayerNorm before the blocks, its eps and the activation; model_args give every size.
    quick = "quickgelu_" if image.activation == "quick_gelu" else ""
    return {
        "architecture": f"vit_base_patch32_clip_{quick}224",
        "num_classes": embed_dim,
        "num_features": image.width,
        "global_pool": "token",
        "model_args": {
            "img_size": image.image_size, "patch_size": image.patch_size, "embed_dim": image.width,
            "depth": image.layers, "num_heads": image.heads, "mlp_ratio": mlp_ratio(image),
            "num_classes": embed_dim,
        },
        "pretrained_cfg": pretrained,
    }  # fmt: skip


def mlp_ratio(encoder: ViT | Text) -> float:
    """The ratio from which open_clip and timm, who round down, compute this encoder's mlp width."""
    ratio = encoder.mlp / encoder.width
    while int(encoder.width * ratio) < encoder.mlp:  # a quotient that was itself rounded down
        ratio = math.nextafter(ratio, math.inf)
    return ratio
