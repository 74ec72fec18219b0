"""The text transformer of `kinds.text.Text`: one computation for every family that the configuration can say."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from clipjax.errors import InputError
from clipjax.models.kinds.text import PAD, Text
from clipjax.models.layers import Adapter, Intermediates, LayerNorm, Position, Sight, Transformer, adapted, normal, sow
from clipjax.models.lowering import Lowering


class TokenEmbedding(nnx.Module):
    """ids [B, T] -> [B, T, D]."""

    def __init__(self, vocab_size: int, width: int, *, rngs: nnx.Rngs):
        self.weight = normal(rngs, (vocab_size, width), 0.02)

    def __call__(self, ids: jax.Array) -> jax.Array:
        return jnp.take(self.weight[...], ids, axis=0, mode="clip")


class TextTransformer(nnx.Module):
    """tokens int [B, T] -> text features [B, E], not normalised.

    Where the configuration's `can_cut`, T may be shorter than the context length as long as every text's end is inside:
    the mask is causal and only the end of text is read, so what follows it cannot matter. Elsewhere it always matters.
    """

    adapter: Adapter | None = None  # of text_projection

    def __init__(self, config: Text, embed_dim: int, *, rngs: nnx.Rngs):
        self.token_embedding = TokenEmbedding(config.vocab_size, config.width, rngs=rngs)
        if config.pool == "class":
            self.class_embedding = normal(rngs, (config.width,), 0.01)
        self.positional_embedding = normal(rngs, (config.tokens, config.width), 0.01)
        self.transformer = Transformer(config.blocks, rngs=rngs)
        self.ln_final = LayerNorm(config.width, eps=config.eps)
        if config.proj != "none":
            self.text_projection = normal(rngs, (config.width, embed_dim), config.width**-0.5)
        if config.proj == "bias":
            self.text_projection_bias = nnx.Param(jnp.zeros((embed_dim,), jnp.float32))
        self.config = config

    def __call__(
        self, tokens: jax.Array, dtype: jnp.dtype, intermediates: Intermediates, lowering: Lowering,
        context: jax.Array | None = None,
    ) -> jax.Array:  # fmt: skip
        config, (b, t) = self.config, tokens.shape
        if t != config.context_length and not config.can_cut:
            raise InputError(f"texts of {t} tokens; this text encoder reads {config.context_length}, padding too")
        x = self.token_embedding(tokens).astype(dtype)
        if context is not None:
            x = x.at[:, 1 : 1 + len(context)].set(context.astype(dtype))
        if config.pool == "class":
            cls = jnp.broadcast_to(self.class_embedding[...].astype(dtype), (b, 1, config.width))
            x = jnp.concatenate([x, cls], axis=1)
        x = x + self.positional_embedding[...][: x.shape[1]].astype(dtype)
        sight = Sight(self._mask(tokens))
        x = sow(intermediates, "embedding", x)
        x = self.transformer(x, self._position(tokens), sight, intermediates, lowering)
        x = sow(intermediates, "ln_final", self.ln_final(x))
        if config.proj == "none":
            return x
        y = adapted(jnp.matmul(x, self.text_projection[...].astype(x.dtype)), x, self.adapter, lowering)
        return y + self.text_projection_bias[...].astype(y.dtype) if config.proj == "bias" else y

    def _mask(self, tokens: jax.Array) -> jax.Array | None:
        """True where a row [Q] may see another [X]; of pool "class" one for each text.

        CoCa's models were trained with the keys of padding shifted by one: key j > 0 is seen where token j - 1 is no
        padding, so that the class row sees the first padding and never itself (open_clip issue 1113).
        """
        if not self.config.causal:
            return None
        t = self.config.tokens if self.config.pool == "class" else tokens.shape[1]
        causal = jnp.tril(jnp.ones((t, t), bool))
        if self.config.pool != "class":
            return causal
        words = jnp.concatenate([jnp.ones((len(tokens), 1), bool), tokens != PAD], axis=1)
        return causal & words[:, None]

    def _position(self, tokens: jax.Array) -> Position:
        pool = self.config.pool
        if pool == "argmax":
            return tokens.argmax(-1)  # the highest id is the end of text; the first one counts
        if (end := self.config.eos_id) is not None:
            return jnp.equal(tokens, end).argmax(-1)
        return self.config.tokens - 1
