"""Many class designs over the same images: no image is encoded again, each distinct class is multiplied once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from clipjax.errors import InputError

ROWS = 2048  # images scored at once: their scores against every distinct class stay near the processor
COLUMNS = 1 << 14  # distinct classes scored at once: 128 MiB of scores


def sweep(image_features: np.ndarray, class_weights: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """How many images each class of each design wins.

    image_features [N, E] (their length does not matter), class_weights [S, C, E] of unit length. Returns int64 counts
    [S, C]; with `groups` int [N] (-1: in none) [S, G, C]. Among equal scores the first class wins, as in argmax; equal
    class weights give equal scores bit for bit.
    """
    weights = np.asarray(class_weights)
    if weights.ndim != 3:
        raise InputError(f"class_weights are {list(weights.shape)}; a sweep needs [S, C, E]")
    found = sweep_designs(image_features, list(weights), groups)
    return np.stack(found) if found else np.zeros((0, weights.shape[1]), np.int64)


def sweep_designs(
    image_features: np.ndarray, class_weights: Sequence[np.ndarray], groups: np.ndarray | None = None
) -> list[np.ndarray]:
    """`sweep` for designs with different numbers of classes: weights [C_s, E] each -> counts [C_s] or [G, C_s]."""
    images = np.ascontiguousarray(image_features, np.float32)
    designs = [np.ascontiguousarray(w, np.float32) for w in class_weights]
    _check(images, designs, groups)
    n_groups = 1 if groups is None else int(np.max(groups, initial=-1)) + 1
    out = [np.zeros((n_groups, len(w)), np.int64) for w in designs]
    for block in _blocks(designs):
        table, places = _distinct([designs[s] for s in block])
        starts = range(0, len(images), ROWS)
        with ThreadPoolExecutor(_processors()) as pool:
            parts = pool.map(lambda start: _wins(images, table, places, groups, start, n_groups), starts)  # noqa: B023
            for part in parts:
                for s, found in zip(block, part, strict=True):
                    out[s] += found
    return [found[0] for found in out] if groups is None else out


def _wins(images, table, places, groups, start, n_groups) -> list[np.ndarray]:
    """Counts [G, C] of every design over ROWS images."""
    rows = images[start : start + ROWS]
    scores = table @ rows.T  # [M, ROWS]: a class's scores lie together
    group = np.zeros(len(rows), np.int64) if groups is None else np.asarray(groups[start : start + ROWS], np.int64)
    everyone = bool((group >= 0).all())
    winner, best = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
    better = np.empty(len(rows), bool)
    out = []
    for place in places:
        winner[:], best[:] = 0, scores[place[0]]
        for c, row in enumerate(place[1:], 1):
            np.greater(scores[row], best, out=better)  # not greater-or-equal: the first of equals stays
            np.copyto(winner, c, where=better)
            np.maximum(best, scores[row], out=best)
        flat = group * len(place) + winner
        out.append(np.bincount(flat if everyone else flat[group >= 0], minlength=n_groups * len(place)))
    return [found.reshape(n_groups, -1) for found in out]


def _distinct(designs: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Every different class vector once [M, E], and for each design the rows that are its classes."""
    index: dict[bytes, int] = {}
    rows, places = [], []
    for weights in designs:
        place = np.empty(len(weights), np.int64)
        for c, vector in enumerate(weights):
            key = vector.tobytes()
            place[c] = index.setdefault(key, len(index))
            if place[c] == len(rows):
                rows.append(vector)
        places.append(place)
    return np.stack(rows), places


def _blocks(designs: list[np.ndarray]) -> list[range]:
    """Consecutive designs whose classes, were they all different, still fit."""
    out, first, total = [], 0, 0
    for s, weights in enumerate(designs):
        if total + len(weights) > COLUMNS and s > first:
            out.append(range(first, s))
            first, total = s, 0
        total += len(weights)
    return [*out, range(first, len(designs))] if designs else []


def _check(images: np.ndarray, designs: list[np.ndarray], groups: np.ndarray | None) -> None:
    if images.ndim != 2:
        raise InputError(f"image_features are {list(images.shape)}; a sweep needs [N, E]")
    for s, weights in enumerate(designs):
        if weights.ndim != 2 or not len(weights) or weights.shape[1] != images.shape[1]:
            raise InputError(
                f"class weights of design {s} are {list(weights.shape)}; features are [N, {images.shape[1]}]"
            )
    if not np.isfinite(images).all() or not all(np.isfinite(w).all() for w in designs):
        raise InputError("features or class weights are not finite: no class could win")
    if groups is not None and (len(groups) != len(images) or np.asarray(groups).dtype.kind not in "iu"):
        raise InputError(
            f"groups are {np.asarray(groups).dtype} [{len(groups)}]; one whole number per image, {len(images)}"
        )


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
