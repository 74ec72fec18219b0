"""The vision transformer (ViT-B/32, B/16, L/14, L/14@336px and open_clip's and Hugging Face's of the same kind)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from clipjax.models.kinds.vit import ViT
from clipjax.models.layers import Intermediates, LayerNorm, Transformer, normal, sow
from clipjax.models.lowering import Lowering


class PatchEmbedding(nnx.Module):
    """A convolution whose stride is its kernel: the same as one matrix product per patch, which is faster."""

    def __init__(self, patch: int, width: int, *, rngs: nnx.Rngs):
        self.weight = normal(rngs, (patch, patch, 3, width), (patch * patch * 3) ** -0.5)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        w = self.weight[...].astype(pixels.dtype)
        p, _, _, d = w.shape
        b, h, _, _ = pixels.shape
        g = h // p
        patches = pixels.reshape(b, g, p, g, p, 3).transpose(0, 1, 3, 2, 4, 5).reshape(b, g * g, p * p * 3)
        return jnp.matmul(patches, w.reshape(p * p * 3, d))


class VisionTransformer(nnx.Module):
    """pixels [B, S, S, 3] -> image features [B, E], not normalised."""

    def __init__(self, config: ViT, embed_dim: int, *, rngs: nnx.Rngs):
        std = config.width**-0.5
        self.conv1 = PatchEmbedding(config.patch_size, config.width, rngs=rngs)
        self.class_embedding = normal(rngs, (config.width,), std)
        self.positional_embedding = normal(rngs, (config.tokens, config.width), std)
        self.ln_pre = LayerNorm(config.width, eps=config.eps)
        self.transformer = Transformer(
            config.width, config.heads, config.mlp, config.activation, config.eps, config.layers, rngs=rngs
        )
        self.ln_post = LayerNorm(config.width, eps=config.eps)
        self.proj = normal(rngs, (config.width, embed_dim), std)

    def __call__(self, pixels: jax.Array, intermediates: Intermediates, lowering: Lowering) -> jax.Array:
        x = sow(intermediates, "conv1", self.conv1(pixels))  # [B, N - 1, D]
        cls = jnp.broadcast_to(self.class_embedding[...].astype(x.dtype), (x.shape[0], 1, x.shape[2]))
        x = jnp.concatenate([cls, x], axis=1) + self.positional_embedding[...].astype(x.dtype)
        x = sow(intermediates, "ln_pre", self.ln_pre(x))
        x = self.transformer(x, 0, None, intermediates, lowering)  # the class token is all that is read
        x = sow(intermediates, "ln_post", self.ln_post(x))
        sow(intermediates, "pre_proj", x)  # what a linear probe reads (CLIP paper, A.3)
        return jnp.matmul(x, self.proj[...].astype(x.dtype))
