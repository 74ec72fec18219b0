"""How an encoder's program is written. Values do not depend on it, beyond rounding; speed and memory do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental.xla_metadata import set_xla_metadata

from clipjax.errors import InputError

REMAT = {
    "none": None,  # keep everything for the backward pass
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # keep products with parameters, redo the rest
    "full": jax.checkpoint_policies.nothing_saveable,  # keep each block's input only
}


@dataclasses.dataclass(frozen=True)
class Lowering:
    """The choices; the defaults are the plainest program.

    flat_rows: Products see [B * X, D] in place of [B, X, D]. A CPU's backward pass wants it: with two axes to sum over,
        XLA:CPU copies every cotangent into another order first, a third of the whole step. A TPU does not: flat rows
        do not fit its tiles, and evaluation moves 1.7 times the bytes (ViT-B/32 on v5e, compiled).
    separate_blocks: Each block of a ResNet is compiled as a function of its own. XLA:CPU takes a residual sum for cheap
        and computes it again wherever it is read, with all the sums before it: in RN101's third stage up to twenty, on
        one core. What a call returns is kept.
    cudnn: For cuDNN's kernels, in bfloat16 (see `clipjax.gpu`); equal within its rounding. Attention without a mask is
        one kernel, whose scores [B, H, N, N] never reach the memory; BatchNorm lies in the weights of the convolution
        before it, which then adds, and does the ReLU, on its way.
    remat: A key of `REMAT`: what the backward pass computes again.
    scan: One compiled block serves all blocks of a transformer but the last, so that compiling stays short however
        deep it is. Intermediate results of those blocks are not recorded.
    """

    flat_rows: bool = False
    separate_blocks: bool = False
    cudnn: bool = False
    remat: str = "none"
    scan: bool = False

    def __post_init__(self):
        if self.remat not in REMAT:
            raise InputError(f"unknown rematerialisation {self.remat!r}; choose {', '.join(REMAT)}")

    def rematerialised(self, block: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        """The block with less kept for the backward pass and more computed again."""
        if self.remat == "none":
            return block
        return jax.checkpoint(lambda *args: block(*args), policy=REMAT[self.remat])

    def separated(self, block: nnx.Module) -> Callable[[jax.Array], jax.Array]:
        """`block(x, self)` as a function of x, behind a call that the compiler may not inline if `separate_blocks`."""
        if not self.separate_blocks:
            return lambda x: block(x, self)  # pyrefly: ignore[not-callable]
        graphdef, state = nnx.split(block)

        def call(x: jax.Array) -> jax.Array:
            with set_xla_metadata(inlineable="false"):
                return jax.jit(lambda params, x: nnx.merge(graphdef, params)(x, self))(nnx.to_pure_dict(state), x)

        return call

    def scanned(self, blocks: Sequence[nnx.Module], x: jax.Array, sight: Any) -> jax.Array:
        """`block(x, sight, self)` of equal blocks, one after the other, as one loop."""
        if not blocks:
            return x
        graphdef = nnx.split(blocks[0])[0]
        layers = [nnx.to_pure_dict(nnx.state(block)) for block in blocks]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
        one = self.rematerialised(lambda x, params: nnx.merge(graphdef, params)(x, sight, self))
        return jax.lax.scan(lambda x, params: (one(x, params), None), x, stacked)[0]
