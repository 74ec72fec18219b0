"""Categories over labels: which kinds of labels do two groups get, and which appear only below a threshold?

    python experiments/evaluating_clip/categories.py runs/labels --out=runs/categories
    python experiments/evaluating_clip/categories.py runs/Google --categories=imagelabels.csv --out=runs/google

The run is one of `clipjax probe congress`, or of a service (platforms.py). The category of a label is its attribute
`category` in the design, or what a table with the columns `label` and `category` says. Schwemmer et al. (2020) coded
the labels by hand as physical trait or body, clothing, occupation, colour or adjective, and other.

For each category and threshold: labels per image in both groups, their ratio (bootstrap over images; Schwemmer et al.
fit a negative-binomial regression instead), and the share of images with at least one. Then the labels that a group
gets at the lowest threshold and never at the highest: what a higher threshold hides.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clipjax.analysis import association, figures, intervals, tables
from clipjax.analysis.rates import Method, numbers
from clipjax.analysis.records import Record
from clipjax.analysis.run import Run, read_run
from clipjax.data import tables as read_tables
from clipjax.errors import InputError

PERMUTATIONS = 2000


@dataclasses.dataclass(frozen=True)
class Counted:
    """Labels per image in both groups, the ratio of the first to the second with its interval (nan where the second has
    none), and p of a permutation of the groups (seeded, two-sided)."""

    first: float
    second: float
    ratio: float
    low: float
    high: float
    p: float


@dataclasses.dataclass(frozen=True)
class Row:
    """A category of `labels` labels at a threshold; `shares`: images with at least one, in both groups."""

    threshold: float
    category: str
    labels: int
    counted: Counted
    shares: tuple[Record, Record]
    p_adjusted: float


def categories_of(run: Run, table: Path | None) -> list[str]:
    """The category of every label of the run's design, "" where it has none."""
    assert run.design is not None
    if table is None:
        found = ["" if value is None else value for value in run.design.attribute("category")]
    else:
        columns = read_tables.read(table, ["label", "category"])
        pairs = set(zip(*(columns[name].values.tolist() for name in ("label", "category")), strict=True))
        said = dict(pairs)
        if twice := sorted(str(label) for label, n in Counter(label for label, _ in pairs).items() if n > 1):
            raise InputError(f"{table}: label {twice[0]!r} has two categories; keep one")
        found = [said.get(name) or "" for name in run.design.names]
    if not any(found):
        where = table or f"the design of {run.path}"
        raise InputError(f"{where}: gives none of the {len(found)} labels a category; --categories=TABLE names a table")
    return found


