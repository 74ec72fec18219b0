"""What a fine-tuning run was begun with, compared by content when it goes on: options, data, and the first weights.

Every checkpoint says it, so that it belongs to the state that is restored. A difference is refused, or accepted by a
flag and then recorded in all later checkpoints and in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from clipjax import stored
from clipjax.errors import InputError
from clipjax.keys import flat
from clipjax.models import trained
from clipjax.runs.folder import differences

BEGUN = "begun"  # of a checkpoint's custom metadata
# What may differ when a run goes on: where it computes, what it tells and what stops it, never what it learns.
FREE = (
    "verb", "devices", "fsdp", "log_every", "checkpoints", "probes", "profile", "tensorboard", "wandb", "export",
    "threads", "data.max_skipped", "evaluate.every", "evaluate.share", "early_stopping", "name", "parts", "remat",
    "scan",
)  # fmt: skip
# What is compared by the content that it leads to, wherever that lies and whatever it is called.
CONTENT = ("model", "weights", "architecture", "classes", "templates", "data", "validation_split")
OF_THE_RESULT = ("evaluate.share", "export", "name")  # without which a complete run would have other files
OF_THE_STREAM = ("data.context", "data.last_batch", "batch_size", "seed")  # which examples come when, and how
# What a state is made of: it cannot change on the way.
STRUCTURE = (
    "optimizer.name", "loss", "ema", "optimizer.freeze", "optimizer.batch_statistics", "tune", "lora.rank",
    "lora.alpha", "lora.on", "resize",
)  # fmt: skip
FLAG = "--accept-changes"


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """`options` by name; `data`, `model` and `validation` (empty: none) by fingerprint. The stream of examples began at
    `step`, after `epoch` epochs of others. changes: what was accepted, each with its step."""

    options: dict[str, Any]
    data: str
    pairs: int
    model: str
    validation: str = ""
    step: int = 0
    epoch: float = 0.0
    changes: list[dict[str, Any]] = []


def options_of(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a config that decide what is learned and are not compared by content."""
    return {name: value for name, value in flat(resolved).items() if _is_compared(name)}


def _is_compared(name: str) -> bool:
    if name in OF_THE_STREAM:
        return True
    return not any(name == one or name.startswith(f"{one}.") for one in (*FREE, *CONTENT))


def is_same(out: Path, resolved: Mapping[str, Any]) -> bool:
    """Whether a run's own config names the same data, model and files of the result; else their contents decide."""

    def named(config: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in flat(config).items() if name.startswith((*CONTENT, *OF_THE_RESULT))}

    return not differences(named(stored.read(out / "config.json", dict[str, Any])), named(resolved))


def latest(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint in a folder of them."""
    steps = [path for path in checkpoints.glob("*") if path.name.isdigit() and trained.is_checkpoint(path)]
    return max(steps, key=lambda path: int(path.name), default=None)


def read(checkpoint: Path) -> Begun:
    """What a checkpoint says of its run."""
    said = trained.custom_metadata(checkpoint)
    remedy = "choose another --out"
    if BEGUN not in said:
        raise InputError(f"{checkpoint}: does not say what its run was begun with; {remedy}")
    return stored.check(said[BEGUN], Begun, f"{checkpoint}: custom_metadata.{BEGUN}", remedy)


def check_options(out: Path, before: Begun, resolved: Mapping[str, Any], accept: bool) -> list[str]:
    """The options that differ, where they are accepted. Cheap: nothing but the config is needed."""
    differs = differences(before.options, options_of(resolved))
    fixed = [one for one in differs if one.startswith(tuple(f"{name}{end}" for name in STRUCTURE for end in ":."))]
    if fixed:
        raise InputError(
            f"{out}: holds a run with another config ({'; '.join(fixed[:5])}), which its moments are made for; begin a "
            f"new run from its weights: --config.model={out} (or one of its checkpoints) and another --out"
        )
    if differs and not accept:
        raise InputError(
            f"{out}: holds a run with another config ({'; '.join(differs[:5])}); choose another --out, or go on with "
            f"the new values from its last checkpoint, which is recorded: {FLAG}"
        )
    return differs


def going_on(out: Path, before: Begun, now: Begun, step: int, epoch: float, accept: bool) -> Begun:
    """`now` as it goes on from step `step`, after `epoch` epochs of the data so far; differences are refused or
    recorded. Other data, and another order of it, begin with their first epoch."""
    if before.model != now.model:
        raise InputError(
            f"{out}: was begun with other weights than config.model has now; its parameters come from its checkpoint, "
            "so they would change nothing: restore the weights, or choose another --out"
        )
    changed = differences(before.options, now.options)
    stream = any(one.startswith(tuple(f"{name}:" for name in OF_THE_STREAM)) for one in changed)
    if before.data != now.data:
        what = (
            f"data: {before.pairs} pairs, now {now.pairs} others" if before.pairs != now.pairs else "data: other pairs"
        )
        if not accept:
            raise InputError(
                f"{out}: the images or captions are not those that it was begun with ({what}); restore them, choose "
                f"another --out, or go on with the new ones from its last checkpoint, which is recorded: {FLAG}"
            )
        changed.append(what)
        stream = True
    if before.validation and now.validation and before.validation != now.validation:
        if not accept:
            raise InputError(
                f"{out}: the validation pairs are not those that it was begun with, so that losses before and after "
                f"could not be compared; restore them, choose another --out, or go on with the new ones: {FLAG}"
            )
        changed.append("validation pairs: others")
    begins = (step, epoch) if stream else (before.step, before.epoch)
    changes = [*before.changes, *([{"step": step, "changed": changed}] if changed else [])]
    return msgspec.structs.replace(now, step=begins[0], epoch=begins[1], changes=changes)
