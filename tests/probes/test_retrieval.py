"""Retrieval against a loop that sorts every list, and by hand."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.amount import amount

from clipjax.analysis import clopper_pearson
from clipjax.errors import InputError
from clipjax.probes import retrieval


def pairs(n=40, each=5, dim=8, seed=0, ties=False):
    r = np.random.default_rng(seed)
    images = r.normal(size=(n, dim)).astype(np.float32)
    owner = r.permutation(np.repeat(np.arange(n), each))
    texts = (images[owner] + 1.5 * r.normal(size=(n * each, dim))).astype(np.float32)
    if ties:  # the same image and the same caption several times over
        images, texts = images[np.arange(n) // 3], texts[np.arange(n * each) // 4]
    return images, texts, owner


def by_sorting(images, texts, owner, k):
    """Any own caption among an image's k best; the own image among a caption's k best. Stable: ties by index."""
    images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts))
    similar = np.array([[(i * t).sum() for t in texts] for i in images])  # equal rows give equal numbers
    to_text = [owner[np.argsort(-similar[i], kind="stable")[:k]] for i in range(len(images))]
    to_text = [i in found for i, found in enumerate(to_text) if i in owner]
    similar = similar.T
    to_image = [owner[j] in np.argsort(-similar[j], kind="stable")[:k] for j in range(len(texts))]
    return sum(to_text), sum(to_image)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("block", [(2048, 1024), (16, 64)])
def test_recalls_are_those_of_sorted_lists(monkeypatch, block, ties):
    monkeypatch.setattr(retrieval, "IMAGES", block[0])
    monkeypatch.setattr(retrieval, "TEXTS", block[1])
    images, texts, owner = pairs(ties=ties)
    found = {(r.metric, r.direction): r for r in retrieval.recalls(images, texts, owner)}
    assert len(found) == 7
    for k in (1, 5, 10):
        text, image = found[f"recall@{k}", "image_to_text"], found[f"recall@{k}", "text_to_image"]
        assert (text.k, image.k) == by_sorting(images, texts, owner, k)
        assert (text.n, image.n) == (40, 200)
        assert (text.low, text.high) == clopper_pearson(text.k, 40)
        assert image.low <= image.value <= image.high
        assert image.method == "clopper-pearson of effective n, captions of an image together"
    total = found["recall_sum", None]
    assert total.value == pytest.approx(sum(r.value for key, r in found.items() if key[1]))
    assert total.low < total.value < total.high


def unit(*arrays):
    return [x / np.linalg.norm(x, axis=1, keepdims=True) for x in arrays]


*FEATURES, OWNER = pairs(dim=48, ties=True)
IMAGES, TEXTS = unit(*FEATURES)
KEPT = OWNER % 8 > 0  # some images have no caption


@pytest.fixture(scope="module")
def ranks():
    """Of images and captions, all blocks at once."""
    return retrieval.ranks(IMAGES, TEXTS[KEPT], OWNER[KEPT])


def cut(n, at):
    return [slice(a, b) for a, b in zip([0, *sorted(at)], [*sorted(at), n], strict=True)]


@given(st.sets(st.integers(1, 39)), st.sets(st.integers(1, 174)), st.randoms(use_true_random=False))
@settings(max_examples=amount(60, 6))
def test_ranks_are_sums_over_any_blocks_in_any_order(ranks, of_images, of_texts, random):
    """Equal images and equal captions stand on both sides of the cuts."""
    texts, owner = TEXTS[KEPT], OWNER[KEPT]
    own = retrieval.own_of(IMAGES, texts, owner)
    to_text, to_image = np.zeros(len(IMAGES), int), np.zeros(len(texts), int)
    blocks = [(i, t) for i in cut(len(IMAGES), of_images) for t in cut(len(texts), of_texts)]
    random.shuffle(blocks)
    for i, t in blocks:
        more_texts, more_images = retrieval.ranks_within(IMAGES, texts, own, i, t)
        to_text[i] += more_texts
        to_image[t] += more_images
    assert np.array_equal(to_text, ranks[0])
    assert np.array_equal(to_image, ranks[1])


def test_ranks_are_places_in_sorted_lists(ranks):
    texts, owner = TEXTS[KEPT], OWNER[KEPT]
    similar = np.array([[(i * t).sum() for t in texts] for i in IMAGES])
    order, back = np.argsort(-similar, axis=1, kind="stable"), np.argsort(-similar.T, axis=1, kind="stable")
    own = [np.flatnonzero(owner[row] == i) for i, row in enumerate(order)]
    assert ranks[0].tolist() == [place[0] if len(place) else len(texts) for place in own]
    assert ranks[1].tolist() == [int(np.flatnonzero(row == i)[0]) for i, row in zip(owner, back, strict=True)]


def test_memory_does_not_grow_with_the_number_of_pairs(monkeypatch):
    """16 MiB of similarities, of which 256 KiB are in memory at once."""
    monkeypatch.setattr(retrieval, "IMAGES", 256)
    monkeypatch.setattr(retrieval, "TEXTS", 256)
    images, texts, owner = pairs(n=2048, each=1)
    images, texts = unit(images, texts)
    retrieval.ranks(images[:8], texts[:8], np.arange(8))  # compiles
    tracemalloc.start()
    try:
        retrieval.ranks(images, texts, owner)
        ranked = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        retrieval.best_texts(images, texts)
        found = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(ranked, found) < 2 << 20


def test_any_of_the_captions_counts():
    """Picture 0 is nearest to its second caption: a recall that looked at first captions only would miss it."""
    images = np.eye(2)
    texts = np.array([[0.0, 1.0], [1.0, 0.0], [0.1, 1.0]])
    found = retrieval.recalls(images, texts, np.array([0, 0, 1]), ks=(1,))
    assert [r.k for r in found[:2]] == [
        1,
        2,
    ]  # image 1 finds image 0's first caption; captions 1 and 2 are right


def test_images_without_captions_only_distract():
    images, texts, owner = pairs()
    kept = owner < 30
    found = retrieval.recalls(images, texts[kept], owner[kept], ks=(1,))
    assert (found[0].n, found[1].n) == (30, 150)
    assert (found[0].k, found[1].k) == by_sorting(images, texts[kept], owner[kept], 1)


def test_captions_of_a_image_are_drawn_together():
    """Five equal captions an image are one answer five times: the interval is that of as many images."""
    images, texts, owner = pairs(each=1)
    once = retrieval.recalls(images, texts, owner, ks=(1,))[1]
    five = retrieval.recalls(images, np.repeat(texts, 5, 0), np.repeat(owner, 5), ks=(1,))[1]
    assert five.n == 5 * once.n
    assert (five.low, five.high) == pytest.approx((once.low, once.high))


def test_best_texts(monkeypatch):
    images, texts, _ = pairs(ties=True)
    unit_images, unit_texts = unit(images, texts)
    expected = np.argmax([[(i * t).sum() for t in unit_texts] for i in unit_images], axis=1)
    assert (retrieval.best_texts(images, texts) == expected).all()
    monkeypatch.setattr(retrieval, "IMAGES", 16)
    monkeypatch.setattr(retrieval, "TEXTS", 64)
    assert (retrieval.best_texts(images, texts) == expected).all()


def test_bad_input():
    images, texts, owner = pairs()
    texts[3] = np.nan
    with pytest.raises(InputError, match=r"row 3 \(from 0\) has nan"):
        retrieval.recalls(images, texts, owner)
    images, texts, owner = pairs()
    images[6] = 0
    with pytest.raises(InputError, match=r"row 6 \(from 0\) has length 0"):
        retrieval.recalls(images, texts, owner)
    images, texts, owner = pairs()
    with pytest.raises(InputError, match="labels: row"):
        retrieval.recalls(images[:20], texts, owner)
    with pytest.raises(InputError, match="recall@50 among 40 images"):
        retrieval.recalls(images, texts, owner, ks=(1, 50))


def test_another_seed_draws_other_images():
    """The interval of the sum of recalls is the only one of retrieval that is resampled."""
    images, texts, owner = pairs()
    one, other = (retrieval.recalls(images, texts, owner, seed=seed) for seed in (0, 3))
    differing = {a.metric for a, b in zip(one, other, strict=True) if (a.low, a.high) != (b.low, b.high)}
    assert differing == {one[-1].metric}
