"""Products of feature rows with class weights whose digits do not depend on how the rows are cut into calls.

A BLAS product rounds otherwise for another number of rows, and for another place of a row in the matrix: the same image
then has another probability in another unit of work. One compiled program of one shape, filled up with zeros, gives a
row the same digits in every call, at every place, with any number of processors.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

ROWS = 256  # of one call of the program
STEP, COLUMNS = 64, 4096  # columns are filled up to a multiple of STEP, and multiplied in blocks of COLUMNS


@jax.jit
def _product(rows: jax.Array, columns: jax.Array) -> jax.Array:
    return jnp.matmul(rows, columns.T, precision="highest")


def products(columns: np.ndarray, block: int | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """Columns [M, E] -> a function of rows [N, E] that gives rows @ columns.T, float32 [N, M].

    block: columns of every call, filled up however few there are: the program's shape then does not depend on M, and a
    column has the same digits in every call and at every place, too.
    """
    m, width = columns.shape
    device = _cpu()
    step, block = block or STEP, block or COLUMNS
    padded = np.zeros((math.ceil(m / step) * step, width), np.float32)
    padded[:m] = columns
    blocks = [jax.device_put(padded[start : start + block], device) for start in range(0, len(padded), block)]

    def of(rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), m), np.float32)
        for start in range(0, len(rows), ROWS):
            part = np.asarray(rows[start : start + ROWS], np.float32)
            count = len(part)
            if count < ROWS:
                part = np.concatenate([part, np.zeros((ROWS - count, width), np.float32)])
            part = jax.device_put(part, device)
            for i, columns in enumerate(blocks):
                found = np.asarray(_product(part, columns))
                place = out[start : start + count, i * block : (i + 1) * block]
                place[:] = found[:count, : place.shape[1]]
        return out

    return of


def _cpu() -> jax.Device:
    """The host's processor, where JAX_PLATFORMS leaves it: features come from there, and answers go there."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]
