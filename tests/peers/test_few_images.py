"""The training of Tip-Adapter-F beside torch: the authors' optimizer and schedule on the same features."""

import numpy as np
import pytest

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")
from clipjax.probes import draws, tip_adapter  # noqa: E402
from clipjax.probes.draws import Labelled, ZeroShot  # noqa: E402

EPOCHS, BATCH, SEED = 4, 5, 3


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def few(n=13, width=32, classes=3):
    rng = np.random.default_rng(0)
    return Labelled(rng.normal(size=(n, width)).astype(np.float32), np.sort(rng.integers(0, classes, n)))


def batches(n):
    for epoch in draws.batches(n, BATCH, EPOCHS, SEED):
        yield [rows[rows < n] for rows in epoch]


def test_tip_adapter_learns_the_keys_that_torch_learns():
    images = few()
    zero_shot = ZeroShot(unit(np.random.default_rng(1).normal(size=(3, 32))).astype(np.float32), 100.0)
    found, loss = tip_adapter.train(tip_adapter.cache(images), zero_shot, EPOCHS, 1e-3, BATCH, SEED)
    features, labels = torch.from_numpy(unit(images.features)), torch.from_numpy(images.labels)
    values, weights = torch.nn.functional.one_hot(labels).float(), torch.from_numpy(zero_shot.weights)
    keys = torch.nn.Parameter(features.clone())
    optimizer = torch.optim.AdamW([keys], lr=1e-3, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * 3)
    for epoch in batches(len(labels)):
        losses = []
        for rows in epoch:
            added = torch.exp(-tip_adapter.BETA * (1 - features[rows] @ keys.T)) @ values
            logits = 100 * features[rows] @ weights.T + tip_adapter.ALPHA * added
            error = torch.nn.functional.cross_entropy(logits, labels[rows])
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(error.detach()))
    np.testing.assert_allclose(found.keys, keys.detach().numpy(), rtol=0, atol=1e-5)
    assert np.abs(found.keys - unit(images.features)).max() > 1e-3
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)
