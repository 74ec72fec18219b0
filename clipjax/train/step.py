"""One update: state and batch in, state and metrics out, the same program on one device or a mesh of them.

The state is a dict of arrays: `step`, `params` (flat, trainable), `fixed` (flat, frozen), `optimizer`, `ema` (flat, of
`params`; empty without). Parameters and moments are float32; the encoders compute in `dtype`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from clipjax import parallel
from clipjax.errors import InputError
from clipjax.models import clip, lora
from clipjax.models.config import CLIP
from clipjax.models.layers import Adapter
from clipjax.models.lowering import Lowering
from clipjax.train import accumulate, losses, optimiser

LOSSES = ("softmax", "ring_softmax", "sigmoid", "ring_sigmoid")
SIGLIP_BIAS = -10.0  # where SigLIP starts (Zhai et al. 2023, section 3.2)
State = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Options:
    """How an update is computed; `ema` is the decay of the moving average of parameters, 0 for none."""

    loss: str = "softmax"
    accumulation_steps: int = 1  # `parts` in configs
    dtype: str = "float32"
    remat: str = "none"
    scan: bool = False
    ema: float = 0.0
    ema_warmup: bool = False  # the decay is at most (1 + step) / (10 + step), of steps from 0
    soft_targets: bool = False  # pairs with an id in common are each other's positives
    adapters: lora.Lora | None = None  # what adapters among the parameters are; None: there are none
    seed: int = 0  # of the adapters' dropout
    batch_statistics: bool = False  # of BatchNorm: the whole batch's, on however many devices; learned on the way

    def __post_init__(self):
        if self.loss not in LOSSES:
            raise InputError(f"unknown loss {self.loss!r}; choose {', '.join(LOSSES)}")
        Lowering(remat=self.remat)  # refuses an unknown one
        if not 0 <= self.ema < 1:
            raise InputError(f"ema={self.ema} is not a decay: 0 for none, otherwise below 1")
        if self.accumulation_steps < 1:
            raise InputError(f"parts={self.accumulation_steps} is not positive")
        if self.batch_statistics and (self.accumulation_steps > 1 or self.remat != "none"):
            raise InputError(
                "optimizer.batch_statistics: the statistics of a batch that is encoded in parts, or again, are not "
                "those of the whole: parts=1 and remat=none"
            )


def start(params: clip.Params, options: Options, recipe: optimiser.Options, mesh: Mesh) -> State:
    """The state before the first update, float32, on the mesh. The sigmoid losses add a missing `logit_bias`."""
    flat = {name: jnp.asarray(x, jnp.float32) for name, x in clip.flatten(params).items()}
    if "sigmoid" in options.loss:
        flat.setdefault("logit_bias", jnp.float32(SIGLIP_BIAS))
    which = optimiser.trainable(flat, recipe.freeze, recipe.tune)
    trained, fixed = optimiser.split(flat, which)
    state = {
        "step": jnp.zeros((), jnp.int32),
        "params": trained,
        "fixed": fixed,
        "optimizer": optimiser.make(flat, recipe).init(trained),
        "ema": dict(trained) if options.ema else {},
    }
    # A copy: the step donates its state, and the caller's parameters are the caller's.
    return jax.tree.map(lambda x, s: jax.device_put(jnp.array(x), s), state, shardings(state, mesh))


def shardings(state: State, mesh: Mesh) -> Any:
    """A NamedSharding per leaf: parameters, moments and averages by their name, everything else on every device."""
    specs = parallel.fsdp_specs(state["params"] | state["fixed"], mesh, "fsdp")
    shapes = {name: jnp.shape(x) for name, x in (state["params"] | state["fixed"]).items()}

    def of(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        names = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
        name = next((n for n in reversed(names) if n in specs), None)
        matches = name is not None and shapes[name] == jnp.shape(leaf)
        return NamedSharding(mesh, specs[name] if matches else P())

    return jax.tree_util.tree_map_with_path(of, state)


def make(config: CLIP, options: Options, recipe: optimiser.Options, state: State, mesh: Mesh) -> Callable:
    """`step(state, batch) -> (state, metrics)`, jitted; the old state is donated.

    batch: pixels uint8 [B, S, S, 3], tokens int [B, T], ids int [B] or [B, K] (`losses`), cut over all devices; with
    hard negatives also hard_negatives int [B, T] and texts int [B, 2] (`feed.Batch`).
    Metrics are float32 scalars: loss, gradient_norm, logit_scale, learning_rate.
    """
    leaves, structure = jax.tree.flatten(shardings(state, mesh))
    return _program(config, options, recipe, mesh, structure, tuple(leaves))


def measure(config: CLIP, options: Options, state: State, mesh: Mesh, averaged: bool) -> Callable:
    """`loss(state, batch)`, a float32 scalar, jitted: the loss of a batch without an update, in as many parts.

    averaged: of the moving average of parameters, where there is one.
    """
    leaves, structure = jax.tree.flatten(shardings(state, mesh))
    return _measurement(config, options, mesh, structure, tuple(leaves), averaged)


@functools.lru_cache(4)
def _measurement(
    config: CLIP, options: Options, mesh: Mesh, structure: Any, leaves: tuple[NamedSharding, ...], averaged: bool
) -> Callable:
    def loss(state: State, batch: Any) -> jax.Array:
        fixed = state["fixed"]
        encode = _encoder(config, options, fixed, _lowering(options, mesh))
        params = state["ema"] if averaged and options.ema else state["params"]
        batch = _placed(batch)
        found = accumulate.embeddings(encode, options.accumulation_steps, mesh.size)(params, batch)
        return _loss(options, fixed, mesh)(params, found, batch)

    rows, replicated = NamedSharding(mesh, P(mesh.axis_names)), NamedSharding(mesh, P())
    return jax.jit(loss, in_shardings=(jax.tree.unflatten(structure, leaves), rows), out_shardings=replicated)


def _placed(batch: Any) -> Any:
    return batch | {"place": jnp.arange(len(batch["ids"]))}


def _lowering(options: Options, mesh: Any) -> Lowering:
    # A mesh without devices (jax.sharding.AbstractMesh) describes a machine that is not available.
    on_cpu = isinstance(mesh, Mesh) and mesh.devices.flat[0].platform == "cpu"
    return Lowering(flat_rows=on_cpu, remat=options.remat, scan=options.scan)


@functools.lru_cache(4)
def _program(
    config: CLIP, options: Options, recipe: optimiser.Options, mesh: Mesh, structure: Any,
    leaves: tuple[NamedSharding, ...],
) -> Callable:  # fmt: skip
    """The jitted update of every state of this structure and layout: runs of one recipe share it."""
    layout = jax.tree.unflatten(structure, leaves)
    optimizer = optimiser.make(clip.unflatten(layout["params"] | layout["fixed"]), recipe)
    rate = optimiser.schedule(recipe)
    rows = NamedSharding(mesh, P(mesh.axis_names))
    lowering = _lowering(options, mesh)

    def step(state: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
        batch = _placed(batch)
        encode = _encoder(config, options, state["fixed"], lowering, state["step"])
        loss_of = _loss(options, state["fixed"], mesh)
        learned: dict[str, jax.Array] = {}
        if options.batch_statistics:
            encode = _encoder(config, options, state["fixed"], lowering, state["step"], statistics=True)

            def whole(params: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
                *embeddings, statistics = encode(params, batch)
                return loss_of(params, tuple(embeddings), batch), statistics

            (loss, learned), gradient = jax.value_and_grad(whole, has_aux=True)(state["params"])
        else:
            compute = accumulate.value_and_grad(encode, loss_of, options.accumulation_steps, mesh.size)
            loss, gradient = compute(state["params"], batch)
        updates, moments = optimizer.update(gradient, state["optimizer"], state["params"])
        params = cast(dict[str, jax.Array], optax.apply_updates(state["params"], updates))
        if "logit_scale" in params:
            params = params | {"logit_scale": losses.clamp(params["logit_scale"], recipe.logit_scale_min)}
        new = state | {"step": state["step"] + 1, "params": params, "optimizer": moments}
        new["fixed"] = state["fixed"] | learned
        if options.ema:
            new["ema"] = optax.incremental_update(params, state["ema"], 1 - _decay(options, state["step"]))
        metrics = {
            "loss": loss,
            "gradient_norm": optax.tree.norm(gradient),
            "logit_scale": jnp.exp((params | state["fixed"])["logit_scale"]),
            "learning_rate": jnp.asarray(rate(state["step"]), jnp.float32),
        }
        return new, metrics

    replicated = NamedSharding(mesh, P())
    return jax.jit(step, donate_argnums=0, in_shardings=(layout, rows), out_shardings=(layout, replicated))


def _decay(options: Options, step: jax.Array) -> Any:
    """Of the moving average, at a step from 0."""
    if not options.ema_warmup:
        return options.ema
    return jnp.minimum(options.ema, (1 + step) / (10 + step))


def _encoder(
    config: CLIP, options: Options, fixed: dict[str, jax.Array], lowering: Lowering, step: jax.Array | None = None,
    statistics: bool = False,
) -> Callable:  # fmt: skip
    """(parameters, batch) -> embeddings of images, texts, and hard negatives where the batch has them; with
    `statistics` also BatchNorm's new ones.

    step: of training, which a dropout is drawn for; None: nothing is dropped.
    """
    dtype = jnp.dtype(options.dtype)
    mean, std = jnp.asarray(config.pixels.mean, jnp.float32), jnp.asarray(config.pixels.std, jnp.float32)

    def encode(trained: dict[str, jax.Array], batch: Any) -> tuple[Any, ...]:
        flat = {name: x for name, x in (trained | fixed).items() if name != "logit_bias"}
        flat, pairs = lora.apart(flat)
        place = batch["place"]  # in the whole batch, which microbatches and devices do not change
        params = clip.unflatten(flat)
        pixels = ((batch["pixels"].astype(jnp.float32) / 255 - mean) / std).astype(dtype)
        learned: dict[str, jax.Array] | None = {} if statistics else None
        of_images = _adapters(options, pairs, step, place)
        image = clip.apply_image(config, params, pixels, lowering=lowering, statistics=learned, adapters=of_images)
        # A caption's hard negative stands beside it, so that no text moves between devices.
        tokens = jnp.stack([batch[name] for name in ("tokens", "hard_negatives") if name in batch], axis=1)
        places = (place[:, None] * tokens.shape[1] + jnp.arange(tokens.shape[1])).reshape(-1)
        of_texts, tokens_2d = _adapters(options, pairs, step, places), tokens.reshape(-1, tokens.shape[2])
        text = clip.apply_text(config, params, tokens_2d, dtype, lowering=lowering, adapters=of_texts)
        texts = clip.normalise(text).reshape(*tokens.shape[:2], -1)
        embeddings = clip.normalise(image), *(texts[:, k] for k in range(tokens.shape[1]))
        return embeddings if learned is None else (*embeddings, learned)

    return encode


def _adapters(
    options: Options, pairs: dict[str, tuple[jax.Array, jax.Array]], step: jax.Array | None, place: jax.Array
) -> dict[str, Adapter]:
    """Each with random numbers of its own, which depend on the seed, the step and an example's place [B]."""
    found = {}
    for number, (name, (a, b)) in enumerate(pairs.items()):
        assert options.adapters is not None
        keys = None
        if step is not None and options.adapters.dropout:
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(options.seed), step), number)
            keys = jax.vmap(lambda one, key=key: jax.random.fold_in(key, one))(place)
        found[name] = Adapter(a, b, options.adapters.scale, options.adapters.dropout, keys)
    return found


def _loss(options: Options, fixed: dict[str, jax.Array], mesh: Mesh) -> Callable:
    form = getattr(losses, options.loss)

    def loss(trained: dict[str, jax.Array], embeddings: tuple[jax.Array, ...], batch: Any) -> jax.Array:
        flat = trained | fixed
        extra: dict[str, Any] = {"mesh": mesh} if options.loss.startswith("ring") else {}
        image, text, *others = embeddings
        if others:
            captions, given = batch["texts"].T
            same = (captions[:, None] == given[None]) & options.soft_targets
            extra["hard_negatives"] = losses.HardNegatives(others[0], (given[None] >= 0) & ~same)
        scalars = [jnp.exp(flat["logit_scale"])] + ([flat["logit_bias"]] if "sigmoid" in options.loss else [])
        return form(image, text, *scalars, batch["ids"] if options.soft_targets else None, **extra)

    return loss
