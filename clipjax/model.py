"""A loaded model: what `clipjax.load` returns."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from clipjax import image
from clipjax.design import TEMPLATE, of_classes
from clipjax.encoder import Encoder
from clipjax.models import clip, weights
from clipjax.models.config import CLIP
from clipjax.probes import zeroshot
from clipjax.text import tokenize

CLASSIFIERS = 8  # a thousand classes of ViT-L/14 are 3 MB


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """Parameters, configuration and where they came from.

    `params` is a plain nested dict with OpenAI's names, in the dtype of the file; computation is in `dtype`
    (float32, or bfloat16), whatever that is. Immutable: `dataclasses.replace(model, params=tuned)` makes another.
    """

    name: str
    config: CLIP
    params: clip.Params = dataclasses.field(repr=False)
    source: Mapping[str, Any]
    dtype: str = "float32"

    def preprocess(self, images: Image.Image | Iterable[Image.Image]) -> np.ndarray:
        """Images of any mode and size -> normalised float32 [B, S, S, 3], equal to OpenAI's bit for bit."""
        return image.preprocess(images, self.preprocessing)

    def encode_image(self, pixels: np.ndarray | jax.Array) -> jax.Array:
        """pixels [B, S, S, 3] from `preprocess` -> raw image features float32 [B, E]."""
        return jnp.asarray(self.encoder.images(pixels))

    def encode_text(self, tokens: np.ndarray | jax.Array) -> jax.Array:
        """tokens int [B, T] from `clipjax.tokenize` -> raw text features float32 [B, E]."""
        return jnp.asarray(self.encoder.texts(tokens))

    def __call__(self, pixels: np.ndarray | jax.Array, tokens: np.ndarray | jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits per image [B, C] and per text [C, B]: exp(logit_scale) times the cosine, plus a logit_bias."""
        per_image = clip.logits(self.params, self.encode_image(pixels), self.encode_text(tokens))
        return per_image, per_image.T

    def classify(
        self,
        images: Image.Image | Iterable[Image.Image],
        classes: Sequence[str],
        templates: Sequence[str] = (TEMPLATE,),
    ) -> np.ndarray:
        """Zero-shot probabilities float32 [B, C] over the classes, each averaged over the templates.

        The class weights of the last CLASSIFIERS lists of classes are kept: the text encoder does not run for these.
        """
        similarity = self._weights_of(classes, templates)[1]  # refuses bad classes before any image is decoded
        features = self.encoder.images(self.preprocess(images))
        return zeroshot.softmax(self.scale * similarity(zeroshot.normalise(features)))

    def classifier(self, classes: Sequence[str], templates: Sequence[str] = (TEMPLATE,)) -> np.ndarray:
        """Class names and templates -> class weights float32 [C, E] of unit length; kept as in `classify`."""
        return self._weights_of(classes, templates)[0].copy()

    def _weights_of(self, classes: Sequence[str], templates: Sequence[str]) -> tuple[np.ndarray, zeroshot.Similarity]:
        """Class weights [C, E], and the function of unit rows [N, E] that gives their cosines [N, C]."""
        design = of_classes(classes, templates)
        # On a TPU or GPU the same texts have other features inside jax.default_matmul_precision(...).
        key = (design.names, design.templates, jax.config.jax_default_matmul_precision)  # pyrefly: ignore[missing-attribute]
        if (classifier := self._classifiers.pop(key, None)) is None:
            (class_weights,) = zeroshot.class_weights(self._texts, [design])
            classifier = class_weights, zeroshot.similarity(class_weights)
        self._classifiers[key] = classifier  # last in the order: the most recently used
        while len(self._classifiers) > CLASSIFIERS:
            self._classifiers.pop(next(iter(self._classifiers)), None)
        return classifier

    def _texts(self, texts: Sequence[str]) -> np.ndarray:
        return self.encoder.texts(tokenize(list(texts), self.config.text.context_length))

    @functools.cached_property
    def _classifiers(self) -> dict[Any, tuple[np.ndarray, zeroshot.Similarity]]:
        return {}

    def save(self, path: str | os.PathLike) -> None:
        """Writes the self-describing .safetensors, parameters in the dtype they have here."""
        flat = {k: np.asarray(v) for k, v in clip.flatten(self.params).items()}
        weights.save(path, weights.Weights(flat, self.config, self.name, self.source))

    def apply_image(self, params: clip.Params, pixels: jax.Array) -> jax.Array:
        """Pure: pixels [B, S, S, 3] -> raw image features [B, E], for those who jit, grad or shard_map themselves."""
        return clip.apply_image(self.config, params, pixels.astype(self.dtype))

    def apply_text(self, params: clip.Params, tokens: jax.Array) -> jax.Array:
        """Pure: tokens int [B, T] -> raw text features [B, E], as `apply_image`."""
        return clip.apply_text(self.config, params, tokens, self.dtype)

    @property
    def scale(self) -> float:
        """exp(logit_scale): 100 for all of OpenAI's."""
        return float(np.exp(np.asarray(self.params["logit_scale"], np.float32)))

    @property
    def preprocessing(self) -> image.Preprocess:
        """How this model's pixels are made."""
        return image.Preprocess(self.config.image.image_size, **vars(self.config.pixels))

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The inference loop over all local devices; parameters move there on first use."""
        return Encoder(self.config, self.params, dtype=self.dtype)
