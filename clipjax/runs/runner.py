"""From a resolved config to finished run folders: one, or one per model and data set with a summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from msgspec import UNSET

from clipjax import loading, parallel
from clipjax.analysis import manifest as manifests
from clipjax.analysis.manifest import AskedDesign, Counts, Data, Manifest, SkippedFile, WeightsFile
from clipjax.analysis.records import Record
from clipjax.analysis.run import read_manifest, read_records
from clipjax.data import catalog as data_sets
from clipjax.data import info as infos
from clipjax.errors import InputError
from clipjax.models import catalog
from clipjax.models.config import to_dict
from clipjax.progress import say
from clipjax.runs import account, summary
from clipjax.runs.config import digest, plain, probe_module, refuse_unread, words
from clipjax.runs.data import kind
from clipjax.runs.folder import RunFolder, environment, finished
from clipjax.runs.job import Job
from clipjax.runs.result import Result

PUBLISHED = {"zeroshot": ("paper_zero_shot", "open_clip_zero_shot"), "linear": ("paper_linear_probe",)}


def run(config: ConfigDict, out: Path) -> list[tuple[Path, list[Record]]]:
    """Runs the config's probe; prints the numbers and where they are. Only process 0 writes and prints.

    Returns every run's folder with its records.
    """
    models, sources = words(config.model), words(config.data.source)
    if not models or not sources:
        raise InputError("config.model and config.data.source name at least one each")
    speaks = jax.process_index() == 0
    if len(models) == len(sources) == 1:
        records, published = _run_one(config, out, speaks)
        if speaks:
            print(summary.records_table(records, published))
            print(f"\nWritten: {out}")
        return [(out, records)]
    cells, finished_runs, called = [], [], _folders(models)
    for model in models:
        for source in sources:
            one = config.copy_and_resolve_references()
            one.model, one.data.source = model, source
            if len(sources) > 1:  # data.path then holds one folder per data set
                one.data.path = f"{config.data.path.rstrip('/')}/{source}"
            path = out / f"{called[model]}-{_plain(source)}"
            records, published = _run_one(one, path, speaks)
            finished_runs.append((path, records))
            cells.append(summary.Cell(model, source, records, published))
    if speaks:
        if all(cell.records for cell in cells):
            summary.write(out, cells)
            print(summary.cells_table(cells))
        else:
            say("no labels, no summary: each run has its predictions")
        print(f"\nWritten: {out}")
    return finished_runs


def _run_one(config: ConfigDict, path: Path, speaks: bool) -> tuple[list[Record], dict[str, Any]]:
    resolved = plain(config)
    published = _published(config)
    if finished(path, resolved):
        if speaks:
            say(f"{path}: already complete, nothing to do")
            print("\n".join(_account(read_manifest(path))), end="\n\n")
        return read_records(path, config.probe), published
    probe = probe_module(config.probe)
    refuse_unread(config)
    task = probe.load(config)  # every check of the input comes before the model is loaded and the folder made
    parallel.check_same(digest(resolved), "config")
    parallel.check_same(digest(task.source.files.tolist()), "list of files")
    model = loading.load(config.model, dtype=config.precision, options=loading.options_of(config.get("weights")))
    task.source.check_size(model.preprocessing)
    out = RunFolder(path, resolved, writes=speaks)
    try:
        job = Job(model, config, out)
        result = probe.run(job, task)
        out.write_table("predictions.parquet", result.columns)
        out.write_records(result.records)
        if published:
            out.write_text(
                "tables/published.md", summary.records_table(result.records, published, markdown=True) + "\n"
            )
        manifest = _manifest(job, config, task, result)
        out.write_json("manifest.json", manifest.to_dict())  # last: the run is complete
        if speaks:
            print("\n".join(_account(manifest)), end="\n\n")
    finally:
        out.close()
    return result.records, published


def _account(manifest: Manifest) -> list[str]:
    """What a run used and asked, and what it skipped, as lines."""
    model, counts = manifest.model, manifest.counts
    assert model.file is not UNSET
    asked = {c.name: c.prompts for c in manifest.design.classes}
    demo = account.DEMO.replace("--model", "--config.model") if manifest.config["model"] == loading.DEMO else ""
    skipped = [(0, one.file, one.reason) for one in counts.skipped_files]
    return account.describe(
        model.name, model.file.name, model.file.sha256, manifest.data.name, counts.seen, skipped, asked, demo
    )


def _manifest(job: Job, config: ConfigDict, task: Any, result: Result) -> Manifest:
    model, source = job.model, task.source
    grouped = [name for name in result.columns if name in _group_columns(task)]
    seen = len(result.columns["file"]) if result.seen is None else result.seen
    lost = [SkippedFile(file, reason) for _, file, reason in result.skipped]
    return Manifest(
        command=f"clipjax probe {config.probe}",
        config=plain(config),
        **environment(job.encoder.mesh),
        precision=config.precision,
        arithmetic=job.arithmetic,
        model=manifests.Model(
            model.name, job.weights_sha256, to_dict(model.config), model.scale, dict(model.source),
            WeightsFile(*account.weights_of(config.model, model.source)),
        ),
        design=AskedDesign.of(result.design),
        data=Data(source.name, source.fingerprint, len(source), grouped),
        counts=Counts(seen, len(lost), lost),
        result=result.outcome,
    )  # fmt: skip


def _group_columns(task: Any) -> set[str]:
    """What may be grouped by: the source's own columns, and bands made of them."""
    return {*task.source.columns, *getattr(task, "columns", {})}


def _published(config: ConfigDict) -> dict[str, Any]:
    """Published numbers of this model on this data set, with their provenance: {source: {value, provenance}}."""
    release = catalog.find(config.model)
    if release is None or kind(config.data.source) is not None:
        return {}
    known = infos.published(data_sets.find(config.data.source))
    kinds = PUBLISHED.get(config.probe, ())
    return {kind: known[kind][release.name] for kind in kinds if release.name in known.get(kind, {})}


def _folders(models: Sequence[str]) -> dict[str, str]:
    """What each model's run is called: ViT-L-14, or a file's name; the whole path where two files share one."""
    short = {m: catalog.get(m).name if catalog.find(m) else Path(m).name for m in models}
    twice = {name for name in short.values() if list(short.values()).count(name) > 1}
    return {m: _plain(m if name in twice else name) for m, name in short.items()}


def _plain(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text).strip("-.") or "run"
