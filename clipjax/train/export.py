"""The result of training: one native weights file, and interpolation between two of them (WiSE-FT)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from clipjax.errors import InputError
from clipjax.models import lora, trained, weights
from clipjax.models.config import differences
from clipjax.train.pairs import Pairs
from clipjax.train.texts import OPENAI, Texts


def final_weights(state: Mapping[str, Any], about: trained.About) -> weights.Weights:
    """The model of a training state, on the host. Every host has to call this: shards are gathered."""
    held = {part: state[part] for part in ("step", "params", "fixed", "ema")}
    return trained.weights_of(jax.tree.map(_whole, held), about)


def final_adapters(state: Mapping[str, Any], about: trained.About) -> dict[str, np.ndarray]:
    """The adapters of a training state, on the host. Every host has to call this: shards are gathered."""
    flat = state["ema"] if state["ema"] and about.averaged else state["params"]
    return {name: _whole(array) for name, array in flat.items() if name.startswith(lora.PREFIX)}


def seen_tokens(pairs: Pairs, vocabulary: int, context: int, texts: Texts = OPENAI) -> np.ndarray:
    """bool [vocabulary]: tokens that some caption has in some template. The others kept their random rows."""
    seen = np.zeros(vocabulary, bool)
    for number, table in enumerate(pairs.tables):
        captions = sorted({c for n in np.flatnonzero(pairs.table == number).tolist() for c in pairs.texts(n)})
        for template in table.templates:
            seen[texts.read([template.replace("{}", c) for c in captions], context)] = True
    return seen


def interpolate(before: weights.Weights, after: weights.Weights, alpha: float) -> weights.Weights:
    """WiSE-FT (Wortsman et al. 2022, equation 1): (1 - alpha) x before + alpha x after, parameter by parameter.

    In float32, stored as `after` is. alpha 0 and 1 give back the two models' values. Raises InputError where the two
    are not the same architecture, or alpha is not a number (values outside 0 to 1 extrapolate, and are allowed).
    """
    # A sigmoid loss gives its model a bias, which one that was not trained so does not have.
    same = dataclasses.replace(before.config, logit_bias=after.config.logit_bias)
    if differs := differences(same, after.config):
        raise InputError(
            f"{before.name} and {after.name} differ in {'; '.join(differs[:3])}; choose two models of one architecture"
        )
    if not np.isfinite(alpha):
        raise InputError(f"alpha={alpha} is not a number")
    share = np.float32(alpha)
    flat = {}
    for name, array in after.flat.items():
        a, b = np.asarray(before.flat.get(name, array), np.float32), np.asarray(array, np.float32)
        mixed = a if alpha == 0 else b if alpha == 1 else (1 - share) * a + share * b
        flat[name] = mixed.astype(array.dtype)
    source = {"format": "clipjax", "interpolated": {"alpha": float(alpha), "before": dict(before.source),
              "after": dict(after.source)}}  # fmt: skip
    return weights.Weights(flat, after.config, f"{after.name}-alpha-{alpha:g}", source)


def _whole(array: Any) -> np.ndarray:
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)
