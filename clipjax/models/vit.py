"""The vision transformer of `kinds.vit.ViT`: one computation for every family that the configuration can say."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from clipjax.models import pools
from clipjax.models.kinds.vit import ViT
from clipjax.models.layers import (
    Adapter,
    Intermediates,
    LayerNorm,
    Rotation,
    Sight,
    Transformer,
    adapted,
    at_least_float32,
    exact_gelu,
    normal,
    sow,
)  # fmt: skip
from clipjax.models.lowering import Lowering


class PatchEmbedding(nnx.Module):
    """A convolution whose stride is its kernel: the same as one matrix product per patch, which is faster.

    [B, S, S, C] -> [B, (S / patch)^2, D]; what is left of the image beyond whole patches is not read.
    """

    def __init__(self, patch: int, width: int, *, channels: int = 3, bias: bool = False, rngs: nnx.Rngs):
        self.weight = normal(rngs, (patch, patch, channels, width), (patch * patch * channels) ** -0.5)
        self.bias = nnx.Param(jnp.zeros((width,), jnp.float32)) if bias else None

    def __call__(self, pixels: jax.Array) -> jax.Array:
        w = self.weight[...].astype(pixels.dtype)
        p, _, c, d = w.shape
        b, h, _, _ = pixels.shape
        g = h // p
        if g * p < h:
            pixels = pixels[:, : g * p, : g * p]
        patches = pixels.reshape(b, g, p, g, p, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, g * g, p * p * c)
        y = jnp.matmul(patches, w.reshape(p * p * c, d))
        return y if self.bias is None else y + self.bias[...].astype(y.dtype)


def stem(parts: nnx.List, pixels: jax.Array) -> jax.Array:
    """MobileCLIP's: products with GELUs between them, [B, S, S, 3] -> [B, N, D]."""
    x = pixels
    for i, part in enumerate(parts):
        y = part(exact_gelu(x) if i else x)
        g = round(y.shape[1] ** 0.5)
        x = y.reshape(y.shape[0], g, g, y.shape[2])
    return x.reshape(x.shape[0], -1, x.shape[3])


def rotation(config: ViT) -> Rotation | None:
    """Cosines and sines [N, K / 2] of the angles by which `layers.rotate` turns, float32; the class token's are 0.

    Of K / 4 frequencies theta^(-4 i / K): each by the position along the first axis, then each by the other's.
    """
    rope, grid = config.rope, config.grid
    if rope is None:
        return None
    quarter = config.width // config.heads // 4
    place = np.arange(grid) + rope.offset if rope.grid is None else np.arange(grid) / grid * rope.grid + rope.offset
    angles = place[:, None] * rope.theta ** (-np.arange(quarter) / quarter)  # [g, K / 4]
    rows = np.broadcast_to(angles[:, None], (grid, grid, quarter))
    columns = np.broadcast_to(angles[None], (grid, grid, quarter))
    both = (columns, rows) if rope.axes == "xy" else (rows, columns)
    turned = np.concatenate(both, -1).reshape(grid * grid, 2 * quarter)
    turned = np.concatenate([np.zeros((int(config.class_token), 2 * quarter)), turned])
    return jnp.asarray(np.cos(turned)), jnp.asarray(np.sin(turned))


class VisionTransformer(nnx.Module):
    """pixels [B, S, S, 3] -> image features [B, E], not normalised."""

    adapter: Adapter | None = None  # of proj

    def __init__(self, config: ViT, embed_dim: int, *, rngs: nnx.Rngs):
        std, width, out = config.width**-0.5, config.width, config.feature_width("pre_proj", embed_dim)
        if config.patch == "stem":
            parts = [PatchEmbedding(p, d, channels=c, bias=True, rngs=rngs) for p, c, d in config.stem]
            self.stem = nnx.List(parts)
        else:
            self.conv1 = PatchEmbedding(config.patch_size, width, bias=config.patch == "bias", rngs=rngs)
        if config.class_token:
            self.class_embedding = normal(rngs, (width,), std)
        rows = config.tokens if config.positions == "all" else config.grid**2
        self.positional_embedding = normal(rngs, (rows, width), std)
        if config.ln_pre:
            self.ln_pre = LayerNorm(width, eps=config.eps)
        self.transformer = Transformer(config.blocks, rngs=rngs)
        if config.pool in pools.POOLS:
            self.attn_pool = pools.POOLS[config.pool](config, embed_dim, rngs=rngs)
        self.ln_post = LayerNorm(out if config.final_norm == "after" else width, eps=config.eps)
        if config.proj != "none":
            self.proj = normal(rngs, (out, embed_dim), std)
        if config.proj == "bias":
            self.proj_bias = nnx.Param(jnp.zeros((embed_dim,), jnp.float32))
        self.config = config

    def __call__(self, pixels: jax.Array, intermediates: Intermediates, lowering: Lowering) -> jax.Array:
        config = self.config
        x = self._rows(pixels, intermediates)
        if config.ln_pre:
            x = sow(intermediates, "ln_pre", self.ln_pre(x))
        # A class token is all that is read; the other pools read every row.
        position = 0 if config.pool == "class" else None
        x = self.transformer(x, position, Sight(rotation=rotation(config)), intermediates, lowering)
        if config.final_norm == "before":
            x = sow(intermediates, "ln_post", self.ln_post(x))
        x = self._pooled(x, lowering)
        if config.final_norm == "after":
            x = sow(intermediates, "ln_post", self.ln_post(x))
        sow(intermediates, "pre_proj", x)  # what a linear probe reads (CLIP paper, A.3)
        if config.proj == "none":
            return x
        y = adapted(jnp.matmul(x, self.proj[...].astype(x.dtype)), x, self.adapter, lowering)
        return y + self.proj_bias[...].astype(y.dtype) if config.proj == "bias" else y

    def _rows(self, pixels: jax.Array, intermediates: Intermediates) -> jax.Array:
        """[B, N, D]: patches, positions and the class token."""
        config = self.config
        if config.patch == "stem":
            x = sow(intermediates, "stem", stem(self.stem, pixels))
        else:
            x = sow(intermediates, "conv1", self.conv1(pixels))
        if config.positions == "patches":
            x = x + self.positional_embedding[...].astype(x.dtype)
        if config.class_token:
            cls = jnp.broadcast_to(self.class_embedding[...].astype(x.dtype), (x.shape[0], 1, x.shape[2]))
            x = jnp.concatenate([cls, x], axis=1)
        return x + self.positional_embedding[...].astype(x.dtype) if config.positions == "all" else x

    def _pooled(self, x: jax.Array, lowering: Lowering) -> jax.Array:
        """[B, D] of the rows [B, N, D] that the pool reads."""
        config = self.config
        if config.pool in pools.POOLS:
            return self.attn_pool(x, lowering)
        if config.pool == "mean":
            patches = x[:, 1:] if config.class_token else x
            return patches.astype(at_least_float32(x)).mean(1).astype(x.dtype)
        return x
