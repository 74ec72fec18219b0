"""Class weights, made of the features of a design's prompts."""

import numpy as np
import pytest

from clipjax.design import Design, DesignClass, of_classes
from clipjax.errors import InputError
from clipjax.probes import zeroshot

TEMPLATES = ("a photo of a {}.", "art of the {}.")
NAMES = ("angry", ("happy", "smiling"), ("surprised", "shocked", "spooked"))


def asked(names=NAMES, templates=TEMPLATES):
    """A design whose classes have one name or several."""
    several = [(name,) if isinstance(name, str) else name for name in names]
    return Design("faces", tuple(DesignClass(texts[0], texts) for texts in several), templates)


def encoder(designs, seed=0):
    """(texts -> features [T, E] in float64, the feature of each text)."""
    texts = list(dict.fromkeys(t for d in designs for listed in d.prompts() for t in listed))
    r = np.random.default_rng(seed)
    table = {text: r.normal(size=5) * 10 ** r.integers(0, 3) for text in texts}
    return lambda wanted: np.stack([table[text] for text in wanted]), table


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_all_prompts_of_a_class_weigh_the_same_whatever_their_length():
    encode, table = encoder([asked()])
    (found,) = zeroshot.class_weights(encode, [asked()])
    expected = [unit(np.mean([unit(table[text]) for text in listed], axis=0)) for listed in asked().prompts()]
    assert [len(listed) for listed in asked().prompts()] == [2, 4, 6]
    assert np.abs(found - np.stack(expected)).max() < 1e-6  # float32 against float64


def test_designs_that_share_classes_share_their_weights_and_their_texts():
    designs = [asked(), asked(NAMES[::-1]), asked(("angry", "calm"))]
    encode, _ = encoder(designs)
    seen = []
    first, second, third = zeroshot.class_weights(lambda texts: seen.extend(texts) or encode(texts), designs)
    assert len(seen) == len(set(seen)) == 14
    assert np.array_equal(first, second[::-1])
    assert np.array_equal(first[0], third[0])


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
    assert of_classes(["cat", "dog"]).names == ("cat", "dog")
    for classes, said in [(["cat", "cat"], "given twice"), ([], "no classes"), (["cat", " "], "class 2 of 2 is empty")]:
        with pytest.raises(InputError, match=said):
            of_classes(classes)


def test_a_row_without_direction():
    features = np.ones((2, 3, 4))
    features[1, 0] = 0
    with pytest.raises(InputError, match=r"row 3 \(from 0\) has length 0"):
        zeroshot.normalise(features)
    features[1, 2, 1] = np.nan
    with pytest.raises(InputError, match=r"row 5 \(from 0\) has nan"):
        zeroshot.normalise(features)
