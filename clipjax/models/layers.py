"""The layers that encoders are built of.

Letters in einsums and shape comments: B batch, T text length, N image tokens, D width, H heads, K head dim,
F mlp, E joint embedding, C classes, P prompts. X stands for N or T where a layer serves both encoders.

Every parameter has OpenAI's name (so that errors can be looked up upstream) and JAX's layout: Linear
[in, out], convolution HWIO. The compute dtype is the dtype of the activations that come in; LayerNorm,
BatchNorm and softmax work in float32 whatever that is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from clipjax.models.kinds.blocks import Blocks
from clipjax.models.lowering import Lowering

Intermediates = dict[str, jax.Array] | None  # filled with named intermediate results where a caller asks for them
CUDNN_HEADS = range(8, 129, 8)  # widths of a head that cuDNN's attention takes on every GPU it runs on
Position = int | jax.Array  # of the row that is read: the same in every image, or one each [B]
Rotation = tuple[jax.Array, jax.Array]  # cosines and sines [X, K / 2], float32: see `rotate`


def normal(rngs: nnx.Rngs, shape: tuple[int, ...], std: float) -> nnx.Param:
    """A parameter drawn from N(0, std^2), float32."""
    return nnx.Param(std * jax.random.normal(rngs.params(), shape, jnp.float32))


def quick_gelu(x: jax.Array) -> jax.Array:
    """x * sigmoid(1.702 x): OpenAI's approximation, used by all nine released models."""
    return x * jax.nn.sigmoid(1.702 * x)


def exact_gelu(x: jax.Array) -> jax.Array:
    """The Gaussian error form (torch's nn.GELU), used by open_clip's own models."""
    return jax.nn.gelu(x, approximate=False)


ACTIVATION: dict[str, Callable[[jax.Array], jax.Array]] = {
    "quick_gelu": quick_gelu, "gelu": exact_gelu, "gelu_tanh": jax.nn.gelu, "silu": jax.nn.silu,
}  # fmt: skip


class Adapter(nnx.Module):
    """What a low-rank adapter adds to x W: scale x dropped(x) A B, with a dropout of its own for each of P parts of the
    output (`clipjax.models.lora`).

    a: [P, D_in, R], b: [P, R, D_out / P]. keys: of random numbers, one per example [B], whatever else the batch holds;
    None: nothing is dropped.
    """

    def __init__(self, a: jax.Array, b: jax.Array, scale: float, dropout: float = 0.0, keys: jax.Array | None = None):
        self.a, self.b = nnx.Param(a), nnx.Param(b)
        self.keys = nnx.Variable(keys) if dropout and keys is not None else None
        self.scale, self.dropout = scale, dropout

    def __call__(self, x: jax.Array, parts: range, lowering: Lowering) -> jax.Array:
        a, b = self.a[...].astype(x.dtype), self.b[...].astype(x.dtype)
        y = [product(product(self._dropped(x, part), a[part], lowering), b[part], lowering) for part in parts]
        return self.scale * jnp.concatenate(y, -1)

    def _dropped(self, x: jax.Array, part: int) -> jax.Array:
        """x [B, ..., D_in] with a share of its numbers 0 and the others larger, so that the mean stays."""
        if self.keys is None:
            return x
        keys = jax.vmap(lambda key: jax.random.fold_in(key, part))(self.keys[...])
        keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.dropout, x.shape[1:]))(keys)
        return jnp.where(keep, x / (1 - self.dropout), 0)


def adapted(
    y: jax.Array, x: jax.Array, adapter: Adapter | None, lowering: Lowering, parts: range = range(1)
) -> jax.Array:
    """y = x W with what the adapter of W adds, if it has one; `parts`: of W's output, those that y is."""
    return y if adapter is None else y + adapter(x, parts, lowering)


class Linear(nnx.Module):
    """x [..., in] -> [..., out]."""

    adapter: Adapter | None = None  # of its weight

    def __init__(self, d_in: int, d_out: int, *, std: float, rngs: nnx.Rngs):
        self.weight = normal(rngs, (d_in, d_out), std)
        self.bias = nnx.Param(jnp.zeros((d_out,), jnp.float32))

    def __call__(self, x: jax.Array, lowering: Lowering) -> jax.Array:
        y = linear(x, self.weight[...], self.bias[...], lowering)
        return adapted(y, x, self.adapter, lowering)


def linear(x: jax.Array, weight: jax.Array, bias: jax.Array, lowering: Lowering) -> jax.Array:
    """x [..., in] @ weight [in, out] + bias [out], in x's dtype."""
    rows = x.reshape(-1, x.shape[-1]) if lowering.flat_rows else x
    y = jnp.matmul(rows, weight.astype(x.dtype)) + bias.astype(x.dtype)
    return y.reshape(*x.shape[:-1], -1)


def product(x: jax.Array, weight: jax.Array, lowering: Lowering) -> jax.Array:
    """`linear` without a bias."""
    rows = x.reshape(-1, x.shape[-1]) if lowering.flat_rows else x
    return jnp.matmul(rows, weight.astype(x.dtype)).reshape(*x.shape[:-1], -1)


