"""One training step of full-size ViT-B/32 (random weights, float32, AdamW) beside open_clip's, interleaved.

    python benchmarks/training_step.py [--batch=16] [--rounds=7] [--only=softmax,sigmoid,lora]

All see the same uint8 images and captions of 12 words, normalise, encode, take the loss over the batch, compute
gradients and update. Each twice: on 77 tokens, and clipjax on 16, the width that its feed gives such captions (exact:
positions after end-of-text have no effect), where the others use 77.

- softmax, sigmoid: all 151 million parameters, beside open_clip's model, losses and clamp.
- lora: adapters of rank 8 on attention and MLP of both encoders and the logit scale, beside peft on open_clip's model
  (its attention is one fused matrix) and on that of transformers (`pip install peft`).

`extra.cpu_seconds` is the processor time of the same calls, which says more than the clock on a machine that other
programs use.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import side_by_side

THREADS = side_by_side.threads()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from clipjax import parallel  # noqa: E402
from clipjax.models import catalog, clip, lora  # noqa: E402
from clipjax.train import optimiser, step  # noqa: E402

BAR = 1.1
RANK, ALPHA, ON = 8, 16.0, "attention+mlp"
ADAPTED = {  # the same matrices by the names of the peers
    "open_clip": ["attn", "c_fc", "c_proj"],
    "transformers": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
}
Batch = dict[str, np.ndarray]


def batch_of(n: int) -> Batch:
    """Random images and captions of 12 words."""
    rng = np.random.default_rng(0)
    tokens = np.zeros((n, 77), np.int32)
    tokens[:, 0], tokens[:, 1:13], tokens[:, 13] = 49406, rng.integers(1, 40000, (n, 12)), 49407
    pixels = rng.integers(0, 256, (n, 224, 224, 3)).astype(np.uint8)
    return {"pixels": pixels, "tokens": tokens, "ids": np.arange(n, dtype=np.int32)}


def ours(case: str, batch: Batch) -> Callable[[], float]:
    """clipjax's compiled step on one device."""
    config = catalog.get("ViT-B/32").config
    params = clip.init(config, jax.random.key(0))
    adapters = lora.Lora(RANK, ALPHA, ON) if case == "lora" else None
    if adapters is not None:
        params = clip.unflatten(clip.flatten(params) | adapters.start(clip.flatten(params), 0))
    recipe = optimiser.Options(steps=1000, learning_rate=1e-5, tune="full" if adapters is None else "lora")
    options = step.Options(loss="sigmoid" if case == "sigmoid" else "softmax", adapters=adapters)
    mesh = parallel.training_mesh(1, jax.devices()[:1])
    state = step.start(params, options, recipe, mesh)
    del params
    update = step.make(config, options, recipe, state, mesh)

    def one() -> float:
        nonlocal state
        state, metrics = update(state, batch)
        return float(metrics["loss"])

    return one


def theirs(case: str, batch: Batch, library: str = "open_clip") -> Callable[[], float]:
    """A torch model with open_clip's loss and clamp, as its trainer uses them."""
    import torch
    from open_clip.loss import ClipLoss, SigLipLoss

    model, features = (_open_clip if library == "open_clip" else _transformers)(case)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
    loss_fn = SigLipLoss() if case == "sigmoid" else ClipLoss()
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (catalog.OPENAI_MEAN, catalog.OPENAI_STD))
    pixels, tokens = torch.from_numpy(batch["pixels"]).permute(0, 3, 1, 2), torch.from_numpy(batch["tokens"]).long()

    def one() -> float:
        optimizer.zero_grad()
        image, text, scale, *rest = features((pixels.float() / 255 - mean) / std, tokens)
        loss = loss_fn(image, text, scale.exp(), *rest)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        with torch.no_grad():
            logit_scale(model).clamp_(0, np.log(100))
        return float(loss)

    return one


def logit_scale(model: Any) -> Any:
    """The parameter, wherever peft has put the model."""
    return next(p for name, p in model.named_parameters() if name.endswith("logit_scale"))


def _open_clip(case: str) -> tuple[Any, Callable[..., tuple[Any, ...]]]:
    import open_clip

    bias = {"init_logit_bias": -10.0} if case == "sigmoid" else {}
    model = open_clip.create_model("ViT-B-32-quickgelu", **bias).train()
    inner = _adapted(model, "open_clip") if case == "lora" else model

    def features(pixels: Any, tokens: Any) -> tuple[Any, ...]:
        image, text = model.encode_image(pixels, normalize=True), model.encode_text(tokens, normalize=True)
        return image, text, model.logit_scale, *([model.logit_bias] if bias else [])

    return inner, features


def _transformers(case: str) -> tuple[Any, Callable[..., tuple[Any, ...]]]:
    from transformers import CLIPConfig, CLIPModel

    model = CLIPModel(CLIPConfig(text_config={"eos_token_id": 49407})).train()  # its default is ViT-B/32
    inner = _adapted(model, "transformers")

    def features(pixels: Any, tokens: Any) -> tuple[Any, ...]:
        out = model(input_ids=tokens, pixel_values=pixels)
        return out.image_embeds, out.text_embeds, model.logit_scale

    return inner, features


def _adapted(model: Any, library: str) -> Any:
    import peft

    found = peft.get_peft_model(model, peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=ADAPTED[library]))
    logit_scale(found).requires_grad_(True)
    return found


def timed(calls: dict[str, Callable[[], float]], rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of every call in every round, and the median processor seconds of each."""
    cpu: dict[str, list[float]] = {name: [] for name in calls}

    def counted(name: str) -> Callable[[], float]:
        def one() -> float:
            start = time.process_time()
            loss = calls[name]()
            cpu[name].append(time.process_time() - start)
            return loss

        return one

    seconds = side_by_side.interleave({name: counted(name) for name in calls}, rounds)
    return seconds, {name: statistics.median(found[1:]) for name, found in cpu.items()}  # the first compiles


def measure(args: argparse.Namespace) -> Iterator[side_by_side.Row]:
    """Each case on all 77 tokens, then with the width of the captions for clipjax."""
    import torch

    torch.set_num_threads(THREADS)
    batch = batch_of(args.batch)
    for case in args.only.split(","):
        named = {"open_clip + peft": "open_clip", "transformers + peft": "transformers"}
        peers = {
            name: theirs(case, batch, of)
            for name, of in (named if case == "lora" else {"open_clip": "open_clip"}).items()
        }
        for width, tokens in (("77 tokens", batch["tokens"]), ("captions of 12 words", batch["tokens"][:, :16])):
            calls = {side_by_side.OURS: ours(case, batch | {"tokens": tokens})} | peers
            seconds, cpu = timed(calls, args.rounds)
            what = {"softmax": "", "sigmoid": " sigmoid loss,", "lora": " LoRA,"}[case]
            yield side_by_side.Row(
                "training step", f"ViT-B/32,{what} batch {args.batch}, {width}", seconds, args.batch, "image", BAR,
                {"cpu_seconds": cpu},
            )  # fmt: skip
            del calls


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--only", default="softmax,sigmoid,lora")


if __name__ == "__main__":
    side_by_side.main(__doc__, measure, add_arguments)
