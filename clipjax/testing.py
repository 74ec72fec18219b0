"""Small real things for tests and for trying out: a random CLIP in the native format, a folder of pictures."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipjax.models import catalog, clip, weights
from clipjax.models.config import CLIP


def tiny_config(kind: str = "vit", layers: int = 2) -> CLIP:
    """A CLIP of 3.4 million parameters, most of them the real vocabulary's embedding; `kind` is vit or resnet.

    `layers` are those of each transformer: the time to compile a program grows with them.
    """
    image = catalog.vit(32, 8, 64, layers) if kind == "vit" else catalog.resnet(64, 8, (1, 1, 1, 1))
    return catalog.openai(32, image, catalog.text(64, layers=layers))


def tiny_model(path: Path, kind: str = "vit", seed: int = 0, layers: int = 2) -> Path:
    """Writes a native file of `tiny_config` with random weights; returns its path."""
    config = tiny_config(kind, layers)
    rng = np.random.default_rng(seed)
    flat: dict[str, Any] = {
        name: np.abs(x) + 0.5 if name.endswith("running_var") else x
        for name, shape in clip.shapes(config).items()
        for x in [(rng.normal(size=shape) * (0.1 if len(shape) > 1 else 1)).astype(np.float32)]
    }
    flat["logit_scale"] = np.float32(np.log(20)).reshape(())
    weights.save(path, weights.Weights(flat, config, f"tiny-{kind}", {"format": "random", "seed": seed}))
    return path


def pictures(folder: Path, per_class: dict[str, int], size: int = 40, seed: int = 0) -> Path:
    """Writes folder/CLASS/0000.jpg, ...: smooth noise around one colour per class, `per_class` of each."""
    rng = np.random.default_rng(seed)
    for name, n in per_class.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        colour = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, 3)  # the class's, in any folder
        for i in range(n):
            coarse = np.clip(colour + rng.normal(0, 60, (6, 6, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(coarse).resize((size + i % 7, size), Image.Resampling.BILINEAR).save(
                folder / name / f"{i:04}.jpg", quality=90
            )
    return folder
