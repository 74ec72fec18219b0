"""open_clip's registry: its pairs of architecture and tag, as the files that its hub push writes, and as small models.

Needs the extra [peers].
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import open_clip
import timm
import torch
from open_clip.pretrained import get_pretrained_cfg
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from timm.models import vision_transformer_hybrid

from checkpoints_convert import open_clip_config
from clipjax.errors import InputError
from clipjax.models.config import CLIP
from clipjax.models.kinds.resnet import ResNet
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT

# Sizes of small models; heads are not those of any pool.
WIDTH, TEXT_WIDTH, EMBED, LAYERS, HEADS, TEXT_HEADS, WORDS, LENGTH = 64, 48, 40, 2, 4, 3, 100, 12


def pairs() -> list[tuple[str, str]]:
    """The distinct ones: without the `-quickgelu` aliases of pairs that are also listed under the plain name."""
    every = [(architecture, tag) for architecture, tag in open_clip.list_pretrained()]
    known = set(every)
    return [(a, t) for a, t in every if (plain := a.removesuffix("-quickgelu")) == a or (plain, t) not in known]


def hub_file(architecture: str, tag: str) -> dict[str, Any]:
    """open_clip_config.json of a pair, with the registry's QuickGELU."""
    model, pretrained = open_clip.get_model_config(architecture), get_pretrained_cfg(architecture, tag)
    assert model is not None
    if pretrained.get("quick_gelu"):
        model["quick_gelu"] = True
    pixels = merge_preprocess_dict(PreprocessCfg(), pretrained)
    kept = {key: pixels[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    return {"model_cfg": model, "preprocess_cfg": kept}


@functools.cache
def native() -> dict[tuple[str, str], CLIP]:
    """The pairs that clipjax builds, and their configurations."""
    found = {}
    for pair in pairs():
        with contextlib.suppress(InputError):
            found[pair] = open_clip_config.read(hub_file(*pair), str(pair), None)
    return found


def shape_of(config: CLIP) -> str:
    """What tells architectures apart: all that a configuration says but sizes, pixels and the kind of tokenizer.

    Of sizes there remain: whether pool and blocks have the same heads, and whether an image leaves rows that no patch
    covers.
    """
    image, text = config.image, config.text
    if isinstance(image, ResNet):
        parts: dict[str, Any] = {"kind": "resnet", "eps": image.eps}
    else:
        assert isinstance(image, ViT)
        sizes = dict.fromkeys(("image_size", "patch_size", "width", "layers", "heads", "mlp", "pool_heads", "pool_mlp"))
        parts = {k: v for k, v in dataclasses.asdict(image).items() if k not in sizes}
        parts |= {"pool heads": "trunk's" if image.pool_heads == image.heads else image.pool_heads}
        parts |= {"pool mlp": "trunk's" if image.pool_mlp in (None, image.mlp) else "its own"}
        parts |= {"rest": bool(image.image_size % image.patch_size)}
    assert isinstance(text, Text)
    words = {key: getattr(text, key) for key in ("activation", "eps", "causal", "pool", "eos_id", "proj")}
    return json.dumps({"image": parts, "text": words, "logit_bias": config.logit_bias}, sort_keys=True)


def architectures() -> dict[str, list[tuple[str, str]]]:
    """The distinct ones among the native pairs -> their pairs, the registry's first as the example."""
    found: dict[str, list[tuple[str, str]]] = {}
    for pair, config in native().items():
        found.setdefault(shape_of(config), []).append(pair)
    return found


def small_file(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A hub file's `model_cfg` with small sizes, and what a name of timm's is to be built with instead of its own."""
    model = copy.deepcopy(data["model_cfg"])
    vision, text = model["vision_cfg"], model["text_cfg"]
    name = vision.get("timm_model_name")
    alone = vision.get("timm_proj") == "none"  # without projection: the embedding is as long as the trunk is wide
    model["embed_dim"] = WIDTH if alone else EMBED
    width, heads = (WIDTH, HEADS) if text.get("proj_type") == "none" else (TEXT_WIDTH, TEXT_HEADS)
    text |= {"width": width, "heads": heads, "layers": LAYERS, "vocab_size": WORDS, "context_length": LENGTH}
    if "multimodal_cfg" in model:
        model["multimodal_cfg"] |= text | {"attn_pooler_heads": HEADS}
    if name is None and isinstance(vision["layers"], list):
        vision |= {"layers": [1, 2, 1, 1], "width": 8, "image_size": 64}
        return model, {}
    if name is None:
        vision |= {"width": WIDTH, "layers": LAYERS, "head_width": WIDTH // HEADS, "patch_size": 8, "image_size": 32}
        return model, {}
    return model, _timm_sizes(name)


def _timm_sizes(name: str) -> dict[str, Any]:
    sizes: dict[str, Any] = {"embed_dim": WIDTH, "depth": LAYERS, "num_heads": HEADS, "img_size": 32, "patch_size": 8}
    if "mci" in name:  # a stem whose strides make patches of 16
        del sizes["patch_size"]
        sizes["img_size"] = 64
    elif name.endswith("patch14_siglip_384"):
        sizes["img_size"] = 30  # 384 = 27 x 14 + 6, 30 = 3 x 8 + 6
    elif "pe_core" in name:
        sizes["ref_feat_shape"] = (4, 4)
    return sizes


@contextlib.contextmanager
def _timm_of(sizes: Mapping[str, Any]) -> Iterator[None]:
    """timm's `create_model` with these arguments beside the caller's, and MobileCLIP's stem as narrow as them."""
    plain, stem = timm.create_model, vision_transformer_hybrid.ConvStem

    def create(name, **given):
        return plain(name, **given, **sizes)

    def narrow(**given):
        return stem(**given | {"channels": (WIDTH // 4, WIDTH // 4, WIDTH)})

    with mock.patch.object(timm, "create_model", create), mock.patch.object(
        vision_transformer_hybrid, "ConvStem", narrow
    ):  # fmt: skip
        yield


def small_model(pair: tuple[str, str]) -> torch.nn.Module:
    """open_clip's module of a pair with small sizes, as its own factory builds it."""
    model, sizes = small_file(hub_file(*pair))
    name = f"small-{pair[0]}-{pair[1]}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.json"
        path.write_text(json.dumps(model))
        open_clip.add_model_config(path)
        open_clip.factory._MODEL_CONFIG_PATHS.remove(path)
    with _timm_of(sizes) if sizes else contextlib.nullcontext():
        return open_clip.create_model(name, pretrained=None).eval()


def small_config(pair: tuple[str, str], peer: torch.nn.Module) -> CLIP:
    """The configuration that is read of a pair, with the sizes of its small model."""
    config, (model, _) = native()[pair], small_file(hub_file(*pair))
    image, text, words = config.image, config.text, model["text_cfg"]
    assert isinstance(text, Text)
    mlp = peer.get_submodule("text" if hasattr(peer, "text") else "").get_submodule("transformer.resblocks.0.mlp.c_fc")
    text = dataclasses.replace(
        text, width=words["width"], heads=words["heads"], layers=LAYERS, vocab_size=WORDS, context_length=LENGTH,
        mlp=mlp.out_features,
    )  # fmt: skip
    if isinstance(image, ResNet):
        image = dataclasses.replace(image, width=8, layers=(1, 2, 1, 1), image_size=64, heads=4)
    else:
        assert isinstance(image, ViT)
        image = _small_image(image, peer.get_submodule("visual"))
    return dataclasses.replace(config, embed_dim=model["embed_dim"], image=image, text=text)


def _small_image(image: ViT, visual: torch.nn.Module) -> ViT:
    trunk = getattr(visual, "trunk", None)
    block = visual.get_submodule("transformer.resblocks.0.mlp" if trunk is None else "trunk.blocks.0.mlp")
    linear = next(getattr(block, name) for name in ("c_fc", "fc1", "fc1_x") if hasattr(block, name))
    mlp, size = linear.out_features, 64 if image.patch == "stem" else 30 if image.image_size % image.patch_size else 32
    return dataclasses.replace(
        image, image_size=size, patch_size=16 if image.patch == "stem" else 8, width=WIDTH, layers=LAYERS, heads=HEADS,
        mlp=mlp, pool_heads=HEADS if image.pool_heads == image.heads else image.pool_heads,
        pool_mlp=None if image.pool_mlp is None else mlp if image.pool_mlp == image.mlp else 4 * WIDTH,
    )  # fmt: skip


def tokens(config: CLIP) -> np.ndarray:
    """int64 [5, T], texts of several lengths: one as long as the context, one of its end alone, ids above the end."""
    text, pad = config.text, config.tokens.pad_id
    assert isinstance(text, Text)
    rng, words = np.random.default_rng(7), text.vocab_size
    end = {"eos": text.eos_id, "argmax": words - 1}.get(text.pool, 3)
    out = np.full((5, text.context_length), pad, np.int64)
    for row, length in zip(out, (3, 7, text.context_length, 1, 5), strict=True):
        row[:length] = rng.integers(4, words - 1, length)
        row[length - 1] = end
    return out
