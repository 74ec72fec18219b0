"""The matrix products and convolutions that an encoder is made of, counted by hand: nothing here asks XLA.

Counted are products, two operations per multiply-add, as in the literature; what is done element by element (norms,
softmax, activations) is not. XLA counts that too, which is why its number is up to 2% higher. The part of a
convolution's kernel that falls on padding is not counted, by XLA neither.

Letters: D width, F mlp. Q queries, X keys: image tokens or text length.
"""

from __future__ import annotations

import dataclasses

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


def linear(name: str, rows: int, d_in: int, d_out: int, kind: str = PARAMETER, layer: int = -1) -> Product:
    """rows x [in] by [in, out]."""
    return Product(name, 2 * rows * d_in * d_out, d_in * d_out, rows * (d_in + d_out), kind, layer)


def attention(name: str, queries: int, x: int, d: int, heads: int, layer: int = -1) -> list[Product]:
    """Scores and mixture: queries [Q, D] against keys and values [X, D], heads together."""
    scores = heads * queries * x
    return [
        Product(f"{name}.scores", 2 * queries * x * d, 0, (queries + x) * d + scores, ATTENTION, layer),
        Product(f"{name}.mixture", 2 * queries * x * d, 0, scores + (x + queries) * d, ATTENTION, layer),
    ]


def convolution(
    name: str, size: int, stride: int, kernel: int, d_in: int, d_out: int, kind: str = PARAMETER, layer: int = -1
) -> Product:
    """A square convolution at `size` x `size`, padding (k - 1) / 2; a 1 x 1 one is a matrix product."""
    along, out = _overlaps(size, stride, kernel), size // stride
    weights = kernel * kernel * d_in * d_out
    touched = size * size * d_in + out * out * d_out
    flops = 2 * along * along * d_in * d_out
    return Product(name, flops, weights, touched, kind, layer, is_convolution=kernel > 1)


def _overlaps(size: int, stride: int, kernel: int) -> int:
    """Along one axis: how many (output, kernel element) pairs fall inside the image."""
    pad = (kernel - 1) // 2
    return sum(
        0 <= out * stride + k - pad < size for out in range((size + stride - 1) // stride) for k in range(kernel)
    )
