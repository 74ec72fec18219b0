"""The encoders that other formats have words for: further ones are refused until their words are added."""

from __future__ import annotations

from clipjax.errors import InputError
from clipjax.models.config import CLIP
from clipjax.models.kinds.resnet import ResNet
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT


def openai_encoders(config: CLIP) -> tuple[ViT | ResNet, Text]:
    """The two encoders, where they are of OpenAI's architecture. Raises InputError for others."""
    image, text = config.image, config.text
    if not isinstance(image, ViT | ResNet) or not isinstance(text, Text):
        kind = text.kind if isinstance(image, ViT | ResNet) else image.kind
        raise InputError(f"only clipjax's own format has the encoder {kind}; use --to=clipjax")
    if other := _others(image, text):
        raise InputError(f"this format has no words for {', '.join(other)}; use --to=clipjax or --to=open_clip")
    return image, text


def is_openai(config: CLIP) -> bool:
    """Whether `openai_encoders` gives them."""
    image, text = config.image, config.text
    return isinstance(image, ViT | ResNet) and isinstance(text, Text) and not _others(image, text)


def _others(image: ViT | ResNet, text: Text) -> list[str]:
    """Fields of families that have other values than OpenAI's."""
    both = (("image", image), ("text", text))
    return [f"{which}.{k} = {getattr(e, k)}" for which, e in both for k, v in e.implied.items() if getattr(e, k) != v]
