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

from clipjax.errors import InputError, brief
from clipjax.models.kinds.base import EncoderConfig, ImageEncoderConfig, TextEncoderConfig, build

Encoder = TypeVar("Encoder", bound=EncoderConfig)


def image_encoder(data: Mapping[str, Any], first: bool = False) -> ImageEncoderConfig:
    """The configuration of `stored_form`. Raises InputError for an unknown kind, an unknown or a missing field.

    first: it is of the form's first version, which leaves the kind's `implied` fields out.
    """
    return _encoder(ImageEncoderConfig, data, None, "image", first)


def text_encoder(data: Mapping[str, Any], first: bool = False) -> TextEncoderConfig:
    """As `image_encoder`; without a kind it is the text transformer, the only one when the form was made."""
    return _encoder(TextEncoderConfig, data, "transformer", "text", first)


def stored_form(encoder: EncoderConfig) -> dict[str, Any]:
    """An encoder's configuration as plain JSON types."""
    kind = {} if encoder.kind == "transformer" else {"kind": encoder.kind}
    return kind | dataclasses.asdict(encoder)


def _encoder(base: type[Encoder], data: Mapping[str, Any], default: str | None, which: str, first: bool) -> Encoder:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    known = {cls.kind: cls for cls in base.__subclasses__()}
    fields = dict(data)
    kind = fields.pop("kind", default)
    if not isinstance(kind, str) or kind not in known:
        raise InputError(f"unknown kind of {which} encoder {brief(kind)!r}; clipjax has {', '.join(sorted(known))}")
    cls = known[kind]
    if first:
        if odd := sorted(fields.keys() & cls.implied.keys()):
            raise InputError(f"unknown attribute of {cls.__name__}: {', '.join(odd)} (of version 2)")
        fields |= cls.implied
    return build(cls, fields)