def counted(given: np.ndarray, side: np.ndarray, seed: int = 0) -> Counted:
    """given int [N], labels of one category that each image has; side bool [N], the images of the first group."""

    def ratio(draws: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            one, other = ((draws[:, of] @ given[of]) / draws[:, of].sum(1) for of in (side, ~side))
            return np.where(other > 0, one / other, np.nan)

    generator, expected = np.random.default_rng(seed), given.sum() * side.mean()
    shuffled = np.array([given[generator.permutation(len(given))[: side.sum()]].sum() for _ in range(PERMUTATIONS)])
    extreme = abs(shuffled - expected) >= abs(given[side].sum() - expected) - 1e-9
    value, low, high = float(ratio(np.ones((1, len(given))))[0]), np.nan, np.nan
    if not np.isnan(value):
        low, high = intervals.bootstrap_statistic(ratio, len(given), seed)
    p = float((1 + extreme.sum()) / (1 + PERMUTATIONS))
    return Counted(float(given[side].mean()), float(given[~side].mean()), value, low, high, p)


def hidden(probabilities: np.ndarray, side: np.ndarray, low: float, high: float) -> list[tuple[int, int, int]]:
    """Labels that the images of a group get from `low` on and never from `high` on: (label, 0 or 1 for the group, how
    many of its images)."""
    out = []
    for s, inside in enumerate((side, ~side)):
        at_low, at_high = ((probabilities[inside] >= t).sum(0) for t in (low, high))
        out += [(int(c), s, int(at_low[c])) for c in np.flatnonzero((at_low > 0) & (at_high == 0))]
    return sorted(out, key=lambda one: (one[1], -one[2], one[0]))


def by_category(
    probabilities: np.ndarray, of: Sequence[str], thresholds: Sequence[float], side: np.ndarray
) -> list[Row]:
    """A row per threshold and category; p adjusted over all of them (Benjamini-Hochberg)."""
    method, rows = Method(), []
    for threshold in thresholds:
        for category in dict.fromkeys(filter(None, of)):
            mine = np.flatnonzero(np.array(of) == category)
            given = (probabilities[:, mine] >= threshold).sum(1)
            one, other = (numbers("share", int((given[s] > 0).sum()), int(s.sum()), method)[0] for s in (side, ~side))
            rows.append(Row(threshold, category, len(mine), counted(given, side), (one, other), 1.0))
    adjusted = association.adjust([row.counted.p for row in rows])
    return [dataclasses.replace(row, p_adjusted=float(p)) for row, p in zip(rows, adjusted, strict=True)]


def table_of(rows: Sequence[Row], sides: Sequence[str], title: str, note: str) -> tables.Table:
    """Labels per image and shares of both groups."""
    head = ["threshold", "category", "labels", *(f"per image, {side}" for side in sides), "ratio", "adjusted p"]
    head += [f"% of images with one, {side}" for side in sides]
    body: list[list[tables.Cell]] = []
    data: list[list[tables.Cell]] = [
        ["threshold", "category", "labels", *sides, "ratio", "low", "high", "p", "p_adjusted"]
    ]
    for row in rows:
        found = row.counted
        ratio = "" if np.isnan(found.ratio) else f"{found.ratio:.2f} [{found.low:.2f}, {found.high:.2f}]"
        start = [row.category, row.labels]
        body.append([
            f"{100 * row.threshold:g}%", *start, f"{found.first:.2f}", f"{found.second:.2f}", ratio,
            f"{row.p_adjusted:.2g}", *(tables.rate(share) for share in row.shares),
        ])  # fmt: skip
        data.append([row.threshold, *start, *dataclasses.astuple(found), row.p_adjusted])
    return tables.Table("categories", title, head, body, note, data)


def main(path: Path, out: Path, table: Path | None) -> None:
    """Tables and a figure in `out`."""
    run = read_run(path)
    outcome, design = run.manifest.result, run.design
    if run.probe != "labels" or not (design and outcome.sides and outcome.thresholds and outcome.contrast):
        raise InputError(f"{path} is a run of {run.probe}; this is about runs of labels: clipjax probe congress")
    of, sides, thresholds = categories_of(run, table), outcome.sides, sorted(outcome.thresholds)
    column = run.columns[outcome.contrast].astype(str)
    kept = np.isin(column, sides)
    probabilities, side = run.predictions["probabilities"][kept], column[kept] == sides[0]
    rows = by_category(probabilities, of, thresholds, side)
    note = f"{of.count('')} of {len(of)} labels have no category and are not counted."
    written = [table_of(rows, sides, f"Labels by category, {run.manifest.model.name}", note)]
    if len(thresholds) > 1:
        low, high = thresholds[0], thresholds[-1]
        body = [[sides[s], of[c], design.names[c], k] for c, s, k in hidden(probabilities, side, low, high)]
        title = f"Labels that a group gets from {100 * low:g}% on and never from {100 * high:g}% on"
        written.append(tables.Table("hidden", title, ["group", "category", "label", "images"], body))
    for one in written:
        one.write(out)
        print(one.markdown())
    highest = [row for row in rows if row.threshold == thresholds[-1]]
    series = [figures.Series.of(name, [row.shares[s] for row in highest]) for s, name in enumerate(sides)]
    title = f"at least one label from {100 * thresholds[-1]:g}% on"
    figures.rates_by_group([row.category for row in highest], series, title).save(out, "categories")


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--categories", type=Path, metavar="TABLE", help="columns label and category")
    return parser


if __name__ == "__main__":
    try:
        given = arguments().parse_args()
        main(given.run, given.out, given.categories)
    except InputError as error:
        raise SystemExit(f"{Path(__file__).name}: {error}") from None
