"""The text transformer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from clipjax.models import config
from clipjax.models.layers import LayerNorm, Taps, Transformer, normal, tap


class TokenEmbedding(nnx.Module):
    """ids [B, T] -> [B, T, D]."""

    def __init__(self, vocab_size: int, width: int, *, rngs: nnx.Rngs):
        self.weight = normal(rngs, (vocab_size, width), 0.02)

    def __call__(self, ids: jax.Array) -> jax.Array:
        return jnp.take(self.weight[...], ids, axis=0, mode="clip")


class TextTransformer(nnx.Module):
    """tokens int [B, T] -> text features [B, E], not normalised.

    T may be shorter than the context length as long as every text's end is inside: the mask is causal and only
    the end of text is read, so what follows it cannot matter.
    """

    def __init__(self, cfg: config.Text, embed_dim: int, *, rngs: nnx.Rngs):
        self.token_embedding = TokenEmbedding(cfg.vocab_size, cfg.width, rngs=rngs)
        self.positional_embedding = normal(rngs, (cfg.context_length, cfg.width), 0.01)
        self.transformer = Transformer(cfg.width, cfg.heads, cfg.mlp, cfg.activation, cfg.eps, cfg.layers, rngs=rngs)
        self.ln_final = LayerNorm(cfg.width, eps=cfg.eps)
        self.text_projection = normal(rngs, (cfg.width, embed_dim), cfg.width**-0.5)

    def __call__(
        self, tokens: jax.Array, dtype: jnp.dtype, taps: Taps = None, remat: str = "none", scan: bool = False
    ) -> jax.Array:
        t = tokens.shape[1]
        x = self.token_embedding(tokens).astype(dtype) + self.positional_embedding[...][:t].astype(dtype)
        mask = jnp.tril(jnp.ones((t, t), bool))
        end = tokens.argmax(-1)  # the highest id is the end of text; the first one counts
        x = self.transformer(tap(taps, "embedding", x), end, mask, taps, remat, scan)
        x = tap(taps, "ln_final", self.ln_final(x))
        return jnp.matmul(x, self.text_projection[...].astype(x.dtype))
