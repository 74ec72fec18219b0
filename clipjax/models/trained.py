"""The model that a training state holds: what `clipjax finetune` exports, and what reads its checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import msgspec
import numpy as np

from clipjax import stored
from clipjax.models import config as configs
from clipjax.models import lora
from clipjax.models.weights import Weights

DTYPES: dict[str, Any] = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
TABLE = "token_embedding.weight"
METADATA = "_CHECKPOINT_METADATA"  # of a training checkpoint, the file
ABOUT = "about"  # of its custom metadata
REMEDY = "name another checkpoint of the run"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a training state does not say of its model.

    architecture: `configs.to_dict` of the model that training began from. averaged: the moving average is the model,
    where there is one. seen: rows of the token embedding that some caption has; None where the others stay too.
    lora_scale: of adapters in the state, which the model has added.
    """

    architecture: dict[str, Any]
    name: str
    source: dict[str, Any]
    averaged: bool = True
    dtype: str = "float32"
    seen: list[int] | None = None
    lora_scale: float = 0.0


def is_checkpoint(path: Path) -> bool:
    """Whether this folder is a training checkpoint (RUN/checkpoints/N)."""
    return (path / METADATA).is_file() and (path / "state").is_dir()


def custom_metadata(checkpoint: Path) -> dict[str, Any]:
    """What a training checkpoint says beside its arrays."""
    return stored.read(checkpoint / METADATA, dict[str, Any], REMEDY).get("custom_metadata") or {}


def weights_of(state: Mapping[str, Any], about: About) -> Weights:
    """`state`: step, params, fixed and ema (empty without an average), each flat, on the host.

    A sigmoid loss has taught the model a logit bias, which its configuration then says.
    """
    averaged = bool(state["ema"]) and about.averaged
    flat = dict(state["ema"] if averaged else state["params"]) | dict(state["fixed"])
    flat = lora.merged(flat, about.lora_scale)
    flat = {name: np.array(array, DTYPES[about.dtype]) for name, array in flat.items()}
    if about.seen is not None:
        others = np.ones(len(flat[TABLE]), bool)
        others[about.seen] = False
        flat[TABLE][others] = 0
    config = dataclasses.replace(configs.from_dict(about.architecture), logit_bias="logit_bias" in flat)
    source = {"format": "clipjax", **about.source, "step": int(state["step"]), "averaged": averaged}
    return Weights(flat, config, about.name, source)
