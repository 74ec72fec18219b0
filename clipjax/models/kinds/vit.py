"""The vision transformer: OpenAI's, and open_clip's and Hugging Face's of the same layout."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from clipjax.errors import InputError
from clipjax.models import products
from clipjax.models.kinds import base
from clipjax.models.kinds.base import ImageEncoderConfig, Named
from clipjax.models.products import Product

if TYPE_CHECKING:
    from flax import nnx


@dataclasses.dataclass(frozen=True)
class ViT(ImageEncoderConfig):
    """Vision transformer: square patches, a class token, LayerNorm before the first block."""

    kind = "vit"
    can_scan = True

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp: int
    activation: str
    eps: float

    def __post_init__(self):
        base.check_sizes(self, "image encoder")
        base.check_transformer(self.width, self.heads, self.activation, "image encoder")
        if self.image_size % self.patch_size:
            raise InputError(f"image size {self.image_size} is not a multiple of the patch size {self.patch_size}")

    @property
    def tokens(self) -> int:
        """Number of image tokens [N], the class token included."""
        return (self.image_size // self.patch_size) ** 2 + 1

    def parameters(self, embed_dim: int) -> Named:
        yield "conv1.weight", (self.patch_size, self.patch_size, 3, self.width)
        yield "class_embedding", (self.width,)
        yield "positional_embedding", (self.tokens, self.width)
        yield from base.norm("ln_pre", self.width)
        yield from base.blocks(self.width, self.mlp, self.layers)
        yield from base.norm("ln_post", self.width)
        yield "proj", (self.width, embed_dim)

    def products(self, embed_dim: int, pooled: bool = True) -> list[Product]:
        n, d, p = self.tokens, self.width, self.patch_size
        return [
            products.linear("conv1", n - 1, p * p * 3, d, products.FIRST),
            *products.blocks(d, self.heads, self.mlp, self.layers, n, pooled),
            products.linear("proj", 1, d, embed_dim),
        ]

    def build(self, embed_dim: int, rngs: nnx.Rngs) -> nnx.Module:
        from clipjax.models.vit import VisionTransformer

        return VisionTransformer(self, embed_dim, rngs=rngs)

    def summary(self) -> str:
        sizes = f"{self.image_size} px in patches of {self.patch_size}"
        return f"ViT, {sizes}, width {self.width}, layers {self.layers}, heads {self.heads}"
