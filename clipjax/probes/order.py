"""Orders that only values decide: what is drawn at random then does not depend on how rows and classes are listed.

A resampled interval is a function of the seed and of the order of what is drawn. Data sets have no order of their own:
shards, tables and folders list the same images differently, and classes come in any order and under any name. So
everything that is resampled is put into the order of its own values first.
"""

from __future__ import annotations

import numpy as np


def by_value(rows: np.ndarray) -> np.ndarray:
    """The order of rows [N, ...] by their bytes, int [N]: any order of the rows is put into the same one."""
    flat = np.ascontiguousarray(np.asarray(rows).reshape(len(rows), -1))
    if not flat.shape[1]:
        return np.arange(len(rows))
    if flat.dtype.kind == "f":
        flat = flat + flat.dtype.type(0)  # -0.0 is 0.0
    return np.argsort(flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize))).ravel(), kind="stable")


def of_examples(*columns: np.ndarray) -> np.ndarray:
    """The order of examples by what is known of each class, arrays [N, C]; the classes may come in any order, too."""
    parts = [np.asarray(column, np.float64) for column in columns]
    inside = np.lexsort(parts[::-1], axis=-1)
    return by_value(np.concatenate([np.take_along_axis(part, inside, axis=1) for part in parts], axis=1))
