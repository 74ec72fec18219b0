"""A thousand class designs over 10,000 cached images: seconds, and beside one argmax after another, interleaved.

    python benchmarks/design_sweep.py

`shared`: one design of 22 classes in which the last class is each of 1,000 words. `distinct`: 22,000 different class
vectors (a template of its own per design), where 338 GFLOP have to be done whatever the program.
"""

from __future__ import annotations

import os
import statistics
import time

import numpy as np

from clipjax.analysis import sweep

N, E, C, S, ROUNDS = 10_000, 768, 22, 1_000, 5


def naive(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What one would write: a product and an argmax per design."""
    return np.stack([np.bincount((images @ w.T).argmax(1), minlength=C) for w in weights])


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape, dtype=np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def main() -> None:
    rng = np.random.default_rng(0)
    images, table = unit(rng, N, E), unit(rng, S + C - 1, E)
    shared = np.stack([np.concatenate([table[: C - 1], table[[C - 1 + s]]]) for s in range(S)])
    print(f"{S} designs of {C} classes, {N} x {E} features, {os.cpu_count()} processors, numpy {np.__version__}")
    for name, weights in (("shared", shared), ("distinct", unit(rng, S, C, E))):
        times: dict[str, list[float]] = {"sweep": [], "naive": []}
        for _ in range(ROUNDS):
            for kind, call in (("sweep", sweep), ("naive", naive)):
                start = time.perf_counter()
                found = call(images, weights)
                times[kind].append(time.perf_counter() - start)
                assert found.sum() == S * N
        ratios = [b / a for a, b in zip(times["sweep"], times["naive"], strict=True)]
        mine, theirs = (statistics.median(times[k]) for k in ("sweep", "naive"))
        print(
            f"{name:9} sweep {mine:.2f} s, one by one {theirs:.2f} s: {statistics.median(ratios):.1f} times as fast "
            f"({min(ratios):.1f} to {max(ratios):.1f} over {ROUNDS} rounds)"
        )


if __name__ == "__main__":
    main()
