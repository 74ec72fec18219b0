"""The head of every report: what was found, what was not, and how it was measured, from records and manifests."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence

from clipjax.analysis import findings, sentences
from clipjax.analysis.findings import Finding
from clipjax.analysis.report.section import Section, run_names
from clipjax.analysis.run import Run

WIDTH = 110  # of a line on a terminal
FOUND = "What was found"
MOVED = "Images that moved"  # the section of a comparison that holds them
NOTHING = "No question of this run compares groups, so there is nothing to state beside its numbers."


def section(runs: Sequence[Run]) -> Section:
    """The first findings of each run."""
    points, silent, several = [], [], len(runs) > 1
    for name, run in zip(run_names(runs), runs, strict=True):
        mine = _of_findings(run.findings, 3 if several else 5, f"{name}: " if several else "")
        points += mine.points
        silent += mine.silent
    levels = {r.level for run in runs for r in run.records if r.level}
    words = [sentences.individual(max(levels, default=0.95))] if points or silent else [NOTHING]
    return Section(FOUND, words, points=points, silent=silent)


def of_comparison(found: Sequence[Finding], level: float, lead: str) -> Section:
    """The first findings of two runs over the same images; `lead` says what A and B are."""
    return dataclasses.replace(_of_findings(found, 5), words=[sentences.individual(level)], lead=lead)


def _of_findings(found: Sequence[Finding], most: int, prefix: str = "") -> Section:
    shown = findings.main(found, most)
    points = [(prefix + f.statement, _table_of(f)) for f in shown if f.kind in findings.STATED]
    return Section(FOUND, points=points, silent=[prefix + f.statement for f in shown if f.kind not in findings.STATED])


def _table_of(f: Finding) -> str:
    """The title of the section that holds a finding's table."""
    if "moved" in f.what or (f.test == findings.MCNEMAR and "class" in f.what):
        return MOVED
    return f"By {' and '.join(f.group)}" if f.group else "Everybody"


def terminal(found: Sequence[Finding], most: int = 5) -> str:
    """The first findings as wrapped lines; "" where there are none."""
    return lines([f.statement for f in findings.main(found, most)])


def lines(said: Sequence[str]) -> str:
    """Sentences as a list for a terminal."""
    return "\n".join(textwrap.fill(s, WIDTH, initial_indent="- ", subsequent_indent="  ") for s in said)


def methods(runs: Sequence[Run]) -> Section:
    """One paragraph per run that can stand in a paper."""
    return Section("Methods", [_method(run) for run in runs])


def _method(run: Run) -> str:
    manifest, design = run.manifest, run.design
    model, counts = manifest.model, manifest.counts
    weights = f" (parameters sha256 {model.weights_sha256[:16]})" if model.weights_sha256 else ""
    skipped = f"; {counts.skipped} could not be read and were left out" if counts.skipped else ""
    said = [f"We evaluated {model.name}{weights} on {counts.seen} images of {manifest.data.name}{skipped}."]
    if manifest.computed_by:
        files = sentences.some([f"{file.name} (sha256 {file.sha256[:16]})" for file in manifest.ingested], 3)
        said.append(f"The answers were computed elsewhere and read from {files or 'arrays'}.")
    if design is not None and manifest.computed_by:
        asked = f"{len(design.classes)} classes of the design {design.name!r} (sha256 {design.sha256[:16]})"
        said.append(f"They are counted by the {asked}; how the classes were asked is not known here.")
    elif design is not None:
        templates = sentences.some(list(map(repr, design.templates)), 3)
        said.append(
            f"Each image was given the likeliest of the {len(design.classes)} classes of the design {design.name!r} "
            f"(sha256 {design.sha256[:16]}), asked with {sentences.count(len(design.templates), 'template')} "
            f"({templates})."
        )
    if manifest.result.probability == "sigmoid":
        said.append("Each class has a probability of its own, the sigmoid that the model was trained with.")
    elif manifest.result.probability == "softmax" and run.probe == "labels":
        said.append("Probabilities are a softmax over all classes.")
    if columns := manifest.data.group_columns:
        said.append(f"Groups are the values of {', '.join(columns)} as annotated in the data.")
    if used := sorted({f"{r.method} at {100 * r.level:g}%" for r in run.records if r.level and r.method}):
        said.append(f"Intervals are {', '.join(used)}.")
    if any(r.metric in findings.METRICS and r.group for r in run.records):
        said.append(
            "Each group was compared with all other images that have a value in its column by the chi-squared test or, "
            "where an expected count is below 5, Fisher's exact test; differences have Newcombe's intervals. p-values "
            "were adjusted by Benjamini and Hochberg's procedure over the tests of each question that could reject at "
            "0.05 given their margins (Tarone 1990, Gilbert 2005)."
        )
    return " ".join(said)


def repeat(runs: Sequence[Run]) -> Section:
    """How to run it again."""
    computed = [run for run in runs if not run.manifest.computed_by]
    commands = [f"clipjax rerun {run.path.name}" for run in computed]
    if elsewhere := [run for run in runs if run.manifest.computed_by]:
        names = sentences.some([run.path.name for run in elsewhere], 3)
        commands.append(f"Answers of {names} were computed elsewhere: what made them is not known here.")
    if not computed:
        return Section("How to repeat it", commands)
    words = ["Each run's folder holds its configuration, class design and checksums; this repeats it and compares:"]
    return Section("How to repeat it", [*words, *commands])
