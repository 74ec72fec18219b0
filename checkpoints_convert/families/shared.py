"""What the families' config.json have in common: the sizes of both encoders, activations, and the tokenizer's file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clipjax.errors import InputError, brief
from clipjax.files import sha256
from clipjax.models import families
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT

ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh"}  # their name -> ours


def refused(text: Mapping[str, Any], vision: Mapping[str, Any]) -> Iterator[str]:
    """Reasons that hold in every family."""
    if vision["num_channels"] != 3:
        yield f"num_channels is {brief(vision['num_channels'])}; clipjax reads colour images (3)"
    for name, part in (("text_config", text), ("vision_config", vision)):
        act = part["hidden_act"]
        if not isinstance(act, str) or act not in ACTIVATIONS:
            yield f"{name}.hidden_act {brief(act)}: clipjax has {', '.join(ACTIVATIONS)}"


def encoders(
    image_family: str, text_family: str, text: Mapping[str, Any], vision: Mapping[str, Any]
) -> tuple[ViT, Text]:
    """Both encoders of attributes that are not refused. InputError where a size cannot be."""
    image = families.image(image_family, vision["image_size"], vision["patch_size"], *_sizes(vision))
    return image, families.text(text_family, text["max_position_embeddings"], text["vocab_size"], *_sizes(text))


def _sizes(part: Mapping[str, Any]) -> tuple[int, int, int, int, str, float]:
    return (
        part["hidden_size"], part["num_hidden_layers"], part["num_attention_heads"], part["intermediate_size"],
        ACTIVATIONS[part["hidden_act"]], part["layer_norm_eps"],
    )  # fmt: skip


def sizes_json(encoder: ViT | Text) -> dict[str, Any]:
    """The attributes of config.json that both encoders of every family have."""
    acts = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    if encoder.activation not in acts:
        raise InputError(f"clipjax writes no {encoder.activation} for Hugging Face; use --to=clipjax")
    return {
        "hidden_size": encoder.width, "intermediate_size": encoder.mlp, "num_hidden_layers": encoder.layers,
        "num_attention_heads": encoder.heads, "hidden_act": acts[encoder.activation], "layer_norm_eps": encoder.eps,
    }  # fmt: skip


def tokenizer_sha256(folder: Path) -> str | None:
    """Of the folder's `tokenizer.json`; None where there is none."""
    path = folder / "tokenizer.json"
    return sha256(path) if path.is_file() else None
