"""OpenAI's tensor names, which open_clip's native checkpoints share, and a state dict for `clip.load`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from checkpoints_convert import bare, rules, torchfile
from checkpoints_convert.dialects.openai import OPENAI
from checkpoints_convert.rules import Dialect
from clipjax.errors import InputError
from clipjax.models import config as configs
from clipjax.models.config import CLIP

# What `convert_weights` of OpenAI's code leaves in float32. Everything else becomes float16 in every clip.load,
# whatever the file holds and on every device.
_NOT_HALVED = re.compile(
    r"(.*\.)?(ln_\w+|bn\d|downsample\.1)\.\w+|(.*\.)?(class_embedding|positional_embedding)|"
    r"token_embedding\.weight|logit_scale"
)


def to_torch_layout(flat: Mapping[str, np.ndarray], where: str, dialect: Dialect = OPENAI) -> dict[str, np.ndarray]:
    """Native tensors under a dialect's names in torch's layouts, with the BatchNorm counters torch expects."""
    out = rules.from_native(dialect, flat, where)
    for name in [n for n in out if n.endswith("running_var")]:
        out[name.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
    return out


def write(path: str | Path, flat: Mapping[str, np.ndarray], config: CLIP) -> None:
    """An OpenAI-style state dict that `clip.load(path)` opens.

    The format holds no configuration, so a model that OpenAI's code would read differently is refused, and so are
    values that it would turn into infinities; clipjax finds the configuration in an entry that torch passes over.
    """
    tensors = to_torch_layout(flat, str(path))
    implied = bare.openai_config(flat, str(path))
    if differs := configs.differences(config, implied):
        raise InputError(
            f"{path}: OpenAI's format cannot express this model, clip.load would read it differently "
            f"({'; '.join(differs)}); use --to=open_clip or --to=clipjax"
        )
    for name, array in flat.items():
        largest = float(np.abs(np.asarray(array, np.float32)).max(initial=0)) if is_halved(name) else 0.0
        if largest > float(np.finfo(np.float16).max):
            raise InputError(
                f"{path}: {name} holds {largest:.4g}, which clip.load turns into infinity (it stores this tensor in "
                "float16); use --to=open_clip"
            )
    said = json.dumps(configs.to_dict(config)).encode()
    torchfile.write(path, tensors, {torchfile.CONFIG_ENTRY: said})


def is_halved(name: str) -> bool:
    """Whether clip.load stores the tensor of this (native) name in float16."""
    return not _NOT_HALVED.fullmatch(name)
