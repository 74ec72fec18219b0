"""One training step of full-size ViT-B/32 (random weights, float32, AdamW) beside open_clip's, interleaved.

    JAX_PLATFORMS=cpu python benchmarks/training_step.py [--batch 16] [--rounds 7]

Both see the same uint8 pictures and 77 tokens, normalise them, encode, take the symmetric softmax loss over the batch,
go back, and update all 151 million parameters. Needs `pip install torch open_clip_torch`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from clipjax import parallel
from clipjax.models import catalog, clip
from clipjax.train import optimiser, step


def batch_of(n: int) -> dict[str, np.ndarray]:
    """Random pictures and captions of 12 words."""
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


def main() -> None:
    """Prints images per second of each and their ratio, round by round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    import open_clip
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    batch = batch_of(args.batch)
    steps = {"clipjax": ours(batch), "open_clip": theirs(batch)}
    for call in steps.values():
        call()  # compiles, or warms up
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, call in steps.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    print(f"batch {args.batch}, jax {jax.__version__}, open_clip {open_clip.__version__}, torch {torch.__version__}")
    for name, seconds in times.items():
        print(f"{name:10} {args.batch / statistics.median(seconds):.2f} images/s (median of {args.rounds})")
    ratios = [b / a for a, b in zip(times["clipjax"], times["open_clip"], strict=True)]
    print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
