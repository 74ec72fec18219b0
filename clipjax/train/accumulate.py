"""Exact accumulation for losses over all pairs (GradCache, Gao et al. 2021).

A contrastive loss of a large batch is not the mean of its microbatches' losses: these have fewer negatives. So the
microbatches are encoded one after the other, the loss is taken over all embeddings, and each microbatch is encoded
once more to carry the embeddings' gradients back to the parameters. Loss and gradients are those of one large batch;
the encoders only ever hold one microbatch. (`optax.MultiSteps` and `optax.microbatch` sum the microbatches' losses:
another objective.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from clipjax.errors import InputError

Params = Any
Batch = Any


def value_and_grad(
    encode: Callable[[Params, Batch], Any], loss: Callable[[Params, Any, Batch], jax.Array], steps: int = 1,
    shards: int = 1,
) -> Callable[[Params, Batch], tuple[jax.Array, Params]]:  # fmt: skip
    """`f(params, batch) -> (loss, gradients)` of `loss(params, encode(params, batch), batch)`, in `steps` microbatches.

    `batch` is a tree of arrays [B, ...]; `encode` treats every example for itself, twice in the same way (frozen
    BatchNorm; a dropout that depends on the example only), and returns a tree of [B, ...]. `loss` may use parameters
    too (the logit scale).
    `shards`: over how many devices the leading axis is cut; microbatches are then taken within each device's share, so
    that no example moves.
    """

    def whole(params: Params, batch: Batch) -> tuple[jax.Array, Params]:
        return jax.value_and_grad(lambda p: loss(p, encode(p, batch), batch))(params)

    def in_steps(params: Params, batch: Batch) -> tuple[jax.Array, Params]:
        split = jax.tree.map(lambda x: _split(x, steps, shards), batch)
        joined = embeddings(encode, steps, shards)(params, batch)
        value, (gradient, cotangents) = jax.value_and_grad(loss, argnums=(0, 1))(params, joined, batch)
        cotangents = jax.tree.map(lambda x: _split(x, steps, shards), cotangents)

        def back(total: Params, microbatch: Any) -> tuple[Params, None]:
            examples, cotangent = microbatch
            _, pull = jax.vjp(lambda p: encode(p, examples), params)
            return jax.tree.map(jnp.add, total, pull(cotangent)[0]), None

        return value, jax.lax.scan(back, gradient, (split, cotangents))[0]

    return whole if steps == 1 else in_steps


def embeddings(encode: Callable[[Params, Batch], Any], steps: int = 1, shards: int = 1) -> Callable:
    """`encode` in microbatches, without gradients of its own: `f(params, batch)` -> a tree of [B, ...]."""
    if steps == 1:
        return encode

    def in_steps(params: Params, batch: Batch) -> Any:
        split = jax.tree.map(lambda x: _split(x, steps, shards), batch)
        return jax.tree.map(lambda x: _join(x, shards), jax.lax.map(lambda part: encode(params, part), split))

    return in_steps


def _split(x: jax.Array, steps: int, shards: int) -> jax.Array:
    """[B, ...] -> [steps, B / steps, ...], every device's examples spread over the microbatches."""
    if len(x) % (steps * shards):
        raise InputError(f"a batch of {len(x)} does not divide into {steps} parts on {shards} devices each")
    x = x.reshape(shards, steps, -1, *x.shape[1:]).swapaxes(0, 1)
    return x.reshape(steps, -1, *x.shape[3:])


def _join(x: jax.Array, shards: int) -> jax.Array:
    """The order of `_split` undone: [steps, B / steps, ...] -> [B, ...]."""
    steps = len(x)
    x = x.reshape(steps, shards, -1, *x.shape[2:]).swapaxes(0, 1)
    return x.reshape(-1, *x.shape[3:])
