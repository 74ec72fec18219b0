"""Zero-shot classification: class names and templates become a classifier (CLIP paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.probes.order import by_value

PROBABILITIES = ("softmax", "sigmoid")  # over all classes, or of each class by itself
Similarity = Callable[[np.ndarray], np.ndarray]  # unit rows [N, E] -> cosines with every column [N, M]


def normalise(features: np.ndarray) -> np.ndarray:
    """Unit length along the last axis, float32; InputError for a row without direction (nan, or all zeros)."""
    x = np.asarray(features, np.float32)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        from clipjax.probes import metrics  # and with it scipy: 0.2 s that an answer need not wait for

        metrics.check_features(x.reshape(-1, x.shape[-1]))
        row = int(np.flatnonzero(~(np.isfinite(length) & (length > 0)))[0])
        raise InputError(f"features: row {row} (from 0) has length {length.ravel()[row]}, so no direction to compare")
    return x / length


def class_weights(encode: Callable[[Sequence[str]], np.ndarray], designs: Sequence[Design]) -> list[np.ndarray]:
    """Class weights [C, E] of unit length of every design; a prompt that several designs share is encoded once.

    encode: texts -> raw text features, float32 [T, E]. Each prompt is normalised, the prompts of a class are averaged,
    and the mean is normalised again, as in OpenAI's "Prompt Engineering for ImageNet" notebook. All names times
    templates of a class weigh the same; whether OpenAI averaged so is not known (openai/CLIP#45).
    """
    prompts = [design.prompts() for design in designs]
    texts = list(dict.fromkeys(text for classes in prompts for listed in classes for text in listed))
    features = normalise(encode(texts))
    place = {text: row for row, text in enumerate(texts)}
    mean: dict[tuple[str, ...], np.ndarray] = {}  # by prompts: equal classes get equal weights to the bit
    for listed in {tuple(listed) for classes in prompts for listed in classes}:
        mean[listed] = normalise(features[[place[text] for text in listed]].mean(axis=0, keepdims=True))[0]
    return [np.stack([mean[tuple(listed)] for listed in classes]) for classes in prompts]


def similarity(columns: np.ndarray) -> Similarity:
    """Columns [M, E] -> a function of rows [N, E] that gives rows @ columns.T [N, M], equal columns bit for bit equal.

    A matrix product is not: the last digit of a dot product depends on where in the matrix it stands, and would decide
    between two classes of the same name, or two captions of the same words. A row's digits do not depend on the other
    rows (`products`).
    """
    from clipjax.probes.products import products  # and with it JAX, which given answers need not wait for

    distinct, place = np.unique(columns, axis=0, return_inverse=True)
    if len(distinct) == len(columns):
        return products(columns)
    product = products(distinct)
    return lambda rows: product(rows)[:, place.ravel()]


def probabilities(
    image_features: np.ndarray, class_weights: np.ndarray, scale: float, bias: float | None = None
) -> np.ndarray:
    """Raw image features [B, E], class weights [C, E], scale = exp(logit_scale) -> probabilities [B, C], see `odds`."""
    return of_unit(normalise(image_features), class_weights, scale, bias)


def of_unit(unit: np.ndarray, class_weights: np.ndarray, scale: float, bias: float | None = None) -> np.ndarray:
    """The same of image features of unit length.

    Products and sums are made in the order of the weights' own values: another order of the classes gives the same
    probabilities to the last digit.
    """
    classes = by_value(class_weights)
    return odds(scale * similarity(class_weights[classes])(unit), bias)[:, np.argsort(classes)]


def logits(image_features: np.ndarray, class_weights: np.ndarray, scale: float) -> np.ndarray:
    """Raw image features [B, E], class weights [C, E] -> scale times cosine [B, C]."""
    return scale * similarity(class_weights)(normalise(image_features))


def bias_of(probability: str, bias: float | None) -> float | None:
    """What `odds` adds for a kind of probability, of a model with this logit bias (None: it has none).

    Raises:
        InputError: an unknown kind, or "sigmoid" of a model that was not trained for it.
    """
    if probability not in PROBABILITIES:
        raise InputError(f"probability={probability!r}: choose {' or '.join(PROBABILITIES)}")
    if probability == "softmax":
        return None
    if bias is None:
        raise InputError(
            "probability=sigmoid: the model has no logit bias, so it was not trained with a sigmoid loss and has no "
            "probability of a class by itself; choose softmax"
        )
    return bias


def odds(logits: np.ndarray, bias: float | None) -> np.ndarray:
    """scale * cosine [B, C] -> softmax over classes [B, C]; with the bias of a sigmoid loss, of each class by itself
    (SigLIP, arXiv 2303.15343, section 3.2)."""
    if bias is None:
        return softmax(logits)
    return np.exp(-np.logaddexp(np.float32(0), -(logits + np.float32(bias))))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over classes: [B, C] -> [B, C]."""
    logits = logits - logits.max(axis=1, keepdims=True)
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)
