"""Probes as pure functions of features and labels: one file per probe, and device work in solvers only.

`clipjax.probes.linear.fit` works after `import clipjax`: a file is imported on its first use.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
