"""One training step of full-size ViT-B/32 (random weights, float32, AdamW) beside open_clip's, interleaved.

    python benchmarks/training_step.py [--batch=16] [--rounds=7]

Both see the same uint8 images and captions of 12 words, normalise, encode, take the symmetric softmax loss over the
batch, compute gradients, and update all 151 million parameters. Twice: both on 77 tokens, and clipjax on 16, the width
that its feed gives such captions (exact: positions after end-of-text have no effect), where open_clip uses 77.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import side_by_side

THREADS = side_by_side.threads()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from clipjax import parallel  # noqa: E402
from clipjax.models import catalog, clip  # noqa: E402
from clipjax.train import optimiser, step  # noqa: E402

BAR = 1.0


def batch_of(n: int) -> dict[str, np.ndarray]:
    """Random images and captions of 12 words."""
    rng = np.random.default_rng(0)
    tokens = np.zeros((n, 77), np.int32)
    tokens[:, 0], tokens[:, 1:13], tokens[:, 13] = 49406, rng.integers(1, 40000, (n, 12)), 49407
    pixels = rng.integers(0, 256, (n, 224, 224, 3)).astype(np.uint8)
    return {"pixels": pixels, "tokens": tokens, "ids": np.arange(n, dtype=np.int32)}


def ours(batch: dict[str, np.ndarray]) -> Callable[[], float]:
    """clipjax's compiled step on one device."""
    config = catalog.get("ViT-B/32").config
    recipe = optimiser.Options(steps=1000, learning_rate=1e-5)
    mesh = parallel.training_mesh(1, jax.devices()[:1])
    state = step.start(clip.init(config, jax.random.key(0)), step.Options(), recipe, mesh)
    update = step.make(config, step.Options(), recipe, state, mesh)

    def one() -> float:
        nonlocal state
        state, metrics = update(state, batch)
        return float(metrics["loss"])

    return one


def theirs(batch: dict[str, np.ndarray]) -> Callable[[], float]:
    """open_clip's model, loss and clamp as its trainer uses them."""
    import open_clip
    import torch
    from open_clip.loss import ClipLoss

    model = open_clip.create_model("ViT-B-32-quickgelu").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
    loss_fn = ClipLoss()
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (catalog.OPENAI_MEAN, catalog.OPENAI_STD))
    pixels, tokens = torch.from_numpy(batch["pixels"]).permute(0, 3, 1, 2), torch.from_numpy(batch["tokens"]).long()

    def one() -> float:
        optimizer.zero_grad()
        loss = loss_fn(*model((pixels.float() / 255 - mean) / std, tokens))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
        return float(loss)

    return one


def measure(args: argparse.Namespace) -> Iterator[side_by_side.Row]:
    """The same step on all 77 tokens, then with the width of the captions for clipjax."""
    import torch

    torch.set_num_threads(THREADS)
    batch = batch_of(args.batch)
    peer = theirs(batch)
    for case, tokens in (("77 tokens", batch["tokens"]), ("captions of 12 words", batch["tokens"][:, :16])):
        calls = {side_by_side.OURS: ours(batch | {"tokens": tokens}), "open_clip": peer}
        seconds = side_by_side.interleave(calls, args.rounds)
        yield side_by_side.Row(
            "training step", f"ViT-B/32, batch {args.batch}, {case}", seconds, args.batch, "image", BAR
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=16)


if __name__ == "__main__":
    side_by_side.main(__doc__, measure, add_arguments)
