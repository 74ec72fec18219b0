"""Families of models: one file each, whose name is the registration. CLIP's, `clip.py`, shows what a file has.

RULES: dialect -> rows of its rule table that the family's tensors need.
MODEL_TYPE, TEXT_DEFAULTS, VISION_DEFAULTS, refused_by_huggingface, of_huggingface: for Hugging Face's config.json.
has_open_clip, of_open_clip: for open_clip's open_clip_config.json.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from checkpoints_convert.families import clip
from checkpoints_convert.rules import Rule


@functools.cache
def modules() -> tuple[ModuleType, ...]:
    """The files of all families, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in names)


def rules(dialect: str) -> tuple[Rule, ...]:
    """The rows of all families in one dialect; families that share a tensor's name share its row."""
    return tuple(dict.fromkeys(rule for family in modules() for rule in family.RULES.get(dialect, ())))


def of_open_clip(model: Mapping[str, Any]) -> ModuleType:
    """The family of an open_clip `model_cfg`; CLIP's, which names what it does not build, where none has it."""
    return next((family for family in modules() if family.has_open_clip(model)), clip)


def of_model_type(model_type: object) -> ModuleType | None:
    """The family of a Hugging Face `model_type`; None for one that clipjax does not build."""
    return next((family for family in modules() if model_type == family.MODEL_TYPE), None)
