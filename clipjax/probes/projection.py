"""Projection debiasing as a measured intervention: directions of prompts are removed from text features.

Chuang et al. (2023), "Debiasing Vision-Language Models via Biased Prompts". Text features become unit(P t); image
features stay as they are. Measure before and after on prompts that did not build P, with the accuracy that was kept: it
is an intervention, not a cure. P is not symmetric, so the order of the two factors matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clipjax.errors import InputError

STRENGTH = 1000.0  # the paper's
DEPENDENT = 1e-6  # singular values below this share of the largest are rounding of features in float32
GONE = 1e-6  # length of a text feature below which nothing is left of it


class Projection(NamedTuple):
    """matrix [E, E]; `removed`, how many directions are projected away."""

    matrix: np.ndarray
    removed: int


def orthogonal_projection(prompts: np.ndarray) -> Projection:
    """prompts [S, E] of what is to be removed -> P0 = I - Q Q^T, Q an orthonormal basis of their span.

    Raises:
        InputError: the prompts are linearly dependent, so fewer directions are removed than prompts named.
    """
    rows = _unit(prompts, "prompts")
    _, sizes, directions = np.linalg.svd(rows, full_matrices=False)
    rank = int((sizes > DEPENDENT * sizes[0]).sum())
    if rank < len(rows):
        spare = next(
            i for i in range(1, len(rows)) if np.linalg.matrix_rank(rows[: i + 1], tol=DEPENDENT * sizes[0]) <= i
        )
        raise InputError(f"prompt {spare} (from 0) depends on those before it (rank {rank} of {len(rows)}); drop one")
    return Projection(np.eye(rows.shape[1]) - directions.T @ directions, rank)


def calibrated_projection(
    prompts: np.ndarray, pairs: Sequence[tuple[int, int]], strength: float = STRENGTH, *, candidates: np.ndarray
) -> Projection:
    """prompts [S, E] to be removed, pairs of rows of `candidates` [Z, E] that should coincide -> P0 (I + strength M)^-1
    with M the mean of (z_i - z_j)(z_i - z_j)^T over the pairs."""
    if not (strength >= 0 and np.isfinite(strength)):
        raise InputError(f"strength {strength:g}; choose 0 or more, {STRENGTH:g} is the paper's")
    first = orthogonal_projection(prompts)
    z, width = _unit(candidates, "candidates"), first.matrix.shape[0]
    if z.shape[1] != width:
        raise InputError(f"prompts have width {width} and candidates {z.shape[1]}; both come from one model")
    if not len(pairs):
        raise InputError("no pairs; give rows of candidates that should coincide, or use orthogonal_projection")
    for i, j in pairs:
        if i == j or not (0 <= i < len(z) and 0 <= j < len(z)):
            raise InputError(f"pair ({i}, {j}): name two different rows of the {len(z)} candidates, from 0")
    apart = np.stack([z[i] - z[j] for i, j in pairs])
    spread = apart.T @ apart / len(pairs)
    return Projection(first.matrix @ np.linalg.inv(np.eye(width) + strength * spread), first.removed)


def project(features: np.ndarray, projection: Projection, names: Sequence[str] = ()) -> np.ndarray:
    """Text features [T, E] -> unit(P t), float32 [T, E]; InputError where nothing is left of one."""
    found = _unit(features, "features") @ projection.matrix.T
    length = np.linalg.norm(found, axis=1, keepdims=True)
    if (gone := np.flatnonzero(length.ravel() < GONE)).size:
        name = names[gone[0]] if names else f"{gone[0]} (from 0)"
        raise InputError(f"class {name!r} lies in the removed directions")
    return (found / length).astype(np.float32)


def _unit(rows: np.ndarray, what: str) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or not rows.size:
        raise InputError(f"{what} have shape {rows.shape}; needed are features [N, E] with N > 0")
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if (bad := np.flatnonzero(~(np.isfinite(length) & (length > 0)).ravel())).size:
        raise InputError(f"{what}: row {bad[0]} (from 0) has no direction: nan, infinity, or all zeros")
    return rows / length
