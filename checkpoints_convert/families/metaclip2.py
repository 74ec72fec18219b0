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
