"""Families of models: what each has that OpenAI's has not, one row each.

Sizes, activation and eps are no part of a family: they are said with the row. Sources: the models' papers and released
code, as far as names and shapes of parameters do not show it.
"""

from __future__ import annotations

from typing import Any

from clipjax.models.kinds import text as texts
from clipjax.models.kinds import vit as vits
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import Rope, ViT

_SIGLIP = {"patch": "bias", "class_token": False, "positions": "patches", "ln_pre": False}
_EVA = {"patch": "bias", "ln_pre": False, "proj": "bias"}

# Image encoders. SigLIP's and PE-Core's `pool_heads` and `pool_mlp` are sizes: see `image`.
IMAGE: dict[str, dict[str, Any]] = {
    "openai": {},  # also LAION, DataComp, DFN, MetaCLIP 1 and 2
    "siglip": _SIGLIP | {"pool": "attention", "proj": "none"},  # and SigLIP 2 of a fixed resolution
    "pe-core": {"rope": Rope(None, 1, "xy", 1e4), "pool": "attention", "proj": "bias"},
    "pe-core-g": {"class_token": False, "positions": "patches", "rope": Rope(None, 0, "xy", 1e4), "pool": "attention",
                  "proj": "bias"},
    "eva01": _EVA,
    "eva02": _EVA | {"rope": Rope(16, 0, "yx", 1e4), "mlp_kind": "swiglu", "inner_norm": True},
    "eva02-e": _EVA | {"norm": "post"},
    "mobileclip-b": {"patch": "stem", "positions": "patches", "ln_pre": False, "proj": "bias"},
    "mobileclip-l": {"proj": "bias"},
    "clipa": {"ln_pre": False, "pool": "mean", "final_norm": "after"},
    "coca": {"pool": "query", "pool_heads": 8, "final_norm": "after"},
}  # fmt: skip
# Text encoders.
TEXT: dict[str, dict[str, Any]] = {
    "openai": {},
    "siglip": {"causal": False, "pool": "last", "proj": "bias"},
    "clipa": {"causal": False, "pool": "last"},
    "metaclip2": {"pool": "eos", "eos_id": 2},
    "mobileclip": {"causal": False},  # the S models and MobileCLIP2-L
    "coca": {"pool": "class"},
}


def image(
    family: str, image_size: int, patch_size: int, width: int, layers: int, heads: int, mlp: int, activation: str,
    eps: float,
) -> ViT:  # fmt: skip
    """An image encoder of a family. SigLIP's pool has the heads and mlp of a block, PE-Core's 8 heads and 4 D."""
    row = vits.OPENAI | IMAGE[family]
    if row["pool"] == "attention":
        row |= (
            {"pool_heads": heads, "pool_mlp": mlp} if family == "siglip" else {"pool_heads": 8, "pool_mlp": 4 * width}
        )
    return ViT(image_size, patch_size, width, layers, heads, mlp, activation, eps, **row)


def text(
    family: str, context_length: int, vocab_size: int, width: int, layers: int, heads: int, mlp: int, activation: str,
    eps: float,
) -> Text:  # fmt: skip
    """A text encoder of a family."""
    row = texts.OPENAI | TEXT[family]
    return Text(context_length, vocab_size, width, layers, heads, mlp, activation, eps, **row)
