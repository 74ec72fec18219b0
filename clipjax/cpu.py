"""XLA's options on a CPU, where its defaults cost a fifth of the speed; measured in benchmarks/RESULTS.md.

XLA:CPU has two libraries for matrix products. YNN, its default, is the faster one for few rows, where reading the
weights is what takes the time, and it likes them as [out, in] then; Eigen is faster for many rows, and for
convolutions, which YNN runs at half of Eigen's speed where they have few channels. Both compute in float32.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

EIGEN = {"xla_cpu_experimental_ynn_fusion_type": ""}
MANY_ROWS = 1024  # of one matrix product: where Eigen overtakes YNN (ViT-B/32 between 8 and 32 images)
# The weights of a block that all its rows are multiplied with.
ALIGNED = 64  # bytes: XLA:CPU reads an array at such an address where it lies, and copies any other one first
TILE = 128  # elements a side: both sides of a transposition stay in the cache
MATRICES = re.compile(r"resblocks\.(\d+)\.(attn\.in_proj_weight|attn\.out_proj\.weight|mlp\.c_(fc|proj)\.weight)$")


def options(transposed: bool) -> dict[str, Any]:
    """Compiler options of an encoder: YNN where its matrices are transposed for few rows, else Eigen."""
    return dict(EIGEN) if _is_known() and not transposed else {}


def transposed(names: Iterable[str], rows: int) -> frozenset[str]:
    """The parameters that are better kept as [out, in] for products of so few rows.

    Not those of the last block: its products have one row per image, for which XLA would transpose them back.
    """
    if rows >= MANY_ROWS or not _is_known():
        return frozenset()
    places = {name: (name[: match.start()], int(match[1])) for name in names if (match := MATRICES.search(name))}
    last: dict[str, int] = {}
    for encoder, block in places.values():
        last[encoder] = max(block, last.get(encoder, 0))
    return frozenset(name for name, (encoder, block) in places.items() if block < last[encoder])


def placed(array: np.ndarray, transpose: bool = False) -> np.ndarray:
    """A float32 copy of a parameter, or of its transpose [out, in], that XLA:CPU uses without copying it again."""
    source = array.T if transpose else array
    memory = np.empty(4 * source.size + ALIGNED, np.uint8)
    start = -memory.ctypes.data % ALIGNED
    out = memory[start : start + 4 * source.size].view(np.float32).reshape(source.shape)
    if not transpose:
        out[...] = source
        return out
    for i in range(0, source.shape[0], TILE):
        for j in range(0, source.shape[1], TILE):
            out[i : i + TILE, j : j + TILE] = source[i : i + TILE, j : j + TILE]
    return out


@functools.cache
def _is_known() -> bool:
    """Whether this jaxlib has the option: it is experimental, and an unknown one is an error."""
    try:
        jax.jit(lambda: 0, compiler_options=EIGEN).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
