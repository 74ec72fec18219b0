"""A loaded model: what `clipjax.load` returns."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from clipjax import image, text
from clipjax.classifying import Classifying
from clipjax.encoder import Encoder
from clipjax.errors import InputError
from clipjax.models import clip, weights
from clipjax.models.config import CLIP


@dataclasses.dataclass(frozen=True, eq=False)
class Model(Classifying):
    """Parameters, configuration and where they came from.

    `params` is a plain nested dict with OpenAI's names, in the dtype of the file; computation is in `dtype`
    (float32, or bfloat16), whatever that is. Immutable: `dataclasses.replace(model, params=tuned)` makes another.
    `tokenizer_file`: of models that do not read OpenAI's tokens; None where there is none beside the weights.
    """

    name: str
    config: CLIP
    params: clip.Params = dataclasses.field(repr=False)
    source: Mapping[str, Any]
    dtype: str = "float32"
    tokenizer_file: Path | None = None

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

    def features_of_images(self, images: Image.Image | Iterable[Image.Image]) -> np.ndarray:
        """Raw image features float32 [B, E]."""
        return self.encoder.images(self.preprocess(images))

    def start_images(self, images: Image.Image | Iterable[Image.Image]) -> Callable[[], np.ndarray]:
        """See `Encoder.start`."""
        return self.encoder.start(self.preprocess(images))

    def start_texts(self, texts: Sequence[str]) -> Callable[[], np.ndarray]:
        """See `Encoder.start_texts`. InputError for a text that is too long."""
        return self.encoder.start_texts(self.tokenize(texts))

    def features_of_texts(self, texts: Sequence[str], truncate: bool = False) -> np.ndarray:
        """Raw text features float32 [T, E]. InputError for a text that is too long, unless `truncate` cuts it."""
        return self.encoder.texts(self.tokenize(texts, truncate))

    def tokenize(self, texts: str | Sequence[str], truncate: bool = False) -> np.ndarray:
        """Token ids int32 [B, T] of this model's tokenizer, as `clipjax.tokenize` gives them of OpenAI's.

        Raises:
            InputError: a text is too long and `truncate` is off, or the model's tokenizer is not there.
        """
        ids, lengths = self._tokenize(texts)
        if not truncate:
            text.check_lengths(texts, lengths, self.config.text.context_length)
        return ids

    def text_lengths(self, texts: Sequence[str]) -> np.ndarray:
        """How many tokens each text has before it is cut, int32 [T]; the limit is `config.text.context_length`."""
        return self._tokenize(texts)[1]

    def _tokenize(self, texts: str | Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        if self.config.tokens.kind == "file":
            return self._tokenizer.with_lengths(texts)
        return text.tokenize_with_lengths(texts, self.config.text.context_length)

    @functools.cached_property
    def _tokenizer(self) -> text.FileTokenizer:
        if self.tokenizer_file is None:
            raise InputError(
                f"{self.name}: its texts need the tokenizer that it was trained with, and there is none beside the "
                f"weights ({self.source.get('file', self.name)}): put the model's tokenizer.json there"
            )
        return text.FileTokenizer(self.tokenizer_file, self.config.tokens, self.config.text.context_length)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the self-describing .safetensors, parameters in the dtype they have here, and its tokenizer."""
        flat = {k: np.asarray(v) for k, v in clip.flatten(self.params).items()}
        weights.save(path, weights.Weights(flat, self.config, self.name, self.source))
        if self.tokenizer_file is not None:
            text.copy_beside(self.tokenizer_file, Path(path))

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
    def logit_scale(self) -> np.float32:
        """The parameter, a logarithm."""
        return np.float32(np.asarray(self.params["logit_scale"], np.float32))

    @property
    def bias(self) -> float | None:
        """logit_bias, of models trained with a sigmoid loss."""
        return float(np.asarray(self.params["logit_bias"], np.float32)) if "logit_bias" in self.params else None

    @property
    def numerics(self) -> Hashable:
        """On a TPU or GPU the same texts have other features inside jax.default_matmul_precision(...)."""
        return jax.config.jax_default_matmul_precision  # pyrefly: ignore[missing-attribute]

    @property
    def preprocessing(self) -> image.Preprocess:
        """How this model's pixels are made."""
        return image.Preprocess(self.config.image.image_size, **vars(self.config.pixels))

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The inference loop over all local devices; parameters move there on first use."""
        return Encoder(self.config, self.params, dtype=self.dtype)
