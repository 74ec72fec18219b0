"""GPU time of encoders, updates and attention, alternating with open_clip on the same card.

Inputs and results of both are on the card: clipjax takes uint8 images and normalises
them, open_clip receives normalised images of the compute dtype. Weights are random numbers of sensible size.
"""

from __future__ import annotations

import gc
import glob
import math
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from clipjax import gpu, parallel
from clipjax.encoder import Encoder
from clipjax.models import catalog, clip
from clipjax.models.config import CLIP
from clipjax.models.kinds.resnet import ResNet
from clipjax.plan import chips, counts, programs, report
from clipjax.train import optimiser, step

ROUNDS, SECONDS = 5, 0.25  # of every candidate, and how long one of them lasts at least
SIDE = 8192  # of the square matrices whose product is this card's ceiling
Call = Callable[[], Any]


def weights(config: CLIP) -> clip.Params:
    """Random numbers at a layer's scale, gains and variances about 1; quick, because one block of them serves all."""
    block = np.random.default_rng(0).normal(size=1 << 20).astype(np.float32)
    flat = {}
    for name, shape in clip.shapes(config).items():
        values = np.resize(block, shape)
        if len(shape) >= 2:
            flat[name] = values * math.prod(shape[:-1]) ** -0.5
        else:
            flat[name] = 0.05 * values + float(name.endswith((".weight", "running_var")))
    flat["logit_scale"] = np.float32(math.log(100))
    return clip.unflatten(flat)


