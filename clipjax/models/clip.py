"""Parameters as a plain nested dict, and the two towers as pure functions of it.

`params` has OpenAI's names, one dict per dot: `params["visual"]["conv1"]["weight"]`,
`params["transformer"]["resblocks"]["0"]["ln_1"]["bias"]`. List positions are strings, so the tree survives
safetensors, Orbax and JSON; `flatten` gives the dotted names.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from clipjax.errors import InputError, some
from clipjax.models.config import CLIP, ResNet, Text, ViT
from clipjax.models.layers import Taps
from clipjax.models.resnet import ModifiedResNet
from clipjax.models.shapes import check as check
from clipjax.models.shapes import shapes as shapes
from clipjax.models.text import TextTransformer
from clipjax.models.vit import VisionTransformer

Params = dict[str, Any]
TOWERS: dict[type, Any] = {ViT: VisionTransformer, ResNet: ModifiedResNet, Text: TextTransformer}


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dict -> {dotted name: leaf}."""
    out: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            out |= flatten(value, f"{prefix}{name}.")
        else:
            out[f"{prefix}{name}"] = value
    return out


def unflatten(flat: Mapping[str, Any]) -> Params:
    """{dotted name: leaf} -> nested dict."""
    out: Params = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        node = out
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    return out


def init(config: CLIP, key: jax.Array) -> Params:
    """Random float32 parameters at the scales of OpenAI's initialisation (CLIP paper section 2.4)."""
    image_key, text_key = jax.random.split(key)
    visual = TOWERS[type(config.image)](config.image, config.embed_dim, rngs=nnx.Rngs(image_key))
    text = TextTransformer(config.text, config.embed_dim, rngs=nnx.Rngs(text_key))
    flat = {f"visual.{k}": v for k, v in _leaves(visual).items()} | _leaves(text)
    flat["logit_scale"] = jnp.log(jnp.float32(1 / 0.07))
    return unflatten(flat)


def abstract(config: CLIP) -> Params:
    """Every parameter as a float32 `jax.ShapeDtypeStruct`: for lowering and compiling, nothing is allocated."""
    return unflatten({name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes(config).items()})


def apply_image(
    config: CLIP, params: Params, pixels: jax.Array, taps: Taps = None, remat: str = "none", scan: bool = False
) -> jax.Array:
    """pixels [B, S, S, 3] normalised -> image features [B, E] in the pixels' dtype, not normalised.

    Pure: for `jit`, `grad` and `shard_map`. Only `params["visual"]` is read. `remat` (`layers.REMAT`) says what the
    backward pass computes again; `scan` compiles one block of a transformer for all its layers.
    """
    return _bind(config.image, config.embed_dim, params["visual"], "visual.")(pixels, taps, remat, scan)


def apply_text(
    config: CLIP, params: Params, tokens: jax.Array, dtype: Any = jnp.float32, taps: Taps = None, remat: str = "none",
    scan: bool = False,
) -> jax.Array:  # fmt: skip
    """tokens int [B, T] -> text features [B, E] computed in `dtype`, not normalised. Pure, as `apply_image`."""
    text = {k: v for k, v in params.items() if k not in ("visual", "logit_scale")}
    return _bind(config.text, config.embed_dim, text, "")(tokens, dtype, taps, remat, scan)


def normalise(features: jax.Array) -> jax.Array:
    """Unit length along the last axis, in float32. The word a caller writes where cosine similarity is meant."""
    x = features.astype(jnp.float32)
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def logits(params: Params, image_features: jax.Array, text_features: jax.Array) -> jax.Array:
    """Cosine similarity times exp(logit_scale), float32: [B, E], [C, E] -> [B, C]."""
    cosine = jnp.einsum("BE,CE->BC", normalise(image_features), normalise(text_features), precision="highest")
    return jnp.exp(jnp.asarray(params["logit_scale"]).astype(jnp.float32)) * cosine


@functools.cache
def _skeleton(tower: ViT | ResNet | Text, embed_dim: int):
    """The tower's graph and {dotted name: (nnx path, shape)}; nothing is allocated."""
    module = nnx.eval_shape(lambda: TOWERS[type(tower)](tower, embed_dim, rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(module)
    spec = {".".join(map(str, path)): (path, tuple(v.shape)) for path, v in nnx.to_flat_state(state)}
    return graphdef, spec


def _bind(tower: ViT | ResNet | Text, embed_dim: int, params: Params, prefix: str) -> Any:
    """The tower's module holding `params`, matched by name and shape.

    `nnx.merge` alone matches a pure dict's leaves by position: with string keys, which sort as 0, 1, 10, 11, 2,
    it would silently permute the blocks of every tower of eleven or more. This is the only door to it.
    """
    graphdef, spec = _skeleton(tower, embed_dim)
    flat = flatten(params)
    if spec.keys() != flat.keys() or any(jnp.shape(flat[k]) != s for k, (_, s) in spec.items()):
        wrong = sorted(spec.keys() ^ flat.keys()) or [k for k, (_, s) in spec.items() if jnp.shape(flat[k]) != s]
        raise InputError(f"parameters do not fit the configuration: {some([prefix + k for k in wrong])}")
    pure: dict = {}
    for name, (path, _) in spec.items():
        node = pure
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = flat[name]
    return nnx.merge(graphdef, pure)


def _leaves(module: nnx.Module) -> dict[str, jax.Array]:
    return {
        ".".join(map(str, path)): v[...] for path, v in nnx.to_flat_state(nnx.state(module, (nnx.Param, nnx.BatchStat)))
    }
