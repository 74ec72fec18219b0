"""big_vision's `.npz` of SigLIP: tensors, and the configuration that their shapes and the release say."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from checkpoints_convert.dialects.big_vision import unrolled
from clipjax.errors import InputError, converted, located
from clipjax.models import families
from clipjax.models.config import CLIP
from clipjax.models.inputs import Pixels, Tokens

PIXELS = Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash", "bicubic", 0)
NOTE = (
    "read as SigLIP's release: GELU by tanh, images squashed bicubic (big_vision's own resize is bilinear without "
    "antialiasing), texts in lower case"
)
_GEMMA_WORDS = 256_000
_ATTENTION = "MultiHeadDotProductAttention_0/query/kernel"


def is_npz(path: Path) -> bool:
    """Whether a zip archive holds nothing but numpy's arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(names := archive.namelist()) and all(name.endswith(".npy") for name in names)
    except zipfile.BadZipFile:
        return False


def read(path: Path) -> dict[str, np.ndarray]:
    """Names -> arrays, a block's by themselves. InputError for a file that is not whole, or holds objects."""
    damage = (ValueError, OSError, EOFError, zipfile.BadZipFile)
    problem = f"{path}: not a readable .npz of tensors"
    with converted(problem, "fetch it again", *damage), np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    # numpy has no bfloat16 and stores its two bytes as they are
    return unrolled({k: v.view(ml_dtypes.bfloat16) if v.dtype == np.dtype("V2") else v for k, v in arrays.items()})


def config(tensors: Mapping[str, np.ndarray], where: str) -> CLIP:
    """Heads and all sizes are in the shapes; activation, eps, pixels and tokens are those of the two releases."""
    with located(where), converted("not SigLIP's weights", "take the file as released", KeyError, IndexError):
        image, text = _sizes(tensors, "img", "Transformer"), _sizes(tensors, "txt", "Encoder_0")
        patch = tensors["img/embedding/kernel"].shape[0]
        words = tensors["txt/Embed_0/embedding"].shape[0]
        pool = tensors[f"img/MAPHead_0/{_ATTENTION}"].shape[1]
        grid = round(tensors["img/pos_embedding"].shape[1] ** 0.5)
        length = tensors["txt/pos_embedding"].shape[1]
    if pool != image[2]:
        raise InputError(f"{where}: its pool has {pool} heads and its blocks {image[2]}; SigLIP's have the same")
    is_second = words == _GEMMA_WORDS
    # SigLIP's own SO400M/14 of 27 patches a side takes 384 pixels, whose last 6 it drops; SigLIP 2's takes 378.
    size = 384 if (grid, patch, is_second) == (27, 14, False) else grid * patch
    encoder = families.image("siglip", size, patch, *image, "gelu_tanh", 1e-6)
    texts = families.text("siglip", length, words, *text, "gelu_tanh", 1e-6)
    tokens = Tokens("file", "lower", 0 if is_second else 1, None, None, None)
    return CLIP(encoder.width, encoder, texts, PIXELS, tokens, True)


def _sizes(tensors: Mapping[str, Any], encoder: str, stack: str) -> tuple[int, int, int, int]:
    """Width, layers, heads and mlp."""
    blocks = f"{encoder}/{stack}/encoderblock_"
    layers = len({name[len(blocks) :].split("/")[0] for name in tensors if name.startswith(blocks)})
    width, heads, _ = tensors[f"{blocks}0/{_ATTENTION}"].shape
    return width, layers, heads, tensors[f"{blocks}0/MlpBlock_0/Dense_0/kernel"].shape[1]
