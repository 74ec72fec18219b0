"""CLIPModel: OpenAI's architecture, that of MetaCLIP 1, DFN and LAION's models too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkpoints_convert import vocabulary
from checkpoints_convert.families import shared
from clipjax.errors import brief
from clipjax.models import catalog
from clipjax.models.config import CLIP
from clipjax.models.inputs import CLIP_BPE, Pixels, Tokens

MODEL_TYPE = "clip"
PIXELS = catalog.OPENAI_PIXELS
TEXT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}  # fmt: skip
VISION_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "num_channels": 3, "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
_METACLIP2_WORDS = 901_629


def refused(text: Mapping[str, Any], vision: Mapping[str, Any]) -> list[str]:
    """Beside what holds in every family: texts that are not read at their highest id, another vocabulary."""
    reasons = list(shared.refused(text, vision))
    # 2 is transformers' old default: it then reads the highest id, as OpenAI does. The last id is the same rule.
    if text["eos_token_id"] not in (2, catalog.WORDS - 1) and text["eos_token_id"] != text["vocab_size"] - 1:
        reasons.append(
            f"eos_token_id {brief(text['eos_token_id'])} is not the highest of {brief(text['vocab_size'])} ids; "
            "clipjax reads a text at its highest id"
        )
    if text["vocab_size"] == _METACLIP2_WORDS:
        reasons.append(
            "vocab_size 901629 is MetaCLIP 2's, whose texts CLIPModel reads at their highest id and the model was "
            "trained to be read at the first 2: take a folder of model_type metaclip_2"
        )
    elif type(text["vocab_size"]) is int and text["vocab_size"] > catalog.WORDS:
        reasons.append(f"vocab_size {text['vocab_size']} is not that of CLIP's tokenizer, {catalog.WORDS}")
    return reasons


def tokens(folder: Path, text: Mapping[str, Any]) -> Tokens | list[str]:
    """CLIP's own, which the folder's files must not contradict."""
    return vocabulary.differences(folder) or CLIP_BPE


def build(
    data: Mapping[str, Any], text: Mapping[str, Any], vision: Mapping[str, Any], pixels: Pixels, tokens: Tokens
) -> CLIP:
    """The configuration."""
    image, texts = shared.encoders("openai", "openai", text, vision)
    return CLIP(data.get("projection_dim", 512), image, texts, pixels, tokens, False)


def written(config: CLIP) -> dict[str, Any]:
    """What config.json says beside sizes. Reading at the highest id is what eos_token_id = vocab_size - 1 means."""
    words = config.text.vocab_size
    return {
        "model": {"architectures": ["CLIPModel"], "model_type": MODEL_TYPE, "projection_dim": config.embed_dim},
        "both": {"projection_dim": config.embed_dim},
        "text_config": {"model_type": "clip_text_model", "bos_token_id": words - 2, "eos_token_id": words - 1},
        "vision_config": {"model_type": "clip_vision_model"},
    }
