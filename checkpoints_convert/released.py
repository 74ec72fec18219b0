"""Releases of weights without a configuration whose sizes are those of one model only: PE-Core and EVA-CLIP.

Nothing in their files says how many heads share a width or where rotary positions begin. Names and all shapes together
are one row's and nobody else's, so what the release computes is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from checkpoints_convert import timm_encoders
from clipjax.models import catalog, families
from clipjax.models.config import CLIP
from clipjax.models.inputs import CLIP_BPE, Pixels
from clipjax.models.shapes import shapes

_HALF = Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash", "bilinear", 0)


class Row(NamedTuple):
    """timm's name of the image encoder; of the text encoder: context length, width, layers, heads."""

    image: str
    embed_dim: int
    text: tuple[int, int, int, int]


RELEASED: dict[str, Row] = {
    "PE-Core-T-16-384": Row("vit_pe_core_tiny_patch16_384", 512, (32, 512, 12, 8)),
    "PE-Core-S-16-384": Row("vit_pe_core_small_patch16_384", 512, (32, 512, 12, 8)),
    "PE-Core-B-16": Row("vit_pe_core_base_patch16_224", 1024, (32, 1024, 24, 16)),
    "PE-Core-L-14-336": Row("vit_pe_core_large_patch14_336", 1024, (32, 1024, 24, 16)),
    "PE-Core-bigG-14-448": Row("vit_pe_core_gigantic_patch14_448", 1280, (72, 1280, 24, 20)),
    "EVA01-g-14": Row("eva_giant_patch14_224", 1024, (77, 768, 12, 12)),
    "EVA01-g-14-plus": Row("eva_giant_patch14_224", 1024, (77, 1024, 24, 16)),
    "EVA02-B-16": Row("eva02_base_patch16_clip_224", 512, (77, 512, 12, 8)),
    "EVA02-L-14": Row("eva02_large_patch14_clip_224", 768, (77, 768, 12, 12)),
    "EVA02-L-14-336": Row("eva02_large_patch14_clip_336", 768, (77, 768, 12, 12)),
    "EVA02-E-14": Row("eva02_enormous_patch14_clip_224", 1024, (77, 1024, 24, 16)),
    "EVA02-E-14-plus": Row("eva02_enormous_patch14_clip_224", 1024, (77, 1280, 32, 20)),
}


def configurations() -> Iterator[tuple[str, CLIP]]:
    """Each release as its own file holds it: PE-Core's has no bias behind its projection, which is timm's, of zeros."""
    for name, row in RELEASED.items():
        image = timm_encoders.image_encoder(row.image)
        is_pe = name.startswith("PE")
        image = dataclasses.replace(image, proj="linear") if is_pe else image
        context, width, layers, heads = row.text
        text = families.text("openai", context, catalog.WORDS, width, layers, heads, width * 4, "gelu", 1e-5)
        yield name, CLIP(row.embed_dim, image, text, _HALF if is_pe else catalog.OPENAI_PIXELS, CLIP_BPE, False)


def find(flat: Mapping[str, Any]) -> tuple[str, CLIP] | None:
    """The release whose parameters these are, by every name and shape."""
    own = {name: tuple(array.shape) for name, array in flat.items()}
    return next(((name, config) for name, config in configurations() if shapes(config) == own), None)
