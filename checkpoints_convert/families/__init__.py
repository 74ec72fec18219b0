"""Families of models in Hugging Face's config.json: one file each, whose name is the registration.

MODEL_TYPE: config.json's. TEXT_DEFAULTS, VISION_DEFAULTS: what transformers assumes of an attribute that is left out.
PIXELS: what its image processor does where a folder has no file of one, or leaves something out.
refused(text, vision): why clipjax does not build a model of these attributes, one reason each.
tokens(folder, text): how texts become tokens, or reasons. build(data, text, vision, pixels, tokens): the configuration.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType


@functools.cache
def modules() -> tuple[ModuleType, ...]:
    """The files of all families, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in names)


def of_model_type(model_type: object) -> ModuleType | None:
    """The family of a Hugging Face `model_type`; None for one that clipjax does not build."""
    return next((family for family in modules() if model_type == getattr(family, "MODEL_TYPE", object())), None)
