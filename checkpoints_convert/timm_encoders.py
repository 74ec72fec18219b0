"""timm's image encoders that open_clip's configurations name: each name is a family and sizes, which no shape says."""

from __future__ import annotations

from typing import NamedTuple

from clipjax.models import families
from clipjax.models.kinds.vit import ViT


class Named(NamedTuple):
    """An encoder of timm's, as `families.image` takes it."""

    family: str
    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp: int
    activation: str
    eps: float


def _siglip(image_size: int, patch: int, width: int, layers: int, heads: int, mlp: int, activation: str) -> Named:
    return Named("siglip", image_size, patch, width, layers, heads, mlp, activation, 1e-6)


# SigLIP's were trained with tanh; timm runs "gelu" where its own configurations say so.
TIMM: dict[str, Named] = {
    **{f"vit_base_patch16_siglip_{s}": _siglip(s, 16, 768, 12, 12, 3072, "gelu") for s in (224, 256, 384, 512)},
    "vit_base_patch32_siglip_256": _siglip(256, 32, 768, 12, 12, 3072, "gelu_tanh"),
    **{f"vit_large_patch16_siglip_{s}": _siglip(s, 16, 1024, 24, 16, 4096, "gelu") for s in (256, 384)},
    "vit_large_patch16_siglip_512": _siglip(512, 16, 1024, 24, 16, 4096, "gelu_tanh"),
    **{f"vit_so400m_patch14_siglip_{s}": _siglip(s, 14, 1152, 27, 16, 4304, "gelu") for s in (224, 378, 384)},
    **{f"vit_so400m_patch16_siglip_{s}": _siglip(s, 16, 1152, 27, 16, 4304, "gelu_tanh") for s in (256, 384, 512)},
    **{f"vit_giantopt_patch16_siglip_{s}": _siglip(s, 16, 1536, 40, 16, 6144, "gelu_tanh") for s in (256, 384)},
    "vit_pe_core_tiny_patch16_384": Named("pe-core", 384, 16, 192, 12, 3, 768, "gelu", 1e-5),
    "vit_pe_core_small_patch16_384": Named("pe-core", 384, 16, 384, 12, 6, 1536, "gelu", 1e-5),
    "vit_pe_core_base_patch16_224": Named("pe-core", 224, 16, 768, 12, 12, 3072, "gelu", 1e-5),
    "vit_pe_core_large_patch14_336": Named("pe-core", 336, 14, 1024, 24, 16, 4096, "gelu", 1e-5),
    "vit_pe_core_gigantic_patch14_448": Named("pe-core-g", 448, 14, 1536, 50, 16, 8960, "gelu", 1e-5),
    "eva_giant_patch14_224": Named("eva01", 224, 14, 1408, 40, 16, 6144, "gelu", 1e-6),
    "eva02_base_patch16_clip_224": Named("eva02", 224, 16, 768, 12, 12, 2048, "silu", 1e-6),
    "eva02_large_patch14_clip_224": Named("eva02", 224, 14, 1024, 24, 16, 2730, "silu", 1e-6),
    "eva02_large_patch14_clip_336": Named("eva02", 336, 14, 1024, 24, 16, 2730, "silu", 1e-6),
    "eva02_enormous_patch14_clip_224": Named("eva02-e", 224, 14, 1792, 64, 16, 15360, "gelu", 1e-6),
    "vit_base_mci_224": Named("mobileclip-b", 224, 16, 768, 12, 12, 3072, "gelu", 1e-6),
    "vit_large_patch14_clip_224": Named("mobileclip-l", 224, 14, 1024, 24, 16, 4096, "gelu", 1e-5),
}
# open_clip's timm_pool and timm_proj with which a family's encoder has what the family says; other values change it.
POOLS: dict[str, tuple[str, str | None]] = {
    "siglip": ("map", "none"), "pe-core": ("map", None), "pe-core-g": ("map", None), "eva01": ("token", None),
    "eva02": ("token", None), "eva02-e": ("token", None), "mobileclip-b": ("token", None),
    "mobileclip-l": ("token", None),
}  # fmt: skip


def image_encoder(name: str) -> ViT:
    """The configuration behind a name of TIMM."""
    return families.image(*TIMM[name])


def name_of(encoder: object) -> str | None:
    """The name whose encoder this is; None where timm has none."""
    return next((name for name in TIMM if image_encoder(name) == encoder), None)
