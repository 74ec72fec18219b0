"""Optimizers for contrastive training out of optax's pieces, with each parameter's treatment spelled out by path rules.

A rule is a pair (regular expression, value) that is searched in the parameter's dotted name
(`visual.transformer.resblocks.3.mlp.c_fc.weight`); the first match decides.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from clipjax.errors import InputError, nearest, some
from clipjax.models import clip, lora
from clipjax.train import losses

# Statistics that OpenAI's ResNets have learned; fine-tuning uses them and leaves them as they are.
STATISTICS = r"running_(mean|var)$"
# Decay only what multiplies: gains, biases, embeddings of a position or class and scalars keep their size, as in
# OpenAI's training ("all weights that are not gains or biases", CLIP paper section 2.5).
DECAY: tuple[tuple[str, bool], ...] = (
    (r"(^|\.)(logit_scale|logit_bias)$", False),
    (r"(^|[._])bias$", False),
    (r"(^|\.)(ln(_\w+)?|bn\d|downsample\.1)\.weight$", False),
    (r"(class|positional)_embedding$|\.(probe|query)$", False),
    (rf"^{re.escape(lora.PREFIX)}", True),
    (r"(^|\.)(weight|(in|q|k|v)_proj_weight|proj|text_projection)$", True),
)
# open_clip's: whatever has two axes or more and is not called after a norm or a bias.
MATRICES: tuple[tuple[str, bool], ...] = (
    (r"(positional_embedding|\.probe|\.query)$", True),
    (r"class_embedding$", False),
    *DECAY,
)
# What each way of tuning trains, beside the logit scale and bias.
TUNED: dict[str, str] = {
    "full": r".",
    "lora": rf"^{re.escape(lora.PREFIX)}",
    "projections": r"^((visual\.proj|text_projection)(_bias)?|visual\.attnpool\.c_proj\..*)$",
    "biases": r"(^|[._])bias$",
    "norms": r"(^|\.)(ln(_\w+)?|bn\d|downsample\.1)\.(weight|bias)$",
}
SCALARS = r"^logit_(scale|bias)$"
OPTIMIZERS = ("adamw", "lion", "adafactor", "muon")
SCHEDULES = ("cosine", "linear", "constant")
READS = {"adamw": ("b1", "b2", "eps"), "lion": ("b1", "b2"), "adafactor": (), "muon": ("b1", "b2", "eps")}
DECAYS = {"weights": DECAY, "matrices": MATRICES}
PARTS = ("visual", "text", "scalars")
WARMUPS = ("zero", "first")
BLOCK = re.compile(r"(^|\.)(resblocks|layer[1-4])\.(\d+)\.")


@dataclasses.dataclass(frozen=True)
class Options:
    """Step sizes and their schedule. `steps` counts updates; rules are (regular expression, value) pairs."""

    steps: int
    learning_rate: float
    name: str = "adamw"  # a key of `OPTIMIZERS`
    schedule: str = "cosine"  # a key of `SCHEDULES`
    warmup: int = 0
    warmup_from: str = "zero"  # "first": learning_rate / warmup
    final: float = 0.0  # learning rate at the last step
    b1: float = 0.9
    b2: float = 0.98  # CLIP paper, table 19 (ViTs); 0.999 for ResNets
    eps: float = 1e-6  # CLIP paper, table 19 (ViTs); 1e-8 for ResNets
    weight_decay: float = 0.2
    clip_norm: float = 1.0
    freeze: tuple[str, ...] = ()
    tune: str = "full"  # what is trained: a key of `TUNED`, or last_blocks:K
    multipliers: tuple[tuple[str, float], ...] = ()
    layer_decay: float = 1.0
    decay: tuple[tuple[str, bool], ...] = DECAY
    logit_scale_min: float = 0.0  # of exp(logit_scale); 0: no limit

    def __post_init__(self):
        for name in ("learning_rate", "final", "eps", "weight_decay", "clip_norm"):
            if not getattr(self, name) >= 0:  # a negative rate or limit would climb the loss
                raise InputError(f"optimizer.{name}={getattr(self, name)}: is 0 or more")
        for name in ("b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"optimizer.{name}={getattr(self, name)}: is from 0 to below 1")
        if not 0 < self.layer_decay <= 1:
            raise InputError(f"optimizer.layer_decay={self.layer_decay}: is above 0 and at most 1")
        if not 0 <= self.logit_scale_min <= losses.LOGIT_SCALE_MAX:
            raise InputError(f"optimizer.logit_scale_min={self.logit_scale_min}: is from 0 to {losses.LOGIT_SCALE_MAX}")
        if wrong := [rule for rule in self.multipliers if not rule[1] >= 0]:
            raise InputError(f"optimizer.multipliers: {wrong[0][0]}={wrong[0][1]}: a factor is 0 or more")


def schedule(options: Options) -> optax.Schedule:
    """Linear warm-up from 0, or so that the first update has its share, then half a cosine (or a line) down to `final`,
    or the same rate to the end."""
    if options.schedule not in SCHEDULES:
        raise InputError(f"optimizer.schedule={options.schedule!r}; choose {', '.join(SCHEDULES)}")
    if options.warmup_from not in WARMUPS:
        raise InputError(f"optimizer.warmup_from={options.warmup_from!r}; choose {' or '.join(WARMUPS)}")
    if not 0 <= options.warmup < options.steps:
        raise InputError(
            f"warmup={options.warmup} updates of steps={options.steps}: it has to end before they do; lower "
            "optimizer.warmup or raise steps"
        )
    peak, warmup = options.learning_rate, options.warmup
    if options.schedule == "cosine":
        usual = optax.warmup_cosine_decay_schedule(
            0.0 if warmup else peak, peak, warmup, options.steps, options.final
        )  # fmt: skip
    else:
        last = options.final if options.schedule == "linear" else peak
        rise, fall = optax.linear_schedule(0.0, peak, warmup), optax.linear_schedule(peak, last, options.steps - warmup)
        usual = optax.join_schedules([rise, fall], [warmup]) if warmup else fall
    if options.warmup_from == "zero" or not warmup:
        return usual
    return lambda step: jnp.where(jnp.asarray(step) < warmup, peak * (step + 1) / warmup, usual(step))


def trainable(params: clip.Params, freeze: Sequence[str] = (), tune: str = "full") -> dict[str, bool]:
    """Name -> whether an update may change it: what `tune` trains, not statistics of BatchNorm, not what `freeze`
    matches."""
    names = list(clip.flatten(params))
    tuned = _tuned(names, tune)
    for pattern in freeze:
        if not any(_search(pattern, name) for name in names):
            raise InputError(f"freeze: {pattern!r} matches no parameter; names look like {some(names[:3])}")
    held = (STATISTICS, *freeze)
    changes = {name: name in tuned and not any(_search(pattern, name) for pattern in held) for name in names}
    if not any(yes for name, yes in changes.items() if tune == "full" or not re.search(SCALARS, name)):
        raise InputError(f"freeze: {', '.join(freeze)} leaves nothing to train with tune={tune}")
    return changes


def _tuned(names: Sequence[str], tune: str) -> set[str]:
    """What `tune` trains of these parameters, the logit scale and bias among them."""
    kind, colon, count = tune.partition(":")
    if kind == "last_blocks" and count.isdigit() and int(count):
        depths = depth(names)
        blocks = {part: sorted({depths[n] for n in names if _place(n) and _part(n) == part}) for part in PARTS}
        first = {part: found[-int(count) :][0] if found else 0 for part, found in blocks.items()}
        return {n for n in names if re.search(SCALARS, n) or depths[n] >= first[_part(n)]}
    if colon or kind not in TUNED:
        raise InputError(f"tune={tune!r}; choose {', '.join(TUNED)} or last_blocks:K (a number){nearest(kind, TUNED)}")
    return {name for name in names if re.search(SCALARS, name) or re.search(TUNED[kind], name)}


def decayed(names: Sequence[str], rules: Sequence[tuple[str, bool]] = DECAY) -> dict[str, bool]:
    """Name -> whether weight decay applies. InputError for a parameter that no rule matches."""
    decays = {name: _first(rules, name) for name in names}
    if unknown := [name for name, value in decays.items() if value is None]:
        raise InputError(f"weight decay: no rule covers {some(unknown)}; add one to `decay`")
    return {name: bool(value) for name, value in decays.items()}


def factors(params: clip.Params, options: Options) -> dict[str, float]:
    """Name -> what its learning rate is multiplied by: rule times layer_decay ** (layers above it in its encoder)."""
    names = list(clip.flatten(params))
    for pattern, _ in options.multipliers:
        if not any(_search(pattern, name) for name in names):
            raise InputError(f"multipliers: {pattern!r} matches no parameter; names look like {some(names[:3])}")
    depths = depth(names)
    deepest = {part: max(d for n, d in depths.items() if _part(n) == part) for part in {_part(n) for n in names}}
    out = {}
    for name in names:
        rule = _first(options.multipliers, name)
        below = deepest[_part(name)] - depths[name]
        out[name] = (1.0 if rule is None else float(rule)) * options.layer_decay**below
    return out


def depth(names: Sequence[str]) -> dict[str, int]:
    """Name -> layer in its encoder: embeddings and stem 0, blocks 1 to L, what follows L + 1 (BEiT's counting)."""
    places: dict[str, list[tuple[int, int]]] = {}
    for name in names:
        if place := _place(name):
            places.setdefault(_part(name), []).append(place)
    order = {part: sorted(set(blocks)) for part, blocks in places.items()}
    out = {}
    for name in names:
        blocks = order.get(_part(name), [])
        place = _place(name)
        if place:
            out[name] = 1 + blocks.index(place)
        else:
            first = re.search(r"(^|\.)(stem|conv\d|bn\d|(class|token|positional)_embedding|ln_pre)(\.|$)", name)
            out[name] = 0 if first and "attnpool" not in name else len(blocks) + 1
    return out


def make(params: clip.Params, options: Options) -> optax.GradientTransformation:
    """Clip by global norm, Adam (or another), decoupled decay, factors, schedule: over the flat trainable parameters.

    What is frozen never comes here: it has no gradient, no moments and no decay.
    """
    names = [name for name, yes in trainable(params, options.freeze, options.tune).items() if yes]
    mask = decayed(names, options.decay)
    factor = factors(params, options)
    return optax.chain(
        optax.clip_by_global_norm(options.clip_norm) if options.clip_norm else optax.identity(),
        _direction(options),
        optax.add_decayed_weights(options.weight_decay, mask=mask),
        # Without a state of its own, so that a run goes on with other factors.
        optax.stateless(lambda updates, _: _scaled(updates, factor)),
        optax.scale_by_learning_rate(schedule(options)),
    )


def _scaled(updates: Any, factor: Mapping[str, float]) -> Any:
    return {name: factor[name] * x for name, x in updates.items()}


def _direction(options: Options) -> optax.GradientTransformation:
    """What an optimizer makes of gradients, before decay and learning rate, which are the same for all of them."""
    if options.name == "adamw":
        return optax.scale_by_adam(b1=options.b1, b2=options.b2, eps=options.eps)
    if options.name == "lion":
        return optax.scale_by_lion(b1=options.b1, b2=options.b2)
    if options.name == "adafactor":  # of matrices row and column means, in place of all squares
        return optax.chain(optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0))
    if options.name == "muon":
        shapes = optax.contrib.MuonDimensionNumbers()
        muon = optax.contrib.scale_by_muon(weight_dimension_numbers=lambda flat: jax.tree.map(lambda _: shapes, flat))
        parts: dict[Hashable, Any] = {True: muon, False: optax.scale_by_adam(options.b1, options.b2, options.eps)}
        return optax.partition(parts, _are_hidden_matrices)
    raise InputError(
        f"optimizer.name={options.name!r}; choose {', '.join(OPTIMIZERS)}{nearest(options.name, OPTIMIZERS)}"
    )


