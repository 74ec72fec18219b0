"""The layers both towers are built of.

Letters in einsums and shape comments: B batch, T text length, N image tokens, D width, H heads, K head dim,
F mlp, E joint embedding, C classes, P prompts. X stands for N or T where a layer serves both towers.

Every parameter has OpenAI's name (so that errors can be looked up upstream) and JAX's layout: Linear
[in, out], convolution HWIO. The compute dtype is the dtype of the activations that come in; LayerNorm,
BatchNorm and softmax work in float32 whatever that is.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental.xla_metadata import set_xla_metadata

from clipjax.errors import InputError

Taps = dict[str, jax.Array] | None  # filled with named intermediate results where a caller asks for them
CUDNN_HEADS = range(8, 129, 8)  # widths of a head that cuDNN's attention takes on every GPU it runs on
Position = int | jax.Array  # of the row that is read: the same in every picture, or one each [B]


def normal(rngs: nnx.Rngs, shape: tuple[int, ...], std: float) -> nnx.Param:
    """A parameter drawn from N(0, std^2), float32."""
    return nnx.Param(std * jax.random.normal(rngs.params(), shape, jnp.float32))


def quick_gelu(x: jax.Array) -> jax.Array:
    """x * sigmoid(1.702 x): OpenAI's approximation, used by all nine released models."""
    return x * jax.nn.sigmoid(1.702 * x)


def exact_gelu(x: jax.Array) -> jax.Array:
    """The Gaussian error form (torch's nn.GELU), used by open_clip's own models."""
    return jax.nn.gelu(x, approximate=False)


ACTIVATION: dict[str, Callable[[jax.Array], jax.Array]] = {"quick_gelu": quick_gelu, "gelu": exact_gelu}


