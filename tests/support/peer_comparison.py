"""What clipjax computes layer by layer, and how far it is from a peer. No torch here."""

from __future__ import annotations

import jax
import numpy as np

from clipjax.models import clip

Outputs = dict[str, np.ndarray]


def ours(model, pixels: np.ndarray, tokens: np.ndarray) -> Outputs:
    """What clipjax computes, every intermediate result included, one jitted call per encoder."""

    def image(params, x):
        intermediates: dict = {}
        out = clip.apply_image(model.config, params, x, intermediates)
        return {f"visual.{k}": v for k, v in intermediates.items()} | {"image_features": out}

    def text(params, x):
        intermediates: dict = {}
        out = clip.apply_text(model.config, params, x, "float32", intermediates)
        return intermediates | {"text_features": out}

    params = jax.tree.map(lambda x: np.asarray(x, np.float32), model.params)
    with jax.default_matmul_precision("highest"):
        seen = jax.jit(image)(params, pixels) | jax.jit(text)(params, tokens.astype(np.int32))
    return {k: np.asarray(v) for k, v in seen.items()}


def compare(got: Outputs, want: Outputs, tokens: np.ndarray) -> dict[str, float]:
    """Largest relative error over the layers, largest absolute error and smallest cosine of raw features.

    Peers normalise every position of the text at the end; ours only computes the one that is read.
    """
    want = want | {"ln_final": want["ln_final"][np.arange(len(tokens)), tokens.argmax(-1)]}
    layers = {k: float(np.abs(got[k] - v).max() / np.abs(v).max()) for k, v in want.items()}
    cosines, absolute = {}, {}
    for k in ("image_features", "text_features"):
        a, b = got[k].astype(np.float64), want[k].astype(np.float64)
        cosines[k] = float(((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min())
        absolute[k] = float(np.abs(a - b).max())
    worst = max(layers, key=layers.__getitem__)
    return {
        "layers": len(layers), "worst_layer": worst, "layer_error": layers[worst],
        "image_error": absolute["image_features"], "image_cosine": cosines["image_features"],
        "text_error": absolute["text_features"], "text_cosine": cosines["text_features"],
    }  # fmt: skip
