"""Runs of the probe `identities`: Table 1, models down and numbers of candidates across."""

from __future__ import annotations

from collections.abc import Sequence

from clipjax.analysis.report.section import Section, beside_paper
from clipjax.analysis.run import Run
from clipjax.analysis.tables import Table, percent, rate


def sections(runs: Sequence[Run]) -> list[Section]:
    """Over each list's own people (the paper's layout), and over the same images throughout."""
    sizes = sorted({r.candidates for run in runs for r in run.records if r.candidates is not None})
    head = ["Model", *(f"{_thousands(size)} Classes" for size in sizes)]
    tables = []
    for name, images in (("paper_table1", "of these candidates"), ("fixed_images", None)):
        rows, counts = [], []
        for run in runs:
            found = {
                r.candidates: r
                for r in run.records
                if r.metric == "top1" and (r.images == images if images else r.images != "of these candidates")
            }
            rows.append([run.manifest.model.name, *(percent(found[s].value) if s in found else None for s in sizes)])
            counts.append([run.manifest.model.name, *(rate(found[s]) if s in found else None for s in sizes)])
        what = "images of each list's own people" if images else "the same images throughout"
        title = f"Zero-shot top-1 identity accuracy, percent: {what}"
        tables.append(Table(name, title, head, rows, "As Table 1 of the paper." if images else ""))
        tables.append(Table(f"{name}_intervals", f"{title}, with intervals and counts", head, counts))
    words = list(dict.fromkeys(f"{run.manifest.result.notice}." for run in runs))
    beside = beside_paper(runs)
    return [Section("Names given to faces", words, tables), *([beside] if beside else [])]


def _thousands(size: int) -> str:
    return f"{size // 1000}k" if size % 1000 == 0 else str(size)
