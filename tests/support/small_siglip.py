"""A SigLIP of one block with random weights: a logit bias, and texts by a tokenizer of its own."""

from pathlib import Path

import numpy as np

from clipjax.models import clip, families, weights
from clipjax.models.config import CLIP
from clipjax.models.inputs import Pixels, Tokens

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
