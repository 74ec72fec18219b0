"""Tip-Adapter: zero-shot classification with a cache of a few labelled images (Zhang et al. 2022, arXiv 2207.09519).

    logits = scale * F W^T  +  alpha * exp(-beta (1 - F K^T)) L

F are image features [N, E], W class weights [C, E], K the keys of the cache [M, E] (features of its images) and L its
values [M, C] (their labels, one-hot). F, W and K are of unit length. Without training K stays as it is; trained
(Tip-Adapter-F), K begins there and is learned on the images of the cache, and its rows do not keep their length.

The numbers are those of the authors' code for ImageNet: AdamW with eps 1e-4 and decay 0.01, a cosine down to 0,
alpha and beta of the training, and the ranges in which alpha and beta are then chosen. Two things differ: they are
chosen on held-out images, never on the test images, and the keys are those after the last epoch, while that code takes
the epoch that is best on the test images. Features are of images as they are, not averaged over augmented ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from clipjax.analysis.rates import Method
from clipjax.errors import InputError
from clipjax.probes import draws, zeroshot
from clipjax.probes.draws import Labelled, ZeroShot
from clipjax.probes.fewshot import USUAL, By, Drawn

ALPHA, BETA = 1.17, 1.0  # while keys are learned
ALPHAS = tuple(0.1 + i * (3 - 0.1) / 20 for i in range(20))  # to choose from
BETAS = tuple(0.1 + i * (7 - 0.1) / 20 for i in range(20))
EPS, WEIGHT_DECAY = 1e-4, 0.01  # of AdamW
ROWS = 1024  # images whose similarity to every key is held at once
HIGHEST = jax.lax.Precision.HIGHEST  # TPUs and GPUs would round float32 products to fewer bits


class Cache(NamedTuple):
    """Keys [M, E] and the class of each, int [M], in ascending order."""

    keys: np.ndarray
    labels: np.ndarray


def cache(images: Labelled) -> Cache:
    """The cache of these images, before any training."""
    order = np.argsort(images.labels, kind="stable")
    return Cache(zeroshot.normalise(images.features[order]), images.labels[order])


def cache_logits(similarity: np.ndarray, labels: np.ndarray, beta: float, classes: int) -> np.ndarray:
    """F K^T [N, M] and the ascending labels of the keys, int [M] -> exp(-beta (1 - F K^T)) L [N, C]."""
    found = np.zeros((len(similarity), classes), np.float32)
    present, start = np.unique(labels, return_index=True)
    found[:, present] = np.add.reduceat(np.exp(-np.float32(beta) * (1 - similarity)), start, axis=1)
    return found


def logits(features: np.ndarray, zero_shot: ZeroShot, cached: Cache, alpha: float, beta: float) -> np.ndarray:
    """Raw image features [N, E] -> logits [N, C], as at the top of this file."""
    parts = _parts(zeroshot.normalise(features), zero_shot, cached)
    classes, alpha32 = len(zero_shot.weights), np.float32(alpha)
    return np.concatenate([
        plain + alpha32 * cache_logits(similarity, cached.labels, beta, classes) for plain, similarity in parts
    ])  # fmt: skip


def _parts(unit: np.ndarray, zero_shot: ZeroShot, cached: Cache) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of some images after the others: zero-shot logits [n, C], and similarity to the keys [n, M]."""
    to_classes, to_keys = zeroshot.similarity(zero_shot.weights), zeroshot.similarity(cached.keys)
    for start in range(0, len(unit), ROWS):
        rows = unit[start : start + ROWS]
        yield np.float32(zero_shot.scale) * to_classes(rows), to_keys(rows)


def search(held: Labelled, zero_shot: ZeroShot, cached: Cache) -> tuple[float, float]:
    """Held-out images -> the alpha and beta of `ALPHAS` and `BETAS` with most of them right; of equal ones the smallest
    beta, then the smallest alpha."""
    right = np.zeros((len(BETAS), len(ALPHAS)), np.int64)
    start = 0
    for plain, similarity in _parts(zeroshot.normalise(held.features), zero_shot, cached):
        labels = held.labels[start : start + len(plain)]
        for i, beta in enumerate(BETAS):
            added = cache_logits(similarity, cached.labels, beta, plain.shape[1])
            right[i] += [((plain + np.float32(alpha) * added).argmax(1) == labels).sum() for alpha in ALPHAS]
        start += len(plain)
    i, j = np.unravel_index(right.argmax(), right.shape)
    return ALPHAS[j], BETAS[i]


