"""The vision transformer: OpenAI's, and those of SigLIP, PE-Core, EVA, MobileCLIP-B, CLIPA and CoCa as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clipjax.errors import InputError, brief
from clipjax.models import products
from clipjax.models.kinds import base
from clipjax.models.kinds.base import ImageEncoderConfig, Named
from clipjax.models.kinds.blocks import Blocks
from clipjax.models.products import Product

if TYPE_CHECKING:
    from flax import nnx

CHOICES = {
    "patch": ("linear", "bias", "stem"),
    "positions": ("all", "patches"),
    "norm": ("pre", "post"),
    "mlp_kind": ("mlp", "swiglu"),
    "pool": ("class", "mean", "attention", "query"),
    "final_norm": ("before", "after"),
    "proj": ("linear", "bias", "none"),
}
STEM = (4, 2, 2)  # strides of the three convolutions, each its kernel too
# The values of the fields that tell families apart, in OpenAI's models.
OPENAI: dict[str, Any] = {
    "patch": "linear", "class_token": True, "positions": "all", "rope": None, "ln_pre": True, "norm": "pre",
    "mlp_kind": "mlp", "inner_norm": False, "pool": "class", "pool_heads": None, "pool_mlp": None,
    "final_norm": "before", "proj": "linear",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary positions of the patches, in two dimensions; the row of the class token is not rotated.

    grid: patches a side to whose extent positions are scaled; None: positions are whole numbers.
    offset: of the first position.
    axes: "xy": the columns' angles first; "yx": the rows'.
    theta: the longest wave is theta times the shortest.
    """

    grid: int | None
    offset: int
    axes: str
    theta: float

    def __post_init__(self):
        base.check_choice("axes of rope", self.axes, ("xy", "yx"))
        if self.grid is not None and not (type(self.grid) is int and 0 < self.grid <= base.LARGEST):
            raise InputError(f"grid of rope is {brief(self.grid)}: a number of patches, or null")
        if type(self.offset) is not int or not 0 <= self.offset <= 1:
            raise InputError(f"offset of rope is {brief(self.offset)}: 0 or 1")
        if not base.is_finite(self.theta) or self.theta <= 1:
            raise InputError(f"theta of rope is {brief(self.theta)}: a number above 1")


