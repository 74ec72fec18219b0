"""From a fine-tuning config to a run folder: checkpoints on the way, probes on the way, one weights file at the end."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from clipjax import parallel, stored, text
from clipjax.analysis.training import MEASURED
from clipjax.cache import sha256_of_arrays
from clipjax.errors import InputError
from clipjax.models import clip, peft, trained, weights
from clipjax.models import config as architectures
from clipjax.progress import say
from clipjax.runs import begun, conventions, finetune_config, finetune_result, runner
from clipjax.runs.begun import Begun
from clipjax.runs.config import digest, plain, typed
from clipjax.runs.finetune_config import FinetuneConfig
from clipjax.runs.finetune_input import first_weights, mesh_of, training_feed, training_pairs, validation_batch
from clipjax.runs.finetune_result import BEST, RESULT
from clipjax.runs.folder import RunFolder
from clipjax.runs.publish import label
from clipjax.train import feed, loop, optimiser, order, step, writers
from clipjax.train.checkpoints import Checkpoints
from clipjax.train.evaluation import Evaluation
from clipjax.train.export import final_adapters, final_weights, seen_tokens
from clipjax.train.pairs import Pairs, notes
from clipjax.train.texts import Texts, of_model

CHECKPOINTS = "checkpoints"
ADAPTER = "adapter"  # of tune=lora, in peft's form
TOKENIZERS = tuple(f"{Path(file).stem}.tokenizer{end}" for file in (RESULT, BEST) for end in (".json", ".model"))
HOLDS = (CHECKPOINTS, RESULT, BEST, ADAPTER, *TOKENIZERS, "tensorboard", "wandb", "probes", "profile", "failed")


class Finetuned(NamedTuple):
    """The weights file, and what the main process prints; nothing where the run was complete before."""

    weights: Path
    text: str = ""


@dataclasses.dataclass(frozen=True)
class _Job:
    """What a run is made of, once all of its input is read and checked."""

    config: FinetuneConfig
    begin: weights.Weights
    texts: Texts
    pairs: Pairs
    validation: Pairs | None
    mesh: Mesh
    feed: feed.Feed
    options: step.Options
    recipe: optimiser.Options
    probes: dict[str, tuple[int, ConfigDict]]
    about: trained.About
    begun: Begun


def run(given: ConfigDict, out: Path, accept: bool = False) -> Finetuned:
    """Trains, or goes on. Only process 0 writes. accept: another config or other data than a run was begun with."""
    main_process = parallel.is_main_process()
    resolved = plain(conventions.applied(given))
    config: FinetuneConfig = typed(resolved)
    result = out / RESULT
    checkpoint = begun.latest(out / CHECKPOINTS)
    before = None if checkpoint is None else begun.read(checkpoint)
    differs = [] if before is None else begun.check_options(out, before, resolved, accept)
    complete = (out / "manifest.json").exists() and result.exists() and not differs
    if complete and begun.is_same(out, resolved):
        if main_process:
            say(f"{out}: already complete, nothing to do")
        return Finetuned(result)
    job = _prepare(config, resolved)
    if before is not None and checkpoint is not None:
        at = int(checkpoint.name)
        asked = before.options
        epoch_batches = order.epoch_batches(before.pairs, asked["batch_size"], asked["data.last_batch"])
        epoch = before.epoch + (at - before.step) / epoch_batches
        job = dataclasses.replace(job, begun=begun.going_on(out, before, job.begun, at, epoch, accept))
        if main_process:
            (out / "manifest.json").unlink(missing_ok=True)  # of the run as it was: it goes on
    if main_process:
        of_pairs = notes(job.pairs, job.feed.lengths, job.feed.context, config.soft_targets, config.batch_size)
        for line in [*conventions.notes(given, resolved), *finetune_config.notes(config, job.begin), *of_pairs]:
            say(f"note: {line}")
    folder = RunFolder(out, resolved, writes=main_process, holds=HOLDS)
    try:
        best = _train(job, folder)
    finally:
        job.feed.close()
        folder.close()
    events = list(stored.events(out / "log.jsonl"))
    return Finetuned(result, finetune_result.summary(out, job.config, events, best) if main_process else "")


def _prepare(config: FinetuneConfig, resolved: dict[str, Any]) -> _Job:
    """Every check of the input comes before the model is loaded, and that before the folder is made."""
    finetune_config.check_read(config)
    options = finetune_config.step_options(config)
    augmentation = finetune_config.augmentation(config)
    probes = finetune_config.probe_configs(config)
    pairs, validation = training_pairs(config)
    finetune_config.check_best(config, validation is not None)
    config = finetune_config.with_steps(config, len(pairs))
    recipe = finetune_config.optimiser_options(config)
    parallel.check_same(digest(resolved), "config")
    parallel.check_same(digest(pairs.source.files.tolist()), "list of files")
    begin, tokenizer = first_weights(config)
    texts = of_model(begin.config, tokenizer, begin.name)
    mesh = mesh_of(config)
    stream = training_feed(config, begin, pairs, augmentation, config.batch_size, config.seed, texts)
    now = Begun(
        options=begun.options_of(resolved), data=pairs.fingerprint, pairs=len(pairs),
        model=sha256_of_arrays({name: np.asarray(array) for name, array in begin.flat.items()}),
        validation=validation.fingerprint if validation else "",
    )  # fmt: skip
    about = trained.About(
        architecture=architectures.to_dict(begin.config),
        name=config.name or f"{begin.name}-finetuned",
        source={"trained": finetune_result.trained(resolved, begin, pairs)},
        averaged=config.export.average,
        dtype=config.export.dtype,
        lora_scale=options.adapters.scale if options.adapters else 0.0,
        seen=_seen(begin, pairs, texts) if config.export.zero_unseen_tokens else None,
    )
    return _Job(config, begin, texts, pairs, validation, mesh, stream, options, recipe, probes, about, now)


def _seen(begin: weights.Weights, pairs: Pairs, texts: Texts) -> list[int]:
    context = begin.config.text.context_length
    return np.flatnonzero(seen_tokens(pairs, len(begin.flat[trained.TABLE]), context, texts)).tolist()


def _train(job: _Job, folder: RunFolder) -> int | None:
    """From the first step to the files of a finished run; closes what the run writes through, whatever happens.

    Returns the step of best.safetensors, where there is one.
    """
    config, out = job.config, folder.path
    about = {trained.ABOUT: msgspec.to_builtins(job.about), begun.BEGUN: msgspec.to_builtins(job.begun)}
    kept = Checkpoints(out / CHECKPOINTS, config.checkpoints.keep, config.checkpoints.best, about)
    adapters = finetune_config.adapters(config)
    added = {} if adapters is None else adapters.start(job.begin.flat, config.seed)
    state = step.start(clip.unflatten(dict(job.begin.flat) | added), job.options, job.recipe, job.mesh)
    state, first = _restored(job, kept, state, folder)
    writer = _writer(config, folder, first)
    try:
        _copy_tokenizer(job, folder, out / RESULT)
        for change in job.begun.changes:
            if change["step"] == first and parallel.is_main_process():
                say(f"{out}: goes on with changes, which its manifest records: {'; '.join(change['changed'])}")
                writer.write("changed", first, {"changed": change["changed"]})
        update = step.make(job.begin.config, job.options, job.recipe, state, job.mesh)
        pace = loop.Options(
            config.steps, config.log_every, config.checkpoints.every, (config.profile.first, config.profile.steps),
            config.data.max_skipped, config.early_stopping, (job.begun.step, job.begun.epoch),
        )  # fmt: skip
        earlier = [e for e in stored.events(out / "log.jsonl") if e["stage"] in MEASURED]
        run = loop.Loop(
            update, state, job.feed, job.mesh, kept, writer, pace, out, _hooks(job, folder, state), earlier
        )  # fmt: skip
        state = run.run()
        final, best = final_weights(state, job.about), kept.best
        added = final_adapters(state, job.about)
        chosen = None if best is None else _weights_at(job, kept, best, state)
        if folder.writes:
            weights.save(out / RESULT, final)
            if chosen is not None:
                weights.save(out / BEST, chosen)
                _copy_tokenizer(job, folder, out / BEST)
            resized = config.resize != finetune_config.ResizeKeys()
            if adapters is not None and not resized:  # adapters apply to the weights of a file
                peft.write(out / ADAPTER, added, adapters, config.model or job.begin.name, job.begin.config)
            trained_parameters = sum(array.size for array in state["params"].values())
            said = finetune_result.manifest(
                config, job.begin, job.pairs, job.mesh, folder, job.begun, run.step, best, trained_parameters
            )  # fmt: skip
            folder.write_json("manifest.json", said)  # last: it is complete
        return best
    finally:
        with contextlib.suppress(InputError):  # what went wrong first is what is told
            kept.close()
        writer.close()


def _restored(job: _Job, kept: Checkpoints, state: loop.State, folder: RunFolder) -> tuple[loop.State, int]:
    """The state of the newest checkpoint, with the feed at its place, and its step; else `state` and 0."""
    first = kept.latest or 0
    if first:
        state, place = kept.restore(first, state, step.shardings(state, job.mesh))
        if job.begun.step < first:
            job.feed.set_state(place)
        if parallel.is_main_process():
            say(f"{folder.path}: goes on after step {first} of {job.config.steps}")
    return state, first


def _weights_at(job: _Job, kept: Checkpoints, at: int, last: loop.State) -> weights.Weights:
    """The model at a step that has a checkpoint; `last`: the state after the last step."""
    if at == int(last["step"]):
        return final_weights(last, job.about)
    state, _ = kept.restore(at, last, step.shardings(last, job.mesh))
    return final_weights(state, job.about)


def _hooks(job: _Job, folder: RunFolder, state: loop.State) -> list[loop.Hook]:
    """What is measured before, on the way and after: losses of pairs that never change, the probes of the config."""
    config = job.config
    loss = step.measure(job.begin.config, job.options, state, job.mesh, job.about.averaged)
    parts = [("fixed", job.pairs, config.batch_size, 1)]
    if job.validation is not None:
        size = validation_batch(config, job.validation, job.mesh)
        whole = len(job.validation) // size
        parts.append(("validation", job.validation, size, min(whole, config.evaluate.batches or whole)))
    hooks = []
    for name, pairs, size, batches in parts:
        stream = training_feed(config, job.begin, pairs, None, size, config.seed, job.texts)
        measured = Evaluation(name, stream, batches, loss, job.mesh)
        hooks.append(loop.Hook(name, config.evaluate.every, measured, "evaluation"))
    for name, (every, probe) in job.probes.items():
        measure = _probing(name, probe, folder, job)
        hooks.append(loop.Hook(name, every, measure))
    return hooks


def _writer(config: FinetuneConfig, folder: RunFolder, first: int) -> writers.Writer:
    path = folder.path.absolute()
    wandb = None
    if config.wandb.project:
        wandb = {"project": config.wandb.project, "name": config.wandb.name or path.name, "dir": str(path)}
        wandb["id"] = digest(str(path))[:16]  # the same run again after a restart
    return writers.Writer(folder.log, first, path / "tensorboard" if config.tensorboard else None, wandb)


def _copy_tokenizer(job: _Job, folder: RunFolder, file: Path) -> None:
    """Beside a weights file of this run, where the model has one."""
    if folder.writes and job.texts.file is not None:
        text.copy_beside(job.texts.file, file)


def _probing(
    name: str, probe: ConfigDict, folder: RunFolder, job: _Job
) -> Callable[[int, loop.State], dict[str, float]]:
    """Runs a probe of the engine on the weights of the moment, as `clipjax probe` would on their file."""

    def hook(number: int, state: Any) -> dict[str, float]:
        out = folder.path / "probes" / name / f"step-{number:08d}"
        file = folder.path / "probes" / f".{name}.tmp.safetensors"
        now = final_weights(state, job.about)
        if not number:  # what the model is called before the first step
            now = dataclasses.replace(now, name=job.begin.name)
        if folder.writes:
            file.parent.mkdir(parents=True, exist_ok=True)
            weights.save(file, now)
            _copy_tokenizer(job, folder, file)
        parallel.check_same(number, "step")  # nobody reads before it is written
        one = probe.copy_and_resolve_references()
        one.model = str(file)
        made = runner.run(one, out)
        if folder.writes:
            say(made.text())
        records = [record for run in made.runs for record in run.records]
        for left in file.parent.glob(f"{file.stem}.*"):
            left.unlink(missing_ok=True)
        return {f"{name}/{label(r)}": r.value for r in records if r.value is not None}

    return hook
