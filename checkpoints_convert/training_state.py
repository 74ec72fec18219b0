"""A checkpoint of `clipjax finetune` (RUN/checkpoints/N) as a model: what the run would export at that step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from clipjax import stored
from clipjax.errors import InputError, one_line
from clipjax.models import trained
from clipjax.models.trained import ABOUT, METADATA, REMEDY, custom_metadata
from clipjax.models.weights import Weights

HELD = ("step", "params", "fixed", "ema")  # what of a state is the model; moments are not read


def read(path: Path) -> Weights:
    """InputError where it is damaged, or was not written by `clipjax finetune`."""
    said = custom_metadata(path)
    if ABOUT not in said:
        raise InputError(f"{path}: does not say what its model is; it was not written by this clipjax finetune")
    about = stored.check(said[ABOUT], trained.About, f"{path / METADATA}: custom_metadata.{ABOUT}", REMEDY)
    return trained.weights_of(_state(path), about)


def _state(path: Path) -> dict[str, Any]:
    from orbax.checkpoint import v1 as orbax  # which imports JAX: only here

    def wanted(part: str, tree: Any) -> Any:
        if isinstance(tree, dict):
            return {name: wanted(part, value) for name, value in tree.items()}
        if isinstance(tree, list | tuple):
            return type(tree)(wanted(part, value) for value in tree)
        return np.zeros(tree.shape, tree.dtype) if part in HELD else orbax.PLACEHOLDER

    try:
        tree: Any = orbax.checkpointables_metadata(str(path.absolute())).metadata["state"]
        abstract: Any = {part: wanted(part, value) for part, value in tree.items()}
        return orbax.load_checkpointables(str(path.absolute()), {"state": abstract})["state"]
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({one_line(error)}); {REMEDY}") from error
