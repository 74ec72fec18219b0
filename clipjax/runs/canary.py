"""A known image and known texts in every run: a chip, compiler or memory that computes something else stops it.

What they should give is computed once per weights, operation by operation with NumPy (`numpy_reference`), without XLA
and so without every program that the run uses (no fusion, no sharding, no other layout, no other device), and kept by
the weights' fingerprint; for the embedded model it is embedded too (experiments/emoji_clip/make_canary.py). After that
a canary costs one row of the first batch on every device, and rows of later batches that would be padding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np

from clipjax import image
from clipjax.cache import cached_array, key_of
from clipjax.encoder import TEXT_LENGTHS, Encoder
from clipjax.errors import InputError
from clipjax.model import Model
from clipjax.models import clip
from clipjax.models.config import identity
from clipjax.runs import numpy_reference
from clipjax.runs.interface import Texts

KNOWN_IMAGE = "chelsea.jpg"  # of the embedded photographs
TEXTS = ("a photo of a dog.", "a photograph of a small yellow bird that sings.")  # 8 and 16 positions
# Largest distance to what is expected, as a share of its length. Measured: float32 on a CPU 6e-7 to 3e-6 (ViT-B/32,
# RN50, RN101); bfloat16, and the default products of TPUs and GPUs, 0.1 (RN50x64, experiments/bfloat16). A wrong
# program is off by about 1.
FLOAT32, ROUNDED = 1e-4, 0.2


class Canary:
    """The known inputs of one model, and what they should give."""

    def __init__(self, model: Model, encoder: Encoder, weights_sha256: str, precision: str, folder: Path | None):
        self._model, self._encoder, self._weights, self._folder = model, encoder, weights_sha256, folder
        platform = encoder.mesh.devices.flat[0].platform
        self._limit = FLOAT32 if (precision, platform) == ("float32", "cpu") else ROUNDED
        self._text_checked = False
        self._kept: dict[str, np.ndarray] = {}

    @functools.cached_property
    def pixels(self) -> np.ndarray:
        """The image as this model crops it, uint8 [S, S, 3]."""
        with resources.as_file(resources.files("clipjax") / "assets" / "photographs" / KNOWN_IMAGE) as path:
            return image.preprocess_uint8(image.open_image(path), self._model.preprocessing)[0]

    def start(self, inputs: np.ndarray | None, feature: str) -> Callable[[], np.ndarray]:
        """`Encoder.start` on uint8 [B, S, S, 3] with the canary at the head of each device's share, if there is room.

        Raises:
            InputError: from what is returned: a device computes something else.
        """
        pixels = np.zeros((0, *self.pixels.shape), np.uint8) if inputs is None else inputs
        size = self._encoder.rows_per_step
        heads = np.arange(size) % self._encoder.batch_size == 0
        if len(pixels) > size - heads.sum():
            return self._encoder.start(pixels, feature)
        places = np.flatnonzero(~heads)[: len(pixels)]
        everything = np.repeat(self.pixels[None], size, axis=0)
        everything[places] = pixels
        finish = self._encoder.start(everything, feature)

        def checked() -> np.ndarray:
            out = finish()
            if np.isfinite(out[places]).all():  # else the caller says which image it is
                self._check_images(out[heads], feature)
            return out[places]

        return checked

    def _check_images(self, features: np.ndarray, feature: str) -> None:
        self._check(features, self.expected_image(feature), f"the image {KNOWN_IMAGE}")

    def check_texts(self, texts: Texts) -> None:
        """The first time, a text of one of their lengths (a program that is needed anyway) if there is one.

        Raises:
            InputError: a device computes something else.
        """
        if self._text_checked:
            return
        self._text_checked = True
        own = -(-self._model.config.text.lengths(self.texts) // TEXT_LENGTHS) * TEXT_LENGTHS
        fits = [row for row, length in zip(self.texts, own, strict=True) if length in texts.groups]
        tokens = (fits or list(self.texts))[0]
        features = self._encoder.texts(np.repeat(tokens[None], self._encoder.rows_per_step, axis=0))
        self._check(features, self.expected_text(tokens), "a text")

    @functools.cached_property
    def texts(self) -> np.ndarray:
        """The token ids of `TEXTS`, int32 [2, T]."""
        return self._model.tokenize(list(TEXTS), truncate=True)

    def expected_image(self, feature: str) -> np.ndarray:
        """[E], or [D] for "pre_proj": what the image should give."""
        config = self._model.config

        def encode(params: clip.Params, pixels: jax.Array) -> jax.Array:
            if feature == "proj":
                return clip.apply_image(config, params, pixels)
            intermediates: dict[str, jax.Array] = {}
            clip.apply_image(config, params, pixels, intermediates)
            return intermediates["pre_proj"]

        def make() -> np.ndarray:
            pixels = image.normalise(self.pixels[None], self._model.preprocessing)
            return numpy_reference.evaluate(encode, {"visual": self._model.params["visual"]}, pixels)[0]

        return self._expected(["image", KNOWN_IMAGE, feature], make)

    def expected_text(self, tokens: np.ndarray) -> np.ndarray:
        """[E]: what these token ids, int32 [T], should give."""

        def encode(params: clip.Params, tokens: jax.Array) -> jax.Array:
            return clip.apply_text(self._model.config, params, tokens)

        def make() -> np.ndarray:
            return numpy_reference.evaluate(encode, clip.text_params(self._model.params), tokens[None])[0]

        return self._expected(["text", tokens.tolist()], make)

    def _expected(self, what: list[Any], make: Callable[[], np.ndarray]) -> np.ndarray:
        key = key_of(canary=what, weights=self._weights, config=identity(self._model.config))
        if key in embedded():
            return embedded()[key]
        if key not in self._kept:
            with jax.default_device(_cpu()), jax.default_matmul_precision("highest"):
                self._kept[key] = cached_array(self._folder, key, make)
        return self._kept[key]

    def _check(self, features: np.ndarray, expected: np.ndarray, what: str) -> None:
        where = f"model {self._model.name}, {what} that every run computes"
        remedy = "no number was written; update or pin jax and the driver, or take the machine out of use"
        if odd := [i for i, row in enumerate(features) if not np.array_equal(row, features[0])]:
            raise InputError(f"{where}: local device {odd[0]} gives other features than device 0; {remedy}")
        distance = float(np.linalg.norm(features[0] - expected) / np.linalg.norm(expected))
        if not distance <= self._limit:  # NaN too
            raise InputError(
                f"{where}: the compiled model gives other features than its weights operation by operation (distance "
                f"{distance:.2g} of their length, at most {self._limit:g}); {remedy}"
            )


@functools.cache
def embedded() -> dict[str, np.ndarray]:
    """What the embedded model should give, by key: its first run need not find out."""
    asset = resources.files("clipjax") / "assets" / "canary.npz"
    with resources.as_file(asset) as path, np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def _cpu() -> jax.Device:
    """A device that is not the one under test, where JAX_PLATFORMS leaves one."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]
