"""Tip-Adapter beside its formula in float64, its training beside the gradient by hand, and planted features."""

import numpy as np
import pytest

from clipjax.errors import InputError
from clipjax.probes import tip_adapter
from clipjax.probes.draws import Labelled, ZeroShot

SCALE = 100.0


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def planted(n, seed, classes=4, width=16, noise=0.3):
    """Raw features around one direction per class, and their labels."""
    directions = np.random.default_rng(7).normal(size=(classes, width))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return Labelled((3 * (unit(directions)[labels] + noise * rng.normal(size=(n, width)))).astype(np.float32), labels)


def texts(away, classes=4, width=16):
    """Class weights `away` from the directions of the images."""
    directions = unit(np.random.default_rng(7).normal(size=(classes, width)))
    other = unit(np.random.default_rng(8).normal(size=(classes, width)))
    return ZeroShot(unit((1 - away) * directions + away * other).astype(np.float32), SCALE)


def by_the_formula(features, zero_shot, keys, labels, alpha, beta):
    """Logits in float64, as the paper writes them."""
    f, k, values = unit(features.astype(np.float64)), keys.astype(np.float64), np.eye(len(zero_shot.weights))[labels]
    return SCALE * f @ zero_shot.weights.astype(np.float64).T + alpha * np.exp(-beta * (1 - f @ k.T)) @ values


def test_logits_are_those_of_the_formula():
    few, images, zero_shot = planted(9, 1), planted(2100, 2), texts(0.5)  # more than are held at once
    cached = tip_adapter.cache(few)
    assert (np.diff(cached.labels) >= 0).all()
    found = tip_adapter.logits(images.features, zero_shot, cached, 1.7, 3.5)
    wanted = by_the_formula(images.features, zero_shot, unit(few.features.astype(np.float64)), few.labels, 1.7, 3.5)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=3e-5)  # of logits up to 100 in float32


def test_a_class_that_is_not_in_the_cache_gets_nothing_from_it():
    few = Labelled(planted(6, 1).features, np.array([0, 0, 2, 2, 3, 3]))
    cached, zero_shot = tip_adapter.cache(few), texts(0.5)
    plain, added = (tip_adapter.logits(few.features, zero_shot, cached, alpha, 2.0) for alpha in (0.0, 1.0))
    assert (added[:, 1] == plain[:, 1]).all()
    assert (added[:, [0, 2, 3]] > plain[:, [0, 2, 3]]).all()


def test_alpha_and_beta_have_most_held_out_images_right_and_are_the_smallest():
    few, held, zero_shot = planted(12, 1), planted(60, 3, noise=0.6), texts(0.8)
    cached = tip_adapter.cache(few)
    right = {}
    for beta in tip_adapter.BETAS:
        for alpha in tip_adapter.ALPHAS:
            scores = tip_adapter.logits(held.features, zero_shot, cached, alpha, beta)
            right[alpha, beta] = (scores.argmax(1) == held.labels).sum()
    assert len(set(right.values())) > 2
    assert tip_adapter.search(held, zero_shot, cached) == max(right, key=right.get)  # the first of equal ones


def test_training_follows_the_gradient_by_hand():
    few, zero_shot = planted(10, 1), texts(0.8)
    cached = tip_adapter.cache(few)
    found, loss = tip_adapter.train(cached, zero_shot, epochs=3, learning_rate=0.01, batch_size=4, seed=5)
    f, keys = cached.keys.astype(np.float64), cached.keys.astype(np.float64)
    values, m, v = np.eye(4)[cached.labels], np.zeros_like(keys), np.zeros_like(keys)
    order, losses, step = np.random.default_rng(5), [], 0
    for _ in range(3):
        rows = order.permutation(10)
        for batch in (rows[:4], rows[4:8], rows[8:]):
            cached_part = np.exp(-tip_adapter.BETA * (1 - f[batch] @ keys.T))
            logits = SCALE * f[batch] @ zero_shot.weights.T + tip_adapter.ALPHA * cached_part @ values
            odds = np.exp(logits - logits.max(1, keepdims=True))
            odds /= odds.sum(1, keepdims=True)
            losses.append(-np.log(odds[np.arange(len(batch)), cached.labels[batch]]).mean())
            slope = tip_adapter.ALPHA * (odds - values[batch]) @ values.T / len(batch)
            gradient = (slope * tip_adapter.BETA * cached_part).T @ f[batch]
            rate = 0.01 * (1 + np.cos(np.pi * step / 9)) / 2
            step += 1
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            moved = m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-4)
            keys = keys - rate * (moved + 0.01 * keys)
    # Float32 beside float64: 4e-7 of unit keys, which a step moves by 1e-3 to 1e-2.
    np.testing.assert_allclose(found.keys, keys, rtol=0, atol=2e-6)
    assert np.abs(found.keys - cached.keys).max() > 1e-3
    assert loss == pytest.approx(np.mean(losses[-3:]), rel=1e-4)


@pytest.mark.parametrize("epochs", [0, 20])
def test_it_beats_zero_shot_where_texts_hardly_tell_the_classes_apart_and_images_do(epochs):
    parts, noise = (planted(200, 1), planted(100, 2), planted(400, 3)), np.random.default_rng(4).normal(size=(5, 16))
    vague = ZeroShot(unit(noise[0] + 0.02 * noise[1:]).astype(np.float32), SCALE)
    found = tip_adapter.evaluate(*parts, vague, shots=(8,), epochs=epochs).records
    top1, gain, zero = found
    assert [(r.metric, r.shots) for r in found] == [("top1", 8), ("top1_gain_over_zero_shot", 8), ("top1", 0)]
    assert gain.value == pytest.approx(top1.value - zero.value)
    assert gain.values == pytest.approx([value - zero.value for value in top1.values])
    assert gain.low > 0.1
    assert top1.low > zero.high
    assert set(top1.alphas) <= set(tip_adapter.ALPHAS)
    assert set(top1.betas) <= set(tip_adapter.BETAS)
    assert (top1.losses is None) == (epochs == 0)


def test_training_lowers_the_loss_and_refuses_what_it_cannot_do():
    cached, zero_shot = tip_adapter.cache(planted(40, 1)), texts(0.9)
    losses = [tip_adapter.train(cached, zero_shot, epochs, 0.01)[1] for epochs in (1, 30)]
    assert losses[1] < losses[0]
    with pytest.raises(InputError, match="0 epochs"):
        tip_adapter.train(cached, zero_shot, 0)
