"""From a fine-tuning config to a run folder: checkpoints on the way, probes on the way, one weights file at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from clipjax import loading, parallel
from clipjax.data.source import Source
from clipjax.errors import InputError, some
from clipjax.files import sha256
from clipjax.image import Preprocess
from clipjax.models import clip, weights
from clipjax.models import config as architectures
from clipjax.models.inputs import CLIP_BPE
from clipjax.progress import say
from clipjax.runs import data as opening
from clipjax.runs import finetune_config, runner
from clipjax.runs import task as tasks
from clipjax.runs.config import digest, plain, typed
from clipjax.runs.finetune_config import FinetuneConfig
from clipjax.runs.folder import RunFolder, differences, environment, read_config
from clipjax.runs.publish import label
from clipjax.train import augment, feed, loop, optimiser, step, writers
from clipjax.train.checkpoints import Checkpoints
from clipjax.train.export import final_weights

RESULT = "model.safetensors"
CHECKPOINTS = "checkpoints"
HOLDS = (CHECKPOINTS, RESULT, "tensorboard", "wandb", "probes", "profile", "failed")


class Finetuned(NamedTuple):
    """The weights file, and what the main process prints; nothing where the run was complete before."""

    weights: Path
    text: str = ""


def run(given: ConfigDict, out: Path) -> Finetuned:
    """Trains, or goes on. Only process 0 writes."""
    main_process = parallel.is_main_process()
    resolved = plain(given)
    config: FinetuneConfig = typed(resolved)
    result = out / RESULT
    _check_same_run(out, resolved)
    if (out / "manifest.json").exists() and result.exists():
        if main_process:
            say(f"{out}: already complete, nothing to do")
        return Finetuned(result)
    # Every check of the input comes before the model is loaded, and that before the folder is made.
    recipe, options = finetune_config.optimiser_options(config), finetune_config.step_options(config)
    augmentation = finetune_config.augmentation(config)
    probes = finetune_config.probe_configs(config)
    source = _source(config)
    pairs = feed.pairs(source, tasks.templates_of(config.templates), config.data.id_column, config.data.max_skipped)
    parallel.check_same(digest(resolved), "config")
    parallel.check_same(digest(source.files.tolist()), "list of files")
    begin = _begin(config)
    mesh = _mesh(config)
    data = _feed(config, begin, pairs, augmentation)
    folder = RunFolder(out, resolved, writes=main_process, holds=HOLDS)
    try:
        checkpoints = Checkpoints(out / CHECKPOINTS, config.checkpoints.keep, config.checkpoints.best)
        state = step.start(clip.unflatten(begin.flat), options, recipe, mesh)
        first = checkpoints.latest or 0
        if first:
            state, place = checkpoints.restore(first, state, step.shardings(state, mesh))
            data.set_state(place)
            if main_process:
                say(f"{out}: goes on after step {first} of {config.steps}")
        writer = _writer(config, folder, first)
        _train(config, begin, pairs, mesh, data, folder, checkpoints, writer, state, probes, options, recipe)
    finally:
        data.close()
        folder.close()
    return Finetuned(result, _summary(out, config, writers.events(out / "log.jsonl")) if main_process else "")


def _source(config: FinetuneConfig) -> Source:
    """The training data; labels, which are captions where there are no others, in the words of `classes`."""
    source = opening.open_source(config.data).source
    if not config.classes:
        return source
    if source.captions is not None or source.labels is None:
        raise InputError(f"{source.name}: config.classes names labels, and the images have captions; leave it out")
    asked = tasks.chosen("", config.classes)
    assert asked is not None
    return dataclasses.replace(source, labels=source.labels.align(asked.names, source.name))


def _train(
    config: FinetuneConfig, begin: weights.Weights, pairs: feed.Pairs, mesh: Mesh, data: feed.Feed, folder: RunFolder,
    checkpoints: Checkpoints, writer: writers.Writer, state: loop.State, probes: dict[str, tuple[int, ConfigDict]],
    options: step.Options, recipe: optimiser.Options,
) -> None:  # fmt: skip
    """From the first step to the files of a finished run; closes what the run writes through, whatever happens."""
    update = step.make(begin.config, options, recipe, state, mesh)
    profile = (config.profile.first, config.profile.steps)
    pace = loop.Options(config.steps, config.log_every, config.checkpoints.every, profile, config.data.max_skipped)

    def weights_of(state: loop.State) -> weights.Weights:
        return final_weights(state, begin, pairs, config, _trained(folder.config, begin, pairs))

    hooks = [(every, _hook(name, probe, folder, weights_of)) for name, (every, probe) in probes.items()]
    try:
        run = loop.Loop(update, state, data, mesh, checkpoints, writer, pace, folder.path, hooks)
        state = run.run()
        final = weights_of(state)
        if folder.writes:
            weights.save(folder.path / RESULT, final)
            folder.write_json("manifest.json", _manifest(config, begin, pairs, mesh, folder))  # last: it is complete
    finally:
        with contextlib.suppress(InputError):  # what went wrong first is what is told
            checkpoints.close()
        writer.close()


def _check_same_run(out: Path, resolved: dict[str, Any]) -> None:
    """A folder with checkpoints belongs to one config: another would silently go on with the old one's moments."""
    if not (out / "config.json").exists() or not any(p.name.isdigit() for p in (out / CHECKPOINTS).glob("*")):
        return
    free = tuple(f"{key}{end}" for key in finetune_config.FREE for end in ".:")
    if differs := [one for one in differences(read_config(out), resolved) if not one.startswith(free)]:
        raise InputError(
            f"{out}: holds a run with another config ({'; '.join(differs[:5])}); choose another --out or remove it"
        )


