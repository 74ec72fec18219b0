"""Zero-shot classification: class names and templates become a classifier (CLIP paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipjax.errors import InputError

DEFAULT_TEMPLATES = ("a photo of a {}.",)


def check_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """The class names, or InputError for an empty list, an empty name or a name given twice."""
    classes = tuple(classes)
    if not classes:
        raise InputError("no classes given; name at least one")
    if empty := [i for i, c in enumerate(classes) if not c.strip()]:
        raise InputError(f"class {empty[0] + 1} of {len(classes)} is empty; remove it or name it")
    seen: set[str] = set()
    for c in classes:
        if c in seen:
            raise InputError(f"class {c!r} is given twice; two equal classes would share its probability")
        seen.add(c)
    return classes


def prompts(classes: Sequence[str], templates: Sequence[str] = DEFAULT_TEMPLATES) -> list[str]:
    """Every class in every template, class by class: [C * P] texts."""
    if not templates:
        raise InputError('no templates given; name at least one, for example "a photo of a {}."')
    for t in templates:
        if t.count("{}") != 1:
            raise InputError(f"template {t!r} needs exactly one {{}}, where the class name goes")
    return [t.replace("{}", c) for c in classes for t in templates]


def normalise(features: np.ndarray) -> np.ndarray:
    """Unit length along the last axis, float32."""
    x = np.asarray(features, np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def classifier(text_features: np.ndarray) -> np.ndarray:
    """Raw text features [C, P, E] -> class weights [C, E] of unit length.

    Each prompt is normalised, the prompts of a class are averaged, and the mean is normalised again, as in
    OpenAI's "Prompt Engineering for ImageNet" notebook.
    """
    return normalise(normalise(text_features).mean(axis=1))


def probabilities(image_features: np.ndarray, class_weights: np.ndarray, scale: float) -> np.ndarray:
    """Raw image features [B, E], class weights [C, E], scale = exp(logit_scale) -> softmax over classes [B, C]."""
    logits = scale * normalise(image_features) @ class_weights.T
    logits -= logits.max(axis=1, keepdims=True)
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)
