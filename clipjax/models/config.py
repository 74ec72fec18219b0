"""What a CLIP model is, as frozen data. Numerical choices have no defaults: each file or catalog row states them.

The stored form has two versions. The first, which has no `version`, can say models as OpenAI's and no others: what it
leaves out is `OPENAI_RESIZE`, `CLIP_BPE` and each kind's `implied`. What it can say is stored in it, so that the files,
manifests and caches of these models stay what they were.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, TypedDict

from clipjax import stored
from clipjax.errors import InputError, brief
from clipjax.models import kinds
from clipjax.models.inputs import CLIP_BPE, OPENAI_RESIZE, Pixels, Tokens
from clipjax.models.kinds.base import EncoderConfig, ImageEncoderConfig, TextEncoderConfig, build, check_sizes

VERSION = 2


@dataclasses.dataclass(frozen=True)
class CLIP:
    """A whole model: two encoders, the joint embedding [E], and how pixels and texts are prepared for it.

    logit_bias: whether a learned number is added to the scaled cosines, as in models trained with a sigmoid loss.
    """

    embed_dim: int
    image: ImageEncoderConfig
    text: TextEncoderConfig
    pixels: Pixels
    tokens: Tokens
    logit_bias: bool

    def __post_init__(self):
        check_sizes(self, "joint embedding")
        for encoder in (self.image, self.text):
            encoder.check_embedding(self.embed_dim)
        if type(self.logit_bias) is not bool:
            raise InputError(f"logit_bias is {brief(self.logit_bias)}: true or false")


def to_dict(config: CLIP) -> dict[str, Any]:
    """The configuration as plain JSON types; an encoder carries its `kind`, except OpenAI's text transformer."""
    encoders = {"image": kinds.stored_form(config.image), "text": kinds.stored_form(config.text)}
    if (first := _version_1(config, encoders)) is not None:
        return first
    inputs = {"pixels": dataclasses.asdict(config.pixels), "tokens": dataclasses.asdict(config.tokens)}
    return {"version": VERSION, "embed_dim": config.embed_dim, **encoders, **inputs, "logit_bias": config.logit_bias}


def _version_1(config: CLIP, encoders: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The first version's form; None for a model that it has no words for."""
    implied = {"image": config.image.implied, "text": config.text.implied}
    pixels = dataclasses.asdict(config.pixels)
    said = [(encoders[which], dict(implied[which])) for which in encoders] + [(pixels, OPENAI_RESIZE)]
    if config.logit_bias or config.tokens != CLIP_BPE or any(data | same != data for data, same in said):
        return None
    short = {which: {k: v for k, v in encoders[which].items() if k not in implied[which]} for which in encoders}
    own = {"mean": config.pixels.mean, "std": config.pixels.std, "tokenizer": config.tokens.kind}
    return {"embed_dim": config.embed_dim, **short, **own}


class _Parts(TypedDict, total=False):
    image: dict[str, Any]
    text: dict[str, Any]
    pixels: dict[str, Any]
    tokens: dict[str, Any]


def from_dict(data: dict[str, Any]) -> CLIP:
    """Reads `to_dict`'s form. An unknown or missing field is refused by name, never guessed."""
    stored.check(data, _Parts, "the configuration")
    encoders = data.get("image", {}), data.get("text", {})
    if "version" not in data:
        return _of_version_1(data, *encoders)
    if data["version"] != VERSION:
        raise InputError(f"its configuration has version {brief(data['version'])}; this clipjax reads {VERSION} and 1")
    fields = {name: value for name, value in data.items() if name != "version"}
    fields |= {"image": kinds.image_encoder(encoders[0]), "text": kinds.text_encoder(encoders[1])}
    fields |= {"pixels": build(Pixels, data.get("pixels", {})), "tokens": build(Tokens, data.get("tokens", {}))}
    return build(CLIP, fields)


@dataclasses.dataclass(frozen=True)
class _First:
    """The first version's fields."""

    embed_dim: int
    image: ImageEncoderConfig
    text: TextEncoderConfig
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    tokenizer: str


def _of_version_1(data: dict[str, Any], image: dict[str, Any], text: dict[str, Any]) -> CLIP:
    encoders = {"image": kinds.image_encoder(image, first=True), "text": kinds.text_encoder(text, first=True)}
    said = build(_First, data | encoders, "CLIP")
    if said.tokenizer != CLIP_BPE.kind:
        raise InputError(f"unknown tokenizer {brief(said.tokenizer)!r}; clipjax has {CLIP_BPE.kind}")
    return CLIP(said.embed_dim, said.image, said.text, Pixels(said.mean, said.std, **OPENAI_RESIZE), CLIP_BPE, False)


def identity(config: CLIP) -> str:
    """sha256 under which caches keep what depends on a configuration.

    Of the first version's form it is that of the `repr` of a dataclass with these fields, which caches were keyed by
    before there was a second: features and the embedded canary of these models are still found.
    """
    said = to_dict(config)
    if "version" in said:
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    parts = {k: _call(getattr(config, k), v) if k in ("image", "text") else repr(v) for k, v in said.items()}
    return hashlib.sha256(f"CLIP({', '.join(f'{k}={v}' for k, v in parts.items())})".encode()).hexdigest()


def _call(encoder: EncoderConfig, fields: dict[str, Any]) -> str:
    return f"{type(encoder).__name__}({', '.join(f'{k}={v!r}' for k, v in fields.items() if k != 'kind')})"


def differences(a: CLIP, b: CLIP) -> list[str]:
    """Fields in which two configurations differ, as `image.heads: 12 != 16`."""
    flat_a, flat_b = _flat(dataclasses.asdict(a)), _flat(dataclasses.asdict(b))
    kind = [] if a.image.kind == b.image.kind else [f"image.kind: {a.image.kind} != {b.image.kind}"]
    return kind + [
        f"{k}: {flat_a.get(k)} != {flat_b.get(k)}"
        for k in sorted(flat_a.keys() | flat_b.keys())
        if flat_a.get(k) != flat_b.get(k)
    ]


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for k, v in data.items():
        out |= _flat(v, f"{prefix}{k}.") if isinstance(v, dict) else {prefix + k: v}
    return out
