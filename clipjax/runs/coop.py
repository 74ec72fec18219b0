"""CoOp on cached image features: learned context vectors before the class names, several draws of images."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from clipjax import loading
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.keys import inside, key
from clipjax.model import Model
from clipjax.models import clip
from clipjax.models.config import CLIP
from clipjax.probes import coop
from clipjax.runs import few_images
from clipjax.runs.features import Features
from clipjax.runs.few_images import FewImages
from clipjax.runs.parts import Parts
from clipjax.runs.result import Result

UNREAD = ("caption_columns",)  # `data.` keys that change nothing here


@dataclasses.dataclass(frozen=True)
class Context:
    """Of the learned vectors."""

    tokens: int = key(16, "learned vectors before the name of a class, shared by all classes")
    epochs: int = key(0, "passes over the drawn images; 0: the paper's (1 shot: 50; up to 4: 100; more: 200)")
    learning_rate: float = key(2e-3, "of SGD after the first epoch, falling to 0 along a cosine")
    batch_size: int = key(32, "drawn images per step")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FewImages):
    """What is read."""

    context: Context = inside(Context)


def prepare(config: Config) -> Parts:
    """Training and test part; refuses a model without a text encoder of ours, and what cannot be learned."""
    if loading.is_custom(config.model):
        raise InputError(
            f"{config.model}: context vectors need a text encoder that clipjax computes: use a weights file"
        )
    chosen = config.context
    if chosen.epochs < 0 or min(chosen.batch_size, chosen.tokens) < 1 or not chosen.learning_rate > 0:
        raise InputError(
            f"context.tokens={chosen.tokens}, epochs={chosen.epochs}, batch_size={chosen.batch_size}, "
            f"learning_rate={chosen.learning_rate:g}: epochs are 0 or more, the others above 0"
        )
    return few_images.prepare(config)


def run(config: Config, features: Features, split: Parts) -> Result:
    """Top-1 on the test part for every number of shots and its gain over zero-shot, mean and spread over draws."""
    model = features.engine.model
    assert isinstance(model, Model)
    places = tokens_of(model, split.test.design, config.context.tokens)
    read = few_images.read(features, config, split)
    given = jax.device_put((clip.text_params(model.params), places[read.order.classes]))
    drawn = coop.evaluate(
        read.images, read.test, read.zero_shot, encoder(model.config, model.dtype), given,
        (config.context.tokens, model.config.text.width), config.shots, seeds=config.seeds,
        epochs=config.context.epochs, learning_rate=config.context.learning_rate,
        batch_size=config.context.batch_size, by=read.by, method=config.interval,
    )  # fmt: skip
    return few_images.result(config, features, split, read, read.digests, read.images, drawn)


@functools.lru_cache(4)
def encoder(config: CLIP, dtype: str) -> coop.Encode:
    """(Parameters, tokens int [C, T]) and a context -> text features [C, E]; one function, and so one compiled program,
    for all models of a configuration."""

    def encode(given: tuple[clip.Params, jax.Array], context: jax.Array) -> jax.Array:
        params, tokens = given
        return clip.apply_text(config, params, tokens, dtype, context=context).astype(jnp.float32)

    return encode


def tokens_of(model: Model, design: Design, n: int) -> np.ndarray:
    """Token ids of "NAME." of every class with n places after the start token, int32 [C, T]; the first text of a class
    is its name.

    Raises:
        InputError: texts of this model do not begin with a start token, or a name leaves too little room.
    """
    text = model.config.text
    if model.config.tokens.kind != "clip-bpe" or text.kind != "transformer" or not text.can_cut:
        raise InputError(
            f"{model.name}: context vectors are learned after the start token of OpenAI's tokenizer, before a causal "
            "text encoder; this model's texts are read in another way: use the probe tip_adapter"
        )
    names = [c.texts[0].replace("_", " ") for c in design.classes]
    ids = model.tokenize([f"{name}." for name in names])
    ids = np.concatenate([ids[:, :1], np.zeros((len(ids), n), np.int32), ids[:, 1:]], axis=1)
    lengths = text.lengths(ids)
    if (longest := int(lengths.max())) > text.context_length:
        raise InputError(
            f"context.tokens={n}: with {names[int(lengths.argmax())]!r} these are {longest} tokens, and {model.name} "
            f"reads {text.context_length}; choose {n - (longest - text.context_length)} or fewer, or a shorter name"
        )
    return ids[:, :longest]
