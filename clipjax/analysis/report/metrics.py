"""Every other kind of run: its records as a table."""

from __future__ import annotations

from collections.abc import Sequence

from clipjax.analysis import units
from clipjax.analysis.report.section import Section, run_names
from clipjax.analysis.run import Run
from clipjax.analysis.tables import Table, text, tidy

SHOWN = (
    "metric", "n", "value", "low", "high", "level", "method", "k", "p", "null_mean", "expected_if_equal", "small",
)  # fmt: skip


def sections(runs: Sequence[Run]) -> list[Section]:
    """A line per number."""
    rows, several = [], len(runs) > 1
    for name, run in zip(run_names(runs), runs, strict=True):
        for r in run.records:
            about = sorted((k, v) for k, v in r.to_dict().items() if k not in SHOWN and not isinstance(v, (dict, list)))
            group = [f"{column}={value}" for column, value in (r.group or {}).items()]
            extra = ", ".join([*group, *(f"{k} {text(v)}" for k, v in about)])
            bounds = units.interval(r, ", ")
            first = [name] if several else []
            rows.append([*first, r.metric, extra, units.value(r), bounds and f"[{bounds}]", r.n, units.method(r)])
    head = [*(["run"] if several else []), "metric", "of", "value", "interval", "n", "method"]
    everything = tidy([(n, [r.to_dict() for r in run.records]) for n, run in zip(run_names(runs), runs, strict=True)])
    return [Section("Numbers", [], [Table("numbers", "Every number of the runs", head, rows, data=everything)])]
