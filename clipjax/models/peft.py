"""LoRA adapters in peft's form: adapter_model.safetensors beside adapter_config.json.

Modules have the names of transformers' CLIPModel, SiglipModel and MetaClip2Model, which peft can apply them to. Of
models that transformers does not have, the modules are called likewise, and clipjax alone reads the folder.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from clipjax import stored
from clipjax.errors import InputError, some
from clipjax.files import write_text
from clipjax.models import lora, weights
from clipjax.models.config import CLIP
from clipjax.models.kinds.text import Text

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
BASE_STAYS = (None, True, False, "gaussian", "eva", "orthogonal")  # others (pissa, olora, ...) subtract from the base
# Our matrix within a block -> their modules in its place, in the order of their outputs.
BLOCK = {
    "attn.in_proj_weight": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.out_proj.weight": ("self_attn.out_proj",), "mlp.c_fc.weight": ("mlp.fc1",), "mlp.c_proj.weight": ("mlp.fc2",),
    "mlp.c_gate.weight": ("mlp.gate",),
}  # fmt: skip
ENCODERS = {"visual.transformer": "vision_model.encoder", "transformer": "text_model.encoder"}
POOL, HEAD = "visual.attn_pool.", "vision_model.head."
ALONE = {"visual.proj": "visual_projection", "text_projection": "text_projection"}
SIGLIP = {"text_projection": "text_model.head"}


class Config(msgspec.Struct, kw_only=True):
    """What is read of adapter_config.json."""

    base_model_name_or_path: str | None = None
    r: int
    lora_alpha: float
    lora_dropout: float = 0.0
    peft_type: str = "LORA"
    bias: str = "none"
    init_lora_weights: bool | str | None = None
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None
    modules_to_save: list[str] | None = None

    @property
    def scale(self) -> float:
        """What A B is multiplied by."""
        return self.lora_alpha / (math.sqrt(self.r) if self.use_rslora else self.r)


def is_adapter(path: Path) -> bool:
    """Whether a folder holds an adapter and no model."""
    return (path / CONFIG).is_file() and not (path / "config.json").is_file()


def write(folder: Path, state: Mapping[str, Any], form: lora.Lora, base: str, config: CLIP) -> None:
    """The adapters of a training state's flat parameters; `base`: what the model was loaded as; `config`: its own."""
    tensors: dict[str, np.ndarray] = {}
    modules: list[str] = []
    for matrix, (a, b) in lora.apart(state)[1].items():
        for part, module in enumerate(_modules(matrix, config)):
            modules.append(module)
            tensors[f"{PREFIX}{module}.lora_A.weight"] = np.ascontiguousarray(np.asarray(a)[part].T)
            tensors[f"{PREFIX}{module}.lora_B.weight"] = np.ascontiguousarray(np.asarray(b)[part].T)
    # Ends of names would also match layers of SigLIP's pool that have no adapter.
    targets = sorted(modules if _is_siglip(config) else {module.rpartition(".")[2] for module in modules})
    said = {
        "peft_type": "LORA", "task_type": None, "base_model_name_or_path": base, "r": form.rank,
        "lora_alpha": form.alpha, "lora_dropout": form.dropout, "bias": "none", "fan_in_fan_out": False,
        "inference_mode": True, "target_modules": targets,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    weights.save_tensors(folder / TENSORS, tensors, {"format": "pt"})
    write_text(folder / CONFIG, json.dumps(said, indent=1) + "\n")


def read_config(folder: Path) -> Config:
    """adapter_config.json, where A B of one rank is all that it asks for."""
    found: Config = stored.read(folder / CONFIG, Config, "save it again with peft")
    unread = {
        "peft_type": found.peft_type != "LORA", "bias": found.bias != "none", "use_dora": found.use_dora,
        "init_lora_weights": found.init_lora_weights not in BASE_STAYS,
        "fan_in_fan_out": found.fan_in_fan_out, "rank_pattern": found.rank_pattern,
        "alpha_pattern": found.alpha_pattern, "modules_to_save": found.modules_to_save,
    }  # fmt: skip
    if odd := [name for name, asked in unread.items() if asked]:
        raise InputError(
            f"{folder / CONFIG}: {some(odd)}: only plain LoRA is read; merge it in Python: merge_and_unload()"
        )
    return found


def merged(folder: Path, base: weights.Weights) -> weights.Weights:
    """`base` with a folder's adapters added, stored as `base` is. InputError where they are not of its matrices."""
    config = read_config(folder)
    wide = {name: np.asarray(array, np.float32) for name, array in base.flat.items()}
    flat = lora.merged(wide | _adapters(folder, base, config.r), config.scale)
    flat = {name: array.astype(base.flat[name].dtype) for name, array in flat.items()}
    form = {"rank": config.r, "alpha": config.lora_alpha, "dropout": config.lora_dropout}
    source = {"format": "peft", "adapter": folder.name, "lora": form, "base": dict(base.source)}
    return weights.Weights(flat, base.config, f"{base.name}-{folder.resolve().name}", source)


def _adapters(folder: Path, base: weights.Weights, rank: int) -> dict[str, np.ndarray]:
    """Under our names, all of this rank; a module without an adapter beside ones that have them has one of zeros."""
    with weights.open_tensors(folder / TENSORS) as file:
        given = {name.removeprefix(PREFIX): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    found: dict[str, np.ndarray] = {}
    for matrix in base.flat:
        modules = _modules(matrix, base.config)
        names = [(f"{module}.lora_A.weight", f"{module}.lora_B.weight") for module in modules]
        pairs = [(given.pop(a, None), given.pop(b, None)) for a, b in names]
        if all(a is None and b is None for a, b in pairs):
            continue
        if any((a is None) != (b is None) for a, b in pairs):
            raise InputError(f"{folder / TENSORS}: {matrix} has one of lora_A and lora_B; save it again with peft")
        d_in, d_out = np.shape(base.flat[matrix])
        shapes = ((rank, d_in), (d_out // len(pairs), rank))
        if any(a is not None and (a.shape, b.shape) != shapes for a, b in pairs):  # pyrefly: ignore[missing-attribute]
            raise InputError(
                f"{folder / TENSORS}: its adapter of {matrix} is not of rank {rank} and the shape of {base.name}'s"
            )
        whole = [(np.zeros(shapes[0]), np.zeros(shapes[1])) if a is None else (a, b) for a, b in pairs]
        found[f"{lora.PREFIX}{matrix}.a"] = np.stack([np.asarray(a, np.float32).T for a, _ in whole])
        found[f"{lora.PREFIX}{matrix}.b"] = np.stack([np.asarray(b, np.float32).T for _, b in whole])
    if given:
        raise InputError(f"{folder / TENSORS}: {some(sorted(given), 3)}: not matrices of {base.name}")
    return found


def _is_siglip(config: CLIP) -> bool:
    return isinstance(config.text, Text) and config.text.pool == "last"


def _modules(matrix: str, config: CLIP) -> tuple[str, ...]:
    """transformers' modules of one of our matrices; none for what no adapter is for."""
    alone = ALONE | (SIGLIP if _is_siglip(config) else {})
    if matrix in alone:
        return (alone[matrix],)
    if (inside := matrix.removeprefix(POOL)) != matrix and inside.startswith("mlp.") and inside in BLOCK:
        return (HEAD + BLOCK[inside][0],)
    match = re.fullmatch(r"(visual\.transformer|transformer)\.resblocks\.(\d+)\.(.+)", matrix)
    if not match or match[3] not in BLOCK:
        return ()
    return tuple(f"{ENCODERS[match[1]]}.layers.{match[2]}.{module}" for module in BLOCK[match[3]])