def train(
    cached: Cache, zero_shot: ZeroShot, epochs: int, learning_rate: float = 1e-3, batch_size: int = 256, seed: int = 0
) -> tuple[Cache, float]:
    """The cache with learned keys, and the mean loss of the last epoch. Every epoch has a seeded order of its own."""
    if epochs < 1 or batch_size < 1 or not learning_rate > 0:
        raise InputError(
            f"{epochs} epochs of batches of {batch_size} at a learning rate of {learning_rate}: choose more than 0"
        )
    rows = draws.batches(len(cached.labels), batch_size, epochs, seed)
    steps = rows.shape[1]
    plain = np.float32(zero_shot.scale) * zeroshot.similarity(zero_shot.weights)(cached.keys)
    keys, losses = _train(cached.keys, cached.labels, plain, rows.reshape(epochs * steps, -1), learning_rate)
    return cached._replace(keys=np.asarray(keys)), float(np.mean(losses[-steps:]))


@jax.jit
def _train(
    features: jax.Array, labels: jax.Array, plain: jax.Array, batches: jax.Array, learning_rate: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Features [M, E], labels [M] and zero-shot logits [M, C] of the cached images; batches int [T, B] of their rows
    -> learned keys [M, E] and the loss of every step [T]."""
    m, classes = plain.shape
    values = jax.nn.one_hot(labels, classes, dtype=plain.dtype)
    rate = optax.cosine_decay_schedule(1.0, len(batches))
    optimizer = optax.adamw(lambda step: learning_rate * rate(step), eps=EPS, weight_decay=WEIGHT_DECAY)

    def loss(keys: jax.Array, rows: jax.Array) -> jax.Array:
        there, rows = rows < m, jnp.minimum(rows, m - 1)
        similarity = jnp.matmul(features[rows], keys.T, precision=HIGHEST)
        added = jnp.matmul(jnp.exp(-BETA * (1 - similarity)), values, precision=HIGHEST)
        each = optax.softmax_cross_entropy_with_integer_labels(plain[rows] + ALPHA * added, labels[rows])
        return (each * there).sum() / there.sum()

    def step(state: tuple, rows: jax.Array) -> tuple[tuple, jax.Array]:
        keys, moments = state
        value, gradient = jax.value_and_grad(loss)(keys, rows)
        updates, moments = optimizer.update(gradient, moments, keys)
        return (optax.apply_updates(keys, updates), moments), value

    (keys, _), losses = jax.lax.scan(step, (features, optimizer.init(features)), batches)
    return keys, losses


def evaluate(
    images: Labelled, held: Labelled, test: Labelled, zero_shot: ZeroShot, shots: Sequence[int] = (1, 2, 4, 8, 16), *,
    seeds: Sequence[int] = (0, 1, 2), epochs: int = 0, learning_rate: float = 1e-3, batch_size: int = 256,
    by: By = (), method: Method = USUAL,
) -> Drawn:  # fmt: skip
    """Images to draw the cache from, held-out ones to choose alpha and beta on, and a test set -> `draws.compared`.

    epochs: of learning the keys; 0: they stay. The labels of all three are of the classes of `zero_shot`.
    """

    def answer(rows: np.ndarray, seed: int) -> tuple[np.ndarray, dict[str, float]]:
        about: dict[str, float] = {}
        cached = cache(Labelled(images.features[rows], images.labels[rows]))
        if epochs:
            cached, about["losses"] = train(cached, zero_shot, epochs, learning_rate, batch_size, seed)
        alpha, beta = about["alphas"], about["betas"] = search(held, zero_shot, cached)
        return logits(test.features, zero_shot, cached, alpha, beta), about

    return draws.compared(images, test, zero_shot, answer, shots, seeds, by, method)
