"""Two kinds of encoders that clipjax does not have, each defined here and nowhere else, through everything it does.

Both differ from the built-in kinds where a list of these could hide: names of parameters, the width of `pre_proj`,
and texts that depend on every position.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import clipjax
from checkpoints_convert import convert
from clipjax import parallel
from clipjax.encoder import Encoder
from clipjax.errors import InputError
from clipjax.models import catalog, clip, config, describe, kinds, layers, products, shapes, weights
from clipjax.models.kinds import base
from clipjax.models.kinds.base import ImageEncoderConfig, TextEncoderConfig
from clipjax.plan import programs
from clipjax.plan.traced import products as traced
from clipjax.train import optimiser, step


@dataclasses.dataclass(frozen=True)
class Patches(ImageEncoderConfig):
    """The mean over patches of `2 * width` numbers each, which a matrix takes to the embedding."""

    kind = "patches"

    image_size: int
    patch: int
    width: int
    heads: int
    eps: float

    @property
    def tokens(self):
        return (self.image_size // self.patch) ** 2

    def feature_width(self, feature, embed_dim):
        return embed_dim if feature == "proj" else 2 * self.width

    def parameters(self, embed_dim):
        yield "cut.weight", (self.patch, self.patch, 3, 2 * self.width)
        yield from base.norm("scaled", 2 * self.width)
        yield from base.linear("out", 2 * self.width, embed_dim)

    def products(self, embed_dim, pooled=True):
        return [  # of two blocks out of three that differ, as a ResNet's do, and cannot be scanned
            products.linear("cut", self.tokens, self.patch**2 * 3, 2 * self.width, products.FIRST, layer=0),
            products.linear("out", 1, 2 * self.width, embed_dim, layer=2),
        ]

    def build(self, embed_dim, rngs):
        return PatchMean(self, embed_dim, rngs)

    def summary(self):
        return f"patches of {self.patch}"


class PatchMean(nnx.Module):
    def __init__(self, config, embed_dim, rngs):
        from clipjax.models.vit import PatchEmbedding

        self.cut = PatchEmbedding(config.patch, 2 * config.width, rngs=rngs)
        self.scaled = layers.LayerNorm(2 * config.width, eps=config.eps)
        self.out = layers.Linear(2 * config.width, embed_dim, std=0.1, rngs=rngs)

    def __call__(self, pixels, intermediates, lowering):
        x = layers.sow(intermediates, "pre_proj", self.scaled(self.cut(pixels).mean(1)))
        return self.out(x, lowering)


@dataclasses.dataclass(frozen=True)
class Words(TextEncoderConfig):
    """The mean over all positions of the words' vectors, padding included; no projection: E is the width."""

    kind = "words"

    context_length: int
    vocab_size: int
    width: int
    heads: int
    eps: float

    def lengths(self, tokens):
        return np.full(len(tokens), tokens.shape[1])

    def parameters(self, embed_dim):
        yield "words.weight", (self.vocab_size, self.width)
        yield from base.linear("hidden", self.width, embed_dim)

    def products(self, embed_dim, length=None, pooled=True):
        return [products.linear("hidden", self.context_length if length is None else length, self.width, embed_dim)]

    def build(self, embed_dim, rngs):
        return WordMean(self, embed_dim, rngs)

    def summary(self):
        return f"words of {self.width}"


class WordMean(nnx.Module):
    def __init__(self, config, embed_dim, rngs):
        from clipjax.models.text import TokenEmbedding

        self.words = TokenEmbedding(config.vocab_size, config.width, rngs=rngs)
        self.hidden = layers.Linear(config.width, embed_dim, std=0.1, rngs=rngs)

    def __call__(self, tokens, dtype, intermediates, lowering):
        x = self.hidden(self.words(tokens).astype(dtype), lowering)
        return jnp.tanh(x).mean(1)


MODEL = catalog.openai(24, Patches(32, 8, 16, 1, 1e-5), Words(77, 49408, 24, 1, 1e-5))


@pytest.fixture(scope="module")
def params():
    return clip.init(MODEL, jax.random.key(0))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).normal(size=(5, 32, 32, 3)).astype(np.float32)


def test_its_stored_form_comes_back():
    stored = config.to_dict(MODEL)
    assert (stored["image"]["kind"], stored["text"]["kind"]) == ("patches", "words")
    assert config.from_dict(stored) == MODEL
    assert "kind" not in config.to_dict(catalog.get("RN50").config)["text"]  # as in the files that exist
    with pytest.raises(InputError, match="unknown kind of image encoder 'cones'; clipjax has patches, resnet, vit"):
        kinds.image_encoder({"kind": "cones"})


