"""The text transformer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from clipjax.models.kinds.text import Text
from clipjax.models.layers import Intermediates, LayerNorm, Transformer, normal, sow
from clipjax.models.lowering import Lowering


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

    def __init__(self, config: Text, embed_dim: int, *, rngs: nnx.Rngs):
        self.token_embedding = TokenEmbedding(config.vocab_size, config.width, rngs=rngs)
        self.positional_embedding = normal(rngs, (config.context_length, config.width), 0.01)
        self.transformer = Transformer(
            config.width, config.heads, config.mlp, config.activation, config.eps, config.layers, rngs=rngs
        )
        self.ln_final = LayerNorm(config.width, eps=config.eps)
        self.text_projection = normal(rngs, (config.width, embed_dim), config.width**-0.5)

    def __call__(
        self, tokens: jax.Array, dtype: jnp.dtype, intermediates: Intermediates, lowering: Lowering
    ) -> jax.Array:
        t = tokens.shape[1]
        x = self.token_embedding(tokens).astype(dtype) + self.positional_embedding[...][:t].astype(dtype)
        mask = jnp.tril(jnp.ones((t, t), bool))
        end = tokens.argmax(-1)  # the highest id is the end of text; the first one counts
        x = self.transformer(sow(intermediates, "embedding", x), end, mask, intermediates, lowering)
        x = sow(intermediates, "ln_final", self.ln_final(x))
        return jnp.matmul(x, self.text_projection[...].astype(x.dtype))