def _are_hidden_matrices(flat: Mapping[str, Any]) -> dict[str, bool]:
    """Name -> whether Muon is for it: matrices of blocks, not embeddings, projections out, gains or biases (Jordan et
    al. 2024); the others have Adam."""
    return {name: bool(_place(name)) and jnp.ndim(array) == 2 for name, array in flat.items()}


def split(params: clip.Params, which: Mapping[str, bool]) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """(trainable, frozen) as flat dicts."""
    flat = clip.flatten(params)
    return {n: x for n, x in flat.items() if which[n]}, {n: x for n, x in flat.items() if not which[n]}


def _part(name: str) -> str:
    """The encoder that a parameter belongs to, or "scalars"."""
    name = name.removeprefix(lora.PREFIX)
    if name in ("logit_scale", "logit_bias"):
        return "scalars"
    return "visual" if name.startswith("visual.") else "text"


def _place(name: str) -> tuple[int, int] | None:
    """(stage, block): a transformer is one stage."""
    match = BLOCK.search(name)
    if not match:
        return None
    stage = match[2]
    return (int(stage[-1]) if stage.startswith("layer") else 0, int(match[3]))


def _first(rules: Sequence[tuple[str, Any]], name: str) -> Any:
    return next((value for pattern, value in rules if _search(pattern, name)), None)


def _search(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error as error:
        raise InputError(f"{pattern!r} is not a regular expression ({error})") from error
