"""Writes a model with random parameters: of the embedded one's architecture, or of a released model's.

python random_model.py OUT.safetensors [ViT-B/32]
"""

import sys

import jax
import numpy as np

import clipjax
from clipjax.models import catalog, clip, weights

SCALE = 100  # of logits, as in every trained model


def drawn(name: str, values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every matrix with its own values in random places; vectors (norms, biases, the logit scale) as they are."""
    return generator.permutation(values.reshape(-1)).reshape(values.shape) if values.ndim > 1 else values


def like_embedded() -> weights.Weights:
    """The embedded model with its parameters in random places."""
    model, generator = clipjax.load("emoji-clip"), np.random.default_rng(0)
    assert isinstance(model, clipjax.Model)
    flat = {name: drawn(name, np.asarray(leaf), generator) for name, leaf in clip.flatten(model.params).items()}
    return weights.Weights(flat, model.config, "random", {"format": "random", "seed": 0})


def like_released(name: str) -> weights.Weights:
    """A full-size model as it is before training, with the logit scale of a trained one."""
    config = catalog.get(name).config
    flat = {key: np.asarray(leaf) for key, leaf in clip.flatten(clip.init(config, jax.random.key(0))).items()}
    flat["logit_scale"] = np.log(np.float32(SCALE))
    return weights.Weights(flat, config, f"random-{name.replace('/', '-')}", {"format": "random", "seed": 0})


if __name__ == "__main__":
    weights.save(sys.argv[1], like_released(sys.argv[2]) if len(sys.argv) > 2 else like_embedded())
