"""Writes clipjax/assets/canary.npz: the features of the embedded model for the image and texts of the canary.

    python experiments/emoji_clip/make_canary.py

Run it again after a change of the weights, the image or the texts (clipjax/runs/canary.py).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import clipjax
from clipjax.encoder import Encoder
from clipjax.runs import canary
from clipjax.runs.engine import weights_sha256

ASSET = Path(__file__).parents[2] / "clipjax" / "assets" / "canary.npz"


def computed() -> dict[str, np.ndarray]:
    """Features by key, operation by operation on this machine's CPU."""
    model = clipjax.load("emoji-clip")
    assert isinstance(model, clipjax.Model)
    encoder = Encoder(model.config, model.params, batch_size=1)
    shipped, canary.embedded = canary.embedded, dict
    try:
        with tempfile.TemporaryDirectory() as folder:
            known = canary.Canary(model, encoder, weights_sha256(model.params), "float32", Path(folder))
            for feature in ("proj", "pre_proj"):
                known.expected_image(feature)
            for tokens in known.texts:
                known.expected_text(tokens)
            return {path.stem: np.load(path)["value"] for path in sorted(Path(folder).glob("*.npz"))}
    finally:
        canary.embedded = shipped


if __name__ == "__main__":
    np.savez(ASSET, **computed())
