"""The only inference loop: rows in, features out, on every device there is, padded and never dropped."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from clipjax import parallel
from clipjax.errors import InputError
from clipjax.models import clip
from clipjax.models.config import CLIP

DTYPES = ("float32", "bfloat16")
TEXT_LENGTHS = 8  # texts are cut to a multiple of this: at most context_length / 8 programs are compiled


class Encoder:
    """Both towers of one model on a mesh.

    Parameters go to the devices once, in float32. `dtype` is the compute dtype; LayerNorm, BatchNorm and softmax
    stay in float32 and features come back in float32. `batch_size` counts rows over all devices.
    """

    def __init__(
        self,
        config: CLIP,
        params: clip.Params,
        *,
        dtype: str = "float32",
        batch_size: int = 64,
        mesh: Mesh | None = None,
    ):
        if dtype not in DTYPES:
            raise InputError(f"unknown compute dtype {dtype!r}; choose {' or '.join(DTYPES)}")
        if batch_size < 1:
            raise InputError(f"batch size {batch_size} is not positive")
        clip.check(config, clip.flatten(params), "params")
        self.config, self.params, self.batch_size = config, params, batch_size
        self.mesh = parallel.data_mesh() if mesh is None else mesh
        compute = jnp.dtype(dtype)

        def image_program(params, pixels):
            return clip.apply_image(config, params, pixels.astype(compute)).astype(jnp.float32)

        def text_program(params, tokens):
            return clip.apply_text(config, params, tokens, compute).astype(jnp.float32)

        self._image = parallel.mapped(image_program, self.mesh)
        self._text = parallel.mapped(text_program, self.mesh)

    def images(self, pixels: np.ndarray | jax.Array) -> np.ndarray:
        """pixels [B, S, S, 3] normalised -> raw features float32 [B, E]."""
        size = self.config.image.image_size
        pixels = np.asarray(pixels)
        if pixels.ndim != 4 or pixels.shape[1:] != (size, size, 3):
            raise InputError(
                f"pixels have shape {pixels.shape}; this model takes [B, {size}, {size}, 3] (model.preprocess)"
            )
        if pixels.dtype.kind != "f":
            raise InputError(f"pixels are {pixels.dtype}; this model takes normalised floats (model.preprocess)")
        return self._run(self._image, self._visual, pixels.astype(np.float32, copy=False))

    def texts(self, tokens: np.ndarray | jax.Array) -> np.ndarray:
        """tokens int [B, T] -> raw features float32 [B, E].

        The batch is cut after its longest text: the mask is causal and only the end of text is read, so this is
        exact, and prompts of 10 tokens cost a fifth of 77.
        """
        length, vocabulary = self.config.text.context_length, self.config.text.vocab_size
        tokens = np.asarray(tokens)
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or tokens.shape[1] > length:
            raise InputError(
                f"tokens are {tokens.dtype} {tokens.shape}; this model takes ints [B, {length}] (clipjax.tokenize)"
            )
        if tokens.size and (tokens.min() < 0 or tokens.max() >= vocabulary):
            raise InputError(f"token id {tokens.max()} is outside this model's vocabulary of {vocabulary}")
        if not tokens.size:
            return np.zeros((0, self.config.embed_dim), np.float32)
        needed = int(tokens.argmax(1).max()) + 1
        cut = min(tokens.shape[1], -(-needed // TEXT_LENGTHS) * TEXT_LENGTHS)
        return self._run(self._text, self._textual, tokens[:, :cut].astype(np.int32, copy=False))

    @functools.cached_property
    def _visual(self) -> clip.Params:
        return self._on_devices({"visual": self.params["visual"]})

    @functools.cached_property
    def _textual(self) -> clip.Params:
        return self._on_devices({k: v for k, v in self.params.items() if k != "visual"})

    def _on_devices(self, params: clip.Params) -> clip.Params:
        params = jax.tree.map(lambda x: np.asarray(x).astype(np.float32, copy=False), params)
        return jax.device_put(params, parallel.replicated(self.mesh))

    def _run(self, program: Callable, params: Any, rows: np.ndarray) -> np.ndarray:
        """Equal batches, the last one padded with its own last row; a small input compiles a small program."""
        n, devices = len(rows), self.mesh.size
        batch = min(self.batch_size, 1 << max(n - 1, 0).bit_length())
        batch = -(-batch // devices) * devices
        out = np.zeros((n, self.config.embed_dim), np.float32)
        for start in range(0, n, batch):
            part = rows[start : start + batch]
            kept = len(part)
            part = np.concatenate([part, np.repeat(part[-1:], batch - kept, axis=0)]) if kept < batch else part
            features = program(params, jax.device_put(part, parallel.by_rows(self.mesh)))
            out[start : start + kept] = np.asarray(features)[:kept]
        return out
