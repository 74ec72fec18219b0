"""What the canary expects: operations of our encoders computed with NumPy alone, held against the peers' features."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import family_models
from support.amount import EXHAUSTIVE

import clipjax
from checkpoints_convert import dialects, rules
from clipjax.models import clip
from clipjax.runs import numpy_reference

GOLDEN = Path(__file__).parents[1] / "golden"
PARITY = {"openai_vit": ("openai_vit.pt", "quick_gelu"), "openai_resnet": ("openai_resnet.pt", "quick_gelu")}
BAR = 1e-5  # of the largest feature: float32 sums in another order, as in tests/models/test_parity.py
LEFT_TO_JAX = {"erfc", "stack", "split", "and"}
FAMILIES = sorted(family_models.MODELS) if EXHAUSTIVE else ["coca", "eva02", "mobileclip_b", "siglip"]


def stored(path):
    with np.load(path) as file:
        return dict(file)


def openai(name):
    file, activation = PARITY[name]
    model, golden = (
        clipjax.load(GOLDEN / "parity" / file, activation=activation),
        stored(GOLDEN / "parity" / f"{name}.npz"),
    )
    return model.config, model.params, golden, ("image_features", "text_features")


def family(name):
    golden = stored(GOLDEN / "families" / f"{name}.npz")
    state = {k.removeprefix("state/"): v for k, v in golden.items() if k.startswith("state/")}
    flat, _ = rules.to_native(dialects.of(state), state, name)
    return family_models.MODELS[name], clip.unflatten(flat), golden, ("image/features", "text/features")


@pytest.mark.parametrize("name", [*PARITY, *FAMILIES])
def test_features_are_the_peers(name, monkeypatch):
    config, params, golden, (image, text) = (openai if name in PARITY else family)(name)
    asked = set()
    table = numpy_reference.OPERATIONS.keys() | numpy_reference.UFUNCS.keys() | set(numpy_reference.CALLS)
    real = numpy_reference._operation
    monkeypatch.setattr(numpy_reference, "_operation", lambda eqn, x: asked.add(eqn.primitive.name) or real(eqn, x))
    visual, tokens = {"visual": params["visual"]}, golden["tokens"].astype(np.int32)
    pixels = golden["pixels"].astype(np.float32)
    found = {
        image: numpy_reference.evaluate(lambda p, x: clip.apply_image(config, p, x), visual, pixels),
        text: numpy_reference.evaluate(lambda p, x: clip.apply_text(config, p, x), clip.text_params(params), tokens),
    }
    for key, value in found.items():
        assert value.dtype == np.float32
        assert np.abs(value - golden[key]).max() <= BAR * np.abs(golden[key]).max(), key
    assert asked - table <= LEFT_TO_JAX


def test_what_numpy_does_not_know_is_left_to_jax():
    def function(x, kernel):
        one = ("NHWC", "HWIO", "NHWC")
        groups = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=one, feature_group_count=4)
        return {"groups": groups, "sorted": jnp.sort(x, axis=-1), "parts": jnp.split(x, 2)}

    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 5, 5, 4)).astype(np.float32), rng.normal(size=(3, 3, 1, 4)).astype(np.float32)
    want, found = function(x, kernel), numpy_reference.evaluate(function, x, kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, want)


def test_a_convolution_has_strides_and_padding_of_each_side():
    def function(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (2, 3), ((1, 2), (0, 1)))  # NCHW, OIHW

    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 3, 9, 11)).astype(np.float32), rng.normal(size=(5, 3, 3, 2)).astype(np.float32)
    np.testing.assert_allclose(numpy_reference.evaluate(function, x, kernel), function(x, kernel), rtol=0, atol=1e-5)


def test_floats_are_computed_in_float32_however_they_are_stored():
    x = np.array([1.0, 65504.0], np.float16)
    np.testing.assert_array_equal(numpy_reference.evaluate(lambda p: p["a"] + p["a"], {"a": x}), [2.0, 131008.0])
