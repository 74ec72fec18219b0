"""The head of every report: what was found, what was not, and how it was measured, from records and manifests."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence

import numpy as np

from clipjax.analysis import findings, rates, sentences
from clipjax.analysis.findings import Finding
from clipjax.analysis.manifest import Manifest
from clipjax.analysis.report import tested
from clipjax.analysis.report.section import Section, run_names
from clipjax.analysis.run import Run
from clipjax.analysis.transitions import Sum, Transitions

WIDTH = 110  # of a line on a terminal
FOUND = "What was found"
MOVED = "Images that moved"  # the section of a comparison that holds them
NAMES = {
    "clopper-pearson": "Clopper and Pearson's", "wilson": "Wilson's", "jeffreys": "Jeffreys'",
    "newcombe": "Newcombe's (differences)", "miettinen-nurminen": "Miettinen and Nurminen's (ratios)",
}  # fmt: skip
SIMULTANEOUS = ", simultaneous over "
METRICS, COMPARE = "metrics.json", "compare.json"  # files that hold every finding
APART = 0.1  # difference of a label's share from which groups are said to have other labels
DEMO = "emoji-clip"  # the embedded model
EXACT, SAMPLED = "exact permutation; ", "sampled permutation; "  # tests, before the interval
LIKELIEST = "Each image was given the likeliest of the {n} classes"
ASKED = {
    "skew": "Images were ranked by their cosine with each of the {n} classes",
    "association": "Images and texts were compared by cosine; the texts are {n}",
}
NOTHING = "No question of this run compares groups, so there is nothing to state beside its numbers."


def section(runs: Sequence[Run]) -> Section:
    """The first findings of each run."""
    points, silent, several = [], [], len(runs) > 1
    for name, run in zip(run_names(runs), runs, strict=True):
        mine = _of_findings(run.findings, 3 if several else 5, f"{name}: " if several else "")
        points += mine.points
        silent += mine.silent
    levels = {r.level for run in runs for r in run.records if r.level}
    said = tested.words(runs, run_names(runs))
    words = [*said, sentences.individual(max(levels, default=0.95))] if points or silent else said or [NOTHING]
    lost = [missing for run in runs if (missing := incomplete(run.manifest))]
    return Section(FOUND, [*lost, next_step(runs[0]), *words], points=points, silent=silent)


def of_comparison(found: Sequence[Finding], level: float, lead: str, step: str = "") -> Section:
    """The first findings of two runs over the same images; `lead` says what A and B are, `step` what to do next."""
    words = [*([step] if step else []), sentences.individual(level)]
    return dataclasses.replace(_of_findings(found, 5, where=COMPARE), words=words, lead=lead)


def next_step(run: Run) -> str:
    """What to do next, in a sentence."""
    again = "a second run with other prompts or another model, and clipjax compare, test what depends on them"
    if not explorable(run):
        return f"What next: {again}."
    return f"What next: clipjax explore {run.folder} shows which images another list of classes moves; {again}."


def explorable(run: Run) -> bool:
    """Whether the explorer opens such runs."""
    return run.probe in ("rates", "labels", "zeroshot") and not run.manifest.computed_by


def _of_findings(found: Sequence[Finding], most: int, prefix: str = "", where: str = METRICS) -> Section:
    shown = findings.main(found, most)
    points = [(prefix + f.statement, _table_of(f)) for f in shown if f.kind in findings.STATED]
    rest = [f.statement for f in shown if f.kind not in findings.STATED] + findings.left_out(found, shown, where)
    return Section(FOUND, points=points, silent=[prefix + said for said in rest])


def _table_of(f: Finding) -> str:
    """The title of the section that holds a finding's table."""
    if "moved" in f.what or (f.test == findings.MCNEMAR and "class" in f.what):
        return MOVED
    return f"By {' and '.join(f.group)}" if f.group else "Everybody"


