"""Methods that see k labelled images per class beside the classes' texts: several draws, compared with zero-shot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import drawn, groups
from clipjax.analysis.rates import Cells, Method
from clipjax.analysis.records import Record
from clipjax.errors import InputError
from clipjax.probes import fewshot, metrics, zeroshot
from clipjax.probes.fewshot import USUAL, By, Drawn

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
    images: Labelled, test: Labelled, zero_shot: ZeroShot, answer: Answer, shots: Sequence[int], seeds: Sequence[int],
    by: By = (), method: Method = USUAL,
) -> Drawn:  # fmt: skip
    """Images to draw from and a test set -> per number of shots top-1 and its gain over zero-shot; then zero-shot
    itself, as 0 shots; then for each grouping `fewshot.of_groups` of every number of shots, and of zero-shot.

    `value`, `spread` and the interval are over the seeds (`fewshot.summary`); the gain is paired, image by image.
    """
    if len(set(seeds)) < 2:
        raise InputError(f"seeds {list(seeds)}: a spread needs two different seeds or more")
    classes = len(zero_shot.weights)
    labels = metrics.check_labels(images.labels, len(images.features), classes)
    truth = metrics.check_labels(test.labels, len(test.features), classes)
    plain = zeroshot.logits(test.features, *zero_shot)
    before = metrics.in_top(plain, truth, 1)
    records, grouped = [], []
    right = np.empty((len(shots), len(seeds), len(truth)), bool)
    for k, mine in zip(shots, right, strict=True):
        said: dict[str, list[float]] = {}
        for seed, one in zip(seeds, mine, strict=True):
            scores, about = answer(fewshot.draw(labels, k, seed, classes), seed)
            one[:] = metrics.in_top(scores, truth, 1)
            for name, number in about.items():
                said.setdefault(name, []).append(float(number))
        about = {"shots": int(k), "seeds": [int(seed) for seed in seeds]}
        records += [
            replace(r, **about, **said) for r in (fewshot.summary(mine, method.level), gain(mine, before, method))
        ]
        grouped += [replace(r, **about) for g, cells in by for r in fewshot.of_groups(mine, cells, "*".join(g), method)]
    records.append(replace(metrics.top_k(plain, truth), shots=0))
    grouped += [replace(r, shots=0) for g, cells in by for r in _without_images(before, cells, "*".join(g), method)]
    return Drawn(records + grouped, right, before)


def gain(right: np.ndarray, before: np.ndarray, method: Method = USUAL) -> Record:
    """Right or wrong per seed and test example, bool [S, N], and the same of zero-shot, bool [N] -> how much larger the
    share of right answers is, from -1 to 1, with the interval of `fewshot.summary`."""
    found = drawn.mean(right.astype(np.float64) - before, method.level)
    low, high = max(found.low, -1.0), min(found.high, 1.0)
    return replace(
        metrics.record("top1_gain_over_zero_shot", right.shape[1], found.value, low, high, drawn.method(len(right))),
        spread=found.spread, values=found.each, level=method.level,
    )  # fmt: skip


def _without_images(before: np.ndarray, cells: Cells, over: str, method: Method) -> list[Record]:
    """Zero-shot by group, and how its groups compare, as far as `fewshot.of_groups` tells it of draws."""
    found = groups.accuracy_by_group(before, cells, method)
    k, n = groups.tally(before, cells)
    if not 1 < len(n) <= groups.MOST_COMPARED:
        return found
    numbers, names = (groups.worst_group, groups.group_difference, groups.mean_of_groups), groups.names_of(cells.groups)
    return found + [replace(number(k, n, names, method, "top1"), over=over) for number in numbers]
