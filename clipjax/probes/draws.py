"""Methods that see k labelled images per class beside the classes' texts: several draws, compared with zero-shot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from clipjax.analysis.records import Record
from clipjax.errors import InputError
from clipjax.probes import fewshot, metrics, zeroshot

# Rows of a draw and its seed -> scores of the test images [N, C], and what else a record says of each draw, by field.
Answer = Callable[[np.ndarray, int], tuple[np.ndarray, dict[str, float]]]


class Labelled(NamedTuple):
    """Image features [N, E] and their labels, int [N]."""

    features: np.ndarray
    labels: np.ndarray


class ZeroShot(NamedTuple):
    """Class weights [C, E] of unit length, and scale = exp(logit_scale)."""

    weights: np.ndarray
    scale: float


def batches(n: int, size: int, epochs: int, seed: int) -> np.ndarray:
    """Rows of n images in a seeded order of its own in every epoch, int32 [epochs, steps, size]; n stands for no image,
    where the last batch of an epoch is not full."""
    size = min(size, n)
    steps = -(-n // size)
    generator = np.random.default_rng(seed)
    rows = np.full((epochs, steps * size), n, np.int32)
    for epoch in rows:
        epoch[:n] = generator.permutation(n)
    return rows.reshape(epochs, steps, size)


def compared(
    images: Labelled, test: Labelled, zero_shot: ZeroShot, answer: Answer, shots: Sequence[int], seeds: Sequence[int]
) -> list[Record]:
    """Images to draw from and a test set -> per number of shots top-1 and its gain over zero-shot; then zero-shot
    itself, as 0 shots.

    `value`, `spread` and the interval are over the seeds (`fewshot.summary`); the gain is paired, image by image.
    """
    if len(set(seeds)) < 2:
        raise InputError(f"seeds {list(seeds)}: a spread needs two different seeds or more")
    classes = len(zero_shot.weights)
    labels = metrics.check_labels(images.labels, len(images.features), classes)
    truth = metrics.check_labels(test.labels, len(test.features), classes)
    plain = zeroshot.logits(test.features, *zero_shot)
    before = metrics.in_top(plain, truth, 1)
    records = []
    for k in shots:
        right = np.empty((len(seeds), len(truth)), bool)
        said: dict[str, list[float]] = {}
        for i, seed in enumerate(seeds):
            scores, about = answer(fewshot.draw(labels, k, seed, classes), seed)
            right[i] = metrics.in_top(scores, truth, 1)
            for name, number in about.items():
                said.setdefault(name, []).append(float(number))
        for record in (fewshot.summary(right), gain(right, before)):
            records.append(replace(record, shots=int(k), seeds=[int(seed) for seed in seeds], **said))
    return [*records, replace(metrics.top_k(plain, truth), shots=0)]


def gain(right: np.ndarray, before: np.ndarray) -> Record:
    """Right or wrong per seed and test example, bool [S, N], and the same of zero-shot, bool [N] -> how much larger the
    share of right answers is, from -1 to 1, with the interval of `fewshot.summary`."""
    half = fewshot.summary((1 + right.astype(np.float64) - before) / 2)  # from 0 to 1, as a share
    ends = {name: 2 * getattr(half, name) - 1 for name in ("value", "low", "high")}
    values = [2 * value - 1 for value in half.values or ()]
    return replace(half, metric="top1_gain_over_zero_shot", spread=2 * (half.spread or 0.0), values=values, **ends)
