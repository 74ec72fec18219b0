"""SiglipModel: SigLIP, and SigLIP 2 of a fixed resolution."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from checkpoints_convert.families import shared
from clipjax import stored
from clipjax.errors import brief
from clipjax.models.config import CLIP
from clipjax.models.inputs import Pixels, Tokens

MODEL_TYPE = "siglip"
PIXELS = Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash", "bicubic", 0)
TEXT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 64, "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6, "projection_size": None,
    # The defaults 49407 and 49406 are of no SigLIP's vocabulary, and the model reads neither.
    "eos_token_id": None, "bos_token_id": None,
}  # fmt: skip
VISION_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "num_channels": 3, "image_size": 224, "patch_size": 16, "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6, "vision_use_head": True,
}  # fmt: skip
# Tokenizers: SigLIP 1's removes punctuation and pads with its end of text, SigLIP 2's is Gemma's in lower case.
_FIRST, _SECOND = ("SiglipTokenizer",), ("GemmaTokenizer", "Siglip2Tokenizer")
_GEMMA_WORDS = 256_000


class _Settings(TypedDict, total=False):
    tokenizer_class: str | None


def refused(text: Mapping[str, Any], vision: Mapping[str, Any]) -> list[str]:
    """Beside what holds in every family: an image encoder without its pool."""
    reasons = list(shared.refused(text, vision))
    if vision["vision_use_head"] is not True:
        reasons.append(f"vision_config.vision_use_head is {brief(vision['vision_use_head'])}: the model has no pool")
    size = text["projection_size"]
    if size not in (None, vision["hidden_size"]):
        reasons.append(
            f"text_config.projection_size {brief(size)} is not the image encoder's width {brief(vision['hidden_size'])}"
        )
    return reasons


def tokens(folder: Path, text: Mapping[str, Any]) -> Tokens | list[str]:
    """By the tokenizer's class, or where the folder does not say it by the size of the vocabulary."""
    path, said = folder / "tokenizer_config.json", None
    if path.is_file():
        said = stored.read(path, _Settings).get("tokenizer_class")
    kind = (said or "").removesuffix("Fast")
    if kind not in (*_FIRST, *_SECOND):
        kind = _SECOND[0] if text["vocab_size"] == _GEMMA_WORDS else _FIRST[0]
    clean, pad = ("lower", 0) if kind in _SECOND else ("remove_punctuation", 1)
    return Tokens("file", clean, pad, shared.tokenizer_sha256(folder), None, None)


def build(
    data: Mapping[str, Any], text: Mapping[str, Any], vision: Mapping[str, Any], pixels: Pixels, tokens: Tokens
) -> CLIP:
    """The configuration; the image encoder's width is the embedding's length."""
    image, texts = shared.encoders("siglip", "siglip", text, vision)
    return CLIP(vision["hidden_size"], image, texts, pixels, tokens, True)


def written(config: CLIP) -> dict[str, Any]:
    """What config.json says beside sizes."""
    return {
        "model": {"architectures": ["SiglipModel"], "model_type": MODEL_TYPE},
        "text_config": {"model_type": "siglip_text_model", "projection_size": config.embed_dim,
                        "pad_token_id": config.tokens.pad_id},
        "vision_config": {"model_type": "siglip_vision_model", "vision_use_head": True},
    }  # fmt: skip


def tokenizer_json(config: CLIP) -> dict[str, Any]:
    """tokenizer_config.json: its class says how texts are cleaned; models were trained with padding on the right."""
    first = config.tokens.clean == "remove_punctuation"
    tokens = {"eos_token": "</s>", "pad_token": "</s>"} if first else {"eos_token": "<eos>", "pad_token": "<pad>"}
    return {
        "tokenizer_class": (_FIRST if first else _SECOND)[0],
        "padding_side": "right",
        "unk_token": "<unk>",
    } | tokens
