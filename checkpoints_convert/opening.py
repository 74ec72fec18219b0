"""By which call each peer opens what was written, and what that call changes in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from checkpoints_convert import huggingface, open_clip, openai, timm
from checkpoints_convert.encoders import is_openai, openai_encoders
from clipjax.models import catalog, families
from clipjax.models.config import CLIP
from clipjax.models.kinds.resnet import ResNet
from clipjax.models.weights import Weights

_QUICK = "-quickgelu"
# open_clip's architectures of this kind beside OpenAI's: embedding; image size, patch, width, layers, heads, mlp of the
# image encoder; width, layers, heads of the text encoder. These names mean GELU.
_ARCHITECTURES: dict[str, tuple[int, tuple[int, int, int, int, int, int], tuple[int, int, int]]] = {
    "ViT-S-32": (384, (224, 32, 384, 12, 6, 1536), (384, 12, 6)),
    "ViT-S-32-alt": (256, (224, 32, 384, 12, 6, 1536), (256, 10, 4)),
    "ViT-S-16": (384, (224, 16, 384, 12, 6, 1536), (384, 12, 6)),
    "ViT-S-16-alt": (256, (224, 16, 384, 12, 6, 1536), (256, 10, 4)),
    "ViT-M-32": (512, (224, 32, 512, 12, 8, 2048), (512, 12, 8)),
    "ViT-M-32-alt": (384, (224, 32, 512, 12, 8, 2048), (384, 12, 6)),
    "ViT-M-16": (512, (224, 16, 512, 12, 8, 2048), (512, 12, 8)),
    "ViT-B-32-256": (512, (256, 32, 768, 12, 12, 3072), (512, 12, 8)),
    "ViT-B-32-plus-256": (640, (256, 32, 896, 12, 14, 3584), (640, 12, 10)),
    "ViT-B-16-plus": (640, (224, 16, 896, 12, 14, 3584), (640, 12, 10)),
    "ViT-B-16-plus-240": (640, (240, 16, 896, 12, 14, 3584), (640, 12, 10)),
    "ViT-L-16": (768, (224, 16, 1024, 24, 16, 4096), (768, 12, 12)),
    "ViT-L-16-320": (768, (320, 16, 1024, 24, 16, 4096), (768, 12, 12)),
    "ViT-L-14-280": (768, (280, 14, 1024, 24, 16, 4096), (768, 12, 12)),
    "ViT-H-16": (1024, (224, 16, 1280, 32, 16, 5120), (1024, 24, 16)),
    "ViT-H-14": (1024, (224, 14, 1280, 32, 16, 5120), (1024, 24, 16)),
    "ViT-H-14-378": (1024, (378, 14, 1280, 32, 16, 5120), (1024, 24, 16)),
    "ViT-g-14": (1024, (224, 14, 1408, 40, 16, 6144), (1024, 24, 16)),
    "ViT-bigG-14": (1280, (224, 14, 1664, 48, 16, 8192), (1280, 32, 20)),
    "ViT-e-14": (1280, (224, 14, 1792, 56, 16, 15360), (1280, 36, 20)),
}
# Those of them that open_clip also has with QuickGELU, as it has all nine of OpenAI's.
_ALSO_QUICK = ("ViT-H-14", "ViT-H-14-378", "ViT-bigG-14")


def lines(path: str | Path, written: Weights, to: str) -> list[str]:
    """How each peer opens `path`, which holds `written` as the format `to`.

    "PEER: EXPRESSION" in Python, of names of that peer's package, or "note: TEXT".
    """
    path, config = Path(path), written.config
    if to == "huggingface":
        return list(_huggingface(path, config))
    if to == "openai":
        return [f"clip: load({_quoted(path)})", *_rounding(written.flat)]
    if to == "open_clip":
        return list(_open_clip_file(path, config) if path.suffix == ".safetensors" else _open_clip_folder(path, config))
    return []


def _huggingface(path: Path, config: CLIP) -> Iterator[str]:
    model = huggingface.config_json(config, "float32")["architectures"][0]
    processor = {"CLIPModel": "CLIPProcessor", "SiglipModel": "SiglipImageProcessor"}.get(model, "CLIPImageProcessor")
    yield f"transformers: {model}.from_pretrained({_quoted(path)}), {processor}.from_pretrained({_quoted(path)})"


def open_clip_name(config: CLIP) -> tuple[str, bool] | None:
    """open_clip's name of an architecture, and whether the call must ask for QuickGELU; None without a name."""
    if not is_openai(config):
        return None
    quick = openai_encoders(config)[1].activation == "quick_gelu"
    plain = _without_activation(config)
    for name, known in open_clip_architectures().items():
        if known == plain:
            has_own = name in _ALSO_QUICK or name not in _ARCHITECTURES
            return (name + _QUICK, False) if quick and has_own else (name, quick)
    return None


