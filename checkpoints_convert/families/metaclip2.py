"""MetaClip2Model: OpenAI's architecture with XLM-V's vocabulary, whose texts are read at the first end of text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkpoints_convert.families import clip, shared
from clipjax.errors import brief
from clipjax.models.config import CLIP
from clipjax.models.inputs import Pixels, Tokens

MODEL_TYPE = "metaclip_2"
PIXELS = clip.PIXELS
TEXT_DEFAULTS = clip.TEXT_DEFAULTS | {"pad_token_id": 1}
VISION_DEFAULTS = clip.VISION_DEFAULTS
_END = 2  # the id at which texts are read


def refused(text: Mapping[str, Any], vision: Mapping[str, Any]) -> list[str]:
    """Beside what holds in every family: an end of text outside the vocabulary, as transformers' own default is."""
    reasons, end = list(shared.refused(text, vision)), text["eos_token_id"]
    if type(end) is not int or end == clip.TEXT_DEFAULTS["eos_token_id"] or not 0 <= end < text["vocab_size"]:
        reasons.append(
            f"text_config.eos_token_id is {brief(end)}; MetaCLIP 2 reads a text at the first 2: say so there"
        )
    return reasons


def tokens(folder: Path, text: Mapping[str, Any]) -> Tokens | list[str]:
    """XLM-V's from its file, of texts as they are."""
    return Tokens("file", "none", text["pad_token_id"], shared.tokenizer_sha256(folder), None, None)


def build(
    data: Mapping[str, Any], text: Mapping[str, Any], vision: Mapping[str, Any], pixels: Pixels, tokens: Tokens
) -> CLIP:
    """The configuration."""
    image, texts = shared.encoders("openai", "metaclip2", text, vision)
    texts = dataclasses.replace(texts, eos_id=text["eos_token_id"])
    return CLIP(data.get("projection_dim", 512), image, texts, pixels, tokens, False)


def written(config: CLIP) -> dict[str, Any]:
    """What config.json says beside sizes."""
    ids = {"bos_token_id": 0, "pad_token_id": config.tokens.pad_id, "eos_token_id": _END}
    return {
        "model": {"architectures": ["MetaClip2Model"], "model_type": MODEL_TYPE, "projection_dim": config.embed_dim},
        "both": {"projection_dim": config.embed_dim},
        "text_config": {"model_type": "metaclip_2_text_model"} | ids,
        "vision_config": {"model_type": "metaclip_2_vision_model"},
    }


def tokenizer_json(config: CLIP) -> dict[str, Any]:
    """tokenizer_config.json beside XLM-V's tokenizer.json."""
    return {"tokenizer_class": "XLMRobertaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
            "unk_token": "<unk>"}  # fmt: skip
