"""Zero-shot classification: class names and templates become a classifier (CLIP paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from clipjax.errors import InputError

DEFAULT_TEMPLATES = ("a photo of a {}.",)


Similarity = Callable[[np.ndarray], np.ndarray]  # unit rows [N, E] -> cosines with every column [N, M]
Class = str | Sequence[str]  # one name, or several for one class (FER2013: happy and smiling)


def check_classes(classes: Sequence[str], repeats: bool = False) -> tuple[str, ...]:
    """The class names, or InputError for an empty list, an empty name or a name given twice.

    `repeats` allows the last: published lists have some (ImageNet's two "missile"), and their numbers depend on it.
    """
    classes = tuple(classes)
    if not classes:
        raise InputError("no classes given; name at least one")
    if empty := [i for i, c in enumerate(classes) if not c.strip()]:
        raise InputError(f"class {empty[0] + 1} of {len(classes)} is empty; remove it or name it")
    seen: set[str] = set()
    for c in classes:
        if c in seen and not repeats:
            raise InputError(f"class {c!r} is given twice; two equal classes would share its probability")
        seen.add(c)
    return classes


def prompts(classes: Sequence[Class], templates: Sequence[str] = DEFAULT_TEMPLATES) -> list[str]:
    """Every name in every template, class by class: [C * P] texts; with several names, [sum of `prompt_counts`]."""
    if not templates:
        raise InputError('no templates given; name at least one, for example "a photo of a {}."')
    for t in templates:
        if t.count("{}") != 1:
            raise InputError(f"template {t!r} needs exactly one {{}}, where the class name goes")
    return [t.replace("{}", name) for c in classes for name in _names(c) for t in templates]


def prompt_counts(classes: Sequence[Class], templates: Sequence[str] = DEFAULT_TEMPLATES) -> list[int]:
    """How many of `prompts` belong to each class [C]: its names times the templates."""
    return [len(_names(c)) * len(templates) for c in classes]


def _names(c: Class) -> tuple[str, ...]:
    return (c,) if isinstance(c, str) else tuple(c)


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


def classifier(text_features: np.ndarray, counts: Sequence[int] | None = None) -> np.ndarray:
    """Raw text features [C, P, E] -> class weights [C, E] of unit length.

    Each prompt is normalised, the prompts of a class are averaged, and the mean is normalised again, as in
    OpenAI's "Prompt Engineering for ImageNet" notebook. Classes of several names have unequal numbers of prompts: then
    features are [T, E] in the order of `prompts`, and `counts` (`prompt_counts`) says how many each class has. All
    names times templates weigh the same; whether OpenAI averaged so is not known (openai/CLIP#45).
    """
    x = normalise(text_features)
    if counts is None:
        return normalise(x.mean(axis=1))
    if sum(counts) != len(x) or min(counts, default=0) < 1:
        raise InputError(f"{len(x)} text features for {sum(counts)} prompts of {len(counts)} classes")
    return normalise(np.stack([part.mean(axis=0) for part in np.split(x, np.cumsum(counts)[:-1])]))


def similarity(columns: np.ndarray) -> Similarity:
    """Columns [M, E] -> a function of rows [N, E] that gives rows @ columns.T [N, M], equal columns bit for bit equal.

    A matrix product is not: the last digit of a dot product depends on where in the matrix it stands, and would decide
    between two classes of the same name, or two captions of the same words.
    """
    distinct, place = np.unique(columns, axis=0, return_inverse=True)
    if len(distinct) == len(columns):
        return lambda rows: rows @ columns.T
    return lambda rows: (rows @ distinct.T)[:, place.ravel()]


def probabilities(image_features: np.ndarray, class_weights: np.ndarray, scale: float) -> np.ndarray:
    """Raw image features [B, E], class weights [C, E], scale = exp(logit_scale) -> softmax over classes [B, C]."""
    return softmax(scale * similarity(class_weights)(normalise(image_features)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over classes: [B, C] -> [B, C]."""
    logits = logits - logits.max(axis=1, keepdims=True)
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)
