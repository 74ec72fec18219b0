"""The programs that really run, with abstract arguments: nothing here allocates a parameter."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from clipjax import parallel
from clipjax.encoder import Encoder
from clipjax.errors import InputError
from clipjax.models import clip, lora
from clipjax.models.config import CLIP
from clipjax.plan import counts, traced
from clipjax.train import optimiser, step

# Devices to compile for, or only how many: enough to lower.
Chips = Sequence[Any] | int
AnyMesh = Any  # jax.sharding.Mesh, or AbstractMesh where there are no devices


@dataclasses.dataclass(frozen=True)
class Step:
    """One step on a mesh: the jitted program, its abstract arguments, what it should cost one chip by hand.

    `flops` are products as often as they run; `flops_once` counts loops (the ring, accumulation, scanned layers) as
    XLA does, their body once. `moved` are bytes through memory when each product reads and writes once.
    """

    program: Any
    arguments: tuple[Any, ...]
    chips: int
    batch: int  # images per chip
    parameters: int  # bytes per chip
    trained: int  # bytes per chip of those parameters that have moments; 0 of an evaluation step
    state: int  # bytes per chip beside the parameters: moments and averages
    inputs: int  # bytes per chip
    flops: int
    flops_once: int
    moved: int


def evaluation(
    config: CLIP, chips: Chips, batch: int, *, dtype: str = "bfloat16", placement: str = "replicated"
) -> Step:
    """The image encoder as `Encoder` runs it, `batch` images on each of `chips`."""
    mesh: AnyMesh = parallel.data_mesh(chips) if isinstance(chips, Sequence) else _abstract((chips,), ("data",))
    encoder = Encoder(
        config, clip.abstract(config), dtype=dtype, batch_size=batch, mesh=mesh,
        full_batches=True, placement=placement,
    )  # fmt: skip
    program, arguments = encoder.image_step()
    products = config.image.products(config.embed_dim)
    flops = batch * counts.flops(products)
    moved = counts.moved(products, batch, 4, jnp.dtype(dtype).itemsize)
    return Step(
        program, arguments, mesh.size, batch, bytes_of(arguments[0]), 0, 0, bytes_of(arguments[1]), flops, flops, moved
    )


def training(
    config: CLIP, chips: Chips, batch: int, given: step.Options, *, fsdp: int = 1,
    length: int | None = None, tune: str = "full", optimizer: str = "adamw",
) -> Step:  # fmt: skip
    """The update as `clipjax finetune` runs it, `batch` pairs on each of `chips`, captions of `length` tokens."""
    mesh = _training_mesh(chips, fsdp)
    length = config.text.context_length if length is None else length
    if batch % given.accumulation_steps:
        raise InputError(f"a batch of {batch} a chip does not divide into {given.accumulation_steps} parts")
    recipe = optimiser.Options(steps=1000, learning_rate=1e-5, name=optimizer, tune=tune)
    state = abstract_state(config, given, recipe, mesh)
    rows = NamedSharding(mesh, P(mesh.axis_names))
    total, side = batch * mesh.size, config.image.image_size
    examples = {
        "pixels": jax.ShapeDtypeStruct((total, side, side, 3), jnp.uint8, sharding=rows),
        "tokens": jax.ShapeDtypeStruct((total, length), jnp.int32, sharding=rows),
        "ids": jax.ShapeDtypeStruct((total,), jnp.int32, sharding=rows),
    }
    weights = {"params": state["params"], "fixed": state["fixed"]}
    flops, once, moved = _update_cost(config, given, batch, mesh.size, length)
    program: Any = step.make(config, given, recipe, state, mesh)
    if tune != "full":  # what has no gradient is not in the program: its own products, and bytes in proportion
        body, whole = program.trace(state, examples).jaxpr.jaxpr, flops
        flops, once = (traced.products(body, repeat) // mesh.size for repeat in (True, False))
        moved = moved * flops // whole
    parameters, trained = bytes_of(weights), bytes_of(state["params"])
    # The optimiser reads and writes trained parameters and moments, and reads the gradients.
    moved += 2 * (bytes_of(state) - bytes_of(state["fixed"])) + trained
    return Step(
        program, (state, examples), mesh.size, batch, parameters, trained, bytes_of(state) - parameters,
        bytes_of(examples), flops, once, moved,
    )  # fmt: skip


def options(
    loss: str, dtype: str, remat: str, accumulation_steps: int, scan: bool, ema: float = 0.0,
    adapters: lora.Lora | None = None,
) -> step.Options:  # fmt: skip
    """`step.Options` from the command line's words: the command line itself does not import `clipjax.train`."""
    return step.Options(loss, accumulation_steps, dtype, remat, scan, ema, adapters=adapters)


def abstract_state(config: CLIP, options: step.Options, recipe: optimiser.Options, mesh: AnyMesh) -> Any:
    """The training state's shapes and layouts on a mesh."""
    flat = clip.flatten(clip.abstract(config))
    if options.adapters is not None:
        flat |= {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in options.adapters.start(flat, 0).items()}
    state = jax.eval_shape(lambda params: step.start(params, options, recipe, mesh), clip.unflatten(flat))
    layout = step.shardings(state, mesh)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, layout)


def _abstract(shape: tuple[int, ...], names: tuple[str, ...]) -> AbstractMesh:
    return AbstractMesh(shape, names, (AxisType.Auto,) * len(shape))


def _training_mesh(chips: Chips, fsdp: int) -> AnyMesh:
    if isinstance(chips, Sequence):
        return parallel.training_mesh(fsdp, chips)
    if fsdp < 1 or chips % fsdp:
        raise InputError(f"fsdp={fsdp} does not divide {chips} devices")
    return _abstract((chips // fsdp, fsdp), ("data", "fsdp"))


def bytes_of(tree: Any) -> int:
    """Bytes of a tree of abstract arrays on one chip."""
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _update_cost(config: CLIP, options: step.Options, batch: int, chips: int, length: int) -> tuple[int, int, int]:
    """Per chip: operations, operations as XLA counts them, bytes moved by the encoders' products."""
    image, text = config.image.products(config.embed_dim), config.text.products(config.embed_dim, length)
    flops = once = moved = 0
    for encoder, products in ((config.image, image), (config.text, text)):
        groups = [(products, 1)]
        if options.scan and encoder.can_scan:  # all blocks but the last are one loop
            last = max(p.layer for p in products)
            looped = [p for p in products if 0 <= p.layer < last]
            groups = [([p for p in products if p not in looped], 1), (looped, last)]
        for group, trips in groups:
            each = counts.flops(group) * (2 if options.accumulation_steps > 1 else 1)  # accumulation encodes twice
            each += counts.backward(group) + counts.recomputed(group, options.remat)
            flops += batch * each
            once += batch * each // max(trips, 1) // options.accumulation_steps
        moved += 3 * counts.moved(products, batch, 4, jnp.dtype(options.dtype).itemsize)
    in_loss, turn = counts.loss(config.embed_dim, batch, chips, options.loss)
    return flops + in_loss, once + (turn or in_loss), moved