def _mesh(config: FinetuneConfig) -> Mesh:
    devices = jax.devices()
    if config.devices:
        if jax.process_count() > 1 or not 0 < config.devices <= len(devices):
            raise InputError(f"devices={config.devices}: 1 to {len(devices)} on one host, 0 for all")
        devices = devices[: config.devices]
    if config.batch_size % (config.parts * len(devices)):
        raise InputError(
            f"batch_size={config.batch_size} does not divide over {len(devices)} devices in {config.parts} parts"
        )
    return parallel.training_mesh(config.fsdp, devices)


def _begin(config: FinetuneConfig) -> weights.Weights:
    """The weights before the first step, float32: loaded, or drawn from the seed."""
    if bool(config.model) == bool(config.architecture):
        raise InputError("name either config.model (weights to begin from) or config.architecture (from scratch)")
    options = loading.options_of(config.weights)
    if config.architecture and options != loading.Options():
        raise InputError("config.weights.* is for weights of a file; with config.architecture nothing is read")
    if config.architecture:
        architecture = architectures.from_dict(config.architecture)
        flat = clip.flatten(clip.init(architecture, jax.random.key(config.seed)))
        name = config.name or "from-scratch"
        return weights.Weights({k: np.asarray(v) for k, v in flat.items()}, architecture, name, {"format": "random"})
    loaded = loading.find_weights(config.model, options)
    flat = {name: np.asarray(array, np.float32) for name, array in loaded.flat.items()}
    return weights.Weights(flat, loaded.config, loaded.name, loaded.source)


def _feed(
    config: FinetuneConfig, begin: weights.Weights, pairs: feed.Pairs, augmentation: augment.Augment
) -> feed.Feed:
    architecture = begin.config
    if architecture.tokens != CLIP_BPE or not architecture.text.can_cut:
        raise InputError(
            f"{begin.name}: fine-tuning reads captions with CLIP's tokenizer and cuts them at their end; this model "
            "has another tokenizer, or a text encoder that sees padding: fine-tune it where it was trained"
        )
    context = config.data.context or architecture.text.context_length
    if context > architecture.text.context_length:
        raise InputError(f"data.context={context}: {begin.name} reads {architecture.text.context_length} tokens")
    if config.batch_size > len(pairs):
        raise InputError(
            f"batch_size={config.batch_size} is more than the {len(pairs)} pairs of {pairs.source.name}: an image "
            "would meet itself as its own negative; lower it"
        )
    if pairs.without and jax.process_index() == 0:
        say(f"note: {len(pairs.without)} rows have no caption and are left out: {some(pairs.without, 3)}")
    spec = Preprocess(architecture.image.image_size, **vars(architecture.pixels))
    share = (jax.process_index(), jax.process_count())
    return feed.Feed(pairs, config.batch_size, spec, context, augmentation, config.seed, share, config.threads)


