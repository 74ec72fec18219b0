"""Retrieval: is the right caption among the K best for an image, and the right image for a caption (R@1, 5, 10)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import intervals
from clipjax.errors import InputError
from clipjax.probes import metrics
from clipjax.probes.zeroshot import normalise, similarity

BLOCK = 1 << 23  # similarities held at once: 32 MiB
TO_TEXT, TO_IMAGE = "image_to_text", "text_to_image"


def recalls(
    image_features: np.ndarray,
    text_features: np.ndarray,
    image_of_text: np.ndarray,
    ks: Sequence[int] = (1, 5, 10),
    *,
    seed: int = 0,
) -> list[metrics.Record]:
    """Raw features [N, E] of images and [M, E] of captions, and whose caption each is int [M] -> records.

    "recall@K" with "direction": for an image it counts when any of its captions is among the K best of all M (the
    papers' any-of-five, not the share of the five); for a caption when its image is among the K best of N. The
    interval is exact for images; captions of one image do not err independently, so whole images are drawn.
    Last the sum of all recalls ("recall_sum", 0 .. 2 * len(ks)). Images without captions are only distractors.
    Equal similarities rank by index.
    """
    images, texts = normalise(metrics.check_features(image_features)), normalise(metrics.check_features(text_features))
    owner = metrics.check_labels(image_of_text, len(texts), len(images))
    if bad := [k for k in ks if not 1 <= k <= min(len(images), len(texts))]:
        raise InputError(f"recall@{bad[0]} among {len(images)} images and {len(texts)} captions; choose a smaller K")
    to_text, to_image = ranks_of_texts(images, texts, owner), ranks_of_images(images, texts, owner)
    asked = np.unique(owner)
    records = [replace(metrics.proportion(f"recall@{k}", to_text[asked] < k), direction=TO_TEXT) for k in ks]
    for k in ks:
        right = to_image < k
        low, high = intervals.bootstrap(right, seed, clusters=owner)
        many = {"k": int(right.sum()), "direction": TO_IMAGE}
        method = "bootstrap over images"
        records.append(metrics.record(f"recall@{k}", len(right), right.mean(), low, high, method, **many))
    return [*records, _recall_sum(to_text[asked], to_image, np.searchsorted(asked, owner), ks, seed)]


def ranks_of_texts(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The rank from 0 of each image's best own caption among all: int [N]; M for an image without."""
    ranks = np.full(len(images), len(texts))
    own = np.split(np.argsort(owner, kind="stable"), np.searchsorted(np.sort(owner), np.arange(1, len(images))))
    compare, step = similarity(texts), max(1, BLOCK // len(texts))
    for start in range(0, len(images), step):
        similar = compare(images[start : start + step])
        for row, captions in zip(similar, own[start : start + step], strict=True):
            if len(captions):
                best = captions[row[captions].argmax()]
                ranks[start] = (row > row[best]).sum() + (row[:best] == row[best]).sum()
            start += 1
    return ranks


def ranks_of_images(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The rank from 0 of each caption's image among all: int [M]."""
    ranks = np.empty(len(texts), np.int64)
    index = np.arange(len(images))
    compare, step = similarity(images), max(1, BLOCK // len(images))
    for start in range(0, len(texts), step):
        part = slice(start, start + step)
        similar = compare(texts[part])
        own = np.take_along_axis(similar, owner[part, None], axis=1)
        ranks[part] = ((similar > own) | ((similar == own) & (index < owner[part, None]))).sum(1)
    return ranks


def best_texts(image_features: np.ndarray, text_features: np.ndarray) -> np.ndarray:
    """The caption most similar to each image: int [N], the first of equals."""
    images, texts = normalise(image_features), normalise(text_features)
    compare, step = similarity(texts), max(1, BLOCK // len(texts))
    return np.concatenate([compare(images[i : i + step]).argmax(1) for i in range(0, len(images), step)])


def _recall_sum(to_text: np.ndarray, to_image: np.ndarray, owner: np.ndarray, ks: Sequence[int], seed: int):
    """Sum of the recalls of both directions, images drawn together with their captions."""
    n, levels = len(to_text), np.asarray(ks)
    of_text = (to_text[:, None] < levels).sum(1).astype(np.float64)
    of_image = np.bincount(owner, (to_image[:, None] < levels).sum(1), minlength=n)
    captions = np.bincount(owner, minlength=n).astype(np.float64)
    rows = np.lexsort((captions, of_image, of_text))
    of_text, of_image, captions = of_text[rows], of_image[rows], captions[rows]

    def total(draws: np.ndarray) -> np.ndarray:
        return draws @ of_text / draws.sum(1) + draws @ of_image / (draws @ captions)

    low, high = intervals.bootstrap_statistic(total, n, seed)
    return metrics.record("recall_sum", n, total(np.ones((1, n)))[0], low, high, "bootstrap over images")
