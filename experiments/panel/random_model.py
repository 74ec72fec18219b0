"""Writes a random model of the embedded one's architecture: python random_model.py OUT.safetensors."""

import sys

import numpy as np

import clipjax
from clipjax.models import clip, weights


def drawn(name: str, values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every matrix with its own values in random places; vectors (norms, biases, the logit scale) as they are."""
    return generator.permutation(values.reshape(-1)).reshape(values.shape) if values.ndim > 1 else values


if __name__ == "__main__":
    model, generator = clipjax.load("emoji-clip"), np.random.default_rng(0)
    assert isinstance(model, clipjax.Model)
    flat = {name: drawn(name, np.asarray(leaf), generator) for name, leaf in clip.flatten(model.params).items()}
    weights.save(sys.argv[1], weights.Weights(flat, model.config, "random", {"format": "random", "seed": 0}))
