"""What a CLIP model is, as frozen data. Numerical choices have no defaults: each file or catalogue row states them."""

from __future__ import annotations

import dataclasses
from typing import Any

from clipjax.errors import InputError

ACTIVATIONS = ("quick_gelu", "gelu")
TOKENIZERS = ("clip-bpe",)


@dataclasses.dataclass(frozen=True)
class ViT:
    """Vision transformer: square patches, a class token, LayerNorm before the first block."""

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp: int
    activation: str
    eps: float

    def __post_init__(self):
        _check_transformer(self, "image")
        if self.image_size % self.patch_size:
            raise InputError(f"image size {self.image_size} is not a multiple of the patch size {self.patch_size}")

    @property
    def tokens(self) -> int:
        """Number of image tokens [N], the class token included."""
        return (self.image_size // self.patch_size) ** 2 + 1


@dataclasses.dataclass(frozen=True)
class ResNet:
    """OpenAI's modified ResNet: three-convolution stem, average pools before strides, attention pooling.

    `width` is the number of channels after the stem; the attention pool works at 32 x width.
    """

    image_size: int
    width: int
    layers: tuple[int, int, int, int]
    heads: int
    eps: float

    def __post_init__(self):
        object.__setattr__(self, "layers", tuple(self.layers))
        if len(self.layers) != 4:
            raise InputError(f"a CLIP ResNet has four stages, not {len(self.layers)}: {self.layers}")
        if self.image_size % 32:
            raise InputError(f"image size {self.image_size} is not a multiple of 32, the stride of a ResNet")
        if (self.width * 32) % self.heads:
            raise InputError(f"{self.heads} heads do not divide the attention pool's width {self.width * 32}")

    @property
    def tokens(self) -> int:
        """Number of tokens [N] in the attention pool, the mean token included."""
        return (self.image_size // 32) ** 2 + 1


@dataclasses.dataclass(frozen=True)
class Text:
    """Causal text transformer, read at the highest token id (OpenAI's end of text)."""

    context_length: int
    vocab_size: int
    width: int
    layers: int
    heads: int
    mlp: int
    activation: str
    eps: float

    def __post_init__(self):
        _check_transformer(self, "text")


@dataclasses.dataclass(frozen=True)
class CLIP:
    """A whole model: two towers, the joint embedding [E], and how pixels and texts are prepared for it."""

    embed_dim: int
    image: ViT | ResNet
    text: Text
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    tokenizer: str

    def __post_init__(self):
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        if self.tokenizer not in TOKENIZERS:
            raise InputError(f"unknown tokenizer {self.tokenizer!r}; clipjax has {', '.join(TOKENIZERS)}")


def _check_transformer(config: ViT | Text, tower: str) -> None:
    if config.activation not in ACTIVATIONS:
        raise InputError(
            f"unknown activation {config.activation!r} in the {tower} tower; clipjax has {', '.join(ACTIVATIONS)}"
        )
    if config.width % config.heads:
        raise InputError(f"{config.heads} heads do not divide the {tower} tower's width {config.width}")


KINDS = {"vit": ViT, "resnet": ResNet}


def to_dict(config: CLIP) -> dict[str, Any]:
    """The configuration as plain JSON types; the image tower carries its `kind`."""
    out = dataclasses.asdict(config)
    kind = next(name for name, cls in KINDS.items() if isinstance(config.image, cls))
    out["image"] = {"kind": kind} | out["image"]
    return out


def from_dict(data: dict[str, Any]) -> CLIP:
    """Reads `to_dict`'s form. An unknown or missing field is refused by name, never guessed."""
    data = dict(data)
    image, text = dict(data.pop("image", {})), data.pop("text", {})
    kind = image.pop("kind", None)
    if kind not in KINDS:
        raise InputError(f"unknown kind of image tower {kind!r}; clipjax has {', '.join(KINDS)}")
    return _build(CLIP, data | {"image": _build(KINDS[kind], image), "text": _build(Text, text)})


def _build(cls, data: dict[str, Any]):
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(data.keys() - known):
        raise InputError(f"unknown attribute of {cls.__name__}: {', '.join(unknown)}")
    if missing := sorted(known - data.keys()):
        raise InputError(f"missing attribute of {cls.__name__}: {', '.join(missing)}")
    return cls(**data)


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
