"""A finished run from answers that were computed elsewhere: the same records, by the same functions, as a probe's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import UNSET
from msgspec.structs import replace

from clipjax.analysis import findings, rates
from clipjax.analysis import manifest as manifests
from clipjax.analysis.manifest import AskedDesign, Counts, Data, Manifest, Outcome, SourceFile
from clipjax.analysis.records import Record
from clipjax.analysis.report import head
from clipjax.analysis.run import IMAGE, INGESTED_FEATURES, read_manifest, read_records
from clipjax.errors import InputError, require
from clipjax.files import sha256
from clipjax.progress import say
from clipjax.runs import feature_files, groups, labels, scoring, summary
from clipjax.runs import task as tasks
from clipjax.runs.answers import Answers
from clipjax.runs.config import Grouped
from clipjax.runs.folder import RunFolder, finished, program
from clipjax.runs.task import Task

PROBES = ("rates", "labels", "zeroshot")
NAMES_ONLY = "0.5"  # thresholds, where labels came without scores: each score is 0 or 1
COMPUTED_BY = "ingest"
Columns = dict[str, np.ndarray]  # what the images are grouped by, [N] each


@dataclasses.dataclass(frozen=True)
class Settings:
    """How answers are counted: the keys of the probes of the same names. `probe` and `thresholds` may be empty.

    model: what reports call whatever answered.
    """

    probe: str = ""
    model: str = ""
    groups: str = Grouped.groups
    bands: str = Grouped.bands
    contrast: str = labels.Config.contrast
    thresholds: str = ""
    method: str = Grouped.method
    level: float = Grouped.level
    min_n: int = Grouped.min_n
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Ingested:
    """The run that was made: its folder and what it holds."""

    path: Path
    manifest: Manifest
    records: list[Record]

    def text(self) -> str:
        """What was read and what came out, as `clipjax ingest` prints it."""
        found = self.manifest
        files = ", ".join(f"{file.name} (sha256 {file.sha256[:12]})" for file in found.ingested) or "arrays"
        parts = [
            f"answers: {files}, computed elsewhere by {found.model.name}\ndata: {found.counts.seen} images, "
            f"{len(found.design.classes)} classes of design {found.design.name}, counted as the probe "
            f"{found.config['probe']} does"
        ]
        if stated := head.terminal(findings.of_records(self.records)):
            parts.append(stated)
        return "\n\n".join([*parts, summary.records_table(self.records, {}), f"Written: {self.path}"])


def ingest(answers: Answers, out: str | Path, settings: Settings | None = None, files: Sequence[Path] = ()) -> Ingested:
    """Counts answers as a probe counts its own, and writes the run folder.

    Without `settings.probe`: lists of labels are counted as the probe `labels` does, answers with true labels as
    `zeroshot`, all others as `rates`. files: where the answers came from, for the manifest.

    Raises:
        InputError: the answers cannot be counted so, or `out` holds something else.
    """
    settings, out = settings or Settings(), Path(out)
    settings = _completed(settings, answers)
    config = _config(settings, answers)
    if finished(out, config):
        say(f"{out}: already complete, nothing to do")
        return Ingested(out, read_manifest(out), read_records(out, settings.probe))
    tasks.check_columns(answers.source)
    columns = groups.columns(answers.source, ",".join(answers.source.columns), settings.bands)
    method = groups.checked_method(settings.method, settings.level, settings.min_n, settings.seed)
    count = {"rates": _rates, "labels": _labels, "zeroshot": _zeroshot}[settings.probe]
    records, outcome = count(answers, settings, columns, method)
    table = _table(answers, columns)
    n, skipped = len(answers.source), list(answers.skipped)
    manifest = Manifest(
        command="clipjax ingest", config=config, **program(), precision="", computed_by=COMPUTED_BY,
        ingested=[SourceFile(file.name, sha256(file)) for file in files],
        model=manifests.Model(
            settings.model, "", {}, answers.scale, logit_bias=UNSET if answers.bias is None else answers.bias
        ),
        design=AskedDesign.of(answers.design),
        data=Data(Path(answers.source.name).name, answers.source.fingerprint, n + len(skipped), list(columns)),
        counts=Counts(n, len(skipped), skipped), result=outcome,
    )  # fmt: skip
    folder = RunFolder(out, config, holds=(INGESTED_FEATURES,))
    try:
        if answers.features is not None:
            feature_files.save(answers.features, out)
        folder.write_table("predictions.parquet", table, answers.design.names)
        folder.write_records(records)
        folder.write_json("manifest.json", manifest.to_dict())  # last: the run is complete
    finally:
        folder.close()
    return Ingested(out, manifest, records)


def _completed(settings: Settings, answers: Answers) -> Settings:
    """With the kind of run, the model's name and the thresholds that the answers themselves suggest."""
    lists = answers.predicted is None
    probe = settings.probe or ("labels" if lists else "zeroshot" if answers.source.labels is not None else "rates")
    require(probe, PROBES, "--probe", "kind of run")
    name = answers.source.name
    if lists and probe != "labels":
        raise InputError(
            f"{name}: lists of labels are not one class per image, as the probe {probe} counts; leave --probe out"
        )
    if probe == "labels" and answers.scores is None:
        raise InputError(f"{name}: a prediction is one class; the probe labels counts `labels` or `probabilities`")
    if probe == "zeroshot" and answers.source.labels is None:
        raise InputError(f"{name}: accuracy needs the true classes; name their column: --label-column=NAME")
    thresholds = settings.thresholds or (NAMES_ONLY if answers.names_only else labels.Config.thresholds)
    return dataclasses.replace(settings, probe=probe, model=settings.model or Path(name).stem, thresholds=thresholds)


