"""OpenAI's modified ResNet (RN50, RN101, RN50x4, x16, x64): CLIP paper section 2.4 and openai/CLIP's model.py."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from clipjax.models.kinds.resnet import ResNet
from clipjax.models.layers import Intermediates, Linear, at_least_float32, attend, normal, sow
from clipjax.models.lowering import Lowering


class Conv(nnx.Module):
    """Bias-free convolution, NHWC and HWIO, padding (k - 1) / 2.

    Two thirds of a ResNet's convolutions are 1 x 1: written as the matrix products they are, as XLA:CPU's fusions
    do not recognise them and run them at half the speed (benchmarks/RESULTS.md).
    """

    def __init__(self, d_in: int, d_out: int, kernel: int, stride: int = 1, *, rngs: nnx.Rngs):
        self.weight = normal(rngs, (kernel, kernel, d_in, d_out), (2 / (kernel * kernel * d_in)) ** 0.5)
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        w = self.weight[...].astype(x.dtype)
        if w.shape[0] == self.stride == 1:
            return jnp.matmul(x, w[0, 0])
        return convolution(x, w, self.stride)


def convolution(x: jax.Array, w: jax.Array, stride: int) -> jax.Array:
    """x [B, H, W, D] by w [k, k, D, E], padding (k - 1) / 2 -> [B, H / stride, W / stride, E]."""
    p = (w.shape[0] - 1) // 2
    return jax.lax.conv_general_dilated(
        x, w, (stride, stride), [(p, p), (p, p)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


MOMENTUM = 0.1  # of running statistics, torch's: the share of the new


class BatchNorm(nnx.Module):
    """With the stored statistics: inference, and fine-tuning with frozen ones. After `train()` with those of the batch,
    which the stored ones then follow (the variance without bias, as torch keeps it)."""

    def __init__(self, width: int, *, eps: float, scale: float = 1.0):
        self.weight = nnx.Param(jnp.full((width,), scale, jnp.float32))
        self.bias = nnx.Param(jnp.zeros((width,), jnp.float32))
        self.running_mean = nnx.BatchStat(jnp.zeros((width,), jnp.float32))
        self.running_var = nnx.BatchStat(jnp.ones((width,), jnp.float32))
        self.eps = eps
        self.use_running_average = True  # what `train()` of a module changes

    def _of_batch(self, x: jax.Array) -> jax.Array:
        """x [B, H, W, D] normalised over all but D; notes what the running statistics become."""
        wide = x.astype(at_least_float32(x))
        mean = wide.mean((0, 1, 2))
        var = jnp.square(wide - mean).mean((0, 1, 2))
        n = x.size // x.shape[-1]
        for running, new in ((self.running_mean, mean), (self.running_var, var * (n / max(n - 1, 1)))):
            running[...] = (1 - MOMENTUM) * running[...] + MOMENTUM * jax.lax.stop_gradient(new)
        scale = self.weight[...].astype(wide.dtype) * jax.lax.rsqrt(var + self.eps)
        return ((wide - mean) * scale + self.bias[...].astype(wide.dtype)).astype(x.dtype)

    def affine(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What is left of it with stored statistics: scale and shift [D] for x, in float32 at least."""
        dtype = at_least_float32(x)
        var, mean = self.running_var[...].astype(dtype), self.running_mean[...].astype(dtype)
        scale = self.weight[...].astype(dtype) * jax.lax.rsqrt(var + self.eps)
        return scale, self.bias[...].astype(dtype) - mean * scale

    def __call__(self, x: jax.Array) -> jax.Array:
        if not self.use_running_average:
            return self._of_batch(x)
        scale, shift = self.affine(x)
        return (x.astype(scale.dtype) * scale + shift).astype(x.dtype)


def normalised(conv: Conv, bn: BatchNorm, x: jax.Array, lowering: Lowering) -> jax.Array:
    """bn(conv(x)); for cuDNN as one convolution and a sum, which XLA gives to one kernel with the ReLU after it.

    As matrix products 1 x 1 convolutions would not get that.
    """
    if not lowering.cudnn or not bn.use_running_average:
        return bn(conv(x))
    scale, shift = bn.affine(x)
    w = (conv.weight[...].astype(scale.dtype) * scale).astype(x.dtype)
    return convolution(x, w, conv.stride) + shift.astype(x.dtype)


def average_pool(x: jax.Array, size: int) -> jax.Array:
    """Non-overlapping mean over size x size, summed in float32 at least: [B, H, W, D] -> [B, H / size, W / size, D].

    A sum of strided views, which compilers fuse; a mean over a reshaped array moves a sixth more bytes on a TPU and
    takes twice as long on a CPU.
    """
    if size == 1:
        return x
    y = x.astype(at_least_float32(x))
    views = [y[:, i::size, j::size] for i in range(size) for j in range(size)]
    return (sum(views[1:], views[0]) / (size * size)).astype(x.dtype)