def _writer(config: FinetuneConfig, folder: RunFolder, first: int) -> writers.Writer:
    path = folder.path.absolute()
    wandb = None
    if config.wandb.project:
        wandb = {"project": config.wandb.project, "name": config.wandb.name or path.name, "dir": str(path)}
        wandb["id"] = digest(str(path))[:16]  # the same run again after a restart
    return writers.Writer(folder.log, first, path / "tensorboard" if config.tensorboard else None, wandb)


def _hook(
    name: str, probe: ConfigDict, folder: RunFolder, weights_of: Callable[[loop.State], weights.Weights]
) -> loop.Hook:
    """Runs a probe of the engine on the weights of the moment, as `clipjax probe` would on their file."""

    def hook(number: int, state: Any) -> dict[str, float]:
        out = folder.path / "probes" / name / f"step-{number:08d}"
        file = folder.path / "probes" / f".{name}.tmp.safetensors"
        now = weights_of(state)
        if folder.writes:
            file.parent.mkdir(parents=True, exist_ok=True)
            weights.save(file, now)
        parallel.check_same(number, "step")  # nobody reads before it is written
        one = probe.copy_and_resolve_references()
        one.model = str(file)
        made = runner.run(one, out)
        if folder.writes:
            say(made.text())
        records = [record for run in made.runs for record in run.records]
        file.unlink(missing_ok=True)
        return {f"{name}/{label(r)}": r.value for r in records if r.value is not None}

    return hook


def _trained(resolved: dict[str, Any], begin: weights.Weights, pairs: feed.Pairs) -> dict[str, Any]:
    """What the weights file says of its training: no config, whose paths are nobody else's business."""
    return {
        "config_sha256": digest(resolved),
        "data": {"name": pairs.source.name, "fingerprint": pairs.source.fingerprint, "pairs": len(pairs)},
        "from": {"name": begin.name, **dict(begin.source)},
    }


def _manifest(
    config: FinetuneConfig, begin: weights.Weights, pairs: feed.Pairs, mesh: Mesh, folder: RunFolder
) -> dict[str, Any]:
    events = [e for e in writers.events(folder.path / "log.jsonl") if e["stage"] == "train"]
    return {
        "command": "clipjax finetune",
        **environment(mesh),
        "config": folder.config,
        **_trained(folder.config, begin, pairs),
        "architecture": architectures.to_dict(begin.config),
        "counts": {
            "steps": config.steps,
            "examples": config.steps * config.batch_size,
            "without_caption": list(pairs.without),
            "truncated": sum(e["truncated"] for e in events),
            "replaced": sum(e["replaced"] for e in events),
            "replaced_files": sorted({f for e in events for f in e["replaced_files"]}),
        },
        "last": {k: events[-1][k] for k in ("loss", "gradient_norm", "logit_scale")},
        "weights": {"file": RESULT, "sha256": sha256(folder.path / RESULT)},
    }


def _summary(out: Path, config: FinetuneConfig, events: Any) -> str:
    """What a person reads at the end: the losses that were logged, and how to ask who is affected."""
    events = [e for e in events if e["stage"] == "train"]
    before = config.model or "BEFORE"
    replaced = sum(e["replaced"] for e in events)
    lost = (
        f"{replaced} images could not be read, others took their place: {out / 'manifest.json'}\n" if replaced else ""
    )
    return (
        f"{config.steps} steps of {config.batch_size}; {_losses([(e['step'], e['loss']) for e in events])}\n{lost}\n"
        f"Written: {out / RESULT}\n"
        "Who is affected? Run the same probe before and after, then compare:\n"
        f"  clipjax probe PROBE --config.model={before} --out=before\n"
        f"  clipjax probe PROBE --config.model={out / RESULT} --out=after\n"
        "  clipjax compare before after --vary=weights"
    )


def _losses(logged: Sequence[tuple[int, float]]) -> str:
    """(step, loss) of single batches as one line: means with their spread, for two batches differ in their images."""
    several = min(10, len(logged) // 2)
    if several < 3:
        return f"loss of the batch of step {logged[-1][0]}: {logged[-1][1]:.4f}"
    parts = []
    for name, part in (("first", logged[:several]), ("last", logged[-several:])):
        losses = [loss for _, loss in part]
        spread = f"{statistics.mean(losses):.4f} (standard deviation {statistics.stdev(losses):.4f})"
        parts.append(f"{name} {several}, steps {part[0][0]} to {part[-1][0]}: {spread}")
    return "mean loss of logged batches, " + "; ".join(parts)
