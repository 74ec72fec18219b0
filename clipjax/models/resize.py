"""Another image size or context length for a model that is trained on: its positions interpolated, as open_clip does.

All other parameters stay. What a model knows of places is only nearly right at another size: it is trained before it is
used.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from clipjax.errors import InputError
from clipjax.models import shapes
from clipjax.models.config import CLIP
from clipjax.models.weights import Weights

POSITIONS = ("interpolate", "keep")


def resized(weights: Weights, image_size: int = 0, context: int = 0, positions: str = "interpolate") -> Weights:
    """The model at another image size [pixels] and context length [tokens]; 0 is its own, which is the model itself.

    positions: of texts: "interpolate", or "keep": the first `context` rows as they are, of a shorter context, after
    which every text that fits has the features that it had. Raises InputError for sizes that the model cannot have.
    """
    if positions not in POSITIONS:
        raise InputError(f"resize.positions={positions!r}; choose {' or '.join(POSITIONS)}")
    config = weights.config
    sizes = {"image_size": image_size or config.image.image_size, "context": context or config.text.context_length}
    if positions == "keep" and sizes["context"] >= config.text.context_length:
        raise InputError(
            f"resize.positions=keep is of a shorter context than {weights.name}'s {config.text.context_length} tokens"
        )
    changed = _changed(config, **sizes)
    if changed == config:
        return weights
    flat = dict(weights.flat)
    before, after = shapes.shapes(config), shapes.shapes(changed)
    for name, shape in after.items():
        if shape == before[name]:
            continue
        table = np.asarray(flat[name], np.float32)
        if name == "positional_embedding":
            texts, token = np.split(table, [config.text.context_length])  # of a learned row behind the text (CoCa)
            found = texts[: sizes["context"]] if positions == "keep" else _line(texts, sizes["context"])
            flat[name] = np.concatenate([found, token])
        elif name in ("visual.positional_embedding", "visual.attnpool.positional_embedding"):
            flat[name] = _grid(table, shape[0])
        else:
            raise InputError(f"{weights.name}: {name} has the shape {before[name]}, which another size would change")
    source = dict(weights.source) | {"resized": sizes}
    return Weights(flat, changed, weights.name, source)


def _changed(config: CLIP, image_size: int, context: int) -> CLIP:
    image: Any = config.image  # every kind has these fields
    text: Any = config.text
    return dataclasses.replace(
        config,
        image=dataclasses.replace(image, image_size=image_size),
        text=dataclasses.replace(text, context_length=context),
    )


def _grid(table: np.ndarray, rows: int) -> np.ndarray:
    """Positions of patches [H * W, D], row after row, behind those of a class token or mean: bicubic, antialiased.

    As open_clip's `resize_pos_embed`: corners are not aligned, the kernel (a = -0.5) is as wide as it is scaled down,
    and reaches no further than the edge. open_clip leaves the attention pool of a ResNet out; here it is the same.
    """
    side, new = math.isqrt(len(table)), math.isqrt(rows)
    first = len(table) - side**2
    grid = jnp.asarray(table[first:].reshape(side, side, -1))
    found = jax.image.resize(grid, (new, new, grid.shape[2]), "cubic", antialias=True)
    return np.concatenate([table[:first], np.asarray(found).reshape(new**2, -1)])


def _line(table: np.ndarray, rows: int) -> np.ndarray:
    """Positions of tokens [T, D], linear, as open_clip's `resize_text_pos_embed`: corners not aligned, no antialias."""
    return np.asarray(jax.image.resize(jnp.asarray(table), (rows, table.shape[1]), "linear", antialias=False))
