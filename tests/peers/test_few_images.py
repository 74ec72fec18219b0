"""The training of Tip-Adapter-F and of CoOp beside torch: the authors' optimizers and schedules, the same features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")
from support import peer_models  # noqa: E402

import clipjax  # noqa: E402
from clipjax import design  # noqa: E402
from clipjax.models import clip  # noqa: E402
from clipjax.probes import coop, draws, tip_adapter  # noqa: E402
from clipjax.probes.draws import Labelled, ZeroShot  # noqa: E402
from clipjax.runs.coop import tokens_of  # noqa: E402
from clipjax.testing import tiny_config  # noqa: E402

EPOCHS, BATCH, SEED = 4, 5, 3
# After 12 updates in float32; found 1.5e-6 (context), 1.2e-7 (keys, loss). A decay of 4e-4 for 5e-4 moves 2e-5.
ROUNDING = 5e-6


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
    np.testing.assert_allclose(found.keys, keys.detach().numpy(), rtol=0, atol=ROUNDING)
    assert np.abs(found.keys - unit(images.features)).max() > 1e-3
    assert loss == pytest.approx(np.mean(losses), rel=ROUNDING)


def test_coop_learns_the_context_that_torch_learns(tmp_path):
    peer = peer_models.openai_model(tiny_config(layers=1))
    torch.save(peer.state_dict(), tmp_path / "peer.pt")
    model, images = clipjax.load(tmp_path / "peer.pt", activation="quick_gelu"), few()
    tokens = tokens_of(model, design.of_classes(["cat", "red fox", "house"]), 4)

    def encode(params, context):
        return clip.apply_text(model.config, params, jnp.asarray(tokens), context=context)

    begin = np.random.default_rng(SEED).normal(0, coop.SPREAD, (4, 64)).astype(np.float32)
    params = jax.device_put(clip.text_params(model.params))
    found, loss = coop.train(images, encode, params, begin, 20.0, EPOCHS, 0.02, BATCH, SEED)

    context = torch.nn.Parameter(torch.from_numpy(begin.copy()))
    padded = np.zeros((3, 77), np.int64)
    padded[:, : tokens.shape[1]] = tokens
    ids, features, labels = (torch.from_numpy(x) for x in (padded, unit(images.features), images.labels))
    for parameter in peer.parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.SGD([context], lr=0.02, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for i, epoch in enumerate(batches(len(labels))):
        losses = []
        if i == 0:
            optimizer.param_groups[0]["lr"] = 1e-5
        elif i == 1:
            optimizer.param_groups[0]["lr"] = 0.02
        else:
            schedule.step()
        for rows in epoch:
            words = peer.token_embedding(ids)
            x = torch.cat([words[:, :1], context.expand(3, -1, -1), words[:, 5:]], 1) + peer.positional_embedding
            x = peer.ln_final(peer.transformer(x.permute(1, 0, 2)).permute(1, 0, 2))
            texts = x[torch.arange(3), ids.argmax(-1)] @ peer.text_projection
            logits = 20 * features[rows] @ (texts / texts.norm(dim=-1, keepdim=True)).T
            error = torch.nn.functional.cross_entropy(logits, labels[rows])
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            losses.append(float(error.detach()))
    np.testing.assert_allclose(found, context.detach().numpy(), rtol=0, atol=ROUNDING)
    assert np.abs(found - begin).max() > 1e-3
    assert loss == pytest.approx(np.mean(losses), rel=ROUNDING)
