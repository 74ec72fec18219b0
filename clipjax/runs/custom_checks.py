"""What a model of a user's file must fulfil before its first batch, on images and texts that clipjax brings."""

from __future__ import annotations

from importlib import resources

import numpy as np
from PIL import Image

from clipjax import image
from clipjax.custom import CustomModel
from clipjax.errors import InputError
from clipjax.progress import say

KNOWN_IMAGE = "chelsea.jpg"
TEXTS = ("a photo of a dog.", "a photograph of a small yellow bird that sings.")
ODD_TEXTS = ("", "word " * 300, "dog")
# Largest distance of a row in a batch of five from the same row alone, as a share of the largest number. Measured in
# float32 on CPUs: images 4.7e-7, texts 3.4e-7 (open_clip, transformers, timm). Padding to the longest text of a batch
# is off by 0.1 and more. A model in a shorter type says more in `tolerance`: 0.02 for bfloat16.
ROUNDING = 1e-5


def tolerance(model: CustomModel) -> float:
    """How far the file lets a row depend on its neighbours: `ROUNDING`, or its own `tolerance`."""
    return float(getattr(model.definition, "tolerance", ROUNDING))


def photograph(name: str = KNOWN_IMAGE) -> Image.Image:
    """An embedded photograph."""
    with resources.as_file(resources.files("clipjax") / "assets" / "photographs" / name) as path:
        return image.open_image(path)


def image_features(model: CustomModel, feature: str) -> np.ndarray:
    """Checks the image encoder; returns the features of the known image, [E] or [D].

    Raises:
        InputError: features are not finite, depend on what else is in a batch, or do not depend on the image.
    """
    known = photograph()
    every = [known, known.convert("L"), known.convert("RGBA"), photograph("astronaut.jpg"), photograph("coffee.jpg")]
    inputs = [model.prepare(one) for one in every]
    together = model.encode_image(model.stack(inputs), feature)
    alone = np.concatenate([model.encode_image(model.stack([one]), feature) for one in inputs])
    _check(model, "encode_image", together, alone)
    if np.ptp(alone, axis=0).max() <= tolerance(model) * abs(alone).max():
        raise InputError(f"{model.file}: encode_image gives the same features for five different images")
    if np.allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-4):
        say(
            f"note: {model.file}: image features have length 1; raw features are expected. Cosines are the same, "
            "linear probes are not"
        )
    return alone[0]


def text_features(model: CustomModel) -> np.ndarray:
    """Checks the text encoder, with an empty text and one of 300 words; returns the features of `TEXTS`, [2, E]."""
    every = [*TEXTS, *ODD_TEXTS]
    together = model.encode_text(every)
    alone = np.concatenate([model.encode_text([one]) for one in every])
    _check(model, "encode_text", together, alone)
    return alone[: len(TEXTS)]


def _check(model: CustomModel, member: str, together: np.ndarray, alone: np.ndarray) -> None:
    if not np.isfinite(alone).all():
        raise InputError(f"{model.file}: {member} gives numbers that are not finite, for images and texts of clipjax")
    distance = float(abs(together - alone).max() / max(abs(alone).max(), np.finfo(np.float32).tiny))
    if not distance <= tolerance(model):  # NaN too
        raise InputError(
            f"{model.file}: {member} of five gives other features than of each alone (by {distance:.2g} of the largest "
            f"number, at most {tolerance(model):g}): switch dropout off (eval()), pad texts to a fixed length, and "
            "give the model a `tolerance` where its type is shorter than float32"
        )
