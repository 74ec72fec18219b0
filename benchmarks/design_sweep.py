"""A thousand class designs over 10,000 cached images: seconds, beside one argmax per design, interleaved.

    python benchmarks/design_sweep.py

`shared`: one design of 22 classes in which the last class is each of 1,000 words. `distinct`: 22,000 different class
vectors (another template per design), which need 338 GFLOP in any program.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import side_by_side

side_by_side.threads()

import numpy as np  # noqa: E402

from clipjax.analysis import sweep  # noqa: E402

N, E, C, S = 10_000, 768, 22, 1_000


def naive(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The simple program: a product and an argmax per design."""
    return np.stack([np.bincount((images @ w.T).argmax(1), minlength=C) for w in weights])


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape, dtype=np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def measure(args: argparse.Namespace) -> Iterator[side_by_side.Row]:
    """Both cases, with equal counts."""
    rng = np.random.default_rng(0)
    images, table = unit(rng, N, E), unit(rng, S + C - 1, E)
    shared = np.stack([np.concatenate([table[: C - 1], table[[C - 1 + s]]]) for s in range(S)])
    for name, weights in (("shared", shared), ("distinct", unit(rng, S, C, E))):
        moved = np.abs(sweep(images, weights) - naive(images, weights)).sum()
        calls = {
            side_by_side.OURS: lambda weights=weights: sweep(images, weights),
            "numpy, one by one": lambda weights=weights: naive(images, weights),
        }
        seconds = side_by_side.interleave(calls, args.rounds, warm=False)
        yield side_by_side.Row("design sweep", f"classes {name}", seconds, S, "design", extra={"argmax moved": moved})


if __name__ == "__main__":
    side_by_side.main(__doc__, measure)
