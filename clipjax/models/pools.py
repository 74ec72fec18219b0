"""Attention pools of the ViT: one learned query reads all rows."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from clipjax.models.kinds.vit import ViT
from clipjax.models.layers import MLP, LayerNorm, Linear, attend, linear, normal
from clipjax.models.lowering import Lowering


class AttentionPool(nnx.Module):
    """SigLIP's and PE-Core's: y = attention of a learned probe, and y + mlp(ln(y)). [B, N, D] -> [B, D]."""

    def __init__(self, config: ViT, embed_dim: int, *, rngs: nnx.Rngs):
        assert config.pool_heads is not None
        assert config.pool_mlp is not None
        width, std = config.width, config.width**-0.5
        self.probe = normal(rngs, (1, width), std)
        self.in_proj_weight = normal(rngs, (width, 3 * width), std)
        self.in_proj_bias = nnx.Param(jnp.zeros((3 * width,), jnp.float32))
        self.out_proj = Linear(width, width, std=std, rngs=rngs)
        self.ln = LayerNorm(width, eps=config.eps)
        plain = dataclasses.replace(config.blocks, mlp=config.pool_mlp, gated=False, inner_norm=False)
        self.mlp = MLP(plain, in_std=(2 * width) ** -0.5, out_std=std, rngs=rngs)
        self.heads = config.pool_heads

    def __call__(self, x: jax.Array, lowering: Lowering) -> jax.Array:
        b, n, d = x.shape
        w, bias = self.in_proj_weight[...], self.in_proj_bias[...]
        probe = jnp.broadcast_to(self.probe[...].astype(x.dtype), (b, d))
        q = linear(probe, w[:, :d], bias[:d], lowering).reshape(b, 1, self.heads, -1)
        kv = linear(x, w[:, d:], bias[d:], lowering)
        k, v = jnp.moveaxis(kv.reshape(b, n, 2, self.heads, d // self.heads), 2, 0)
        y = self.out_proj(attend(q, k, v, None, lowering).reshape(b, d), lowering)
        return y + self.mlp(self.ln(y), lowering)


class QueryPool(nnx.Module):
    """CoCa's: a learned query of the embedding's width, both sides normalised before. [B, N, D] -> [B, E].

    CoCa's image encoder has 256 queries, which do not see each other: the contrastive embedding is the first one's.
    """

    def __init__(self, config: ViT, embed_dim: int, *, rngs: nnx.Rngs):
        assert config.pool_heads is not None
        self.query = normal(rngs, (1, embed_dim), 1.0)
        self.ln_q = LayerNorm(embed_dim, eps=config.eps)
        self.ln_k = LayerNorm(config.width, eps=config.eps)
        self.attn = QueryAttention(config.width, embed_dim, config.pool_heads, rngs=rngs)

    def __call__(self, x: jax.Array, lowering: Lowering) -> jax.Array:
        query = self.ln_q(jnp.broadcast_to(self.query[...].astype(x.dtype), (x.shape[0], self.query.shape[1])))
        return self.attn(query, self.ln_k(x), lowering)


class QueryAttention(nnx.Module):
    """One query [B, E] of keys and values [B, N, D], each with a matrix of its own."""

    def __init__(self, width: int, embed_dim: int, heads: int, *, rngs: nnx.Rngs):
        self.q_proj_weight = normal(rngs, (embed_dim, embed_dim), embed_dim**-0.5)
        self.k_proj_weight = normal(rngs, (width, embed_dim), width**-0.5)
        self.v_proj_weight = normal(rngs, (width, embed_dim), width**-0.5)
        self.in_proj_bias = nnx.Param(jnp.zeros((3 * embed_dim,), jnp.float32))
        self.out_proj = Linear(embed_dim, embed_dim, std=embed_dim**-0.5, rngs=rngs)
        self.heads = heads

    def __call__(self, query: jax.Array, x: jax.Array, lowering: Lowering) -> jax.Array:
        (b, n, _), e = x.shape, query.shape[-1]
        biases = jnp.split(self.in_proj_bias[...], 3)
        q = linear(query, self.q_proj_weight[...], biases[0], lowering).reshape(b, 1, self.heads, -1)
        k = linear(x, self.k_proj_weight[...], biases[1], lowering).reshape(b, n, self.heads, -1)
        v = linear(x, self.v_proj_weight[...], biases[2], lowering).reshape(b, n, self.heads, -1)
        return self.out_proj(attend(q, k, v, None, lowering).reshape(b, e), lowering)


POOLS = {"attention": AttentionPool, "query": QueryPool}
