"""The models that OpenAI released, one row of data each.

Sources: the sha256 is part of OpenAI's own download path (openai/CLIP, clip.py); the hub repositories are those
open_clip reads; accuracy is zero-shot top-1 on ImageNet from Table 11 of the CLIP paper (arXiv 2103.00020).
"""

from __future__ import annotations

import dataclasses

from clipjax.errors import InputError, nearest
from clipjax.models import families
from clipjax.models.config import CLIP
from clipjax.models.inputs import CLIP_BPE, OPENAI_RESIZE, Pixels
from clipjax.models.kinds.base import ImageEncoderConfig, TextEncoderConfig
from clipjax.models.kinds.resnet import ResNet
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
OPENAI_PIXELS = Pixels(OPENAI_MEAN, OPENAI_STD, **OPENAI_RESIZE)
WORDS = 49408  # of CLIP's tokenizer


@dataclasses.dataclass(frozen=True)
class Release:
    """A released model: what it is, where its weights are, what was published about it."""

    name: str
    config: CLIP
    filename: str
    sha256: str
    hub: tuple[str, ...]  # mirrors, open_clip's layout first, then Hugging Face's own where it exists
    parameters: int
    imagenet_top1: float


def vit(image_size: int, patch: int, width: int, layers: int) -> ViT:
    """A ViT as OpenAI builds it: heads = width / 64, mlp = 4 x width, QuickGELU, LayerNorm eps 1e-5."""
    return families.image("openai", image_size, patch, width, layers, width // 64, width * 4, "quick_gelu", 1e-5)


def resnet(image_size: int, width: int, layers: tuple[int, int, int, int]) -> ResNet:
    """A ResNet as OpenAI builds it: attention-pool heads = 32 x width / 64, BatchNorm eps 1e-5."""
    return ResNet(image_size, width, layers, width * 32 // 64, 1e-5)


def text(width: int, layers: int = 12, context_length: int = 77, vocab_size: int = WORDS) -> Text:
    """A text encoder as OpenAI builds it: heads = width / 64, mlp = 4 x width, QuickGELU, LayerNorm eps 1e-5."""
    return families.text(
        "openai", context_length, vocab_size, width, layers, width // 64, width * 4, "quick_gelu", 1e-5
    )


def openai(embed_dim: int, image_encoder: ImageEncoderConfig, text_encoder: TextEncoderConfig) -> CLIP:
    """A whole model with OpenAI's pixel statistics and tokenizer."""
    return CLIP(embed_dim, image_encoder, text_encoder, OPENAI_PIXELS, CLIP_BPE, False)


RELEASES = (
    Release("RN50", openai(1024, resnet(224, 64, (3, 4, 6, 3)), text(512)), "RN50.pt",
            "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
            ("timm/resnet50_clip.openai",), 102_007_137, 59.6),
    Release("RN101", openai(512, resnet(224, 64, (3, 4, 23, 3)), text(512)), "RN101.pt",
            "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599",
            ("timm/resnet101_clip.openai",), 119_688_033, 62.2),
    Release("RN50x4", openai(640, resnet(288, 80, (4, 6, 10, 6)), text(640)), "RN50x4.pt",
            "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd",
            ("timm/resnet50x4_clip.openai",), 178_300_601, 65.8),
    Release("RN50x16", openai(768, resnet(384, 96, (6, 8, 18, 8)), text(768)), "RN50x16.pt",
            "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa",
            ("timm/resnet50x16_clip.openai",), 290_979_217, 70.5),
    Release("RN50x64", openai(1024, resnet(448, 128, (3, 15, 36, 10)), text(1024)), "RN50x64.pt",
            "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c",
            ("timm/resnet50x64_clip.openai",), 623_258_305, 73.6),
    Release("ViT-B/32", openai(512, vit(224, 32, 768, 12), text(512)), "ViT-B-32.pt",
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
            ("timm/vit_base_patch32_clip_224.openai", "openai/clip-vit-base-patch32"), 151_277_313, 63.2),
    Release("ViT-B/16", openai(512, vit(224, 16, 768, 12), text(512)), "ViT-B-16.pt",
            "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
            ("timm/vit_base_patch16_clip_224.openai", "openai/clip-vit-base-patch16"), 149_620_737, 68.6),
    Release("ViT-L/14", openai(768, vit(224, 14, 1024, 24), text(768)), "ViT-L-14.pt",
            "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
            ("timm/vit_large_patch14_clip_224.openai", "openai/clip-vit-large-patch14"), 427_616_513, 75.3),
    Release("ViT-L/14@336px", openai(768, vit(336, 14, 1024, 24), text(768)), "ViT-L-14-336px.pt",
            "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
            ("timm/vit_large_patch14_clip_336.openai", "openai/clip-vit-large-patch14-336"), 427_944_193, 76.2),
)  # fmt: skip


def names() -> tuple[str, ...]:
    """The released names, in the order of the CLIP paper's tables."""
    return tuple(r.name for r in RELEASES)


def find(name: str) -> Release | None:
    """The row of a released name; also with the punctuation people and peers drop (ViT-B-32, vit-l-14-336)."""
    return next((r for r in RELEASES if _plain(r.name) == _plain(name) or r.name == name), None)


def get(name: str) -> Release:
    """As `find`, but an unknown name is refused with the nearest known one."""
    if release := find(name):
        return release
    raise InputError(f"unknown model {name!r}{nearest(name, names())}; released: {', '.join(names())}")


def _plain(name: str) -> str:
    return name.lower().replace("/", "-").replace("@", "-").removesuffix("px")
