"""Retrieval: is the right caption among the K best for an image, and the right image for a caption (R@1, 5, 10)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import intervals
from clipjax.errors import InputError
from clipjax.probes import metrics
from clipjax.probes.products import ROWS, products
from clipjax.probes.zeroshot import normalise

IMAGES, TEXTS = 2048, 1024  # of a block: 8 MiB of similarities
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
    interval is exact for images; captions of one image do not err independently, so images are what is counted.
    Last the sum of all recalls ("recall_sum", 0 .. 2 * len(ks)). Images without captions are only distractors.
    Equal similarities rank by index.
    """
    return measured(image_features, text_features, image_of_text, ks, seed)[0]


def measured(
    image_features: np.ndarray, text_features: np.ndarray, image_of_text: np.ndarray, ks: Sequence[int], seed: int
) -> tuple[list[metrics.Record], np.ndarray]:
    """The records of `recalls`, and the rank from 1 of each image's best own caption, int [N] (M + 1 without one)."""
    images, texts = normalise(metrics.check_features(image_features)), normalise(metrics.check_features(text_features))
    owner = metrics.check_labels(image_of_text, len(texts), len(images))
    if bad := [k for k in ks if not 1 <= k <= min(len(images), len(texts))]:
        raise InputError(f"recall@{bad[0]} among {len(images)} images and {len(texts)} captions; choose a smaller K")
    to_text, to_image = ranks(images, texts, owner)
    asked = np.unique(owner)
    records = [replace(metrics.proportion(f"recall@{k}", to_text[asked] < k), direction=TO_TEXT) for k in ks]
    for k in ks:
        right = to_image < k
        low, high = intervals.bounded_mean(right, clusters=owner)
        many = {"k": int(right.sum()), "direction": TO_IMAGE}
        method = "clopper-pearson of effective n, captions of an image together"
        records.append(metrics.record(f"recall@{k}", len(right), right.mean(), low, high, method, **many))
    total = _recall_sum(to_text[asked], to_image, np.searchsorted(asked, owner), ks, seed)
    return [*records, total], to_text + 1


@dataclasses.dataclass(frozen=True)
class Own:
    """What ranks are counted against. `score`, `owner` [M]: of each caption its image, and how similar the two are;
    `best`, `caption` [N]: of each image its most similar own caption (the first of equals); -inf and M without one."""

    score: np.ndarray
    owner: np.ndarray
    best: np.ndarray
    caption: np.ndarray


def own_of(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> Own:
    """Unit rows [N, E] of images and [M, E] of captions, and whose caption each is int [M] -> what belongs together."""
    score = np.empty(len(texts), np.float32)
    for part in _blocks(len(texts), ROWS):
        score[part] = products(texts[part], TEXTS)(images[owner[part]]).diagonal()
    order = np.lexsort((-score, owner))
    asked, first = np.unique(owner[order], return_index=True)
    best, caption = np.full(len(images), -np.inf, np.float32), np.full(len(images), len(texts))
    best[asked], caption[asked] = score[order[first]], order[first]
    return Own(score, owner, best, caption)


def ranks(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rank from 0 of each image's best own caption among all, int [N] (M for an image without one), and that of
    each caption's image, int [M]. Beside the features, one block of similarities is in memory."""
    own = own_of(images, texts, owner)
    of_images, of_texts = np.zeros(len(images), np.int64), np.zeros(len(texts), np.int64)
    for t in _blocks(len(texts), TEXTS):
        for i in _blocks(len(images), IMAGES):
            before_texts, before_images = ranks_within(images, texts, own, i, t)
            of_images[i] += before_texts
            of_texts[t] += before_images
    return of_images, of_texts


def ranks_within(images: np.ndarray, texts: np.ndarray, own: Own, i: slice, t: slice) -> tuple[np.ndarray, np.ndarray]:
    """For each image of block `i` how many captions of block `t` rank before its best own one, int [B_i], and for each
    of these captions how many of these images rank before its own, int [B_t].

    Sums over blocks, cut anywhere and in any order, are the ranks: one product serves both directions.
    """
    similar = products(texts[t], TEXTS)(images[i])
    mine = np.flatnonzero((own.owner[t] >= i.start) & (own.owner[t] < i.start + len(similar)))
    assert (similar[own.owner[t][mine] - i.start, mine] == own.score[t][mine]).all(), "a pair has one similarity"
    best, score = own.best[i, None], own.score[t]
    before_texts, before_images = (similar > best).sum(1), (similar > score).sum(0)
    rows, columns = np.nonzero(similar == best)
    rows = rows[columns + t.start < own.caption[i][rows]]
    before_texts += np.bincount(rows, minlength=len(before_texts))
    rows, columns = np.nonzero(similar == score)
    columns = columns[rows + i.start < own.owner[t][columns]]
    before_images += np.bincount(columns, minlength=len(before_images))
    return before_texts, before_images


def best_texts(image_features: np.ndarray, text_features: np.ndarray) -> np.ndarray:
    """The caption most similar to each image: int [N], the first of equals."""
    images, texts = normalise(image_features), normalise(text_features)
    found, best = np.zeros(len(images), np.int64), np.full(len(images), -np.inf, np.float32)
    for t in _blocks(len(texts), TEXTS):
        compare = products(texts[t], TEXTS)
        for i in _blocks(len(images), IMAGES):
            similar = compare(images[i])
            first, most = similar.argmax(1), similar.max(1)
            found[i] = np.where(most > best[i], t.start + first, found[i])
            best[i] = np.maximum(most, best[i])
    return found


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


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
