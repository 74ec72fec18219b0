"""What is asked of a model, as pure functions of features and labels: one file per probe, no device work but solvers.

`clipjax.probes.linear.fit` and the like work without further imports; a file is imported when it is first named.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