@dataclasses.dataclass(frozen=True)
class ViT(ImageEncoderConfig):
    """Vision transformer of square patches.

    patch: "linear": one product per patch; "bias": with a bias; "stem": MobileCLIP's three products with GELUs between.
    class_token: whether a learned row stands before the patches.
    positions: which rows have learned positions added: "all", or the "patches" alone.
    rope: rotary positions beside those, in every block.
    ln_pre: whether a norm comes before the first block.
    norm: "pre": before attention and mlp; "post": after them, before the sum.
    mlp_kind: "mlp", or "swiglu", with a gate.
    inner_norm: whether attention and mlp have a norm before their last products.
    pool: what becomes of the last block's rows [N, D]: the "class" token's; the "mean" of the patches; "attention": of
        a learned probe, and an mlp after it; "query": of a learned query, which goes to E channels (CoCa).
    pool_heads, pool_mlp: of the last two; None where the pool has none.
    final_norm: the last norm comes "before" or "after" the pool.
    proj: into the joint embedding: "linear", "bias" or "none".
    """

    kind = "vit"
    can_scan = True
    implied = OPENAI

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp: int
    activation: str
    eps: float
    patch: str
    class_token: bool
    positions: str
    rope: Rope | None
    ln_pre: bool
    norm: str
    mlp_kind: str
    inner_norm: bool
    pool: str
    pool_heads: int | None
    pool_mlp: int | None
    final_norm: str
    proj: str

    def __post_init__(self):
        base.check_sizes(self, "image encoder")
        base.check_transformer(self.width, self.heads, self.activation, "image encoder")
        for name, choices in CHOICES.items():
            base.check_choice(f"{name} of the image encoder", getattr(self, name), choices)
        base.check_flags(self, "class_token", "ln_pre", "inner_norm")
        if isinstance(self.rope, Mapping):
            object.__setattr__(self, "rope", base.build(Rope, self.rope))
        self._check_sizes()
        self._check_pool()

    def _check_sizes(self) -> None:
        # A convolution drops the rest: SigLIP SO400M/14 of 384 pixels was trained so, none without a bias is known.
        if self.image_size < self.patch_size or (self.image_size % self.patch_size and self.patch != "bias"):
            raise InputError(f"image size {self.image_size} is not a multiple of the patch size {self.patch_size}")
        if self.patch == "stem" and (self.patch_size != 16 or self.width % 4):
            raise InputError(
                f"a stem has patches of 16 and a width that 4 divides, not {self.patch_size}, {self.width}"
            )
        if self.rope is not None and (self.width // self.heads) % 4:
            raise InputError(f"rope rotates pairs of two axes: heads have {self.width // self.heads}, no fours")
        if self.inner_norm and self.mlp_kind != "swiglu":
            raise InputError("inner_norm of the image encoder is of mlp_kind swiglu")

    def _check_pool(self) -> None:
        if not self.class_token and (self.positions == "all" or self.pool == "class"):
            raise InputError("without a class_token, positions are those of the patches and pool is not class")
        allowed = {"mean": ("before", "after"), "query": ("after",)}.get(self.pool, ("before",))
        base.check_choice(f"final_norm beside pool {self.pool}", self.final_norm, allowed)
        for name, pools in (("pool_heads", ("attention", "query")), ("pool_mlp", ("attention",))):
            value = getattr(self, name)
            whole = type(value) is int and 0 < value <= base.LARGEST
            if whole != (self.pool in pools) or not (whole or value is None):
                expected = "a whole number" if self.pool in pools else "null"
                raise InputError(f"{name} beside pool {self.pool} is {brief(value)}: {expected}")
        if self.pool == "attention" and self.pool_heads and self.width % self.pool_heads:
            raise InputError(f"{self.pool_heads} pool_heads do not divide the image encoder's width {self.width}")

    def check_embedding(self, embed_dim: int) -> None:
        if self.proj == "none" and self.feature_width("pre_proj", embed_dim) != embed_dim:
            raise InputError(
                f"without projection an image encoder of width {self.width} gives no embedding {embed_dim}"
            )
        if self.pool == "query" and self.pool_heads and embed_dim % self.pool_heads:
            raise InputError(f"{self.pool_heads} pool_heads do not divide the embedding {embed_dim}")

    @property
    def grid(self) -> int:
        """Patches a side."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Number of image tokens [N], a class token included."""
        return self.grid**2 + self.class_token

    @property
    def blocks(self) -> Blocks:
        """Of its transformer."""
        return Blocks(
            self.width, self.layers, self.heads, self.mlp, self.activation, self.eps,
            self.norm == "post", self.mlp_kind == "swiglu", self.inner_norm,
        )  # fmt: skip

    @property
    def stem(self) -> list[tuple[int, int, int]]:
        """(stride, channels in, channels out) of the stem's products."""
        widths = (3, self.width // 4, self.width // 4, self.width)
        return list(zip(STEM, widths, widths[1:], strict=False))

    def feature_width(self, feature: str, embed_dim: int) -> int:
        return embed_dim if feature == "proj" or self.pool == "query" else self.width

    def parameters(self, embed_dim: int) -> Named:
        d, out = self.width, self.feature_width("pre_proj", embed_dim)
        if self.patch == "stem":
            for i, (stride, d_in, d_out) in enumerate(self.stem):
                yield f"stem.{i}.weight", (stride, stride, d_in, d_out)
                yield f"stem.{i}.bias", (d_out,)
        else:
            yield "conv1.weight", (self.patch_size, self.patch_size, 3, d)
            if self.patch == "bias":
                yield "conv1.bias", (d,)
        if self.class_token:
            yield "class_embedding", (d,)
        yield "positional_embedding", (self.tokens if self.positions == "all" else self.grid**2, d)
        if self.ln_pre:
            yield from base.norm("ln_pre", d)
        yield from self.blocks.parameters()
        yield from self._pool_parameters(embed_dim)
        yield from base.norm("ln_post", out if self.final_norm == "after" else d)
        if self.proj != "none":
            yield "proj", (out, embed_dim)
        if self.proj == "bias":
            yield "proj_bias", (embed_dim,)

    def _pool_parameters(self, embed_dim: int) -> Named:
        d = self.width
        if self.pool == "attention":
            assert self.pool_mlp is not None
            yield "attn_pool.probe", (1, d)
            yield "attn_pool.in_proj_weight", (d, 3 * d)
            yield "attn_pool.in_proj_bias", (3 * d,)
            yield from base.linear("attn_pool.out_proj", d, d)
            yield from base.norm("attn_pool.ln", d)
            yield from base.linear("attn_pool.mlp.c_fc", d, self.pool_mlp)
            yield from base.linear("attn_pool.mlp.c_proj", self.pool_mlp, d)
        elif self.pool == "query":
            e = embed_dim
            yield "attn_pool.query", (1, e)
            yield from base.norm("attn_pool.ln_q", e)
            yield from base.norm("attn_pool.ln_k", d)
            for name, d_in in (("q", e), ("k", d), ("v", d)):
                yield f"attn_pool.attn.{name}_proj_weight", (d_in, e)
            yield "attn_pool.attn.in_proj_bias", (3 * e,)
            yield from base.linear("attn_pool.attn.out_proj", e, e)

    def products(self, embed_dim: int, pooled: bool = True) -> list[Product]:
        n = self.tokens
        return [
            *self._patch_products(),
            *self.blocks.products(n, pooled and self.pool == "class"),
            *self._pool_products(embed_dim),
            *([] if self.proj == "none" else
              [products.linear("proj", 1, self.feature_width("pre_proj", embed_dim), embed_dim)]),
        ]  # fmt: skip

    def _patch_products(self) -> list[Product]:
        if self.patch != "stem":
            return [products.linear("conv1", self.grid**2, self.patch_size**2 * 3, self.width, products.FIRST)]
        out, size = [], self.image_size
        for i, (stride, d_in, d_out) in enumerate(self.stem):
            size //= stride
            kind = products.PARAMETER if i else products.FIRST
            out.append(products.linear(f"stem.{i}", size**2, stride**2 * d_in, d_out, kind))
        return out

    def _pool_products(self, embed_dim: int) -> list[Product]:
        n, d, e = self.tokens, self.width, embed_dim
        if self.pool == "attention":
            assert self.pool_heads is not None
            assert self.pool_mlp is not None
            return [
                products.linear("attn_pool.q", 1, d, d),
                products.linear("attn_pool.kv", n, d, 2 * d),
                *products.attention("attn_pool", 1, n, d, self.pool_heads),
                products.linear("attn_pool.out_proj", 1, d, d),
                products.linear("attn_pool.c_fc", 1, d, self.pool_mlp),
                products.linear("attn_pool.c_proj", 1, self.pool_mlp, d),
            ]
        if self.pool == "query":
            assert self.pool_heads is not None
            return [
                products.linear("attn_pool.q", 1, e, e),
                products.linear("attn_pool.k", n, d, e),
                products.linear("attn_pool.v", n, d, e),
                *products.attention("attn_pool", 1, n, e, self.pool_heads),
                products.linear("attn_pool.out_proj", 1, e, e),
            ]
        return []

    def build(self, embed_dim: int, rngs: nnx.Rngs) -> nnx.Module:
        from clipjax.models.vit import VisionTransformer

        return VisionTransformer(self, embed_dim, rngs=rngs)

    def summary(self) -> str:
        sizes = f"{self.image_size} px in patches of {self.patch_size}"
        return f"ViT, {sizes}, width {self.width}, layers {self.layers}, heads {self.heads}"
