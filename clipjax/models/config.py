"""What a CLIP model is, as frozen data. Numerical choices have no defaults: each file or catalog row states them."""

from __future__ import annotations

import dataclasses
from typing import Any, TypedDict

from clipjax import stored
from clipjax.errors import InputError, brief
from clipjax.models import kinds
from clipjax.models.kinds.base import ImageEncoderConfig, TextEncoderConfig, check_sizes, is_finite

TOKENIZERS = ("clip-bpe",)


@dataclasses.dataclass(frozen=True)
class CLIP:
    """A whole model: two encoders, the joint embedding [E], and how pixels and texts are prepared for it."""

    embed_dim: int
    image: ImageEncoderConfig
    text: TextEncoderConfig
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    tokenizer: str

    def __post_init__(self):
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or len(values) != 3 or not all(map(is_finite, values)):
                raise InputError(f"{name} is {brief(values)}: three numbers (R, G, B)")
            object.__setattr__(self, name, tuple(values))
        if min(self.std) <= 0:
            raise InputError(f"std is {self.std}: positive in every channel")
        check_sizes(self, "joint embedding")
        if self.tokenizer not in TOKENIZERS:
            raise InputError(f"unknown tokenizer {brief(self.tokenizer)!r}; clipjax has {', '.join(TOKENIZERS)}")


def to_dict(config: CLIP) -> dict[str, Any]:
    """The configuration as plain JSON types; an encoder carries its `kind`, except OpenAI's text transformer."""
    encoders = {"image": kinds.stored_form(config.image), "text": kinds.stored_form(config.text)}
    return {field.name: encoders.get(field.name, getattr(config, field.name)) for field in dataclasses.fields(config)}


class _Parts(TypedDict, total=False):
    image: dict[str, Any]
    text: dict[str, Any]


def from_dict(data: dict[str, Any]) -> CLIP:
    """Reads `to_dict`'s form. An unknown or missing field is refused by name, never guessed."""
    stored.check(data, _Parts, "the configuration")
    image, text = kinds.image_encoder(data.get("image", {})), kinds.text_encoder(data.get("text", {}))
    return kinds.build(CLIP, data | {"image": image, "text": text})


def differences(a: CLIP, b: CLIP) -> list[str]:
    """Fields in which two configurations differ, as `image.heads: 12 != 16`."""
    flat_a, flat_b = _flat(to_dict(a)), _flat(to_dict(b))
    return [
        f"{k}: {flat_a.get(k)} != {flat_b.get(k)}"
        for k in sorted(flat_a.keys() | flat_b.keys())
        if flat_a.get(k) != flat_b.get(k)
    ]


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for k, v in data.items():
        out |= _flat(v, f"{prefix}{k}.") if isinstance(v, dict) else {prefix + k: v}
    return out
