"""Names and shapes of every parameter of a configuration, in arithmetic: what files are checked against.

Neither jax nor flax is imported here, so that converting a file needs neither. That these are the shapes of the
modules themselves is tested in tests/models/test_shapes.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipjax.errors import InputError, some
from clipjax.models.config import CLIP


def shapes(config: CLIP) -> dict[str, tuple[int, ...]]:
    """Dotted name -> shape of every parameter, in JAX layouts: Linear [in, out], convolution HWIO."""
    visual = {f"visual.{name}": shape for name, shape in config.image.parameters(config.embed_dim)}
    scalars = {"logit_scale": ()} | ({"logit_bias": ()} if config.logit_bias else {})
    return visual | dict(config.text.parameters(config.embed_dim)) | scalars


def check(config: CLIP, flat: Mapping[str, Any], where: str, unknown: Sequence[str] = ()) -> None:
    """Refuses parameters that are not exactly this configuration's, by name and shape, in one message.

    `unknown` are names in a file that are not those of a CLIP's parameters.
    """
    want = shapes(config)
    problems = []
    if missing := sorted(want.keys() - flat.keys()):
        problems.append(f"without {some(missing)}")
    if extra := [*unknown, *sorted(flat.keys() - want.keys())]:
        problems.append(f"with {some(extra)}")
    wrong = [f"{k} {tuple(flat[k].shape)} instead of {s}" for k, s in want.items()
             if k in flat and tuple(flat[k].shape) != s]  # fmt: skip
    if wrong:
        problems.append(f"wrong shapes: {some(wrong)}")
    if problems:
        raise InputError(f"{where}: its tensors are not those of its configuration: {'; '.join(problems)}{_why(extra)}")


# What in a tensor's name shows a model that clipjax does not build.
_FOREIGN = {
    "visual.trunk.": "an image encoder of timm", "text.transformer.embeddings": "a text encoder of Hugging Face",
    "attn_pool.": "attention pooling", "text_decoder.": "CoCa", "vision_model.head.": "SigLIP",
    "positional_embedding_res": "Long-CLIP", "lora_": "LoRA adapters: merge them first",
    ".gamma": "LayerScale", "absmax": "quantised weights", "qweight": "quantised weights",
    "weight_scale": "quantised weights", "theta": "weights split into length and direction (GmP): take the plain ones",
}  # fmt: skip


def _why(names: Sequence[str]) -> str:
    reasons = {what: None for part, what in _FOREIGN.items() if any(part in name for name in names)}
    return f" ({'; '.join(reasons)})" if reasons else ""