def _config(settings: Settings, answers: Answers) -> dict[str, Any]:
    """What the folder is for: config.json."""
    return dataclasses.asdict(settings) | {
        "design": answers.design.source or answers.design.name, "answers": answers.sha256,
        "data": {"source": "table", "split": "", "group_columns": ",".join(answers.source.columns)},
    }  # fmt: skip


def _rates(
    answers: Answers, settings: Settings, columns: Columns, method: rates.Method
) -> tuple[list[Record], Outcome]:
    assert answers.predicted is not None
    answers.check_sums()
    grouped = rates.groupings(settings.groups, list(columns))
    if not columns:
        say(f"note: {answers.source.name}: no columns to group by; name some with --group-columns=a,b")
    if answers.design.unset:
        say(f"note: {answers.design.unset_note()}")
    tallied = rates.tallies(answers.predicted, columns, grouped, len(answers.design.classes))
    records = rates.records_of(tallied, answers.design, method) + scoring.parity(tallied, answers.design, method)
    return records, Outcome(groups=["*".join(names) for names in grouped], probability=kind_of(answers))


def _labels(
    answers: Answers, settings: Settings, columns: Columns, method: rates.Method
) -> tuple[list[Record], Outcome]:
    assert answers.scores is not None
    contrast = labels.contrast_of(settings.contrast, settings.thresholds, columns)
    side, names = columns[contrast.column], answers.design.names
    labels.note_left_out(side, contrast)
    tallied = labels.tallies(answers.scores, side, contrast)
    records = labels.records_of(tallied, contrast, names, method)
    if kind := kind_of(answers):
        records = [replace(record, probability=kind) for record in records]
    return records, contrast.outcome(tallied, kind)


def _zeroshot(
    answers: Answers, settings: Settings, columns: Columns, method: rates.Method
) -> tuple[list[Record], Outcome]:
    assert answers.predicted is not None
    assert answers.source.labels is not None
    answers.check_sums()
    task = Task(answers.source, answers.design, answers.source.labels, groups=columns)
    rows, scores = np.arange(len(answers.source)), answers.scores
    if scores is None and answers.source.labels.several:
        raise InputError(
            f"{answers.source.name}: images with several labels are scored by how probabilities rank them; give "
            "`probabilities`, or one label per image"
        )
    kind = kind_of(answers)
    if scores is not None:
        found = scoring.records(scores, answers.source.labels, task, rows, settings.groups, method)
        if kind and answers.source.labels.several:
            found = [replace(record, probability=kind) for record in found]
        return found, Outcome(probability=kind)
    only = np.eye(len(answers.design.names), dtype=np.float32)[answers.predicted]
    found = scoring.records(only, answers.source.labels, task, rows, settings.groups, method)
    return [
        record for record in found if not record.metric.startswith("top5")
    ], Outcome()  # one class has no second place


def kind_of(answers: Answers) -> Literal["softmax", "sigmoid"] | None:
    """What the scores are, as records and the manifest say it; None where it is not known."""
    return "softmax" if answers.probability == "softmax" else "sigmoid" if answers.probability == "sigmoid" else None


def _table(answers: Answers, columns: dict[str, np.ndarray]) -> dict[str, Any]:
    """Of predictions.parquet: what a probe writes, as far as it is known."""
    found: dict[str, Any] = {"file": answers.source.files}
    if answers.contents is not None:
        found[IMAGE] = answers.contents
    if answers.source.labels is not None:
        found["label"] = answers.source.labels.texts()
    found |= columns
    if answers.predicted is not None:
        found["prediction"] = np.array(answers.design.names, object)[answers.predicted]
    if answers.scores is not None:
        if answers.predicted is not None:
            found["probability"] = answers.scores[np.arange(len(answers.scores)), answers.predicted]
        found["probabilities"] = answers.scores
    return found