def terminal(found: Sequence[Finding], most: int = 5, where: str = METRICS) -> str:
    """The first findings as wrapped lines, and how many there are in the file `where`; "" where there are none."""
    shown = findings.main(found, most)
    return lines([*(f.statement for f in shown), *findings.left_out(found, shown, where)])


def lines(said: Sequence[str]) -> str:
    """Sentences as a list for a terminal."""
    return "\n".join(textwrap.fill(s, WIDTH, initial_indent="- ", subsequent_indent="  ") for s in said)


def incomplete(manifest: Manifest) -> str:
    """Whose images are not counted, of a run in units that was sealed without some; "" of a whole run."""
    missing, units = manifest.mesh.get("missing", 0), manifest.mesh.get("units", 0)
    return f"{missing} of {units} units of work are missing: their images are not counted." if missing else ""


def methods(runs: Sequence[Run]) -> Section:
    """One paragraph per run that can stand in a paper."""
    return Section("Methods", [method(run) for run in runs])


def method(run: Run, tests: bool = True) -> str:
    """How a run was made; with its tests, how its groups were compared."""
    manifest, design = run.manifest, run.design
    model, counts = manifest.model, manifest.counts
    weights = f" (parameters sha256 {model.weights_sha256[:16]})" if model.weights_sha256 else ""
    skipped = f"; {counts.skipped} could not be read and were left out" if counts.skipped else ""
    said = [f"We evaluated {model.name}{weights} on {counts.seen} images of {manifest.data.name}{skipped}."]
    if left_out := incomplete(manifest):
        said.append(left_out)
    if manifest.computed_by:
        files = sentences.some([f"{file.name} (sha256 {file.sha256[:16]})" for file in manifest.ingested], 3)
        said.append(f"The answers were computed elsewhere and read from {files or 'arrays'}.")
    if design is not None and manifest.computed_by:
        asked = f"{len(design.classes)} classes of the design {design.name!r} (sha256 {design.sha256[:16]})"
        said.append(f"They are counted by the {asked}; how the classes were asked is not known here.")
    elif design is not None:
        templates = sentences.some(list(map(repr, design.templates)), 3)
        asked = ASKED.get(run.probe, LIKELIEST).format(n=len(design.classes))
        said.append(
            f"{asked} of the design {design.name!r} (sha256 {design.sha256[:16]}), asked with "
            f"{sentences.count(len(design.templates), 'template')} ({templates})."
        )
    if manifest.result.probability == "sigmoid":
        said.append("Each class has a probability of its own, the sigmoid that the model was trained with.")
    elif manifest.result.probability == "softmax" and run.probe == "labels":
        said.append("Probabilities are a softmax over all classes.")
    if columns := manifest.data.group_columns:
        said.append(f"Groups are the values of {', '.join(columns)} as annotated in the data.")
    said += _intervals(run) if tests else []
    if tests and any(r.metric in findings.METRICS and r.group for r in run.records):
        said.append(
            "Each group was compared with all other images that have a value in its column by the chi-squared test or, "
            "where an expected count is below 5, Fisher's exact test; differences have Newcombe's intervals. p-values "
            "were adjusted by Benjamini and Hochberg's procedure over the tests of each question that could reject at "
            "0.05 given their margins (Tarone 1990, Gilbert 2005)."
        )
    versions = manifest.versions
    made = [f"{name} {versions[key]}" for name, key in (("clipjax", "clipjax"), ("JAX", "jax")) if key in versions]
    if made:
        day = f" on {run.date}" if run.date else ""
        how = f" in {manifest.precision}" if manifest.precision else ""
        said.append(f"Computed with {' and '.join(made)}{how}{day}.")
    return " ".join(said)


def _intervals(run: Run) -> list[str]:
    """Which intervals the numbers of a run have."""
    used: dict[float, dict[str, None]] = {}
    at_once = False
    for r in run.records:
        if r.level and r.method:
            base, simultaneous, _ = r.method.removeprefix(SAMPLED).removeprefix(EXACT).partition(SIMULTANEOUS)
            at_once |= bool(simultaneous)
            used.setdefault(r.level, {})[NAMES.get(base, base)] = None
    said = [f"Intervals at {100 * level:g}% are {', '.join(sorted(names))}." for level, names in sorted(used.items())]
    if at_once:
        said.append("Those of the worst group and of the largest gap of a column hold for all its groups at once.")
    return said


