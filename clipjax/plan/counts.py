"""How many operations a model costs, from its configuration alone: nothing here asks XLA.

Counted are products (matrix products and convolutions), two operations per multiply-add, as in the literature; what
is done element by element (norms, softmax, activations, the optimiser) is not. XLA counts that too, which is why its
number is up to 2% higher. A convolution's taps that fall on padding are not counted, by XLA neither.

Letters: B batch, T text length, N image tokens, D width, F mlp, E joint embedding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from clipjax.models.config import CLIP, ResNet, Text, ViT

# What kind of product, as far as its gradient is concerned.
FIRST = "first"  # of the pixels: they have no gradient, so its backward pass is one product and not two
PARAMETER = "parameter"  # of activations and a parameter
ATTENTION = "attention"  # of activations and activations
LAST = "last"  # a block's last product before a bare sum: its result is not needed to go back through the block


@dataclasses.dataclass(frozen=True)
class Product:
    """One product per example: operations forward, and how many numbers it reads and writes."""

    name: str
    flops: int
    weights: int  # elements of the parameter, read once for the whole batch
    moved: int  # elements of activations read and written, per example
    kind: str = PARAMETER
    layer: int = -1  # the transformer block it belongs to
    is_convolution: bool = False  # not a `dot_general`, which the rematerialisation policy "dots" would keep


def image_tower(config: CLIP, pooled: bool = True) -> list[Product]:
    """The products of one image. `pooled`: the last block of a ViT computes the class token only, as ours does."""
    image = config.image
    return _vit(image, config.embed_dim, pooled) if isinstance(image, ViT) else _resnet(image, config.embed_dim)


def text_tower(config: CLIP, length: int | None = None, pooled: bool = True) -> list[Product]:
    """The products of one text of `length` tokens (None: the whole context); `pooled` as above, for the end of text."""
    text = config.text
    x = text.context_length if length is None else length
    return [*_transformer(text, x, pooled), _linear("text_projection", 1, text.width, config.embed_dim)]


def flops(products: Sequence[Product]) -> int:
    """Operations of one example, forward."""
    return sum(p.flops for p in products)


def backward(products: Sequence[Product]) -> int:
    """Operations of one example's gradients: one product for each operand that has one."""
    return sum(p.flops * (1 if p.kind == FIRST else 2) for p in products)


def recomputed(products: Sequence[Product], remat: str) -> int:
    """Operations that the backward pass does again, per example, under `layers.REMAT`."""
    if remat == "none":
        return 0
    blocks = [p for p in products if p.layer >= 0]
    if remat == "dots":  # products with parameters are kept, convolutions are not matrix products
        return sum(p.flops for p in blocks if p.kind == ATTENTION or p.is_convolution)
    return sum(p.flops for p in blocks if p.kind != LAST)


def loss(embed_dim: int, per_chip: int, chips: int, form: str) -> tuple[int, int]:
    """A contrastive loss with gradients, per chip: (operations in all, operations of one turn of the ring).

    The global form meets this chip's images with all texts: one product forward and two back. The ring meets one
    chip's texts at a time, `chips` times, and computes the cosines again on its second way round.
    """
    if form.startswith("ring"):
        turn = 4 * 2 * per_chip * per_chip * embed_dim
        return turn * chips, turn
    return 3 * 2 * per_chip * (per_chip * chips) * embed_dim, 0


def moved(products: Sequence[Product], batch: int, weight_bytes: int, activation_bytes: int) -> int:
    """Bytes through memory, forward, when every product reads its operands and writes its result exactly once."""
    return sum(p.weights * weight_bytes + p.moved * batch * activation_bytes for p in products)


def _linear(name: str, rows: int, d_in: int, d_out: int, kind: str = PARAMETER, layer: int = -1) -> Product:
    return Product(name, 2 * rows * d_in * d_out, d_in * d_out, rows * (d_in + d_out), kind, layer)


