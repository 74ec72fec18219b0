"""What a CLIP model is, as frozen data. Numerical choices have no defaults: each file or catalogue row states them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypedDict

from clipjax import stored
from clipjax.errors import InputError, brief, some

ACTIVATIONS = ("quick_gelu", "gelu")
TOKENIZERS = ("clip-bpe",)
LARGEST, DEEPEST = 1 << 20, 1000  # of any size and of any number of layers: what a file claims is worked with


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
        _check_sizes(self, "image")
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
        if not isinstance(self.layers, list | tuple) or len(self.layers) != 4:
            raise InputError(f"a CLIP ResNet has four stages, not {brief(self.layers)}")
        object.__setattr__(self, "layers", tuple(self.layers))
        _check_sizes(self, "image")
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
        _check_sizes(self, "text")
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
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or len(values) != 3 or not all(map(_is_finite, values)):
                raise InputError(f"{name} is {brief(values)}: three numbers (R, G, B)")
            object.__setattr__(self, name, tuple(values))
        if min(self.std) <= 0:
            raise InputError(f"std is {self.std}: positive in every channel")
        _check_sizes(self, "joint")
        if self.tokenizer not in TOKENIZERS:
            raise InputError(f"unknown tokenizer {brief(self.tokenizer)!r}; clipjax has {', '.join(TOKENIZERS)}")


def _check_sizes(config: ViT | ResNet | Text | CLIP, tower: str) -> None:
    """Every whole number is a size and every float an eps: positive, and small enough to work with."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "layers":
            values, most = value if isinstance(value, tuple) else (value,), DEEPEST
        elif field.type == "int":
            values, most = (value,), LARGEST
        elif field.type == "float":
            if not _is_finite(value) or not 0 < value < 1:
                raise InputError(f"{field.name} of the {tower} tower is {brief(value)}: a number between 0 and 1")
            continue
        else:
            continue
        if not all(isinstance(v, int) and not isinstance(v, bool) and 0 < v <= most for v in values):
            raise InputError(f"{field.name} of the {tower} tower is {brief(value)}: a whole number from 1 to {most}")


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _check_transformer(config: ViT | Text, tower: str) -> None:
    if config.activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise InputError(f"unknown activation {brief(config.activation)!r} in the {tower} tower; clipjax has {known}")
    if config.width % config.heads:
        raise InputError(f"{config.heads} heads do not divide the {tower} tower's width {config.width}")


KINDS = {"vit": ViT, "resnet": ResNet}


def to_dict(config: CLIP) -> dict[str, Any]:
    """The configuration as plain JSON types; the image tower carries its `kind`."""
    out = dataclasses.asdict(config)
    kind = next(name for name, cls in KINDS.items() if isinstance(config.image, cls))
    out["image"] = {"kind": kind} | out["image"]
    return out


class _Parts(TypedDict, total=False):
    image: dict[str, Any]
    text: dict[str, Any]


def from_dict(data: dict[str, Any]) -> CLIP:
    """Reads `to_dict`'s form. An unknown or missing field is refused by name, never guessed."""
    stored.check(data, _Parts, "the configuration")
    data = dict(data)
    image, text = dict(data.pop("image", {})), data.pop("text", {})
    kind = image.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"unknown kind of image tower {brief(kind)!r}; clipjax has {', '.join(KINDS)}")
    return _build(CLIP, data | {"image": _build(KINDS[kind], image), "text": _build(Text, text)})


def _build(cls, data: dict[str, Any]):
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(data.keys() - known):
        raise InputError(f"unknown attribute of {cls.__name__}: {some([brief(u) for u in unknown])}")
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
