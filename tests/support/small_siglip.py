"""A SigLIP of one block with random weights: a logit bias, and texts by a tokenizer of its own."""

import dataclasses
from pathlib import Path

import numpy as np

from clipjax import loading
from clipjax.models import clip, families, weights
from clipjax.models.config import CLIP
from clipjax.models.inputs import Pixels, Tokens
from support.family_models import MODELS

SCALE, BIAS = 20.0, -2.0


def siglip(path: Path) -> Path:
    """Writes a file of clipjax's own; its tokenizer is tests/golden/tokenizers/siglip."""
    config = CLIP(
        32, families.image("siglip", 32, 8, 32, 1, 2, 64, "gelu_tanh", 1e-6),
        families.text("siglip", 64, 500, 32, 1, 2, 64, "gelu_tanh", 1e-6),
        Pixels((0.5,) * 3, (0.5,) * 3, "squash", "bicubic", 0), Tokens("file", "canonicalize", 1, None, None, None),
        logit_bias=True,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    flat = {name: rng.normal(size=shape).astype(np.float32) for name, shape in clip.shapes(config).items()}
    flat |= {"logit_scale": np.float32(np.log(SCALE)).reshape(()), "logit_bias": np.float32(BIAS).reshape(())}
    weights.save(path, weights.Weights(flat, config, "tiny siglip", {"format": "random"}))
    return path


def as_transformers(root: Path) -> weights.Weights:
    """A SigLIP of two blocks with random weights and a learned bias, and `root/hf`, the same as transformers has it."""
    rng = np.random.default_rng(1)
    tokens = dataclasses.replace(MODELS["siglip"].tokens, clean="lower", pad_id=0)
    pixels = Pixels((0.5,) * 3, (0.5,) * 3, "squash", "bicubic", 0)
    config = dataclasses.replace(MODELS["siglip"], pixels=pixels, tokens=tokens)
    flat = {n: rng.normal(size=s).astype(np.float32) * 0.1 for n, s in clip.shapes(config).items()}
    flat |= {n: 1 + x for n, x in flat.items() if n.endswith("weight") and x.ndim == 1}
    flat |= {"logit_scale": np.array(2.3, np.float32), "logit_bias": np.array(-6.5, np.float32)}
    found = weights.Weights(flat, config, "siglip", {"format": "random"})
    weights.save(root / "siglip.safetensors", found)
    loading.convert(root / "siglip.safetensors", root / "hf", "huggingface")
    return found
