"""Low-rank adapters (LoRA, Hu et al. 2022): W + alpha / rank x A B for chosen matrices W of the transformers.

In training x W + alpha / rank x dropped(x) A B (`layers.Adapter`), which the merged matrix cannot say and which needs
no gradient of W; in files the sum.

Names and layouts: the adapter of `NAME` [D_in, D_out] is `lora.NAME.a` [P, D_in, R] and `lora.NAME.b`
[P, R, D_out / P]. P is 1, but 3 for the fused projection of queries, keys and values, each of which has an adapter of
its own, as in libraries that keep them apart.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from clipjax.errors import InputError

PREFIX = "lora."
MATRICES = {  # word of a config -> what a matrix is called
    "attention": r"\.resblocks\.\d+\.attn\.(in_proj_weight|out_proj\.weight)$",
    "mlp": r"\.mlp\.c_(fc|gate|proj)\.weight$",
    "projections": r"^(visual\.proj|text_projection)$",
}  # fmt: skip
FUSED = "in_proj_weight"


@dataclasses.dataclass(frozen=True)
class Lora:
    """rank R; alpha: the adapter's output is multiplied by alpha / rank; on: words of `MATRICES`, by +; dropout: the
    share of an adapter's input that is 0 in training, peft's lora_dropout."""

    rank: int
    alpha: float
    on: str = "attention"
    dropout: float = 0.0

    def __post_init__(self):
        if self.rank < 1 or not self.alpha > 0:
            raise InputError(f"lora.rank={self.rank}, lora.alpha={self.alpha:g}: both are above 0")
        if not 0 <= self.dropout < 1:
            raise InputError(f"lora.dropout={self.dropout:g}: a share, from 0 to below 1")
        if unknown := [word for word in self.on.split("+") if word not in MATRICES]:
            raise InputError(f"lora.on: {unknown[0]!r}; choose {', '.join(MATRICES)}, several joined by +")

    @property
    def scale(self) -> float:
        """What A B is multiplied by."""
        return self.alpha / self.rank

    def matrices(self, flat: Mapping[str, Any]) -> list[str]:
        """Names of the matrices that are adapted, in order. InputError where a word matches none."""
        patterns = {word: MATRICES[word] for word in self.on.split("+")}
        for word, pattern in patterns.items():
            if not any(re.search(pattern, name) for name in flat):
                raise InputError(f"lora.on={self.on}: this model has no matrices for {word!r}; leave it out")
        return [name for name in flat if any(re.search(pattern, name) for pattern in patterns.values())]

    def start(self, flat: Mapping[str, Any], seed: int) -> dict[str, np.ndarray]:
        """Adapters before the first step, float32: A uniform in +-1 / sqrt(D_in), as peft; B zero, so that nothing has
        changed yet."""
        rng, found = np.random.default_rng(seed), {}
        for name in self.matrices(flat):
            d_in, d_out = np.shape(flat[name])
            parts = 3 if name.endswith(FUSED) else 1
            bound = d_in**-0.5
            found[f"{PREFIX}{name}.a"] = rng.uniform(-bound, bound, (parts, d_in, self.rank)).astype(np.float32)
            found[f"{PREFIX}{name}.b"] = np.zeros((parts, self.rank, d_out // parts), np.float32)
        return found


def apart(flat: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """(parameters without adapters, name of the matrix -> A and B), the latter in the order of names."""
    plain = {name: array for name, array in flat.items() if not name.startswith(PREFIX)}
    matrices = sorted(name.removeprefix(PREFIX)[:-2] for name in flat.keys() - plain.keys() if name.endswith(".a"))
    return plain, {name: (flat[f"{PREFIX}{name}.a"], flat[f"{PREFIX}{name}.b"]) for name in matrices}


def merged(flat: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """Parameters without adapters, which are added to their matrices."""
    plain, adapters = apart(flat)
    for name, (a, b) in adapters.items():
        delta = np.matmul(a, b)  # [P, D_in, D_out / P]
        plain[name] = plain[name] + scale * delta.swapaxes(0, 1).reshape(np.shape(plain[name]))
    return plain
