"""What a loaded model keeps between calls: class weights, and only where they would come out the same."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

import clipjax
from clipjax import classifying
from clipjax.models import clip

PICTURE = Image.new("RGB", (40, 30), "red")


@pytest.fixture
def counted(monkeypatch):
    model, calls = clipjax.load("emoji-clip"), []
    texts = model.encoder.start_texts
    monkeypatch.setattr(model.encoder, "start_texts", lambda tokens: calls.append(len(tokens)) or texts(tokens))
    return model, calls


def test_the_same_classes_again_cost_no_text_encoder_and_give_the_same_answer(counted):
    model, calls = counted
    first = model.classify(PICTURE, ["a", "b"])
    np.testing.assert_array_equal(model.classify(PICTURE, iter(["a", "b"])), first)
    assert calls == [2]
    model.classify(PICTURE, ["b", "a"])
    model.classify(PICTURE, ["a", "b"], ["{}", "a {}"])
    assert calls == [2, 2, 4]


def test_images_are_prepared_while_the_texts_are_encoded_and_after_they_were_checked(monkeypatch):
    model, order = clipjax.load("emoji-clip"), []
    begin, start = model.encoder.start_texts, model.encoder.start

    def texts(tokens):
        finish = begin(tokens)
        order.append("texts begun")
        return lambda: order.append("texts done") or finish()

    monkeypatch.setattr(model.encoder, "start_texts", texts)
    monkeypatch.setattr(model.encoder, "start", lambda pixels: order.append("images") or start(pixels))
    model.classify(PICTURE, ["a", "b"])
    assert order == ["texts begun", "images", "texts done"]
    with pytest.raises(clipjax.InputError, match="tokens"):
        model.classify(PICTURE, ["word " * 100])
    assert order == ["texts begun", "images", "texts done"]


def test_what_is_handed_out_is_a_copy(counted):
    model, calls = counted
    weights = model.classifier(["a", "b"])
    before = weights.copy()
    weights[:] = 0
    np.testing.assert_array_equal(model.classifier(["a", "b"]), before)
    assert calls == [2]


def test_no_more_than_the_last_few_are_kept(counted):
    model, calls = counted
    for i in range(classifying.CLASSIFIERS + 1):
        model.classifier([f"class {i}"])
    assert len(model._classifiers) == classifying.CLASSIFIERS
    model.classifier(["class 1"])
    assert len(calls) == classifying.CLASSIFIERS + 1
    model.classifier(["class 0"])
    assert len(calls) == classifying.CLASSIFIERS + 2


def test_another_precision_or_other_parameters_have_their_own(counted):
    model, calls = counted
    model.classifier(["a"])
    with jax.default_matmul_precision("highest"):
        model.classifier(["a"])
    assert calls == [1, 1]
    changed = clip.unflatten({k: np.asarray(v) * 2 for k, v in clip.flatten(model.params).items()})
    other = dataclasses.replace(model, params=changed)
    assert not np.array_equal(other.classifier(["a"]), model.classifier(["a"]))
