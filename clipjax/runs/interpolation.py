"""WiSE-FT from files to files, with a probe on every stop of the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from clipjax import loading, parallel
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

    With a probe: its runs in OUT/alpha-A/probe, and OUT/sweep.md with every overall number by alpha.
    """
    if len(set(alphas)) < len(alphas):
        raise InputError(f"--alpha={','.join(f'{a:g}' for a in alphas)}: one comes twice")
    single = len(alphas) == 1 and probe is None
    if single and out.suffix != ".safetensors":
        raise InputError(f"{out}: name a .safetensors file")
    if not single and out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; several models need a folder")
    plan = configs.load(probe, overrides) if probe else None  # a misspelt one costs nothing
    a, b = (loading.find_weights(file, options) for file in (before, after))
    if single:
        weights.save(out, interpolate(a, b, alphas[0]))
        return f"{out}: {1 - alphas[0]:g} x {a.name} + {alphas[0]:g} x {b.name}"
    columns: dict[float, dict[str, float]] = {}
    for alpha in alphas:
        folder = out / f"alpha-{alpha:g}"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "model.safetensors"
        weights.save(file, interpolate(a, b, alpha))
        columns[alpha] = _probed(plan, file, folder / "probe") if plan is not None else {}
    if plan is None:
        return f"{out}: {len(alphas)} models between {a.name} and {b.name}"
    table = _table(columns)
    write_text(out / "sweep.md", table + "\n")
    return f"{table}\n\nWritten: {out / 'sweep.md'}; all of it: clipjax report {out}/alpha-*/probe"


def _probed(plan: ConfigDict, file: Path, out: Path) -> dict[str, float]:
    one = plan.copy_and_resolve_references()
    one.model = str(file)
    made = runner.run(one, out)
    if parallel.is_main_process():
        say(made.text())
    records = [record for run in made.runs for record in run.records]
    return {label(record): record.value for record in records if not record.group and record.value is not None}


def _table(columns: dict[float, dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [["", *(f"alpha {alpha:g}" for alpha in columns)]]
    rows += [[name, *(f"{c[name]:.4f}" if name in c else "" for c in columns.values())] for name in names]
    return "\n".join(markdown_lines(rows))