def caveats(runs: Sequence[Run]) -> list[str]:
    """What a reader of these runs' numbers has to know, each only where it is so; what is so of one run, with its
    name."""
    found: dict[str, list[str]] = {}
    for name, run in zip(run_names(runs), runs, strict=True):
        for said in _caveats(run):
            found.setdefault(said, []).append(name)
    every = [said if len(of) == len(runs) else f"{', '.join(of)}: {said}" for said, of in found.items()]
    return [*every, "Another class list, other prompts or other images change these numbers: measure your own."]


def _caveats(run: Run) -> list[str]:
    found, manifest, limit = [], run.manifest, run.settings.min_n
    if left_out := incomplete(manifest):
        found.append(left_out)
    if small := sum(bool(r.small) for r in run.records):
        found.append(f"{small} numbers come from fewer than {limit} images (min_n); they are marked †.")
    if skipped := manifest.counts.skipped_files:
        named = sentences.some([f"{one.file} ({one.reason})" for one in skipped], 3)
        found.append(f"{manifest.counts.skipped} images could not be read and are not counted: {named}.")
    if run.design is not None and run.design.unset:
        found.append(f"{run.design.unset_note()}.")
    for column in manifest.data.group_columns:
        if without := run.values.get(column, {}).get("", 0):
            found.append(f"{without} images have no {column}; they are in none of its groups.")
    found += _other_labels(run)
    if manifest.config.get("model") == DEMO:
        found.append(f"{DEMO} is a toy that has seen emoji artwork only: read the method, not the numbers.")
    if manifest.computed_by:
        found.append("The answers were computed elsewhere; nothing here can check how.")
    return found


def _other_labels(run: Run) -> list[str]:
    """Columns whose groups have other labels, so that accuracy differs for a model that always answers the same."""
    compared = {r.columns[0] for r in run.records if r.metric == "top1" and len(r.columns) == 1}
    columns = sorted(compared & set(run.group_columns)) if "label" in run.names else []
    found, counted = [], Sum([(column,) for column in columns])
    for block in run.blocks([*{*columns, "label"}]) if columns else ():
        label = block.predictions["label"]
        cells = [rates.cells([column], block.columns, block.rows) for column in columns]
        counted.add(Transitions.of_names(label, label, cells))
    labels = counted.total()
    for column, groups, counts in zip(columns, labels.groups, labels.counts, strict=True):
        large = np.flatnonzero(counts.sum(1) >= run.settings.min_n)
        if len(large) < 2:
            continue
        share = counts[large] / counts[large].sum(1, keepdims=True)
        c = int(np.ptp(share, axis=0).argmax())
        most, least = (int(large[g]) for g in (share[:, c].argmax(), share[:, c].argmin()))
        if np.ptp(share[:, c]) >= APART:
            said = " and ".join(f"{counts[g, c]} of {counts[g].sum()} {groups[g][column]}" for g in (most, least))
            found.append(
                f"Groups of {column} have other labels ({str(labels.names_a[c])!r}: {said}): their accuracies differ "
                "also for a model that gives every image the same answer."
            )
    return found


def repeat(runs: Sequence[Run]) -> Section:
    """How to run it again."""
    computed = [run for run in runs if not run.manifest.computed_by]
    commands = [f"clipjax rerun {run.folder}" for run in computed]
    if elsewhere := [run for run in runs if run.manifest.computed_by]:
        names = sentences.some([run.folder for run in elsewhere], 3)
        commands.append(f"Answers of {names} were computed elsewhere: what made them is not known here.")
    if not computed:
        return Section("How to repeat it", commands)
    words = ["Each run's folder holds its configuration, class design and checksums; this repeats it and compares:"]
    return Section("How to repeat it", [*words, *commands])
