"""Counts into rates with honest intervals, tests and reports; no device work, names imported on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    # intervals of one rate
    "clopper_pearson": "clipjax.analysis.intervals",
    "wilson": "clipjax.analysis.intervals",
    "jeffreys": "clipjax.analysis.intervals",
    "interval": "clipjax.analysis.intervals",
    # two rates
    "difference": "clipjax.analysis.two_rates",
    "ratio": "clipjax.analysis.two_rates",
    # tests
    "chi_squared": "clipjax.analysis.association",
    "fisher": "clipjax.analysis.association",
    "adjust": "clipjax.analysis.association",
    "mcnemar": "clipjax.analysis.paired",
    # class designs
    "sweep": "clipjax.analysis.design_sweep",
}

__all__ = [
    "adjust",
    "chi_squared",
    "clopper_pearson",
    "difference",
    "fisher",
    "interval",
    "jeffreys",
    "mcnemar",
    "ratio",
    "sweep",
    "wilson",
]

if TYPE_CHECKING:
    from clipjax.analysis.association import adjust, chi_squared, fisher
    from clipjax.analysis.design_sweep import sweep
    from clipjax.analysis.intervals import clopper_pearson, interval, jeffreys, wilson
    from clipjax.analysis.paired import mcnemar
    from clipjax.analysis.two_rates import difference, ratio


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'clipjax.analysis' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
