"""`clipjax report`: from run folders to tables, figures, one page and a model-card section.

Each kind of run has a module of its name beside this one with `sections(runs)`; `metrics` serves the kinds without one.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from clipjax.analysis.report import card, head, page
from clipjax.analysis.report.section import Section, run_names
from clipjax.analysis.run import Run
from clipjax.analysis.tables import Table, csv_text, tidy
from clipjax.files import write_text

SAME = {"linear": "zeroshot"}  # kinds that have the sections of another one
NO_KINDS = ("card", "head", "metrics", "page", "panel", "panel_findings", "pdf", "schema", "section")


def write(runs: Sequence[Run], out: Path, stated: card.Stated | None = None) -> list[Section]:
    """tables/*.csv .md .tex, figures/*.png .svg, report.html and model_card.md of finished runs; returns what they say.

    Runs of one kind are put side by side. `stated`: what the model card says and no run knows. The same runs give the
    same bytes.
    """
    found = sections(runs)
    texts = {"model_card.md": card.text(runs, found, stated), "report.html": page.html(runs, found)}
    out.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for section in found:
        for table in section.tables:
            table.write(out / "tables")
        for name, (drawing, _) in section.drawings.items():
            assert name not in taken, name
            taken.add(name)
            drawing.save(out / "figures", name)
    if len(runs) > 1:  # one run has its own tables/metrics.csv
        names = zip(run_names(runs), runs, strict=True)
        texts["tables/records.csv"] = csv_text(
            tidy([(name, [r.to_dict() for r in run.records]) for name, run in names])
        )
    for name, text in texts.items():
        write_text(out / name, text)
    return found


def sections(runs: Sequence[Run]) -> list[Section]:
    """What each kind has to say; with several kinds the kind's name goes before each title."""
    kinds = list(dict.fromkeys(run.probe for run in runs))
    results: list[Section] = []
    for kind in kinds:
        mine = _module_of(kind).sections([run for run in runs if run.probe == kind])
        results += [_of_kind(section, kind) for section in mine] if len(kinds) > 1 else mine
    known = Section("Caveats of this report", points=[(said, "") for said in head.caveats(runs)])
    return [head.section(runs), head.methods(runs), *results, known, head.repeat(runs)]


def _of_kind(section: Section, kind: str) -> Section:
    tables = [dataclasses.replace(t, name=f"{kind}_{t.name}") for t in section.tables]
    drawings = {f"{kind}_{name}": drawing for name, drawing in section.drawings.items()}
    return dataclasses.replace(section, title=f"{kind}: {section.title}", tables=tables, drawings=drawings)


def _module_of(kind: str) -> ModuleType:
    name = f"clipjax.analysis.report.{SAME.get(kind, kind)}"
    known = kind not in NO_KINDS and importlib.util.find_spec(name)
    return importlib.import_module(name if known else "clipjax.analysis.report.metrics")


def main_tables(found: Sequence[Section], most: int = 4) -> list[Table]:
    """The first tables that hold numbers, for a terminal."""
    tables = [t for section in found for t in section.tables if not t.name.partition("_")[0].endswith("design")]
    return tables[:most]
