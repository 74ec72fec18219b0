"""OpenAI's text transformer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from clipjax.models import products
from clipjax.models.kinds import base
from clipjax.models.kinds.base import Named, TextEncoderConfig
from clipjax.models.products import Product

if TYPE_CHECKING:
    import numpy as np
    from flax import nnx


@dataclasses.dataclass(frozen=True)
class Text(TextEncoderConfig):
    """Causal text transformer, read at the highest token id (OpenAI's end of text)."""

    kind = "transformer"
    can_scan = True

    context_length: int
    vocab_size: int
    width: int
    layers: int
    heads: int
    mlp: int
    activation: str
    eps: float

    def __post_init__(self):
        base.check_sizes(self, "text encoder")
        base.check_transformer(self.width, self.heads, self.activation, "text encoder")

    def lengths(self, tokens: np.ndarray) -> np.ndarray:
        """Up to the end of text: the mask is causal and only that position is read."""
        return tokens.argmax(1) + 1

    def parameters(self, embed_dim: int) -> Named:
        yield "token_embedding.weight", (self.vocab_size, self.width)
        yield "positional_embedding", (self.context_length, self.width)
        yield from base.blocks(self.width, self.mlp, self.layers)
        yield from base.norm("ln_final", self.width)
        yield "text_projection", (self.width, embed_dim)

    def products(self, embed_dim: int, length: int | None = None, pooled: bool = True) -> list[Product]:
        x = self.context_length if length is None else length
        return [
            *products.blocks(self.width, self.heads, self.mlp, self.layers, x, pooled),
            products.linear("text_projection", 1, self.width, embed_dim),
        ]

    def build(self, embed_dim: int, rngs: nnx.Rngs) -> nnx.Module:
        from clipjax.models.text import TextTransformer

        return TextTransformer(self, embed_dim, rngs=rngs)

    def summary(self) -> str:
        return f"text width {self.width}, layers {self.layers}, heads {self.heads}"
