"""What must change no answer of any family: the order of classes and images, the format, shards, a wider dtype.

From Python's front door, `clipjax.load`, on small models with random weights and a vocabulary that can be read.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from support.checkpoints import random_weights
from support.family_models import MODELS

import clipjax
from clipjax import loading
from clipjax.models import catalog, weights

pytest.importorskip("tokenizers")
from support import trained_tokenizers

TOKENIZERS = Path(__file__).parents[1] / "golden" / "tokenizers"
KINDS = {"siglip": "siglip", "siglip_rest": "siglip", "clipa": "clipa", "metaclip2": "metaclip2"}
CLASSES = ["dog", "cat", "fire engine", "golden retriever"]
TEMPLATES = ["a photo of a {}.", "a {}"]
QUICKLY = {"pe_core", "siglip"}  # tried in the ordinary tests
EVERY = [pytest.param(n, marks=() if n in QUICKLY else pytest.mark.exhaustive) for n in MODELS]
ROUNDING = 1e-6  # of a probability: float32, a batch of another shape


def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)) for _ in range(5)]


def file_of(name, folder, dtype=np.float32):
    """folder/model.safetensors, its tokenizer beside it."""
    config = MODELS[name]
    vocabulary, tokens = catalog.WORDS, config.tokens
    if kind := KINDS.get(name):
        source = TOKENIZERS / kind / "tokenizer.json"
        vocabulary, tokens = len(json.loads(source.read_text())["model"]["vocab"]), trained_tokenizers.rules(kind)
        shutil.copy(source, folder / "model.tokenizer.json")
    text = dataclasses.replace(config.text, vocab_size=vocabulary)
    start = random_weights(dataclasses.replace(config, text=text, tokens=tokens), dtype)
    start.flat["logit_scale"] = np.asarray(1.5, dtype)
    weights.save(folder / "model.safetensors", start)
    return folder / "model.safetensors"


def answers(path):
    return clipjax.load(path).classify(pictures(), CLASSES, TEMPLATES)


@pytest.mark.parametrize("name", EVERY)
def test_orders_and_batches_change_nothing(tmp_path, name):
    model = clipjax.load(file_of(name, tmp_path))
    want = model.classify(pictures(), CLASSES, TEMPLATES)
    assert np.ptp(want) > 1e-3
    order = [2, 0, 3, 1]
    found = model.classify(pictures(), [CLASSES[i] for i in order], TEMPLATES)
    np.testing.assert_allclose(found, want[:, order], rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(model.classify(pictures(), CLASSES, TEMPLATES[::-1]), want, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(model.classify(pictures()[::-1], CLASSES, TEMPLATES), want[::-1], rtol=0, atol=ROUNDING)
    alone = np.concatenate([model.classify(one, CLASSES, TEMPLATES) for one in pictures()[:2]])
    np.testing.assert_allclose(alone, want[:2], rtol=0, atol=ROUNDING)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_a_stored_dtype_is_kept_and_its_values_in_float32_answer_the_same(tmp_path, name, dtype):
    path = file_of(name, tmp_path, dtype)
    model = clipjax.load(path)
    kept = weights.load(path)
    assert {str(a.dtype) for a in kept.flat.values()} == {np.dtype(dtype).name}
    loading.convert(path, tmp_path / "wide.safetensors", "clipjax", "float32")
    wide = clipjax.load(tmp_path / "wide.safetensors")
    for one, other in (
        (model.features_of_images(pictures()), wide.features_of_images(pictures())),
        (model.features_of_texts(CLASSES), wide.features_of_texts(CLASSES)),
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", MODELS)
def test_another_name_and_order_of_tensors_change_nothing(tmp_path, name):
    """The tokenizer follows a conversion; the order in which tensors lie is nobody's business."""
    path = file_of(name, tmp_path)
    want = answers(path)
    (tmp_path / "other").mkdir()
    loading.convert(path, tmp_path / "other" / "copy.safetensors")
    np.testing.assert_array_equal(answers(tmp_path / "other" / "copy.safetensors"), want)
    with weights.open_tensors(path) as file:
        header = file.metadata()
    tensors = load_file(path)
    save_file(dict(reversed(tensors.items())), tmp_path / "other" / "turned.safetensors", header)
    if (tokenizer := tmp_path / "model.tokenizer.json").is_file():
        shutil.copy(tokenizer, tmp_path / "other" / "turned.tokenizer.json")
    np.testing.assert_array_equal(answers(tmp_path / "other" / "turned.safetensors"), want)
