"""CoOp: where the context stands in a text, the schedule, and planted features."""

import jax
import numpy as np
import pytest

import clipjax
from clipjax import design
from clipjax.errors import InputError
from clipjax.models import clip
from clipjax.probes import coop
from clipjax.probes.draws import Labelled, ZeroShot
from clipjax.runs.coop import encoder, tokens_of
from clipjax.testing import tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return clipjax.load(tiny_model(tmp_path_factory.mktemp("coop") / "tiny.safetensors", layers=1))


def test_the_embeddings_of_words_as_context_give_the_features_of_these_words(model):
    words = model.tokenize(["a photo of a red fox.", "a photo of a cat."])
    tokens = tokens_of(model, design.of_classes(["red_fox", "cat"]), 4)
    assert tokens.shape == (2, 9)  # start, 4, red, fox, ".", end
    context = model.params["token_embedding"]["weight"][words[0, 1:5]]
    encode = jax.jit(encoder(model.config, model.dtype))
    given = clip.text_params(model.params), tokens
    wanted = model.encode_text(words)
    # Sums of another program in float32: 5e-7 of features up to 3.
    np.testing.assert_allclose(encode(given, context), wanted, rtol=0, atol=5e-6)
    other = encode(given, context[::-1])
    assert np.abs(other - wanted).max() > 1e-2


def test_a_name_that_leaves_too_little_room_is_refused_with_a_number_that_fits(model):
    names = design.of_classes(["cat", "red fox"])
    with pytest.raises(InputError, match=r"'red fox' these are 80 tokens, and .* reads 77; choose 72 or fewer"):
        tokens_of(model, names, 75)
    assert tokens_of(model, names, 72).shape == (2, 77)


def test_the_rate_is_constant_for_an_epoch_and_then_a_cosine():
    np.testing.assert_allclose(coop.rates(4, 0.002), [1e-5, 0.002, 0.001 * (1 + np.sqrt(0.5)), 0.001], rtol=1e-6)
    assert [coop.published_epochs(k) for k in (1, 2, 4, 8, 16)] == [50, 100, 100, 200, 200]


def planted(n, seed, directions):
    """Image features around one direction per class, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(directions), n)
    return Labelled((directions[labels] + 0.2 * rng.normal(size=(n, directions.shape[1]))).astype(np.float32), labels)


def test_it_beats_zero_shot_where_a_context_exists_that_is_better():
    """Texts are linear in the context: a hidden one gives the directions of the images, the first one does not."""
    rng = np.random.default_rng(0)
    params = rng.normal(size=(5, 16, 24)).astype(np.float32)  # class, feature, width

    def encode(params, context):
        return params @ context.mean(0)

    directions = np.asarray(encode(params, rng.normal(size=(2, 24)))) / 5
    weights = np.asarray(encode(params, rng.normal(size=(2, 24)).astype(np.float32)))
    zero_shot = ZeroShot(weights / np.linalg.norm(weights, axis=1, keepdims=True), 20.0)
    parts = planted(200, 1, directions), planted(300, 2, directions)
    top1, gain, zero = coop.evaluate(
        *parts, zero_shot, encode, params, (2, 24), shots=(8,), epochs=60, learning_rate=0.02
    ).records  # fmt: skip
    assert (top1.metric, top1.shots, zero.shots, len(top1.losses)) == ("top1", 8, 0, 3)
    assert gain.low > 0.1
    few = Labelled(*(values[:40] for values in parts[0]))
    losses = [coop.train(few, encode, params, np.ones((2, 24), np.float32), 20.0, epochs)[1] for epochs in (2, 40)]
    assert losses[1] < losses[0]


def test_what_cannot_be_learned_is_refused():
    few = Labelled(np.ones((2, 4), np.float32), np.array([0, 1]))
    with pytest.raises(InputError, match="0 epochs"):
        coop.train(few, lambda params, context: context, None, np.ones((2, 4), np.float32), 1.0, 0)
