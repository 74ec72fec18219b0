"""The configuration of weights that bring none: sizes from the tensors' shapes, all else from options or not at all.

Shapes do not say the activation, how many heads share a width, eps, or how pixels are prepared. What is not given is
taken over only where it is a fact: for OpenAI's own architectures, and for what its format defines.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from checkpoints_convert.encoders import openai_encoders
from checkpoints_convert.options import Options
from clipjax.errors import InputError, located, some
from clipjax.models import catalog, families
from clipjax.models.config import CLIP
from clipjax.models.kinds.resnet import ResNet
from clipjax.models.kinds.text import Text
from clipjax.models.kinds.vit import ViT

# Widths of published image encoders (ViT-H, g, bigG, SO400M, ...) whose heads are not of 64. Each has 16.
OTHER_HEADS = (1152, 1280, 1408, 1536, 1664, 1792)
_QUICK = "--activation=quick_gelu (OpenAI, DFN, MetaCLIP) or "
_GELU = "--activation=gelu (LAION, DataComp)"


def config(
    flat: Mapping[str, np.ndarray], options: Options, code: str | None, exact: bool, where: str
) -> tuple[CLIP, tuple[str, ...]]:
    """Parameters in clipjax's names and layouts -> their configuration, and a note about what was taken over.

    Args:
        flat: The parameters; only shapes are looked at.
        options: What the user says.
        code: The activation that a TorchScript archive's code shows.
        exact: Whether the file is such an archive, OpenAI's own form, so that OpenAI's shapes in it need no note.
        where: Leads every message.

    Raises:
        InputError: not a CLIP; or everything that has to be given, at once.
    """
    openai = openai_config(flat, where)
    if code and options.activation not in (None, code):
        raise InputError(f"{where}: its code computes {code}; --activation={options.activation} contradicts it")
    if (words := openai.text.vocab_size) > catalog.WORDS:  # a model of fewer is a small one
        raise InputError(f"{where}: its vocabulary of {words} words is not that of CLIP's tokenizer, {catalog.WORDS}")
    activation = options.activation or code
    released = any(_shape(openai) == _shape(release.config) for release in catalog.RELEASES)
    image, text = openai_encoders(openai)
    # quick_gelu says that it is OpenAI's format, in which heads have 64; open_clip's, with gelu, says them elsewhere.
    heads = options.heads or (image.heads if released or (_has_heads_of_64(image) and activation != "gelu") else None)
    text_heads = options.text_heads or (text.heads if _has_heads_of_64(text) else None)
    needs = []
    if not activation:
        needs.append(_QUICK + (_GELU if released or options.heads or heads is None else _GELU + " with --heads=N"))
    if heads is None:
        hint = ", 16 in the published models of this width" if image.width in OTHER_HEADS else ""
        needs.append(f"--heads=N (attention heads of the image encoder of width {image.width}{hint})")
    if text_heads is None:
        needs.append(f"--text-heads=N (of the text encoder of width {text.width})")
    if needs or not (activation and heads and text_heads):
        raise InputError(
            f"{where}: carries no configuration, and its tensors do not say everything; put its open_clip_config.json "
            f"or config.json beside it, or give {' and '.join(needs)}; what is not given is then as in OpenAI's "
            f"models: {'' if text_heads is None else f'--text-heads={text_heads}, '}--eps=1e-05, --mean and --std"
        )
    eps = options.eps or 1e-5
    image = dataclasses.replace(image, heads=heads, eps=eps)
    if isinstance(image, ViT):
        image = dataclasses.replace(image, activation=activation)
    text = dataclasses.replace(text, heads=text_heads, eps=eps, activation=activation)
    pixels = dataclasses.replace(
        openai.pixels, mean=options.mean or openai.pixels.mean, std=options.std or openai.pixels.std
    )
    made = dataclasses.replace(openai, image=image, text=text, pixels=pixels)
    if exact and released and options == Options():
        return made, ()
    given = "OpenAI's mean and std" if pixels == openai.pixels else "the given mean, std"
    note = f"carries no configuration; read with {activation}, heads {heads} and {text_heads}, eps {eps:g}, {given}"
    return made, (f"{where}: {note}",)


def openai_config(flat: Mapping[str, Any], where: str) -> CLIP:
    """What OpenAI's `build_model` makes of the shapes: heads of 64, QuickGELU, eps 1e-5, its own pixel statistics."""
    shape = {k: tuple(v.shape) for k, v in flat.items()}
    with located(where):
        return _of_shapes(shape)


