"""The text transformer: OpenAI's, and those of SigLIP, CLIPA, MetaCLIP 2, MobileCLIP and CoCa as data."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from clipjax.errors import InputError, brief
from clipjax.models import products
from clipjax.models.kinds import base
from clipjax.models.kinds.base import Named, TextEncoderConfig
from clipjax.models.kinds.blocks import Blocks
from clipjax.models.products import Product

if TYPE_CHECKING:
    import numpy as np
    from flax import nnx

CHOICES = {"pool": ("argmax", "eos", "last", "class"), "proj": ("linear", "bias", "none")}
# The values of the fields that tell families apart, in OpenAI's models.
OPENAI: dict[str, Any] = {"causal": True, "pool": "argmax", "eos_id": None, "proj": "linear"}
PAD = 0  # the id that CoCa's mask passes over


@dataclasses.dataclass(frozen=True)
class Text(TextEncoderConfig):
    """Text transformer.

    causal: whether a token sees only those before it. Without, padding is seen too.
    pool: the row that is read: of the highest id ("argmax", OpenAI's end of text), of the first `eos_id` ("eos"), the
        "last" one whatever it is, or of a learned row behind the text ("class"), which does not see padding.
    eos_id: of pool "eos"; None of the others.
    proj: into the joint embedding: "linear", "bias" or "none".
    """

    kind = "transformer"
    can_scan = True
    implied = OPENAI

    context_length: int
    vocab_size: int
    width: int
    layers: int
    heads: int
    mlp: int
    activation: str
    eps: float
    causal: bool
    pool: str
    eos_id: int | None
    proj: str

    def __post_init__(self):
        base.check_sizes(self, "text encoder")
        base.check_transformer(self.width, self.heads, self.activation, "text encoder")
        for name, choices in CHOICES.items():
            base.check_choice(f"{name} of the text encoder", getattr(self, name), choices)
        base.check_flags(self, "causal")
        is_id = type(self.eos_id) is int and 0 <= self.eos_id < self.vocab_size
        if is_id != (self.pool == "eos") or not (is_id or self.eos_id is None):
            expected = "a token id" if self.pool == "eos" else "null"
            raise InputError(f"eos_id beside pool {self.pool} of the text encoder is {brief(self.eos_id)}: {expected}")
        if self.pool == "class" and not self.causal:
            raise InputError("pool class of the text encoder is of causal ones")

    def check_embedding(self, embed_dim: int) -> None:
        if self.proj == "none" and self.width != embed_dim:
            raise InputError(f"a text encoder of width {self.width} without projection gives no embedding {embed_dim}")

    @property
    def can_cut(self) -> bool:
        return self.causal and self.pool in ("argmax", "eos")

    @property
    def tokens(self) -> int:
        """The whole context, with the class token where there is one."""
        return self.context_length + (self.pool == "class")

    @property
    def blocks(self) -> Blocks:
        """Of its transformer."""
        return Blocks(self.width, self.layers, self.heads, self.mlp, self.activation, self.eps)

    def lengths(self, tokens: np.ndarray) -> np.ndarray:
        if not self.can_cut:
            return super().lengths(tokens)
        return (tokens if self.pool == "argmax" else tokens == self.eos_id).argmax(1) + 1

    def parameters(self, embed_dim: int) -> Named:
        yield "token_embedding.weight", (self.vocab_size, self.width)
        if self.pool == "class":
            yield "class_embedding", (self.width,)
        yield "positional_embedding", (self.tokens, self.width)
        yield from self.blocks.parameters()
        yield from base.norm("ln_final", self.width)
        if self.proj != "none":
            yield "text_projection", (self.width, embed_dim)
        if self.proj == "bias":
            yield "text_projection_bias", (embed_dim,)

    def products(self, embed_dim: int, length: int | None = None, pooled: bool = True) -> list[Product]:
        x = self.tokens if length is None else length + (self.pool == "class")
        proj = [] if self.proj == "none" else [products.linear("text_projection", 1, self.width, embed_dim)]
        return [*self.blocks.products(x, pooled), *proj]

    def build(self, embed_dim: int, rngs: nnx.Rngs) -> nnx.Module:
        from clipjax.models.text import TextTransformer

        return TextTransformer(self, embed_dim, rngs=rngs)

    def summary(self) -> str:
        return f"text width {self.width}, layers {self.layers}, heads {self.heads}"
