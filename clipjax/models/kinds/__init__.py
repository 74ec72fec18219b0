"""Kinds of encoders: one module each, in which a frozen dataclass says everything about the kind but its computation.

A class names itself (`kind`) and lists its parameters, its products and the width of its features; `build` imports
the flax module that computes it. So nothing here imports jax, and files, tables and plans need no list of kinds.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, TypeVar

from clipjax.errors import InputError, brief, some
from clipjax.models.kinds.base import EncoderConfig, ImageEncoderConfig, TextEncoderConfig

Config = TypeVar("Config")
Encoder = TypeVar("Encoder", bound=EncoderConfig)


def image_encoder(data: Mapping[str, Any]) -> ImageEncoderConfig:
    """The configuration of `stored_form`. Raises InputError for an unknown kind, an unknown or a missing field."""
    return _encoder(ImageEncoderConfig, data, None, "image")


def text_encoder(data: Mapping[str, Any]) -> TextEncoderConfig:
    """As `image_encoder`; without a kind it is OpenAI's transformer, the only one when the form was made."""
    return _encoder(TextEncoderConfig, data, "transformer", "text")


def stored_form(encoder: EncoderConfig) -> dict[str, Any]:
    """An encoder's configuration as plain JSON types."""
    kind = {} if encoder.kind == "transformer" else {"kind": encoder.kind}
    return kind | dataclasses.asdict(encoder)


def build(cls: type[Config], data: Mapping[str, Any]) -> Config:
    """A frozen dataclass from exactly its fields; any other is refused by name, never guessed."""
    known = {f.name for f in dataclasses.fields(cls)}  # pyrefly: ignore[bad-argument-type]
    if unknown := sorted(data.keys() - known):
        raise InputError(f"unknown attribute of {cls.__name__}: {some([brief(u) for u in unknown])}")
    if missing := sorted(known - data.keys()):
        raise InputError(f"missing attribute of {cls.__name__}: {', '.join(missing)}")
    return cls(**data)


def _encoder(base: type[Encoder], data: Mapping[str, Any], default: str | None, which: str) -> Encoder:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    known = {cls.kind: cls for cls in base.__subclasses__()}
    fields = dict(data)
    kind = fields.pop("kind", default)
    if not isinstance(kind, str) or kind not in known:
        raise InputError(f"unknown kind of {which} encoder {brief(kind)!r}; clipjax has {', '.join(sorted(known))}")
    return build(known[kind], fields)