def _of_shapes(shape: Mapping[str, tuple[int, ...]]) -> CLIP:
    try:
        text_width = shape["token_embedding.weight"][1]
        text = families.text(
            "openai",
            shape["positional_embedding"][0],
            shape["token_embedding.weight"][0],
            text_width,
            _count(shape, "transformer.resblocks."),
            _heads(text_width),
            shape["transformer.resblocks.0.mlp.c_fc.weight"][1],
            "quick_gelu",
            1e-5,
        )
        image = _vit(shape) if "visual.class_embedding" in shape else _resnet(shape)
        return catalog.openai(shape["text_projection"][1], image, text)
    except (KeyError, IndexError, ZeroDivisionError) as error:
        there = some(sorted(shape)) or "no tensor that a CLIP has"
        raise InputError(f"not a CLIP's weights: {_missing(shape, error)}; it has {there}") from error


def _missing(shape: Mapping[str, Any], error: Exception) -> str:
    if not any(name.startswith("visual.") for name in shape) and shape:
        return "the image encoder is missing"
    if "token_embedding.weight" not in shape and shape:
        return "the text encoder is missing"
    return f"without {error}"


def check_constants(tensors: Mapping[str, np.ndarray], config: CLIP, where: str) -> None:
    """OpenAI's archives carry three sizes as buffers; if they contradict the shapes the file is not what it says."""
    sizes = {
        "input_resolution": config.image.image_size,
        "context_length": config.text.context_length,
        "vocab_size": config.text.vocab_size,
    }
    for name, value in sizes.items():
        if name in tensors and (np.ndim(tensors[name]) or int(tensors[name]) != value):
            raise InputError(f"{where}: says {name} = {tensors[name]}, but its tensors' shapes say {value}")


def _shape(config: CLIP) -> tuple[Any, ...]:
    """What of a configuration shapes show, without the image's size, which people change."""
    image, text = openai_encoders(config)
    own = (image.width, image.layers) + ((image.patch_size, image.mlp) if isinstance(image, ViT) else ())
    return type(image), own, text.width, text.layers, text.mlp, config.embed_dim


def _has_heads_of_64(encoder: ViT | ResNet | Text) -> bool:
    """As every published encoder of such a width with OpenAI's names has; the text encoders of H and bigG too."""
    if isinstance(encoder, ResNet):
        return encoder.width % 2 == 0
    return encoder.width % 64 == 0 and (isinstance(encoder, Text) or encoder.width not in OTHER_HEADS)


def _vit(shape: Mapping[str, tuple[int, ...]]) -> ViT:
    patch, _, _, width = shape["visual.conv1.weight"]
    grid = round((shape["visual.positional_embedding"][0] - 1) ** 0.5)
    mlp = shape["visual.transformer.resblocks.0.mlp.c_fc.weight"][1]
    layers = _count(shape, "visual.transformer.resblocks.")
    return families.image("openai", grid * patch, patch, width, layers, _heads(width), mlp, "quick_gelu", 1e-5)


def _resnet(shape: Mapping[str, tuple[int, ...]]) -> ResNet:
    width = shape["visual.layer1.0.conv1.weight"][3]
    grid = round((shape["visual.attnpool.positional_embedding"][0] - 1) ** 0.5)
    a, b, c, d = (_count(shape, f"visual.layer{i}.") for i in (1, 2, 3, 4))
    return ResNet(grid * 32, width, (a, b, c, d), _heads(width * 32), 1e-5)


def _heads(width: int) -> int:
    """Width / 64 where 64 divides it; else 1, which stands for "not given"."""
    return width // 64 if width % 64 == 0 else 1


def _count(names: Iterable[str], prefix: str) -> int:
    return len({n[len(prefix) :].split(".")[0] for n in names if n.startswith(prefix)})