class LayerNorm(nnx.Module):
    """Over the last axis, in float32 at least."""

    def __init__(self, width: int, *, eps: float):
        self.weight = nnx.Param(jnp.ones((width,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((width,), jnp.float32))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(at_least_float32(x))
        y = y - y.mean(-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + self.eps)
        y = y * self.weight[...].astype(y.dtype) + self.bias[...].astype(y.dtype)
        return y.astype(x.dtype)


def at_least_float32(x: jax.Array) -> jnp.dtype:
    """What norms, softmax and angles are computed in: float32, or float64 in comparisons with a peer in float64."""
    return jnp.promote_types(x.dtype, jnp.float32)


class Attention(nnx.Module):
    """Multi-head self-attention with q, k and v fused in one projection, as in torch.nn.MultiheadAttention."""

    adapter: Adapter | None = None  # of in_proj_weight, in three parts

    def __init__(self, blocks: Blocks, *, in_std: float, out_std: float, rngs: nnx.Rngs):
        width = blocks.width
        self.in_proj_weight = normal(rngs, (width, 3 * width), in_std)
        self.in_proj_bias = nnx.Param(jnp.zeros((3 * width,), jnp.float32))
        self.ln_inner = LayerNorm(width, eps=blocks.eps) if blocks.inner_norm else None
        self.out_proj = Linear(width, width, std=out_std, rngs=rngs)
        self.heads = blocks.heads

    def __call__(self, x: jax.Array, sight: Sight, lowering: Lowering) -> jax.Array:
        b, n, d = x.shape
        qkv = linear(x, self.in_proj_weight[...], self.in_proj_bias[...], lowering)
        qkv = adapted(qkv, x, self.adapter, lowering, range(3))
        q, k, v = jnp.moveaxis(qkv.reshape(b, n, 3, self.heads, d // self.heads), 2, 0)  # each [B, X, H, K]
        q, k = rotate(q, sight.rotation), rotate(k, sight.rotation)
        return self._out(attend(q, k, v, sight.mask, lowering).reshape(b, n, d), lowering)

    def at(self, x: jax.Array, position: Position, sight: Sight, lowering: Lowering) -> jax.Array:
        """One row of the above: keys and values of all positions, the query of `position` only -> [B, D]."""
        b, n, d = x.shape
        w, bias = self.in_proj_weight[...], self.in_proj_bias[...]
        row = pick(x, position)
        q = adapted(linear(row, w[:, :d], bias[:d], lowering), row, self.adapter, lowering)
        kv = adapted(linear(x, w[:, d:], bias[d:], lowering), x, self.adapter, lowering, range(1, 3))
        k, v = jnp.moveaxis(kv.reshape(b, n, 2, self.heads, d // self.heads), 2, 0)  # each [B, X, H, K]
        there = sight.at(position)
        q, k = rotate(q.reshape(b, 1, self.heads, -1), there.rotation), rotate(k, sight.rotation)
        return self._out(attend(q, k, v, there.mask, lowering).reshape(b, d), lowering)

    def _out(self, x: jax.Array, lowering: Lowering) -> jax.Array:
        return self.out_proj(x if self.ln_inner is None else self.ln_inner(x), lowering)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sight:
    """What queries see of keys: `mask` True where allowed, [Q, X] or [B, Q, X]; `rotation` of their positions."""

    mask: jax.Array | None = None
    rotation: Rotation | None = None

    def at(self, position: Position) -> Sight:
        """Of the query at `position` only."""
        mask, rotation = self.mask, self.rotation
        if mask is not None:
            mask = mask[position][..., None, :] if mask.ndim == 2 else mask[:, position][:, None]  # [B, 1, X]
        if rotation is not None:
            rotation = rotation[0][position][None], rotation[1][position][None]
        return Sight(mask, rotation)


def rotate(x: jax.Array, rotation: Rotation | None) -> jax.Array:
    """Turns each pair (2j, 2j + 1) of x [B, X, H, K] by its position's angle, in float32; x without a rotation."""
    if rotation is None:
        return x
    cos, sin = (a[:, None] for a in rotation)  # [X, 1, K / 2]
    y = x.astype(at_least_float32(x))
    even, odd = y[..., 0::2], y[..., 1::2]
    return jnp.stack([even * cos - odd * sin, odd * cos + even * sin], -1).reshape(x.shape).astype(x.dtype)


def attend(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None, lowering: Lowering) -> jax.Array:
    """Softmax attention. q [B, Q, H, K], k and v [B, X, H, K], mask True where allowed -> [B, Q, H, K].

    The mask is [Q, X], or [B, Q, X] where rows differ.

    An einsum rather than `jax.nn.dot_product_attention`: that one is slower on CPU and fails there in
    float16 under jit. For cuDNN it is that, where all positions ask: of one query nothing is to be kept on the chip.
    """
    if lowering.cudnn and mask is None and q.shape[1] > 1 and q.shape[-1] in CUDNN_HEADS:
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    scores = jnp.einsum("BQHK,BXHK->BHQX", q * q.shape[-1] ** -0.5, k, preferred_element_type=at_least_float32(q))
    if mask is not None:
        scores = jnp.where(mask[..., None, :, :], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("BHQX,BXHK->BQHK", weights, v)


class MLP(nnx.Module):
    """D -> F -> D with the configuration's activation; of the gate's values where there is a gate."""

    def __init__(self, blocks: Blocks, *, in_std: float, out_std: float, rngs: nnx.Rngs):
        width, hidden = blocks.width, blocks.mlp
        self.c_gate = Linear(width, hidden, std=in_std, rngs=rngs) if blocks.gated else None
        self.c_fc = Linear(width, hidden, std=in_std, rngs=rngs)
        self.ln = LayerNorm(hidden, eps=blocks.eps) if blocks.inner_norm else None
        self.c_proj = Linear(hidden, width, std=out_std, rngs=rngs)
        self.activation = blocks.activation

    def __call__(self, x: jax.Array, lowering: Lowering) -> jax.Array:
        act, y = ACTIVATION[self.activation], self.c_fc(x, lowering)
        y = act(y) if self.c_gate is None else act(self.c_gate(x, lowering)) * y
        return self.c_proj(y if self.ln is None else self.ln(y), lowering)


class Block(nnx.Module):
    """Residual block. Initial scales are those of OpenAI's `initialize_parameters`."""

    def __init__(self, blocks: Blocks, *, rngs: nnx.Rngs):
        width = blocks.width
        in_std, out_std = width**-0.5, (width * 2 * blocks.layers) ** -0.5
        self.attn = Attention(blocks, in_std=in_std, out_std=out_std, rngs=rngs)
        self.ln_1 = LayerNorm(width, eps=blocks.eps)
        self.mlp = MLP(blocks, in_std=(2 * width) ** -0.5, out_std=out_std, rngs=rngs)
        self.ln_2 = LayerNorm(width, eps=blocks.eps)
        self.post_norm = blocks.post_norm

    def __call__(self, x: jax.Array, sight: Sight, lowering: Lowering) -> jax.Array:
        if self.post_norm:
            x = x + self.ln_1(self.attn(x, sight, lowering))
        else:
            x = x + self.attn(self.ln_1(x), sight, lowering)
        return self._with_mlp(x, lowering)

    def at(self, x: jax.Array, position: Position, sight: Sight, lowering: Lowering) -> jax.Array:
        """One row of the above, [B, D] at `position`: a sixth of the work where only that row is read."""
        if self.post_norm:
            y = pick(x, position) + self.ln_1(self.attn.at(x, position, sight, lowering))
        else:
            y = pick(x, position) + self.attn.at(self.ln_1(x), position, sight, lowering)
        return self._with_mlp(y, lowering)

    def _with_mlp(self, x: jax.Array, lowering: Lowering) -> jax.Array:
        return x + (self.ln_2(self.mlp(x, lowering)) if self.post_norm else self.mlp(self.ln_2(x), lowering))


class Transformer(nnx.Module):
    """The stack of blocks, unrolled: names match the file, and the result of every layer can be recorded.

    x [B, X, D] -> [B, D] at `position`, where that is all that is read: of the last block only that row is computed.
    Without a position, all rows [B, X, D].
    """

    def __init__(self, blocks: Blocks, *, rngs: nnx.Rngs):
        self.resblocks = nnx.List([Block(blocks, rngs=rngs) for _ in range(blocks.layers)])

    def __call__(
        self, x: jax.Array, position: Position | None, sight: Sight, intermediates: Intermediates, lowering: Lowering
    ) -> jax.Array:
        *most, last = self.resblocks
        if lowering.scan:
            x = lowering.scanned(most, x, sight)
        else:
            for i, block in enumerate(most):
                run = lowering.rematerialised(lambda x, sight, block=block: block(x, sight, lowering))
                x = sow(intermediates, f"transformer.resblocks.{i}", run(x, sight))
        if intermediates is not None:
            intermediates[f"transformer.resblocks.{len(most)}"] = last(x, sight, lowering)
        if position is None:
            return lowering.rematerialised(lambda x: last(x, sight, lowering))(x)
        return lowering.rematerialised(lambda x: last.at(x, position, sight, lowering))(x)


def pick(x: jax.Array, position: Position) -> jax.Array:
    """The row at `position` of each of x [B, X, D] -> [B, D]."""
    if isinstance(position, int):
        return x[:, position]
    return jnp.take_along_axis(x, position[:, None, None], axis=1)[:, 0]


def sow(intermediates: Intermediates, name: str, x: jax.Array) -> jax.Array:
    """Records an intermediate result under its module's name. Under jit, a result that is not read is not computed."""
    if intermediates is not None:
        intermediates[name] = x
    return x
