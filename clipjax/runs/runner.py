"""From a resolved config to finished run folders: one, or one per model and data set with a summary."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from msgspec import UNSET

from clipjax import loading, parallel, stored
from clipjax.analysis import findings
from clipjax.analysis.manifest import AskedDesign, Counts, Data, Manifest, SkippedFile
from clipjax.analysis.records import Record
from clipjax.analysis.report import head
from clipjax.analysis.run import read_manifest, read_records
from clipjax.data import catalog as data_sets
from clipjax.data import info as infos
from clipjax.errors import InputError, brief
from clipjax.files import sha256
from clipjax.models import catalog
from clipjax.progress import say
from clipjax.runs import account, publish, summary
from clipjax.runs.config import ProbeConfig, digest, plain, probe_module, refuse_unread, typed, words
from clipjax.runs.data import kind
from clipjax.runs.engine import Engines
from clipjax.runs.features import Features
from clipjax.runs.folder import RunFolder, finished
from clipjax.runs.interface import Engine
from clipjax.runs.result import Result

PUBLISHED = {"zeroshot": ("paper_zero_shot", "open_clip_zero_shot"), "linear": ("paper_linear_probe",)}


@dataclasses.dataclass(frozen=True)
class Run:
    """One model on one data set: its folder and what it holds. `published`: {table: {value, provenance}}."""

    path: Path
    model: str
    source: str
    manifest: Manifest
    records: list[Record]
    published: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Runs:
    """What a config made below `out`: one run, in `out` itself, or `several`, one per model and data set."""

    out: Path
    runs: list[Run]
    several: bool

    @property
    def cells(self) -> list[summary.Cell]:
        """Every run with its main number; none where a run has no labels and so no number."""
        if not all(run.records for run in self.runs):
            return []
        return [summary.Cell(run.model, run.source, run.records, run.published) for run in self.runs]

    def text(self) -> str:
        """What was used and what came out, as `clipjax probe` prints it."""
        parts = ["\n".join(_account(run.manifest)) for run in self.runs]
        if not self.several:
            if stated := head.terminal(findings.of_records(self.runs[0].records)):
                parts.append(stated)
            parts.append(summary.records_table(self.runs[0].records, self.runs[0].published))
        elif self.cells:
            parts.append(summary.cells_table(self.cells))
        else:
            parts[-1] += "\n"
        return "\n\n".join([*parts, f"Written: {self.out}"])


def run(config: ConfigDict, out: Path, engines: Engines | None = None) -> Runs:
    """Runs the config's probe on every model and data set that it names. Only process 0 writes.

    engines: for a caller with several configs, whose runs then share a model that is loaded and compiled once.
    """
    models, sources = words(config.model), words(config.data.source)
    if not models or not sources:
        raise InputError("config.model and config.data.source name at least one each")
    engines = engines or Engines()
    if len(models) == len(sources) == 1:
        return Runs(out, [_run_one(config, out, engines)], several=False)
    runs, called = [], short_names(models)
    for model in models:
        for source in sources:
            one = config.copy_and_resolve_references()
            one.model, one.data.source = model, source
            if len(sources) > 1:  # data.path then holds one folder per data set
                one.data.path = f"{config.data.path.rstrip('/')}/{source}"
            folder = out / f"{_file_name(called[model])}-{_file_name(source)}"
            runs.append(dataclasses.replace(_run_one(one, folder, engines), model=called[model]))
    made = Runs(out, runs, several=True)
    if parallel.is_main_process():
        if made.cells:
            summary.write(out, made.cells)
        else:
            say("no labels, no summary: each run has its predictions")
    return made


def _run_one(config: ConfigDict, path: Path, engines: Engines) -> Run:
    resolved, main_process = plain(config), parallel.is_main_process()
    about = {"model": config.model, "source": config.data.source, "published": _published(config)}
    parallel.check_same(digest(resolved), "config")
    if (complete := _complete(path, resolved)) is not None:
        if main_process:
            say(f"{path}: already complete, nothing to do")
        return Run(path, manifest=complete[0], records=complete[1], **about)
    probe = probe_module(config.probe)
    refuse_unread(config)
    asked: ProbeConfig = typed(resolved)
    task = probe.prepare(asked)  # every check of the input comes before the model is loaded and the folder made
    parallel.check_same(digest(task.source.files.tolist()), "list of files")
    engine = engines.get(asked)
    engine.check_source(task.source)
    out = RunFolder(path, resolved, writes=main_process, holds=publish.HOLDS)
    try:
        result = probe.run(asked, Features(engine, asked, out.log, quiet=not main_process), task)
        manifest = _manifest(engine, config, task, result)
        out.write_table("predictions.parquet", result.columns, result.design.names)
        out.write_records(result.records)
        for name, text in result.tables.items():
            out.write_text(f"tables/{name}", text)
        if published := about["published"]:
            table = summary.records_table(result.records, published, markdown=True)
            out.write_text("tables/published.md", table + "\n")
        out.write_json("manifest.json", manifest.to_dict())  # last: the run is complete
    finally:
        out.close()
    return Run(path, manifest=manifest, records=result.records, **about)


def _complete(path: Path, config: dict[str, Any]) -> tuple[Manifest, list[Record]] | None:
    """Manifest and records of a finished run of this config; None where process 0 has none.

    The other hosts may not share its disk: they get its answer, and its files' contents.
    """
    there = None
    if parallel.is_main_process() and finished(path, config):
        there = read_manifest(path).to_dict(), [record.to_dict() for record in read_records(path, config["probe"])]
    there = parallel.gather_json(there)[0]
    return there and (stored.check(there[0], Manifest, str(path)), stored.check(there[1], list[Record], str(path)))


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


def _manifest(engine: Engine, config: ConfigDict, task: Any, result: Result) -> Manifest:
    source = task.source
    grouped = [name for name in result.columns if name in _group_columns(task)]
    seen = len(result.columns["file"]) if result.seen is None else result.seen
    lost = [SkippedFile(file, reason) for _, file, reason in result.skipped]
    return Manifest(
        command=f"clipjax probe {config.probe}",
        config=plain(config),
        **engine.circumstances,
        model=engine.about,
        design=AskedDesign.of(result.design),
        data=Data(source.name, source.fingerprint, len(source), grouped),
        counts=Counts(seen, len(lost), lost),
        result=result.outcome,
    )


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


def short_names(models: Sequence[str]) -> dict[str, str]:
    """What each model is called in summaries: ViT-L/14, or a file's name, never its path; where two share a name, with
    the first digits of the sha256 of the file (of the address, where it is not a file)."""
    short = {m: catalog.get(m).name if catalog.find(m) else Path(m).name for m in models}
    names = list(short.values())
    sums = {m: sha256(m) if Path(m).is_file() else digest(m) for m, name in short.items() if names.count(name) > 1}
    if len(set(sums.values())) < len(sums):
        raise InputError(f"config.model: two of {', '.join(map(brief, sums))} are one file; name it once")
    return {m: f"{name}-{sums[m][:8]}" if m in sums else name for m, name in short.items()}


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text).strip("-.") or "run"