class Linear(nnx.Module):
    """x [..., in] -> [..., out]."""

    def __init__(self, d_in: int, d_out: int, *, std: float, rngs: nnx.Rngs):
        self.weight = normal(rngs, (d_in, d_out), std)
        self.bias = nnx.Param(jnp.zeros((d_out,), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        return linear(x, self.weight[...], self.bias[...])


def linear(x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
    """x [..., in] @ weight [in, out] + bias [out], in x's dtype."""
    rows = x.reshape(-1, x.shape[-1]) if _FLAT.get() else x
    y = jnp.matmul(rows, weight.astype(x.dtype)) + bias.astype(x.dtype)
    return y.reshape(*x.shape[:-1], -1)


_FLAT = contextvars.ContextVar("flat", default=False)


@contextlib.contextmanager
def flat_rows(flat: bool) -> Iterator[None]:
    """While a tower is traced inside: whether products see [B * X, D] in place of [B, X, D].

    Equal in value. A CPU's backward pass wants it: with two axes to sum over, XLA:CPU copies every cotangent into
    another order first, a third of the whole step. A TPU does not: flat rows do not fit its tiles, and evaluation
    moves 1.7 times the bytes (ViT-B/32 on v5e, compiled).
    """
    token = _FLAT.set(flat)
    try:
        yield
    finally:
        _FLAT.reset(token)


_APART = contextvars.ContextVar("apart", default=False)


@contextlib.contextmanager
def blocks_apart(apart: bool) -> Iterator[None]:
    """While a tower is traced inside: whether each block of a ResNet is compiled as a function of its own.

    Equal in value. XLA:CPU takes a residual sum for cheap and computes it again wherever it is read, with all the sums
    before it: in RN101's third stage up to twenty, on one core. What a call returns is kept.
    """
    token = _APART.set(apart)
    try:
        yield
    finally:
        _APART.reset(token)


_CUDNN = contextvars.ContextVar("cudnn", default=False)


@contextlib.contextmanager
def for_cudnn(wanted: bool) -> Iterator[None]:
    """While a tower is traced inside: whether it is written for cuDNN's kernels (bfloat16; see `clipjax.gpu`).

    Equal within bfloat16's rounding. Attention without a mask is one kernel, whose scores [B, H, N, N] never reach the
    memory; BatchNorm lies in the weights of the convolution before it, which then adds, and does the ReLU, on its way.
    """
    token = _CUDNN.set(wanted)
    try:
        yield
    finally:
        _CUDNN.reset(token)


def is_for_cudnn() -> bool:
    """Whether `for_cudnn` says so."""
    return _CUDNN.get()


def apart(block: nnx.Module) -> Callable[[jax.Array], jax.Array]:
    """The block, behind a call that the compiler may not inline where `blocks_apart` says so."""
    if not _APART.get():
        return lambda x: block(x)  # pyrefly: ignore[not-callable]
    graphdef, state = nnx.split(block)

    def call(x: jax.Array) -> jax.Array:
        with set_xla_metadata(inlineable="false"):
            return jax.jit(lambda params, x: nnx.merge(graphdef, params)(x))(nnx.to_pure_dict(state), x)

    return call


class LayerNorm(nnx.Module):
    """Over the last axis, in float32."""

    def __init__(self, width: int, *, eps: float):
        self.weight = nnx.Param(jnp.ones((width,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((width,), jnp.float32))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        y = y - y.mean(-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + self.eps)
        y = y * self.weight[...].astype(jnp.float32) + self.bias[...].astype(jnp.float32)
        return y.astype(x.dtype)


class Attention(nnx.Module):
    """Multi-head self-attention with q, k and v fused in one projection, as in torch.nn.MultiheadAttention."""

    def __init__(self, width: int, heads: int, *, in_std: float, out_std: float, rngs: nnx.Rngs):
        self.in_proj_weight = normal(rngs, (width, 3 * width), in_std)
        self.in_proj_bias = nnx.Param(jnp.zeros((3 * width,), jnp.float32))
        self.out_proj = Linear(width, width, std=out_std, rngs=rngs)
        self.heads = heads

    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        b, n, d = x.shape
        qkv = linear(x, self.in_proj_weight[...], self.in_proj_bias[...])
        q, k, v = jnp.moveaxis(qkv.reshape(b, n, 3, self.heads, d // self.heads), 2, 0)  # each [B, X, H, K]
        return self.out_proj(attend(q, k, v, mask).reshape(b, n, d))

    def at(self, x: jax.Array, position: Position, mask: jax.Array | None) -> jax.Array:
        """One row of the above: keys and values of all positions, the query of `position` only -> [B, D]."""
        b, n, d = x.shape
        w, bias = self.in_proj_weight[...], self.in_proj_bias[...]
        q = linear(pick(x, position), w[:, :d], bias[:d])
        kv = linear(x, w[:, d:], bias[d:])
        k, v = jnp.moveaxis(kv.reshape(b, n, 2, self.heads, d // self.heads), 2, 0)  # each [B, X, H, K]
        allowed = None if mask is None else mask[position][..., None, :]  # [B, 1, X]
        return self.out_proj(attend(q.reshape(b, 1, self.heads, -1), k, v, allowed).reshape(b, d))


def attend(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Softmax attention. q [B, Q, H, K], k and v [B, X, H, K], mask True where allowed -> [B, Q, H, K].

    The mask is [Q, X], or [B, Q, X] where rows differ.

    An einsum rather than `jax.nn.dot_product_attention`: that one is slower on CPU and fails there in
    float16 under jit. For cuDNN it is that, where all positions ask: of one query nothing is to be kept on the chip.
    """
    if is_for_cudnn() and mask is None and q.shape[1] > 1 and q.shape[-1] in CUDNN_HEADS:
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    scores = jnp.einsum("BQHK,BXHK->BHQX", q * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32)
    if mask is not None:
        scores = jnp.where(mask[..., None, :, :], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("BHQX,BXHK->BQHK", weights, v)


class MLP(nnx.Module):
    """D -> F -> D with the configuration's activation."""

    def __init__(self, width: int, hidden: int, activation: str, *, in_std: float, out_std: float, rngs: nnx.Rngs):
        self.c_fc = Linear(width, hidden, std=in_std, rngs=rngs)
        self.c_proj = Linear(hidden, width, std=out_std, rngs=rngs)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.c_proj(ACTIVATION[self.activation](self.c_fc(x)))


class Block(nnx.Module):
    """Pre-norm residual block. Initial scales are those of OpenAI's `initialize_parameters`."""

    def __init__(self, width: int, heads: int, mlp: int, activation: str, eps: float, depth: int, *, rngs: nnx.Rngs):
        in_std, out_std = width**-0.5, (width * 2 * depth) ** -0.5
        self.attn = Attention(width, heads, in_std=in_std, out_std=out_std, rngs=rngs)
        self.ln_1 = LayerNorm(width, eps=eps)
        self.mlp = MLP(width, mlp, activation, in_std=(2 * width) ** -0.5, out_std=out_std, rngs=rngs)
        self.ln_2 = LayerNorm(width, eps=eps)

    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))

    def at(self, x: jax.Array, position: Position, mask: jax.Array | None) -> jax.Array:
        """One row of the above, [B, D] at `position`: a sixth of the work where only that row is read."""
        y = pick(x, position) + self.attn.at(self.ln_1(x), position, mask)
        return y + self.mlp(self.ln_2(y))


class Transformer(nnx.Module):
    """The stack of blocks, unrolled: names match the file and every layer can be tapped.

    x [B, X, D] -> [B, D] at `position`, all that either tower reads: of the last block only that row is computed.
    """

    def __init__(self, width: int, heads: int, mlp: int, activation: str, eps: float, layers: int, *, rngs: nnx.Rngs):
        self.resblocks = nnx.List([Block(width, heads, mlp, activation, eps, layers, rngs=rngs) for _ in range(layers)])

    def __call__(
        self, x: jax.Array, position: Position, mask: jax.Array | None, taps: Taps, remat: str = "none",
        scan: bool = False,
    ) -> jax.Array:  # fmt: skip
        *most, last = self.resblocks
        if scan:
            x = _scanned(most, x, mask, remat)
        else:
            for i, block in enumerate(most):
                x = tap(taps, f"transformer.resblocks.{i}", rematerialised(block, remat)(x, mask))
        if taps is not None:
            taps[f"transformer.resblocks.{len(most)}"] = last(x, mask)
        return rematerialised(lambda x: last.at(x, position, mask), remat)(x)


def _scanned(blocks: Sequence[Block], x: jax.Array, mask: jax.Array | None, remat: str) -> jax.Array:
    """The same values from one compiled block: compiling stays short however deep the tower. No taps."""
    if not blocks:
        return x
    block = nnx.split(blocks[0])[0]
    layers = [nnx.to_pure_dict(nnx.state(layer)) for layer in blocks]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    one = rematerialised(lambda x, params: nnx.merge(block, params)(x, mask), remat)
    return jax.lax.scan(lambda x, params: (one(x, params), None), x, stacked)[0]


def pick(x: jax.Array, position: Position) -> jax.Array:
    """The row at `position` of each of x [B, X, D] -> [B, D]."""
    if isinstance(position, int):
        return x[:, position]
    return jnp.take_along_axis(x, position[:, None, None], axis=1)[:, 0]


REMAT = {
    "none": None,  # keep everything for the backward pass
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # keep products with parameters, redo the rest
    "full": jax.checkpoint_policies.nothing_saveable,  # keep each block's input only
}


def rematerialised(block: Callable[..., jax.Array], remat: str) -> Callable[..., jax.Array]:
    """The block with less kept for the backward pass and more computed again; values are the same."""
    if remat not in REMAT:
        raise InputError(f"unknown rematerialisation {remat!r}; choose {', '.join(REMAT)}")
    if remat == "none":
        return block
    return jax.checkpoint(lambda *args: block(*args), policy=REMAT[remat])


def tap(taps: Taps, name: str, x: jax.Array) -> jax.Array:
    """Records an intermediate result under its module's name. Under jit, what nobody reads is not computed."""
    if taps is not None:
        taps[name] = x
    return x
