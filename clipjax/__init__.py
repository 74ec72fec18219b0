"""clipjax: CLIP in JAX, for people who want to know how such a model behaves before they rely on it.

    import clipjax
    model = clipjax.load("ViT-B/32")
    model.classify([image], classes=["a dog", "a cat"])

Names are imported on first use: `import clipjax` takes 14 ms and starts no device.
"""

# The lazy names are written by hand, here and in clipjax.analysis: etils.epy.lazy_api_imports takes 20 ms more at every
# start (it imports 40 modules), and looks a name up anew on each access.

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    # models
    "load": "clipjax.loading",  # name, file, folder or hf:// -> Model
    "Model": "clipjax.model",
    # inputs
    "tokenize": "clipjax.text",  # texts -> int32 [B, 77]
    "open_image": "clipjax.image",  # path -> image, with a one-line error for a broken file
    # errors
    "InputError": "clipjax.errors",
}
_MODULES = ("analysis", "probes")

__all__ = ["InputError", "Model", "analysis", "load", "open_image", "probes", "tokenize"]

if TYPE_CHECKING:
    from clipjax import analysis, probes
    from clipjax.errors import InputError
    from clipjax.image import open_image
    from clipjax.loading import load
    from clipjax.model import Model
    from clipjax.text import tokenize


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"clipjax.{name}")
    else:
        raise AttributeError(f"module 'clipjax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