def timed(calls: Mapping[str, Call], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of one call, per candidate and round, in turns. A call starts work; `wait` of its result ends it."""
    repeats = {}
    for name, call in calls.items():
        for _ in range(2):
            wait(call())
        begin = time.perf_counter()
        wait(call())
        repeats[name] = max(1, math.ceil(SECONDS / (time.perf_counter() - begin)))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            for _ in range(repeats[name]):
                last = call()
            wait(last)
            seconds[name].append((time.perf_counter() - begin) / repeats[name])
    return seconds


def wait(result: Any) -> None:
    """Until the card has computed it."""
    if isinstance(result, jax.Array | dict | tuple | list):
        jax.block_until_ready(result)
    else:
        import torch

        if card() == "cuda":
            torch.cuda.synchronize()


def card() -> str:
    """Where torch computes: without a card everything runs on the CPU, for trying this script out."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def told(seconds: Mapping[str, list[float]], batch: int) -> dict[str, Any]:
    """Medians, rates and, where open_clip is among them, the ratio of its fastest form's time to ours."""
    median = {name: statistics.median(s) for name, s in seconds.items()}
    found: dict[str, Any] = {"seconds": dict(seconds), "per_second": {k: batch / s for k, s in median.items()}}
    others = {k: s for k, s in median.items() if k.startswith("open_clip")}
    if others and "clipjax" in seconds:
        fastest = min(others, key=lambda k: others[k])
        ratios = [b / a for a, b in zip(seconds["clipjax"], seconds[fastest], strict=True)]
        found["ratio"] = [statistics.median(ratios), min(ratios), max(ratios)]
        found["fastest_peer"] = fastest
    return found


def image_call(config: CLIP, params: clip.Params, dtype: str, batch: int) -> Call:
    """The encoder's own program on pictures that lie on the card."""
    mesh = parallel.data_mesh(jax.devices()[:1])
    program, (leaves, rows) = Encoder(
        config, params, dtype=dtype, batch_size=batch, mesh=mesh, full_batches=True
    ).image_step()  # fmt: skip
    flat = clip.flatten(params)
    # A CPU keeps some matrices as [out, in].
    flat = {name: v if v.shape == leaves[name].shape else v.T for name, v in flat.items() if name in leaves}
    held = {name: jax.device_put(flat[name], leaf.sharding) for name, leaf in leaves.items()}
    pixels = np.random.default_rng(0).integers(0, 256, rows.shape).astype(np.uint8)
    on_card = jax.device_put(pixels, rows.sharding)
    return lambda: program(held, on_card)


def _dtype(dtype: str) -> Any:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as JAX's default is
    return getattr(torch, dtype)


def _open_clip(config: CLIP) -> Any:
    """open_clip's model of this architecture with random weights, on the card."""
    import open_clip.model
    import torch

    from checkpoints_convert import open_clip_config as exports

    data = exports.config_json(config)["model_cfg"]
    with torch.device(card()):
        return open_clip.model.CLIP(
            data["embed_dim"], data["vision_cfg"], data["text_cfg"], quick_gelu=data["quick_gelu"]
        )  # fmt: skip


def _inference(model: Any, *inputs: Any) -> Call:
    import torch

    def call() -> Any:
        with torch.inference_mode():
            return model(*inputs)

    return call


def encoders(name: str, dtype: str, batch: int, with_compiler: bool) -> dict[str, Any]:
    """The image encoder beside open_clip's (ResNets in channels_last), and the share of the roofline it reaches."""
    import torch

    config = catalog.get(name).config
    calls = {"clipjax": image_call(config, weights(config), dtype, batch)}
    size = config.image.image_size
    pixels = torch.randn(batch, 3, size, size, device=card(), dtype=_dtype(dtype))
    encoder = _open_clip(config).visual.eval().to(_dtype(dtype))
    if isinstance(config.image, ResNet):
        encoder, pixels = encoder.to(memory_format=torch.channels_last), pixels.to(memory_format=torch.channels_last)
    calls["open_clip"] = _inference(encoder, pixels)
    if with_compiler:
        calls["open_clip, torch.compile"] = _inference(torch.compile(encoder), pixels)
    found = told(timed(calls), batch)
    seconds = statistics.median(found["seconds"]["clipjax"])
    del calls, encoder, pixels
    _free()
    return found | roofline(config, dtype, batch, seconds)


def roofline(config: CLIP, dtype: str, batch: int, seconds: float) -> dict[str, Any]:
    """`clipjax plan`'s estimate for this card beside what was measured."""
    topology = chips.topology(f"{chip()}:1")
    planned = programs.evaluation(config, 1, batch, dtype=dtype)
    time_of = report.roofline(topology.chip, planned.flops, planned.moved, 0, dtype)
    return {
        "planned_seconds": time_of.seconds,
        "bound": time_of.bound,
        "share_of_roofline": time_of.seconds / seconds,
        "share_of_products": time_of.products / seconds,
        "tflops": planned.flops / seconds / 1e12,
    }


def chip() -> str:
    """The planned chip that this card is; an unknown one is measured against the H100's peaks."""
    words = re.split(r"[^a-z0-9]+", jax.devices()[0].device_kind.lower())
    return next((c.name for c in chips.CHIPS if c.kind == "gpu" and c.name in words), "h100")


def texts(name: str, dtype: str, batch: int, with_compiler: bool) -> dict[str, Any]:
    """The text encoder on 77 tokens beside open_clip's, and on 16, the cost of prompts of up to 14 tokens."""
    import torch

    config = catalog.get(name).config
    params = {k: v for k, v in weights(config).items() if k != "visual"}
    held = jax.device_put(params)
    tokens = np.zeros((batch, 77), np.int32)
    tokens[:, 0], tokens[:, 1:13] = 49406, np.random.default_rng(0).integers(1, 40000, (batch, 12))
    tokens[:, 13] = 49407
    program = jax.jit(lambda params, tokens: clip.apply_text(config, params, tokens, jnp.dtype(dtype)))
    long, short = jax.device_put(tokens), jax.device_put(tokens[:, :16])
    model = _open_clip(config)
    model.visual = torch.nn.Identity()
    encode = model.eval().to(_dtype(dtype)).encode_text
    theirs = torch.from_numpy(tokens).long().to(card())
    calls = {
        "clipjax": lambda: program(held, long),
        "clipjax, 16 tokens": lambda: program(held, short),
        "open_clip": _inference(encode, theirs),
    }
    if with_compiler:
        calls["open_clip, torch.compile"] = _inference(torch.compile(encode), theirs)
    found = told(timed(calls), batch)
    flops = batch * counts.flops(config.text.products(config.embed_dim))
    del calls, model, encode
    _free()
    return found | {"tflops": flops / statistics.median(found["seconds"]["clipjax"]) / 1e12}


def updates(name: str, batch: int, with_compiler: bool) -> dict[str, Any]:
    """One AdamW step in bfloat16 (parameters float32) beside open_clip's model and loss under autocast."""
    config = catalog.get(name).config
    rng = np.random.default_rng(0)
    size, tokens = config.image.image_size, np.zeros((batch, 77), np.int32)
    tokens[:, 0], tokens[:, 1:13], tokens[:, 13] = 49406, rng.integers(1, 40000, (batch, 12)), 49407
    pixels = rng.integers(0, 256, (batch, size, size, 3)).astype(np.uint8)
    examples = {"pixels": pixels, "tokens": tokens, "ids": np.arange(batch, dtype=np.int32)}
    params = weights(config)
    calls = {"clipjax": update_call(config, params, examples)}
    calls["clipjax, 16 tokens"] = update_call(config, params, examples | {"tokens": tokens[:, :16]})
    calls["open_clip"] = _torch_update(config, pixels, tokens, False)
    if with_compiler:
        calls["open_clip, torch.compile"] = _torch_update(config, pixels, tokens, True)
    found = told(timed(calls), batch)
    planned = programs.training(config, 1, batch, step.Options(dtype="bfloat16"))
    peak = chips.topology(f"{chip()}:1").chip
    planned_seconds = report.roofline(peak, planned.flops, planned.moved, 0, "bfloat16").seconds
    seconds = statistics.median(found["seconds"]["clipjax"])
    return found | {"planned_seconds": planned_seconds, "share_of_roofline": planned_seconds / seconds}


def update_call(config: CLIP, params: clip.Params, examples: dict[str, np.ndarray]) -> Call:
    """clipjax's step on one card, pictures there already; the state goes on from call to call."""
    options, recipe = step.Options(dtype="bfloat16"), optimiser.Options(steps=1000, learning_rate=1e-5)
    mesh = parallel.training_mesh(1, jax.devices()[:1])
    state = step.start(params, options, recipe, mesh)
    update, batch = step.make(config, options, recipe, state, mesh), jax.device_put(examples)

    def call() -> Any:
        nonlocal state
        state, metrics = update(state, batch)
        return metrics["loss"]

    return call


def _torch_update(config: CLIP, pixels: np.ndarray, tokens: np.ndarray, with_compiler: bool) -> Call:
    """As open_clip's trainer with --precision=amp_bfloat16; the optimiser in its fused form."""
    import torch
    from open_clip.loss import ClipLoss

    _dtype("bfloat16")
    model = _open_clip(config).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-5, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2, fused=True
    )  # fmt: skip
    loss_of, forward = ClipLoss(), torch.compile(model) if with_compiler else model
    mean, std = (torch.tensor(x, device=card()).view(1, 3, 1, 1) for x in (config.pixels.mean, config.pixels.std))
    pictures = torch.from_numpy(pixels).to(card()).permute(0, 3, 1, 2).contiguous()
    words = torch.from_numpy(tokens).long().to(card())

    def call() -> Any:
        optimizer.zero_grad()
        with torch.autocast(card(), torch.bfloat16):
            loss = loss_of(*forward((pictures.float() / 255 - mean) / std, words))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        return loss

    return call


