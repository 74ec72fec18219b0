"""The page of a training run: what it did, learning curves, probes before and after, and the exact recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipjax.analysis import compare, curves, units
from clipjax.analysis.records import Record
from clipjax.analysis.report import comparison, head, page
from clipjax.analysis.report.section import Section, slug
from clipjax.analysis.run import Run
from clipjax.analysis.tables import Table
from clipjax.analysis.training import TrainingRun
from clipjax.errors import InputError
from clipjax.files import write_text
from clipjax.keys import flat

MOST_FIGURES = 6  # numbers of one probe that are drawn
# What is drawn of single batches: the name in the log, what it is.
OF_BATCHES = (
    ("learning_rate", "learning rate"), ("gradient_norm", "norm of the gradient, before clipping"),
    ("logit_scale", "logit scale, exp(logit_scale)"),
)  # fmt: skip


def write(run: TrainingRun, out: Path) -> list[Section]:
    """tables/, figures/ and report.html of a training run; the same run gives the same bytes."""
    found = sections(run)
    runs = [one for steps in run.probes.values() for _, one in _ends(steps)]
    text = page.html(runs, found, f"Fine-tuning: {run.name}")
    out.mkdir(parents=True, exist_ok=True)
    for section in found:
        for table in section.tables:
            table.write(out / "tables")
        for name, (drawing, _) in section.drawings.items():
            drawing.save(out / "figures", name)
    write_text(out / "report.html", text)
    return found


def sections(run: TrainingRun) -> list[Section]:
    """The first section says what was done and what came of it."""
    return [_head(run), _learning(run), *_probes(run), *_paired(run), _recipe(run)]


def _head(run: TrainingRun) -> Section:
    manifest, config = run.manifest, run.config
    begun = (manifest.get("from") or {}).get("name") or config["model"] or "random parameters"
    pairs = f" over {manifest['data']['pairs']} pairs of {manifest['data']['name']}" if run.finished else ""
    last = [e for e in run.events if e["stage"] == "train"][-1]
    points = [
        f"{run.steps} steps of {config['batch_size']} pairs ({last['epoch']:g} epochs{pairs}) from {begun}, loss "
        f"{config['loss']}"
    ]
    if not run.finished:
        asked = f"{config['epochs']:g} epochs" if config["epochs"] else f"{config['steps']} steps"
        points.append(f"The run is not finished: {run.steps} steps are made, of {asked}.")
    for name, what in (("fixed", "a fixed batch of training pairs"), ("validation", "the validation pairs")):
        if curve := run.curve(f"{name}/loss"):
            (first, before), (final, after) = curve[0], curve[-1]
            points.append(
                f"Loss of {what}: {before:.4f} at step {first}, {after:.4f} at step {final}; the lowest, "
                f"{min(v for _, v in curve):.4f}, at step {min(curve, key=lambda at: at[1])[0]}."
            )
    points += notes(run)
    return Section("What was trained", points=[(point, "") for point in points])


def notes(run: TrainingRun) -> list[str]:
    """What is out of the ordinary: a best step, an early end, changes on the way, captions and images with faults."""
    manifest, points = run.manifest, []
    if best := manifest.get("best"):
        points.append(f"best.safetensors is step {best['step']}: {best['metric']} {best['value']:.4f}.")
    if manifest.get("ended_early"):
        points.append(f"Training ended early: {run.config['checkpoints']['best']} did not improve any more.")
    changes = [e for e in run.events if e["stage"] == "changed"]
    points += [f"From step {e['step']} on with changes: {'; '.join(e['changed'])}." for e in changes]
    counts = manifest.get("counts", {})
    for name, what in (("truncated", "captions were cut"), ("replaced", "images could not be read and were replaced")):
        if counts.get(name):
            points.append(f"{counts[name]} {what}.")
    for table in counts.get("tables", []):
        seen = table["examples"] / table["pairs"]
        points.append(f"{table['examples']} examples were of {table['name']}: each of its pairs {seen:.3g} times.")
    return points


def _learning(run: TrainingRun) -> Section:
    batches = run.curve("loss")
    series = [curves.Curve("batch of each step", batches, faint=True)]
    for name, what in (("fixed", "fixed training batch"), ("validation", "validation pairs")):
        if curve := run.curve(f"{name}/loss"):
            series.append(curves.Curve(what, curve))
    best = (run.manifest.get("best") or {}).get("step")
    drawings = {
        "loss": (
            curves.over_steps(series, "loss", best),
            "How does the loss change? The loss of single batches differs by their images; the batches of the other "
            "lines are always the same.",
        )
    }
    for name, what in OF_BATCHES:
        if curve := run.curve(name):
            drawings[name] = (curves.over_steps([curves.Curve("", curve)], what), f"How does the {what} change?")
    per_step = [(step, run.config["batch_size"] / rate) for step, rate in run.curve("images_per_second") if rate > 0]
    if len(per_step) > 1:  # the first holds the compilation
        drawings["seconds_per_step"] = (
            curves.over_steps([curves.Curve("", per_step[1:])], "seconds per step"),
            "How long does a step take? The first step, with its compilation, took "
            f"{per_step[0][1]:.1f} seconds and is not shown.",
        )
    names = ["loss", "fixed/loss", "validation/loss", *(n for n, _ in OF_BATCHES), "images_per_second", "epoch"]
    columns = {name: dict(run.curve(name)) for name in names}
    columns = {name: values for name, values in columns.items() if values}
    steps = sorted({step for values in columns.values() for step in values})
    rows = [[step, *(_number(values.get(step)) for values in columns.values())] for step in steps]
    table = Table("learning", "Every logged step", ["step", *columns], rows)
    return Section("Learning curves", [], [table], drawings)


def _probes(run: TrainingRun) -> list[Section]:
    """A section per probe: its numbers of everybody over the steps, the first ones drawn."""
    found = []
    for name, steps in run.probes.items():
        (first, before), (last, after) = steps[0], steps[-1]
        rows, drawings = [], {}
        for record in before.records:
            later = next((r for r in after.records if _same(r, record)), None)
            if record.value is None or later is None or later.value is None or record.group:
                continue
            rows.append([_name(record), _with_interval(record), _with_interval(later), record.n])
            curve = [(step, r.value) for step, one in steps for r in one.records if _same(r, record)]
            known = [(step, value) for step, value in curve if value is not None]
            if len(known) > 1 and len(drawings) < MOST_FIGURES:
                drawings[slug(f"{name}_{_name(record)}")] = (
                    curves.over_steps([curves.Curve("", known)], _name(record)),
                    f"How does {_name(record)} of the probe {name} change during training?",
                )
        table = Table(
            f"probe_{slug(name)}", f"Probe {name} before and after training",
            ["number", f"before (step {first})", f"after (step {last})", "n"], rows,
            "Intervals are of each run by itself; the paired comparison, where there is one, is below.",
        )  # fmt: skip
        found.append(Section(f"Probe {name}", [], [table], drawings))
    return found


def _paired(run: TrainingRun) -> list[Section]:
    """The paired comparison of every probe, before against after, where its answers can be compared."""
    found = []
    for name, steps in run.probes.items():
        if len(steps) < 2:
            continue
        try:
            compared = before_and_after(steps)
        except InputError as error:
            found.append(Section(f"Probe {name}, paired", [f"Not compared image by image: {error}."]))
            continue
        for section in comparison.sections(compared):
            if section.title.startswith(("Methods", "Caveats", "Repeat")):
                continue
            tables = [_renamed(table, name) for table in section.tables]
            drawings = {f"{slug(name)}_{key}": drawing for key, drawing in section.drawings.items()}
            found.append(
                Section(f"Probe {name}, before (A) against after (B): {section.title}", section.words, tables, drawings,
                        [(said, "") for said, _ in section.points], section.silent, section.lead)
            )  # fmt: skip
    return found


def before_and_after(steps: Sequence[tuple[int, Run]]) -> compare.Compared:
    """The first and the last run of a probe, which differ in the weights."""
    return compare.compare(steps[0][1], steps[-1][1], ["weights"])


def _recipe(run: TrainingRun) -> Section:
    words = [*made_with(run), f"The same training again: clipjax rerun {run.name}"]
    rows = list(recipe(run).items())
    return Section("Recipe", words, [Table("recipe", "Every key of the config", ["key", "value"], rows)])


def recipe(run: TrainingRun) -> dict[str, str]:
    """Every key of the config with its value, sorted."""
    values = {name: page.without_paths(value) for name, value in flat(run.config).items() if name != "verb"}
    return {name: "" if value in ("", {}) else str(value) for name, value in sorted(values.items())}


def made_with(run: TrainingRun) -> list[str]:
    """Versions, device and the result's checksum, where the run is finished."""
    manifest = run.manifest
    if not run.finished:
        return []
    return [
        f"Trained with clipjax {manifest['versions']['clipjax']}, jax {manifest['versions']['jax']}, on "
        f"{manifest['device']['kind']} ({manifest['mesh']['axes']}); weights sha256 "
        f"{manifest['weights']['sha256'][:16]}."
    ]


def _ends(steps: Sequence[tuple[int, Run]]) -> list[tuple[int, Run]]:
    return [steps[0], steps[-1]] if len(steps) > 1 else list(steps)


def _same(a: Record, b: Record) -> bool:
    return _name(a) == _name(b) and (a.group or {}) == (b.group or {})


def _name(record: Record) -> str:
    about = [record.set, record.class_, record.label, record.direction]
    return " ".join([record.metric, *(str(one) for one in about if one is not None)])


def _with_interval(record: Record) -> str:
    bounds = units.interval(record, " to ")
    return f"{units.value(record)}{f' [{bounds}]' if bounds else ''}"


def _renamed(table: Table, probe: str) -> Table:
    return Table(f"{slug(probe)}_{table.name}", table.title, table.columns, table.rows, table.note, table.data)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.6g}"


def terminal(run: TrainingRun) -> str:
    """The first section as lines for a terminal."""
    return head.lines([point for point, _ in _head(run).points])
