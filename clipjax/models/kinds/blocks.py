"""A stack of transformer blocks as data: what the ViT and the text transformer share."""

from __future__ import annotations

import dataclasses

from clipjax.models import products
from clipjax.models.kinds import base
from clipjax.models.kinds.base import Named
from clipjax.models.products import LAST, PARAMETER, Product


@dataclasses.dataclass(frozen=True)
class Blocks:
    """What `layers.Transformer` is built from.

    post_norm: x + ln(f(x)) in place of x + f(ln(x)).
    gated: the mlp is c_proj(act(c_gate x) * c_fc x) in place of c_proj(act(c_fc x)).
    inner_norm: a norm before the last product of the attention, and of the mlp.
    """

    width: int
    layers: int
    heads: int
    mlp: int
    activation: str
    eps: float
    post_norm: bool = False
    gated: bool = False
    inner_norm: bool = False

    def parameters(self) -> Named:
        """(name, shape) of every parameter."""
        d, f = self.width, self.mlp
        for i in range(self.layers):
            block = f"transformer.resblocks.{i}."
            yield block + "attn.in_proj_weight", (d, 3 * d)
            yield block + "attn.in_proj_bias", (3 * d,)
            if self.inner_norm:
                yield from base.norm(block + "attn.ln_inner", d)
            yield from base.linear(block + "attn.out_proj", d, d)
            yield from base.norm(block + "ln_1", d)
            if self.gated:
                yield from base.linear(block + "mlp.c_gate", d, f)
            yield from base.linear(block + "mlp.c_fc", d, f)
            if self.inner_norm:
                yield from base.norm(block + "mlp.ln", f)
            yield from base.linear(block + "mlp.c_proj", f, d)
            yield from base.norm(block + "ln_2", d)

    def products(self, x: int, pooled: bool) -> list[Product]:
        """Over X tokens. Where only one position is read (`pooled`), the last block needs keys and values of all of
        them and everything else for that one."""
        d, f = self.width, self.mlp
        out: list[Product] = []
        for i in range(self.layers):
            rows = 1 if pooled and i == self.layers - 1 else x
            name = f"resblocks.{i}"
            out.append(products.linear(f"{name}.q", rows, d, d, PARAMETER, i))
            out.append(products.linear(f"{name}.kv", x, d, 2 * d, PARAMETER, i))
            out += products.attention(name, rows, x, d, self.heads, i)
            # What only a norm follows is needed to go back through it, so only a bare sum's product is LAST.
            out.append(products.linear(f"{name}.out_proj", rows, d, d, PARAMETER, i))
            if self.gated:
                out.append(products.linear(f"{name}.c_gate", rows, d, f, PARAMETER, i))
            out.append(products.linear(f"{name}.c_fc", rows, d, f, PARAMETER, i))
            out.append(products.linear(f"{name}.c_proj", rows, f, d, PARAMETER if self.post_norm else LAST, i))
        return out