def cudnn(name: str, batch: int) -> dict[str, Any]:
    """The image encoder in bfloat16, written for cuDNN and as elsewhere; how far their features lie from float32."""
    config = catalog.get(name).config
    params = weights(config)
    calls = {"clipjax": image_call(config, params, "bfloat16", batch)}
    fast = np.asarray(calls["clipjax"]()).astype(np.float64)
    some = min(batch, 8)  # the same first pictures
    with jax.default_matmul_precision("highest"):
        want = np.asarray(image_call(config, params, "float32", some)()).astype(np.float64)
    with mock.patch.object(gpu, "has_cudnn", return_value=False):
        calls["clipjax, plain"] = image_call(config, params, "bfloat16", batch)
        plain = np.asarray(calls["clipjax, plain"]()).astype(np.float64)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())

    found = told(timed(calls), batch)
    return found | {
        "cudnn_to_float32": cosine(fast[:some], want), "plain_to_float32": cosine(plain[:some], want),
        "cudnn_to_plain": cosine(fast, plain),
    }  # fmt: skip


def ceilings() -> dict[str, Any]:
    """What this card reaches: SIDE x SIDE products of random numbers (TFLOP/s), a copy (GB/s, read and written)."""
    x = jax.random.normal(jax.random.key(0), (SIDE, SIDE), jnp.float32)
    found = {}
    for dtype in ("bfloat16", "float32"):
        a = x.astype(dtype)
        product = jax.jit(lambda a: a @ a)
        seconds = statistics.median(timed({"product": lambda p=product, a=a: p(a)})["product"])
        found[f"{dtype}_tflops"] = 2 * SIDE**3 / seconds / 1e12
    large = jnp.tile(x, (8, 1))  # 2 GiB
    copy = jax.jit(lambda a: a + 1)
    seconds = statistics.median(timed({"copy": lambda: copy(large)})["copy"])
    return found | {"copy_gb_s": 2 * large.nbytes / seconds / 1e9}


def kernels(name: str, batch: int, count: int = 12) -> dict[str, Any]:
    """The longest kernels of the encoder in bfloat16, by JAX's profiler: share of the card's busy time, times run."""
    config = catalog.get(name).config
    call = image_call(config, weights(config), "bfloat16", batch)
    wait(call())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            wait(call())
        (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        data = jax.profiler.ProfileData.from_file(path)
        spent: dict[str, list[float]] = {}
        for plane in data.planes:
            for line in plane.lines:
                if "gpu" in plane.name.lower() and line.name.startswith("Stream"):
                    for event in line.events:
                        spent.setdefault(event.name, []).append(event.duration_ns / 1e6)
    if not spent:
        raise RuntimeError(f"the profile has no stream of a GPU, only {[plane.name for plane in data.planes]}")
    total = sum(map(sum, spent.values()))
    longest = sorted(spent.items(), key=lambda item: -sum(item[1]))[:count]
    kept = [[kernel[:120], round(sum(ms), 3), len(ms)] for kernel, ms in longest]
    return {"milliseconds": total, "kernels": kept}


def _free() -> None:
    import torch

    gc.collect()
    torch.cuda.empty_cache()
