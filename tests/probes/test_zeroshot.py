"""Prompts, and the classifier made of their features."""

import numpy as np
import pytest

from clipjax.errors import InputError
from clipjax.probes import zeroshot

TEMPLATES = ("a photo of a {}.", "art of the {}.")
FER = ("angry", ("happy", "smiling"), ("surprised", "shocked", "spooked"))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_prompts_class_by_class():
    assert zeroshot.prompts(["cat", "dog"], TEMPLATES) == [
        "a photo of a cat.", "art of the cat.", "a photo of a dog.", "art of the dog."
    ]  # fmt: skip
    texts = zeroshot.prompts(FER, TEMPLATES)
    assert zeroshot.prompt_counts(FER, TEMPLATES) == [2, 4, 6]
    assert texts[2:6] == ["a photo of a happy.", "art of the happy.", "a photo of a smiling.", "art of the smiling."]
    for bad in ("no place", "{} and {}"):
        with pytest.raises(InputError, match="exactly one"):
            zeroshot.prompts(["cat"], [bad])
    with pytest.raises(InputError, match="no templates"):
        zeroshot.prompts(["cat"], [])


def test_classifier_normalises_averages_normalises():
    features = np.random.default_rng(0).normal(size=(3, 2, 5)) * np.array([1, 10, 100])[:, None, None]
    expected = unit(np.stack([(unit(f[0]) + unit(f[1])) / 2 for f in features]))
    # float32 against float64
    assert np.abs(zeroshot.classifier(features) - expected).max() < 1e-6
    assert np.array_equal(zeroshot.classifier(features.reshape(6, 5), [2, 2, 2]), zeroshot.classifier(features))


def test_all_names_of_a_class_weigh_the_same():
    features = np.random.default_rng(1).normal(size=(12, 5))
    found = zeroshot.classifier(features, zeroshot.prompt_counts(FER, TEMPLATES))
    parts = [features[:2], features[2:6], features[6:]]
    assert np.abs(found - unit(np.stack([unit(p).mean(0) for p in parts]))).max() < 1e-6
    with pytest.raises(InputError, match="12 text features for 11 prompts of 3 classes"):
        zeroshot.classifier(features, [2, 4, 5])


def test_probabilities():
    r = np.random.default_rng(2)
    images, weights = r.normal(size=(4, 5)), unit(r.normal(size=(3, 5)))
    logits = 100 * unit(images) @ weights.T
    expected = np.exp(logits - logits.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    assert np.abs(zeroshot.probabilities(images, weights.astype(np.float32), 100.0) - expected).max() < 1e-5


def test_classes_of_the_same_name_tie_wherever_they_stand():
    """In a plain matrix product about a quarter of these pairs differ in the last digit, and either may win."""
    r = np.random.default_rng(3)
    for c in range(3, 40):
        images, weights = r.normal(size=(50, 33)).astype(np.float32), unit(r.normal(size=(c, 33)).astype(np.float32))
        weights[-1] = weights[c // 2]
        found = zeroshot.probabilities(images, weights, 100.0)
        assert np.array_equal(found[:, -1], found[:, c // 2])


def test_classes_are_checked():
    assert zeroshot.check_classes(["cat", "dog"]) == ("cat", "dog")
    assert zeroshot.check_classes(["missile", "missile"], repeats=True) == ("missile", "missile")
    for classes, said in [(["cat", "cat"], "given twice"), ([], "no classes"), (["cat", " "], "class 2 of 2 is empty")]:
        with pytest.raises(InputError, match=said):
            zeroshot.check_classes(classes)


def test_a_row_without_direction():
    features = np.ones((2, 3, 4))
    features[1, 0] = 0
    with pytest.raises(InputError, match=r"row 3 \(from 0\) has length 0"):
        zeroshot.classifier(features)
    features[1, 2, 1] = np.nan
    with pytest.raises(InputError, match=r"row 5 \(from 0\) has nan"):
        zeroshot.normalise(features)
