"""open_clip: OpenAI's tensor names, and a configuration (open_clip_config.json) that says what shapes cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from checkpoints_convert import open_clip_config, openai, timm, timm_encoders
from checkpoints_convert.dialects import timm as timm_names
from checkpoints_convert.dialects.openai import OPENAI
from checkpoints_convert.families.shared import tokenizer_sha256
from checkpoints_convert.options import Options
from checkpoints_convert.rules import Dialect
from clipjax import stored
from clipjax.errors import located
from clipjax.files import write_folder
from clipjax.models import config as configs
from clipjax.models import weights
from clipjax.models.config import CLIP

CONFIG_FILE = "open_clip_config.json"
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")


class _Encoder(TypedDict, total=False):
    width: stored.Whole
    head_width: stored.Whole
    mlp_ratio: float
    norm_kwargs: dict[str, Any] | None


class _Model(TypedDict):
    embed_dim: stored.Whole
    vision_cfg: _Encoder
    text_cfg: _Encoder


class _File(TypedDict):
    model_cfg: _Model
    preprocess_cfg: NotRequired[dict[str, Any] | None]


def read_config(folder: Path, options: Options | None = None) -> tuple[CLIP, tuple[str, ...]]:
    """A folder's open_clip_config.json -> our configuration, and notes; it says all that options could."""
    path, remedy = folder / CONFIG_FILE, "this is not an open_clip configuration"
    data = stored.read(path, dict[str, Any], remedy)
    stored.check(data, _File, str(path), remedy)
    return open_clip_config.read(data, str(path), tokenizer_sha256(folder)), ()


def _dialect(config: CLIP) -> Dialect:
    """The names that open_clip's module of this configuration has."""
    named = timm_encoders.TIMM.get(timm_encoders.name_of(config.image) or "")
    if named is None:
        return OPENAI
    if getattr(config.text, "proj", None) == "bias":
        return timm_names.SIGLIP
    return {"eva01": timm_names.EVA, "eva02-e": timm_names.EVA, "eva02": timm_names.EVA02,
            "mobileclip-b": timm_names.MOBILECLIP_B}.get(named.family, timm_names.VIT)  # fmt: skip


def write(path: str | Path, flat: Mapping[str, np.ndarray], config: CLIP) -> None:
    """A new folder that open_clip and timm open as "local-dir:FOLDER"; or one bare file where `path` is a .safetensors.

    In the folder the configuration is a file. The bare file carries it in its header, where clipjax finds it again and
    open_clip does not look: there the architecture's name has to be given.
    """
    path = Path(path)
    with located(path):
        described = open_clip_config.config_json(config)
    tensors = openai.to_torch_layout(flat, str(path), _dialect(config))
    if path.suffix == ".safetensors":
        metadata = {"format": "pt", "clipjax_config": json.dumps(configs.to_dict(config))}
        weights.save_tensors(path, tensors, metadata)
        return

    def fill(temporary: Path) -> None:
        weights.save_tensors(temporary / WEIGHT_FILES[0], tensors, {"format": "pt"})
        (temporary / CONFIG_FILE).write_text(json.dumps(described, indent=2) + "\n")
        if for_timm := timm.config_json(config):
            (temporary / timm.CONFIG_FILE).write_text(json.dumps(for_timm, indent=2) + "\n")

    write_folder(path, fill)