def open_clip_architectures() -> dict[str, CLIP]:
    """open_clip's names -> configurations with GELU and OpenAI's pixel statistics."""
    named = {r.name.replace("/", "-").replace("@336px", "-336"): r.config for r in catalog.RELEASES}
    for name, (embed_dim, image, (width, layers, heads)) in _ARCHITECTURES.items():
        text = families.text("openai", 77, 49408, width, layers, heads, width * 4, "gelu", 1e-5)
        named[name] = catalog.openai(embed_dim, families.image("openai", *image, "gelu", 1e-5), text)
    return {name: _without_activation(config) for name, config in named.items()}


def _open_clip_folder(path: Path, config: CLIP) -> Iterator[str]:
    folder = _quoted(f"local-dir:{path}")
    yield f"open_clip: create_model_and_transforms({folder}), get_tokenizer({folder})"
    yield from _open_clip_by_name(path / open_clip.WEIGHT_FILES[0], config)
    if timm.config_json(config):
        yield f"timm: create_model({folder}, pretrained=True)"


def _open_clip_file(path: Path, config: CLIP) -> Iterator[str]:
    if open_clip_name(config):
        yield from _open_clip_by_name(path, config)
    else:
        yield "note: open_clip has no name for this architecture and cannot open the file alone; write a folder instead"


def _open_clip_by_name(file: Path, config: CLIP) -> Iterator[str]:
    if not (named := open_clip_name(config)):
        return
    name, needs_quick_gelu = named
    options = ", force_quick_gelu=True" if needs_quick_gelu else ""
    if config.pixels != catalog.OPENAI_PIXELS:
        options += f", image_mean={config.pixels.mean}, image_std={config.pixels.std}"
        if (resize := config.pixels.resize) != "shortest":
            options += f", image_resize_mode={json.dumps(resize)}"
        if (interpolation := config.pixels.interpolation) != "bicubic":
            options += f", image_interpolation={json.dumps(interpolation)}"
    yield f"open_clip: create_model_and_transforms({json.dumps(name)}, pretrained={_quoted(file)}{options})"
    yield f"note: {file.name} opened by a name does not say its activation: only this call gives the model's numbers"


def _quoted(path: str | Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


def _rounding(flat: Mapping[str, np.ndarray]) -> Iterator[str]:
    """What clip.load's float16 changes in weights that are stored in another dtype."""
    count, largest = 0, 0.0
    for name, array in flat.items():
        if openai.is_halved(name) and array.dtype != np.float16:
            exact = np.asarray(array, np.float32)
            change = np.abs(exact.astype(np.float16).astype(np.float32) - exact)
            count += int((change > 0).sum())
            largest = max(largest, float(change.max(initial=0)))
    if count:
        yield (
            f"note: clip.load stores Linear and convolution weights in float16 and rounds {count} values of this file, "
            f"the largest change {largest:.1e}; the other formats keep them"
        )


def _without_activation(config: CLIP) -> CLIP:
    image, text = openai_encoders(config)
    image = image if isinstance(image, ResNet) else dataclasses.replace(image, activation="gelu")
    text = dataclasses.replace(text, activation="gelu")
    return dataclasses.replace(config, image=image, text=text, pixels=catalog.OPENAI_PIXELS)
