"""OpenAI's modified ResNet."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from clipjax.errors import InputError, brief
from clipjax.models import products
from clipjax.models.kinds import base
from clipjax.models.kinds.base import ImageEncoderConfig, Named
from clipjax.models.products import Product

if TYPE_CHECKING:
    from flax import nnx


@dataclasses.dataclass(frozen=True)
class ResNet(ImageEncoderConfig):
    """OpenAI's modified ResNet: three-convolution stem, average pools before strides, attention pooling.

    `width` is the number of channels after the stem; the attention pool works at 32 x width.
    """

    kind = "resnet"

    image_size: int
    width: int
    layers: tuple[int, int, int, int]
    heads: int
    eps: float

    def __post_init__(self):
        if not isinstance(self.layers, list | tuple) or len(self.layers) != 4:
            raise InputError(f"a CLIP ResNet has four stages, not {brief(self.layers)}")
        object.__setattr__(self, "layers", tuple(self.layers))
        base.check_sizes(self, "image encoder")
        if self.image_size % 32:
            raise InputError(f"image size {self.image_size} is not a multiple of 32, the stride of a ResNet")
        if self.pool_width % self.heads:
            raise InputError(f"{self.heads} heads do not divide the attention pool's width {self.pool_width}")

    @property
    def pool_width(self) -> int:
        """Channels of the last stage [D], at which the attention pool works."""
        return self.width * 32

    @property
    def tokens(self) -> int:
        """Number of tokens [N] in the attention pool, the mean token included."""
        return (self.image_size // 32) ** 2 + 1

    def feature_width(self, feature: str, embed_dim: int) -> int:
        return embed_dim if feature == "proj" else self.pool_width

    def parameters(self, embed_dim: int) -> Named:
        w = self.width
        for i, (d_in, d_out) in enumerate(((3, w // 2), (w // 2, w // 2), (w // 2, w)), 1):
            yield from _convolution(f"conv{i}", f"bn{i}", d_in, d_out, 3)
        d_in = w
        for stage, blocks in enumerate(self.layers):
            planes = w * 2**stage
            for i in range(blocks):
                block = f"layer{stage + 1}.{i}."
                yield from _convolution(block + "conv1", block + "bn1", d_in, planes, 1)
                yield from _convolution(block + "conv2", block + "bn2", planes, planes, 3)
                yield from _convolution(block + "conv3", block + "bn3", planes, planes * 4, 1)
                if i == 0:  # the first of a stage strides or widens, or both
                    yield from _convolution(block + "downsample.0", block + "downsample.1", d_in, planes * 4, 1)
                d_in = planes * 4
        d = self.pool_width
        yield "attnpool.positional_embedding", (self.tokens, d)
        for name in ("q_proj", "k_proj", "v_proj"):
            yield from base.linear(f"attnpool.{name}", d, d)
        yield from base.linear("attnpool.c_proj", d, embed_dim)

    def products(self, embed_dim: int, pooled: bool = True) -> list[Product]:
        w, half = self.width, self.image_size // 2
        out = [
            products.convolution("conv1", self.image_size, 2, 3, 3, w // 2, products.FIRST),
            products.convolution("conv2", half, 1, 3, w // 2, w // 2),
            products.convolution("conv3", half, 1, 3, w // 2, w),
        ]
        size, d_in, count = self.image_size // 4, w, 0
        for stage, blocks in enumerate(self.layers):
            planes = w * 2**stage
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                name, after = f"layer{stage + 1}.{block}", size // stride
                out.append(products.convolution(f"{name}.conv1", size, 1, 1, d_in, planes, layer=count))
                out.append(products.convolution(f"{name}.conv2", size, 1, 3, planes, planes, layer=count))
                out.append(products.convolution(f"{name}.conv3", after, 1, 1, planes, planes * 4, layer=count))
                if stride > 1 or d_in != planes * 4:
                    out.append(products.convolution(f"{name}.downsample", after, 1, 1, d_in, planes * 4, layer=count))
                size, d_in, count = after, planes * 4, count + 1
        n, d = self.tokens, self.pool_width
        return [
            *out,
            products.linear("attnpool.q", 1, d, d),
            products.linear("attnpool.kv", n, d, 2 * d),
            *products.attention("attnpool", 1, n, d, self.heads),
            products.linear("attnpool.c_proj", 1, d, embed_dim),
        ]

    def build(self, embed_dim: int, rngs: nnx.Rngs) -> nnx.Module:
        from clipjax.models.resnet import ModifiedResNet

        return ModifiedResNet(self, embed_dim, rngs=rngs)

    def summary(self) -> str:
        layers = "+".join(map(str, self.layers))
        return f"ResNet, {self.image_size} px, width {self.width}, layers {layers}, heads {self.heads}"


def _convolution(name: str, norm: str, d_in: int, d_out: int, kernel: int) -> Named:
    yield f"{name}.weight", (kernel, kernel, d_in, d_out)
    yield from base.norm(norm, d_out, "running_mean", "running_var")
