"""How many operations a step costs, from its encoders' products (`clipjax.models.products`); nothing here asks XLA."""

from __future__ import annotations

from collections.abc import Sequence

from clipjax.models.products import ATTENTION, FIRST, LAST, Product


def flops(products: Sequence[Product]) -> int:
    """Operations of one example, forward."""
    return sum(p.flops for p in products)


def backward(products: Sequence[Product]) -> int:
    """Operations of one example's gradients: one product for each operand that has one."""
    return sum(p.flops * (1 if p.kind == FIRST else 2) for p in products)


def recomputed(products: Sequence[Product], remat: str) -> int:
    """Operations that the backward pass does again, per example, under `lowering.REMAT`."""
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
