"""What a kind of run has to say: sections of words, tables and figures."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from clipjax.analysis import paper
from clipjax.analysis.figures import Drawing
from clipjax.analysis.run import Run
from clipjax.analysis.tables import Cell, Table, percent, tidy

OURS = ("k", "n", "value", "low", "high")


@dataclasses.dataclass(frozen=True)
class Section:
    """Drawings by file name; `caption` of each is its own title here.

    `points`: sentences of a list, each with the title of the section that holds its table ("" for none).
    `folded`: shown on demand, after everything else.
    """

    title: str
    words: Sequence[str] = ()
    tables: Sequence[Table] = ()
    drawings: Mapping[str, tuple[Drawing, str]] = dataclasses.field(default_factory=dict)  # name -> drawing, caption
    points: Sequence[tuple[str, str]] = ()
    silent: Sequence[str] = ()  # what was tested without a finding, or could not be
    lead: str = ""  # before the points
    folded: bool = False


def run_names(runs: Sequence[Run]) -> list[str]:
    """What tells the runs apart: the design, the model, or the folder."""
    designs = [run.manifest.design.name for run in runs]
    models = [run.manifest.model.name for run in runs]
    for names in (designs, models, [run.label for run in runs], [run.folder for run in runs]):
        if len(set(names)) == len(runs) and all(names):
            return names
    return [f"{run.folder} ({i + 1})" for i, run in enumerate(runs)]


def not_drawn(runs: Sequence[Run]) -> str:
    """The set of which these runs need no figure, because another one mirrors it in all of them; "" for none."""
    (name, *more) = {run.design.mirrored if run.design else "" for run in runs}
    return "" if more else name


def data(runs: Sequence[Run], metrics: Sequence[str], key: tuple[str, ...] | None = None) -> list[list[Cell]]:
    """The records behind a table, one value per cell: those of these metrics, grouped by exactly the columns `key`."""
    return tidy(
        [
            (name, [r.to_dict() for r in run.records if r.metric in metrics and key in (None, r.columns)])
            for name, run in zip(run_names(runs), runs, strict=True)
        ]
    )


def ordered(runs: Sequence[Run], key: tuple[str, ...], groups: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Groups of the columns `key` in the order of the first run's values, those of later runs behind."""
    places: list[dict[str, int]] = [{} for _ in key]
    for run in runs:
        for known, column in zip(places, key, strict=True):
            for value in run.places(column) if column in run.group_columns else ():
                known.setdefault(value, len(known))
    return sorted(groups, key=lambda g: [(p.get(v, len(p)), v) for p, v in zip(places, g, strict=True)])


def numbered(name: str, parts: Sequence[Drawing], caption: str) -> dict[str, tuple[Drawing, str]]:
    """The parts of one figure by file name: NAME, NAME_part2, ...; the first has the whole caption."""
    return {
        f"{name}_part{i + 1}" if i else name: (part, f"Part {i + 1} of the figure above." if i else caption)
        for i, part in enumerate(parts)
    }


def slug(words: str) -> str:
    """A file name of somebody's words; words that differ in more than spaces, dots, "+" and ":" have others."""
    plain = re.sub("[ .+:]", "_", words)
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in plain)[:60]
    return name if name == plain and name else f"{name[:50]}_{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def beside_paper(runs: Sequence[Run]) -> Section | None:
    """paper | ours | verdict, for every published number that asks the same."""
    columns = ["source", "what", "published", "ours, percent [95% interval] k/n", "verdict", "of the published number"]
    rows, shown = [], run_names(runs)
    full: list[list[Cell]] = [["run", *columns[:3], *columns[4:], "ours", *OURS]]
    for name, run in zip(shown, runs, strict=True):
        for row in paper.compare(run):
            ours = row.ours or {}
            text = ours.get("text") or (
                f"{percent(ours['value'])} [{percent(ours['low'])}, {percent(ours['high'])}] {ours['k']}/{ours['n']}"
            )
            verdict = f"{row.verdict}: {row.reason}" if row.reason else row.verdict
            mine = [row.where, row.what, row.printed, text, verdict, row.caveat]
            numbers = [ours.get(key) for key in OURS]
            full.append([name, row.where, row.what, row.printed, verdict, row.caveat, ours.get("text"), *numbers])
            rows.append([*mine, *([name] if len(runs) > 1 else [])])
    if not rows:
        return None
    table = Table(
        "paper", "Published numbers beside this run's", [*columns, *(["run"] if len(runs) > 1 else [])], rows,
        "inside: the published number, within its rounding, lies in our interval (Clopper-Pearson, 95%).", full,
    )  # fmt: skip
    words = dict.fromkeys(caveat for run in runs for caveat in paper.caveats(run))
    return Section("The paper beside it", list(words), [table])
