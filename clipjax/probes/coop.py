"""CoOp: learned vectors before the name of a class, in place of a template (Zhou et al. 2022, arXiv 2109.01134).

    logits = scale * F T(V)^T        T(V): text features of [start] v_1 ... v_n NAME . [end]

F are image features [N, E], which do not change, and V the context [n, W], token embeddings that all classes share.
Only V is learned, by cross-entropy. Optimizer and schedule are those of the authors' code: SGD with momentum 0.9 and
decay 5e-4, a first epoch at 1e-5, then a cosine by epoch. Two things differ: features are of images as they are, not
of augmented ones, and the rest of an epoch that does not fill a batch is used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from clipjax.analysis.rates import Method
from clipjax.errors import InputError
from clipjax.probes import draws, zeroshot
from clipjax.probes.draws import Labelled, ZeroShot
from clipjax.probes.fewshot import USUAL, By, Drawn

# What is given (parameters of a text encoder, tokens) and the context [n, W] -> raw features of the classes [C, E].
Encode = Callable[[Any, jax.Array], jax.Array]

SPREAD = 0.02  # standard deviation of the context before training
FIRST = 1e-5  # learning rate of the first epoch
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
HIGHEST = jax.lax.Precision.HIGHEST  # TPUs and GPUs would round float32 products to fewer bits


def published_epochs(shots: int) -> int:
    """The paper's number of epochs for so many images per class."""
    return 50 if shots == 1 else 100 if shots <= 4 else 200


def rates(epochs: int, learning_rate: float) -> np.ndarray:
    """The learning rate of every epoch, float32 [epochs]: the cosine begins after the first one."""
    epoch = np.arange(epochs) - 1
    return np.where(epoch < 0, FIRST, learning_rate * (1 + np.cos(np.pi * epoch / epochs)) / 2).astype(np.float32)


def train(
    images: Labelled, encode: Encode, params: Any, context: np.ndarray, scale: float, epochs: int,
    learning_rate: float = 2e-3, batch_size: int = 32, seed: int = 0,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Images and the context [n, W] to begin with -> the learned context, and the mean loss of the last epoch."""
    if epochs < 1 or batch_size < 1 or not learning_rate > 0:
        raise InputError(
            f"{epochs} epochs of batches of {batch_size} at a learning rate of {learning_rate}: choose more than 0"
        )
    rows = draws.batches(len(images.labels), batch_size, epochs, seed)
    steps = rows.shape[1]
    each = np.repeat(rates(epochs, learning_rate), steps)
    learned, losses = _train(
        encode, params, zeroshot.normalise(images.features), images.labels, context, scale,
        rows.reshape(epochs * steps, -1), each,
    )  # fmt: skip
    return np.asarray(learned), float(np.mean(losses[-steps:]))


@functools.partial(jax.jit, static_argnums=0)
def _train(
    encode: Encode, params: Any, unit: jax.Array, labels: jax.Array, context: jax.Array, scale: jax.Array,
    batches: jax.Array, each: jax.Array,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Features of unit length [N, E]; batches int [T, B] of their rows, and the learning rate of each [T] -> the
    learned context and the loss of every step [T]."""
    n = len(labels)
    optimizer = optax.chain(optax.add_decayed_weights(WEIGHT_DECAY), optax.trace(MOMENTUM))

    def loss(context: jax.Array, rows: jax.Array) -> jax.Array:
        there, rows = rows < n, jnp.minimum(rows, n - 1)
        texts = encode(params, context)
        texts = texts / jnp.linalg.norm(texts, axis=1, keepdims=True)
        logits = scale * jnp.matmul(unit[rows], texts.T, precision=HIGHEST)
        found = optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows])
        return (found * there).sum() / there.sum()

    def step(state: tuple, now: tuple) -> tuple[tuple, jax.Array]:
        (context, moments), (rows, rate) = state, now
        value, gradient = jax.value_and_grad(loss)(context, rows)
        updates, moments = optimizer.update(gradient, moments, context)
        return (context - rate * updates, moments), value

    (context, _), losses = jax.lax.scan(step, (context, optimizer.init(context)), (batches, each))
    return context, losses


@functools.partial(jax.jit, static_argnums=0)
def _encoded(encode: Encode, params: Any, context: jax.Array) -> jax.Array:
    return encode(params, context)


def evaluate(
    images: Labelled, test: Labelled, zero_shot: ZeroShot, encode: Encode, params: Any, shape: tuple[int, int],
    shots: Sequence[int] = (1, 2, 4, 8, 16), *, seeds: Sequence[int] = (0, 1, 2), epochs: int = 0,
    learning_rate: float = 2e-3, batch_size: int = 32, by: By = (), method: Method = USUAL,
) -> Drawn:  # fmt: skip
    """Images to draw from and a test set -> `draws.compared`. shape: [n, W] of the context; epochs: 0: the paper's."""

    def answer(rows: np.ndarray, seed: int) -> tuple[np.ndarray, dict[str, float]]:
        few = Labelled(images.features[rows], images.labels[rows])
        most = int(np.bincount(few.labels).max())
        begin = np.random.default_rng(seed).normal(0, SPREAD, shape).astype(np.float32)
        context, loss = train(
            few, encode, params, begin, zero_shot.scale, epochs or published_epochs(most), learning_rate, batch_size,
            seed,
        )  # fmt: skip
        weights = zeroshot.normalise(np.asarray(_encoded(encode, params, context)))
        return zeroshot.logits(test.features, weights, zero_shot.scale), {"losses": loss}

    return draws.compared(images, test, zero_shot, answer, shots, seeds, by, method)
