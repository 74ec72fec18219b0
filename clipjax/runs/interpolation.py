"""WiSE-FT from files to files, with a probe on every stop of the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from clipjax import loading, parallel, text
from clipjax.analysis import curves
from clipjax.analysis.records import Record
from clipjax.analysis.report.section import slug
from clipjax.analysis.tables import markdown_lines
from clipjax.errors import InputError
from clipjax.files import write_text
from clipjax.models import weights
from clipjax.progress import say
from clipjax.runs import config as configs
from clipjax.runs import runner
from clipjax.runs.publish import label
from clipjax.train.export import interpolate


def run(
    before: str, after: str, out: Path, alphas: Sequence[float], probe: str | None = None,
    overrides: Sequence[str] = (), options: Any = None,
) -> str:  # fmt: skip
    """Writes OUT, or OUT/alpha-A/model.safetensors for several alphas; returns what to print.

    With a probe: its runs in OUT/alpha-A/probe, and OUT/sweep.md and OUT/figures with every overall number by alpha.
    """
    if len(set(alphas)) < len(alphas):
        raise InputError(f"--alpha={','.join(f'{a:g}' for a in alphas)}: one comes twice")
    single = len(alphas) == 1 and probe is None
    if single and out.suffix != ".safetensors":
        raise InputError(f"{out}: name a .safetensors file")
    if not single and out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; several models need a folder")
    plan = configs.load(probe, overrides) if probe else None  # a misspelt one costs nothing
    (a, _), (b, tokenizer) = (_read(file, options) for file in (before, after))

    def save(file: Path, alpha: float) -> None:
        weights.save(file, interpolate(a, b, alpha))
        if tokenizer is not None:
            text.copy_beside(tokenizer, file)

    if single:
        save(out, alphas[0])
        return f"{out}: {1 - alphas[0]:g} x {a.name} + {alphas[0]:g} x {b.name}"
    columns: dict[float, dict[str, Record]] = {}
    for alpha in alphas:
        folder = out / f"alpha-{alpha:g}"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "model.safetensors"
        save(file, alpha)
        columns[alpha] = _probed(plan, file, folder / "probe") if plan is not None else {}
    if plan is None:
        return f"{out}: {len(alphas)} models between {a.name} and {b.name}"
    table = _table(columns)
    write_text(out / "sweep.md", table + "\n")
    drawn = _draw(columns, out / "figures")
    return (
        f"{table}\n\nWritten: {out / 'sweep.md'} and {drawn} figures in {out / 'figures'}; all of it: clipjax report "
        f"{out}/alpha-*/probe"
    )


def _read(file: str, options: Any) -> tuple[weights.Weights, Path | None]:
    """With the tokenizer beside the weights, where their model has one."""
    found = loading.find_weights(file, options)
    config, tokenizer = loading.with_tokenizer(found.config, file)
    return dataclasses.replace(found, config=config), tokenizer


def _draw(columns: dict[float, dict[str, Record]], folder: Path) -> int:
    """A figure per number: its value over alpha, each with the interval of its own run. Returns how many."""
    names = [name for name in next(iter(columns.values())) if all(name in column for column in columns.values())]
    for name in names:
        found = [(alpha, column[name]) for alpha, column in sorted(columns.items())]
        intervals = [(r.low, r.high) for _, r in found if r.low is not None and r.high is not None]
        points = [(alpha, r.value) for alpha, r in found if r.value is not None]
        curve = curves.Curve("", points, intervals=intervals if len(intervals) == len(points) else ())
        curves.over_steps([curve], name, across="alpha").save(folder, slug(name))
    return len(names)


def _probed(plan: ConfigDict, file: Path, out: Path) -> dict[str, Record]:
    one = plan.copy_and_resolve_references()
    one.model = str(file)
    made = runner.run(one, out)
    if parallel.is_main_process():
        say(made.text())
    records = [record for run in made.runs for record in run.records]
    return {label(record): record for record in records if not record.group and record.value is not None}


def _table(columns: dict[float, dict[str, Record]]) -> str:
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [["", *(f"alpha {alpha:g}" for alpha in columns)]]
    rows += [[name, *(f"{c[name].value:.4f}" if name in c else "" for c in columns.values())] for name in names]
    return "\n".join(markdown_lines(rows))
