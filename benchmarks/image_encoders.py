"""Image encoders, batches of 1, 8 and 32, beside every peer that has them; and a roofline of each.

    python benchmarks/image_encoders.py [--models=ViT-B/32,PE-Core-B-16] [--batches=1,8,32] [--budget=60]

Models: the nine releases, and architectures of open_clip's registry by their names there.

Random weights, float32 for all, from normalised pixels to features: clipjax by `Encoder.images` (to the device, the
program, and back), peers by `encode_image` in inference mode. `extra` has the GFLOP/s of each library by the formulas
of clipjax/models/products.py (open_clip and clip-anytorch compute the last block for all positions; only the necessary
part is counted), and the rate of a 2048 x 2048 product in the same process: the ceiling.

Cells for which one call would exceed --most TFLOP are omitted.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import side_by_side

THREADS = side_by_side.threads()

import numpy as np  # noqa: E402

from clipjax.models import catalog, clip  # noqa: E402
from clipjax.models.config import CLIP  # noqa: E402
from clipjax.models.kinds.resnet import ResNet  # noqa: E402
from clipjax.models.kinds.text import Text  # noqa: E402
from clipjax.models.kinds.vit import ViT  # noqa: E402
from clipjax.plan import counts  # noqa: E402

VIT_BAR, RESNET_BAR = 1.05, 1.3


def ours(config: CLIP, batch: int) -> Callable[[np.ndarray], Any]:
    """clipjax's encoder with full batches of this size."""
    import jax

    from clipjax.encoder import Encoder

    return Encoder(config, clip.init(config, jax.random.key(0)), batch_size=batch, full_batches=True).images


def configuration(name: str) -> CLIP:
    """Of a release, or of an architecture of open_clip's registry."""
    if name in catalog.names():
        return catalog.get(name).config
    import open_clip
    from open_clip.transform import PreprocessCfg

    from checkpoints_convert import open_clip_config

    pixels = dataclasses.asdict(PreprocessCfg())
    kept = {key: pixels[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    return open_clip_config.read({"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": kept}, name, None)


def family_peers(name: str, config: CLIP) -> dict[str, Any]:
    """Image encoders of an architecture of open_clip's registry: its own (timm's modules), and transformers' SigLIP."""
    import open_clip
    import transformers

    found: dict[str, Any] = {"open_clip": open_clip.create_model(name).visual.eval()}
    image = config.image
    if isinstance(image, ViT) and "SigLIP" in name:
        found["transformers"] = transformers.SiglipVisionModel(
            transformers.SiglipVisionConfig(
                hidden_size=image.width, intermediate_size=image.mlp, num_hidden_layers=image.layers,
                num_attention_heads=image.heads, image_size=image.image_size, patch_size=image.patch_size,
            )
        ).eval()  # fmt: skip
    return found


def released_peers(config: CLIP) -> dict[str, Any]:
    """Image encoders of a release in the three libraries that have it."""
    import open_clip.model
    import transformers
    from clip.model import CLIP as OpenAI

    from checkpoints_convert import huggingface  # fmt: skip
    from checkpoints_convert import open_clip_config as exports

    image, text = config.image, config.text
    assert isinstance(image, ResNet | ViT)
    assert isinstance(text, Text)
    patch = None if isinstance(image, ResNet) else image.patch_size
    found: dict[str, Any] = {}
    found["clip-anytorch"] = OpenAI(
        config.embed_dim, image.image_size, image.layers, image.width, patch, text.context_length, text.vocab_size,
        text.width, text.heads, text.layers,
    ).visual.eval()  # fmt: skip
    data = exports.config_json(config)["model_cfg"]
    found["open_clip"] = open_clip.model.CLIP(
        data["embed_dim"], data["vision_cfg"], data["text_cfg"], quick_gelu=data["quick_gelu"]
    ).visual.eval()
    if patch:
        data = huggingface.config_json(config, "float32")
        vision = transformers.CLIPVisionConfig(**data["vision_config"])
        found["transformers"] = transformers.CLIPVisionModelWithProjection(vision).eval()
    return found


def peers(name: str, config: CLIP) -> dict[str, Callable[[np.ndarray], Any]]:
    """The image encoders of the peers; only those are kept in memory."""
    import torch

    torch.set_num_threads(THREADS)
    found = released_peers(config) if name in catalog.names() else family_peers(name, config)

    def call(encoder: Any) -> Callable[[np.ndarray], Any]:
        def run(pixels: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                out = encoder(torch.from_numpy(pixels).permute(0, 3, 1, 2))
            kept = getattr(out, "image_embeds", None)
            return (getattr(out, "pooler_output", out) if kept is None else kept).numpy()

        return run

    return {name: call(encoder) for name, encoder in found.items()}


def ceilings() -> dict[str, float]:
    """GFLOP/s of a 2048 x 2048 product in XLA and in torch, the best of nine."""
    import jax
    import torch

    torch.set_num_threads(THREADS)
    x = np.random.default_rng(0).normal(size=(2048, 2048)).astype(np.float32)
    product, a, b = jax.jit(lambda a: a @ a), jax.numpy.asarray(x), torch.from_numpy(x)
    seconds = side_by_side.interleave({"xla": lambda: product(a).block_until_ready(), "torch": lambda: b @ b}, 9)
    return {name: 2 * 2048**3 / min(s) / 1e9 for name, s in seconds.items()}


def measure(args: argparse.Namespace) -> Iterator[side_by_side.Row]:
    """One row per model and batch."""
    for name in args.models.split(","):
        config = configuration(name)
        flops = counts.flops(config.image.products(config.embed_dim))
        others, ceiling = peers(name, config), ceilings()
        for batch in map(int, args.batches.split(",")):
            if batch * flops > args.most * 1e12:
                continue
            size = config.image.image_size
            pixels = np.random.default_rng(0).normal(size=(batch, size, size, 3)).astype(np.float32)
            encoders = {side_by_side.OURS: ours(config, batch)} | others
            calls = {who: (lambda encoder=encoder, pixels=pixels: encoder(pixels)) for who, encoder in encoders.items()}
            seconds = side_by_side.interleave(calls, args.rounds, args.budget)
            reached = {who: round(batch * flops / statistics.median(s) / 1e9) for who, s in seconds.items()}
            extra = {"gflop_per_image": flops / 1e9, "gflops": reached, "ceiling": ceiling}
            bar = RESNET_BAR if isinstance(config.image, ResNet) else VIT_BAR
            yield side_by_side.Row("image_encoders", f"{name}, batch {batch}", seconds, batch, "image", bar, extra)
            del encoders, calls
            gc.collect()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", default=",".join(catalog.names()))
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--budget", type=float, default=60, help="seconds of a cell after which no round is begun")
    parser.add_argument("--most", type=float, default=6, help="TFLOP of one call above which a cell is left out")


if __name__ == "__main__":
    side_by_side.main(__doc__, measure, add_arguments)
