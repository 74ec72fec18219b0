"""Parameters as a plain nested dict, and the two encoders as pure functions of it.

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
from flax.traverse_util import flatten_dict, unflatten_dict

from clipjax.errors import InputError, some
from clipjax.models.config import CLIP
from clipjax.models.kinds.base import EncoderConfig
from clipjax.models.layers import Adapter, Intermediates, NoRngs
from clipjax.models.lowering import Lowering
from clipjax.models.shapes import check as check
from clipjax.models.shapes import shapes as shapes

Params = dict[str, Any]
PLAIN = Lowering()
SCALARS = ("logit_scale", "logit_bias")  # of neither encoder


def flatten(params: Params) -> dict[str, Any]:
    """Nested dict -> {dotted name: leaf}."""
    return flatten_dict(params, sep=".")


def unflatten(flat: Mapping[str, Any]) -> Params:
    """{dotted name: leaf} -> nested dict."""
    return unflatten_dict(dict(flat), sep=".")


def init(config: CLIP, key: jax.Array) -> Params:
    """Random float32 parameters at the scales of OpenAI's initialisation (CLIP paper section 2.4)."""
    image_key, text_key = jax.random.split(key)
    visual = config.image.build(config.embed_dim, nnx.Rngs(image_key))
    text = config.text.build(config.embed_dim, nnx.Rngs(text_key))
    flat = {f"visual.{k}": v for k, v in _leaves(visual).items()} | _leaves(text)
    flat["logit_scale"] = jnp.log(jnp.float32(1 / 0.07))
    if config.logit_bias:
        flat["logit_bias"] = jnp.float32(-10)  # SigLIP paper, section 3.3
    return unflatten(flat)


def abstract(config: CLIP) -> Params:
    """Every parameter as a float32 `jax.ShapeDtypeStruct`: for lowering and compiling, nothing is allocated."""
    return unflatten({name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes(config).items()})


def apply_image(
    config: CLIP, params: Params, pixels: jax.Array, intermediates: Intermediates = None, lowering: Lowering = PLAIN,
    statistics: dict[str, jax.Array] | None = None, adapters: Mapping[str, Adapter] = {},
) -> jax.Array:  # fmt: skip
    """pixels [B, S, S, 3] normalised -> image features [B, E] in the pixels' dtype, not normalised.

    Pure: for `jit`, `grad` and `shard_map`. Only `params["visual"]` is read. A dict given as `intermediates` is filled
    with results of layers by their modules' names, and with "pre_proj", the features before the projection. A dict
    given as `statistics` makes BatchNorm use those of the batch, and is filled with the running ones that follow.
    adapters: by the dotted name of their matrix; those of the text encoder are not read.
    """
    module = _module(config.image, config.embed_dim, params["visual"], "visual.")
    _adapt(module, {n.removeprefix("visual."): one for n, one in adapters.items() if n.startswith("visual.")})
    if statistics is None:
        return module(pixels, intermediates, lowering)
    module.train()
    features = module(pixels, intermediates, lowering)
    state = nnx.to_flat_state(nnx.state(module, nnx.BatchStat))
    statistics |= {"visual." + ".".join(map(str, path)): value[...] for path, value in state}
    return features


def apply_text(
    config: CLIP, params: Params, tokens: jax.Array, dtype: Any = jnp.float32, intermediates: Intermediates = None,
    lowering: Lowering = PLAIN, context: jax.Array | None = None, adapters: Mapping[str, Adapter] = {},
) -> jax.Array:  # fmt: skip
    """tokens int [B, T] -> text features [B, E] computed in `dtype`, not normalised. Pure, as `apply_image`.

    context: vectors [n, W] in place of the embeddings of the n tokens after the first.
    """
    module = _module(config.text, config.embed_dim, text_params(params), "")
    _adapt(module, {name: one for name, one in adapters.items() if not name.startswith("visual.")})
    if context is None:  # not every kind of text encoder takes one
        return module(tokens, dtype, intermediates, lowering)
    return module(tokens, dtype, intermediates, lowering, context)


def text_params(params: Params) -> Params:
    """The parameters of the text encoder."""
    return {k: v for k, v in params.items() if k not in ("visual", *SCALARS)}


def normalise(features: jax.Array) -> jax.Array:
    """Unit length along the last axis, in float32. The word a caller writes where cosine similarity is meant."""
    x = features.astype(jnp.float32)
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def logits(params: Params, image_features: jax.Array, text_features: jax.Array) -> jax.Array:
    """Cosines times exp(logit_scale), plus logit_bias where there is one, float32: [B, E], [C, E] -> [B, C]."""
    cosine = jnp.einsum("BE,CE->BC", normalise(image_features), normalise(text_features), precision="highest")
    scaled = jnp.exp(jnp.asarray(params["logit_scale"]).astype(jnp.float32)) * cosine
    return scaled + jnp.asarray(params["logit_bias"]).astype(jnp.float32) if "logit_bias" in params else scaled


@functools.cache
def _skeleton(encoder: EncoderConfig, embed_dim: int):
    """The encoder's graph and {dotted name: (nnx path, shape)}; nothing is allocated."""
    module = nnx.eval_shape(lambda: encoder.build(embed_dim, NoRngs()))
    graphdef, state = nnx.split(module)
    spec = {".".join(map(str, path)): (path, tuple(v.shape)) for path, v in nnx.to_flat_state(state)}
    return graphdef, spec


def _module(encoder: EncoderConfig, embed_dim: int, params: Params, prefix: str) -> Any:
    """The encoder's module holding `params`, matched by name and shape.

    `nnx.merge` alone matches a pure dict's leaves by position: with string keys, which sort as 0, 1, 10, 11, 2,
    it would silently permute the blocks of every encoder of eleven or more. This is the only door to it.
    """
    graphdef, spec = _skeleton(encoder, embed_dim)
    flat = flatten(params)
    if spec.keys() != flat.keys() or any(jnp.shape(flat[k]) != s for k, (_, s) in spec.items()):
        wrong = sorted(spec.keys() ^ flat.keys()) or [k for k, (_, s) in spec.items() if jnp.shape(flat[k]) != s]
        raise InputError(f"parameters do not fit the configuration: {some([prefix + k for k in wrong])}")
    return nnx.merge(graphdef, unflatten_dict({path: flat[name] for name, (path, _) in spec.items()}))


def _adapt(module: nnx.Module, adapters: Mapping[str, Adapter]) -> None:
    """Gives the layers of an encoder the adapters of their matrices, by name."""
    for name, adapter in adapters.items():
        owner: Any = module
        for part in name.split(".")[:-1]:
            owner = owner[int(part)] if part.isdigit() else getattr(owner, part)
        owner.adapter = adapter


def _leaves(module: nnx.Module) -> dict[str, jax.Array]:
    return {
        ".".join(map(str, path)): v[...] for path, v in nnx.to_flat_state(nnx.state(module, (nnx.Param, nnx.BatchStat)))
    }