class Bottleneck(nnx.Module):
    """Strides are average pools: before the third convolution and before the short cut's."""

    def __init__(self, d_in: int, planes: int, stride: int, eps: float, *, rngs: nnx.Rngs):
        d_out = planes * 4
        self.conv1 = Conv(d_in, planes, 1, rngs=rngs)
        self.bn1 = BatchNorm(planes, eps=eps)
        self.conv2 = Conv(planes, planes, 3, rngs=rngs)
        self.bn2 = BatchNorm(planes, eps=eps)
        self.conv3 = Conv(planes, d_out, 1, rngs=rngs)
        self.bn3 = BatchNorm(d_out, eps=eps, scale=0.0)  # a new block starts as the identity, as OpenAI's
        self.stride = stride
        if stride > 1 or d_in != d_out:
            self.downsample = nnx.List([Conv(d_in, d_out, 1, rngs=rngs), BatchNorm(d_out, eps=eps)])
        self.has_downsample = stride > 1 or d_in != d_out

    def __call__(self, x: jax.Array, lowering: Lowering) -> jax.Array:
        y = jax.nn.relu(normalised(self.conv1, self.bn1, x, lowering))
        y = jax.nn.relu(normalised(self.conv2, self.bn2, y, lowering))
        y = normalised(self.conv3, self.bn3, average_pool(y, self.stride), lowering)
        if self.has_downsample:
            conv, bn = self.downsample
            assert isinstance(conv, Conv)  # a list does not say what is in it
            assert isinstance(bn, BatchNorm)
            x = normalised(conv, bn, average_pool(x, self.stride), lowering)
        return jax.nn.relu(x + y)


class AttentionPool(nnx.Module):
    """One attention query, the mean over positions, reads the whole map: [B, H, W, D] -> [B, E]."""

    def __init__(self, tokens: int, width: int, heads: int, embed_dim: int, *, rngs: nnx.Rngs):
        std = width**-0.5
        self.positional_embedding = normal(rngs, (tokens, width), std)
        self.q_proj = Linear(width, width, std=std, rngs=rngs)
        self.k_proj = Linear(width, width, std=std, rngs=rngs)
        self.v_proj = Linear(width, width, std=std, rngs=rngs)
        self.c_proj = Linear(width, embed_dim, std=std, rngs=rngs)
        self.heads = heads

    def __call__(self, x: jax.Array, intermediates: Intermediates, lowering: Lowering) -> jax.Array:
        b, h, w, d = x.shape
        x = x.reshape(b, h * w, d)
        mean = x.astype(at_least_float32(x)).mean(1, keepdims=True).astype(x.dtype)
        x = jnp.concatenate([mean, x], axis=1) + self.positional_embedding[...].astype(x.dtype)  # [B, N, D]
        split = (b, -1, self.heads, d // self.heads)
        q, k, v = self.q_proj(x[:, :1], lowering), self.k_proj(x, lowering), self.v_proj(x, lowering)
        y = attend(q.reshape(split), k.reshape(split), v.reshape(split), None, lowering)
        return self.c_proj(sow(intermediates, "pre_proj", y.reshape(b, d)), lowering)


class ModifiedResNet(nnx.Module):
    """pixels [B, S, S, 3] -> image features [B, E], not normalised."""

    def __init__(self, config: ResNet, embed_dim: int, *, rngs: nnx.Rngs):
        w = config.width
        self.conv1 = Conv(3, w // 2, 3, stride=2, rngs=rngs)
        self.bn1 = BatchNorm(w // 2, eps=config.eps)
        self.conv2 = Conv(w // 2, w // 2, 3, rngs=rngs)
        self.bn2 = BatchNorm(w // 2, eps=config.eps)
        self.conv3 = Conv(w // 2, w, 3, rngs=rngs)
        self.bn3 = BatchNorm(w, eps=config.eps)
        self.layer1 = _stage(w, w, config.layers[0], 1, config.eps, rngs)
        self.layer2 = _stage(w * 4, w * 2, config.layers[1], 2, config.eps, rngs)
        self.layer3 = _stage(w * 8, w * 4, config.layers[2], 2, config.eps, rngs)
        self.layer4 = _stage(w * 16, w * 8, config.layers[3], 2, config.eps, rngs)
        self.attnpool = AttentionPool(config.tokens, w * 32, config.heads, embed_dim, rngs=rngs)

    def __call__(self, pixels: jax.Array, intermediates: Intermediates, lowering: Lowering) -> jax.Array:
        # Its blocks differ in shape and stride: `lowering.scan` is for transformers and does nothing here.
        x = jax.nn.relu(normalised(self.conv1, self.bn1, pixels, lowering))
        x = jax.nn.relu(normalised(self.conv2, self.bn2, x, lowering))
        x = jax.nn.relu(normalised(self.conv3, self.bn3, x, lowering))
        x = sow(intermediates, "stem", average_pool(x, 2))
        for name in ("layer1", "layer2", "layer3", "layer4"):
            for i, block in enumerate(getattr(self, name)):
                run = lowering.rematerialised(lowering.separated(block))
                x = sow(intermediates, f"{name}.{i}", run(x))
        return self.attnpool(x, intermediates, lowering)


def _stage(d_in: int, planes: int, blocks: int, stride: int, eps: float, rngs: nnx.Rngs) -> nnx.List:
    first = Bottleneck(d_in, planes, stride, eps, rngs=rngs)
    return nnx.List([first] + [Bottleneck(planes * 4, planes, 1, eps, rngs=rngs) for _ in range(blocks - 1)])