def _attention(name: str, queries: int, x: int, d: int, heads: int, layer: int = -1) -> list[Product]:
    """Scores and mixture: queries [Q, D] against keys and values [X, D], heads together."""
    scores = heads * queries * x
    return [
        Product(f"{name}.scores", 2 * queries * x * d, 0, (queries + x) * d + scores, ATTENTION, layer),
        Product(f"{name}.mixture", 2 * queries * x * d, 0, scores + (x + queries) * d, ATTENTION, layer),
    ]


def _transformer(config: ViT | Text, x: int, pooled: bool) -> list[Product]:
    """Blocks over X tokens. Where only one position is read, the last block needs keys and values of all of them
    and everything else for that one."""
    d, f = config.width, config.mlp
    out: list[Product] = []
    for i in range(config.layers):
        rows = 1 if pooled and i == config.layers - 1 else x
        name = f"resblocks.{i}"
        out.append(_linear(f"{name}.q", rows, d, d, PARAMETER, i))
        out.append(_linear(f"{name}.kv", x, d, 2 * d, PARAMETER, i))
        out += _attention(name, rows, x, d, config.heads, i)
        out.append(_linear(f"{name}.out_proj", rows, d, d, PARAMETER, i))
        out.append(_linear(f"{name}.c_fc", rows, d, f, PARAMETER, i))
        out.append(_linear(f"{name}.c_proj", rows, f, d, LAST, i))
    return out


def _vit(config: ViT, embed_dim: int, pooled: bool) -> list[Product]:
    n, d, p = config.tokens, config.width, config.patch_size
    patches = _linear("conv1", n - 1, p * p * 3, d, FIRST)
    return [patches, *_transformer(config, n, pooled), _linear("proj", 1, d, embed_dim)]


def _conv(name: str, size: int, stride: int, kernel: int, d_in: int, d_out: int, kind: str, layer: int) -> Product:
    """A square convolution at `size` x `size`, padding (k - 1) / 2."""
    along, out = _taps(size, stride, kernel), size // stride
    weights = kernel * kernel * d_in * d_out
    touched = size * size * d_in + out * out * d_out
    flops = 2 * along * along * d_in * d_out
    return Product(name, flops, weights, touched, kind, layer, is_convolution=kernel > 1)  # 1x1: matrix products


def _taps(size: int, stride: int, kernel: int) -> int:
    """Along one axis: how many (output, tap) pairs fall inside the image."""
    pad = (kernel - 1) // 2
    return sum(
        0 <= out * stride + tap - pad < size for out in range((size + stride - 1) // stride) for tap in range(kernel)
    )


def _resnet(config: ResNet, embed_dim: int) -> list[Product]:
    w, size = config.width, config.image_size
    half = size // 2
    out = [
        _conv("conv1", size, 2, 3, 3, w // 2, FIRST, -1),
        _conv("conv2", half, 1, 3, w // 2, w // 2, PARAMETER, -1),
        _conv("conv3", half, 1, 3, w // 2, w, PARAMETER, -1),
    ]
    size, d_in, count = size // 4, w, 0
    for stage, blocks in enumerate(config.layers):
        planes = w * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            name, after = f"layer{stage + 1}.{block}", size // stride
            out.append(_conv(f"{name}.conv1", size, 1, 1, d_in, planes, PARAMETER, count))
            out.append(_conv(f"{name}.conv2", size, 1, 3, planes, planes, PARAMETER, count))
            out.append(_conv(f"{name}.conv3", after, 1, 1, planes, planes * 4, PARAMETER, count))
            if stride > 1 or d_in != planes * 4:
                out.append(_conv(f"{name}.downsample", after, 1, 1, d_in, planes * 4, PARAMETER, count))
            size, d_in, count = after, planes * 4, count + 1
    n, d = config.tokens, w * 32
    return [
        *out,
        _linear("attnpool.q", 1, d, d),
        _linear("attnpool.kv", n, d, 2 * d),
        *_attention("attnpool", 1, n, d, config.heads),
        _linear("attnpool.c_proj", 1, d, embed_dim),
    ]
