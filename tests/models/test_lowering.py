"""Each choice of `Lowering` reaches the program, changes it where it should, and changes no value."""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipjax import parallel, testing
from clipjax.encoder import Encoder
from clipjax.errors import InputError
from clipjax.models import catalog, clip
from clipjax.models.lowering import Lowering
from clipjax.train import optimiser, step

VIT = catalog.openai(16, catalog.vit(16, 8, 64, 2), catalog.text(64, 2, 16, 96))
RESNET = catalog.openai(16, catalog.resnet(32, 8, (1, 1, 1, 1)), VIT.text)
TOKENS = np.array([[94, 5, 95, 0], [94, 95, 0, 0]])


def image(config):
    size = config.image.image_size
    pixels = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    return lambda params, lowering: clip.apply_image(config, params, jnp.asarray(pixels), lowering=lowering)


def text(params, lowering):
    return clip.apply_text(VIT, params, jnp.asarray(TOKENS), lowering=lowering)


CASES = {"vit": (VIT, image(VIT)), "resnet": (RESNET, image(RESNET)), "text": (VIT, text)}


@functools.cache
def parameters(name):
    """A new block of a ResNet ends in a BatchNorm of scale 0, as if it were not there."""
    flat = clip.flatten(clip.init(CASES[name][0], jax.random.key(0)))
    return clip.unflatten({key: x + 0.3 if key.endswith("bn3.weight") else x for key, x in flat.items()})


@functools.cache
def gradient(name, lowering):
    """The program's text, and {name: gradient}."""
    features, params = CASES[name][1], parameters(name)
    run = jax.jit(jax.grad(lambda params: (features(params, lowering) ** 2).sum(), allow_int=True))
    return run.lower(params).as_text(), clip.flatten(run(params))


CHANGES = [
    ("vit", Lowering(flat_rows=True)), ("resnet", Lowering(separate_blocks=True)), ("resnet", Lowering(cudnn=True)),
    ("text", Lowering(scan=True)), ("vit", Lowering(remat="dots")), ("resnet", Lowering(remat="full")),
    ("vit", Lowering(flat_rows=True, remat="full", scan=True)),
]  # fmt: skip
MORE = [
    ("text", Lowering(flat_rows=True)), ("resnet", Lowering(flat_rows=True)), ("vit", Lowering(scan=True)),
    ("text", Lowering(remat="full")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "lowering"), [*CHANGES, *(pytest.param(*one, marks=pytest.mark.exhaustive) for one in MORE)]
)
def test_it_is_another_program_with_the_same_gradient(name, lowering):
    (plain, want), (other, got) = gradient(name, Lowering()), gradient(name, lowering)
    assert plain != other
    largest = max(np.abs(x).max() for x in want.values())
    assert largest > 0
    for key, x in want.items():  # float32 sums in another order
        np.testing.assert_allclose(got[key], x, rtol=0, atol=3e-5 * largest, err_msg=key)


def test_an_unknown_rematerialisation_is_refused():
    with pytest.raises(InputError, match="unknown rematerialisation 'some'; choose none, dots, full"):
        Lowering(remat="some")


@pytest.mark.parametrize("on_cpu", [True, False])
def test_the_encoder_separates_blocks_on_a_cpu(on_cpu):
    encoder = Encoder(RESNET, clip.abstract(RESNET), batch_size=2, full_batches=True)
    with mock.patch.object(Encoder, "_on_cpu", on_cpu):
        program, arguments = encoder.image_step()
        assert ("inlineable" in program.lower(*arguments).as_text()) == on_cpu


def test_an_update_passes_its_options_on():
    config = testing.tiny_config()
    mesh = parallel.training_mesh(1, jax.devices()[:1])
    options, recipe = step.Options(remat="dots", scan=True), optimiser.Options(steps=2, learning_rate=1e-3)
    state = step.start(clip.init(config, jax.random.key(0)), options, recipe, mesh)
    batch = {"pixels": np.zeros((2, 32, 32, 3), np.uint8), "tokens": TOKENS, "ids": np.arange(2)}
    with (
        mock.patch.object(clip, "apply_image", wraps=clip.apply_image) as images,
        mock.patch.object(clip, "apply_text", wraps=clip.apply_text) as texts,
    ):
        step.make(config, options, recipe, state, mesh).lower(state, batch)
    want = Lowering(flat_rows=True, remat="dots", scan=True)
    assert [call.kwargs["lowering"] for call in (images.call_args, texts.call_args)] == [want, want]
