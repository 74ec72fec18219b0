"""The kinds of encoders that other formats have words for: a further kind is refused until its words are added."""

from __future__ import annotations

from clipjax.errors import InputError
from clipjax.models.config import CLIP
from clipjax.models.kinds.resnet import ResNet
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT


def openai_encoders(config: CLIP) -> tuple[ViT | ResNet, Text]:
    """The two encoders, where they are of OpenAI's kinds. Raises InputError for others."""
    image, text = config.image, config.text
    if not isinstance(image, ViT | ResNet) or not isinstance(text, Text):
        kind = text.kind if isinstance(image, ViT | ResNet) else image.kind
        raise InputError(f"only clipjax's own format has the encoder {kind}; use --to=clipjax")
    return image, text