def test_its_module_has_the_parameters_that_it_lists(params):
    assert {name: x.shape for name, x in clip.flatten(params).items()} == shapes.shapes(MODEL)


def test_the_encoder_gives_its_features_and_their_widths(params, pixels):
    encoder = Encoder(MODEL, params, batch_size=4, full_batches=True)
    patches = pixels.reshape(5, 4, 8, 4, 8, 3).swapaxes(2, 3).reshape(5, 16, 192)
    mean = (patches @ np.asarray(params["visual"]["cut"]["weight"]).reshape(192, 32)).mean(1)
    centred = mean - mean.mean(1, keepdims=True)
    want = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    got = encoder.images(pixels, "pre_proj")
    assert got.shape == (5, encoder.width("pre_proj")) == (5, 32)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)  # float32 sums of 192 terms in another order
    want = want @ np.asarray(params["visual"]["out"]["weight"])
    assert encoder.width("proj") == 24
    np.testing.assert_allclose(encoder.images(pixels), want, rtol=0, atol=1e-5)


def test_its_texts_are_not_truncated_at_an_end_that_it_does_not_have(params):
    encoder = Encoder(MODEL, params, batch_size=4)
    tokens = clipjax.tokenize(["a dog", "a photo of a small dog"])
    want = np.asarray(clip.apply_text(MODEL, params, tokens))
    np.testing.assert_allclose(encoder.texts(tokens), want, rtol=0, atol=1e-6)
    assert np.abs(np.asarray(clip.apply_text(MODEL, params, tokens[:, :8])) - want).max() > 1e-3


def test_plans_count_its_products():
    one = programs.evaluation(MODEL, jax.devices()[:2], 3, dtype="float32")
    assert traced(one.program.trace(*one.arguments).jaxpr.jaxpr) == one.chips * one.flops
    assert one.flops == 3 * (16 * 2 * 192 * 32 + 2 * 32 * 24)
    # Nothing of it is scanned, so nothing of it is counted as a loop.
    two = programs.training(MODEL, jax.devices()[:2], 4, step.Options(scan=True))
    assert traced(two.program.trace(*two.arguments).jaxpr.jaxpr) == two.flops * two.chips
    assert two.flops_once == two.flops


def test_it_trains(params, pixels):
    mesh = parallel.training_mesh(1, jax.devices()[:1])
    options, recipe = step.Options(), optimiser.Options(steps=4, learning_rate=1e-3)
    state = step.start(params, options, recipe, mesh)
    batch = {
        "pixels": np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8),
        "tokens": clipjax.tokenize(["a", "b", "c", "d"]), "ids": np.arange(4, dtype=np.int32),
    }  # fmt: skip
    state, _ = step.make(MODEL, options, recipe, state, mesh)(state, batch)
    changed = {name for name, x in state["params"].items() if not np.array_equal(x, clip.flatten(params)[name])}
    assert changed == shapes.shapes(MODEL).keys()


def test_it_is_saved_loaded_and_described(params, pixels, tmp_path):
    flat = {name: np.asarray(x) for name, x in clip.flatten(params).items()}
    saved = weights.Weights(flat, MODEL, "means", {"format": "random"})
    weights.save(tmp_path / "means.safetensors", saved)
    model = clipjax.load(tmp_path / "means.safetensors")
    assert model.config == MODEL
    np.testing.assert_array_equal(model.encode_image(pixels), Encoder(MODEL, params).images(pixels))
    said = describe.one_line(saved)
    assert said == "patches of 8; words of 24; no activation; 1.2 million parameters, float32"
    assert "patches" in describe.table(describe.describe(saved) | {"file": "f", "format": "clipjax", "sha256": "0"})


@pytest.mark.parametrize(("to", "name"), [("openai", "a.pt"), ("open_clip", "folder"), ("huggingface", "folder")])
def test_formats_without_a_word_for_it_refuse_it_by_name(params, tmp_path, to, name):
    flat = {key: np.asarray(x) for key, x in clip.flatten(params).items()}
    with pytest.raises(InputError, match=r"patches|visual\.cut\.weight"):
        convert.write(tmp_path / name, weights.Weights(flat, MODEL, "means", {}), to)
    assert not list(tmp_path.iterdir())
