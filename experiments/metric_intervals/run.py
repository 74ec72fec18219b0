"""Coverage of every interval that a metric prints, at small and large n and near 0 and 1; levels of the tests.

    python experiments/metric_intervals/run.py [--quick]

Writes coverage.csv, coverage.png and coverage.svg beside this file; about eight minutes of CPU. `--quick` draws four
samples of each world, and writes nothing.
"""

from __future__ import annotations

import csv
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import counts  # noqa: E402
import resampled  # noqa: E402

QUICK = 4
LEVELS = ("test", "McNemar", "permutation", "two-sided")  # names of what should happen in at most 5%
COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7")


class Row(NamedTuple):
    """How often an interval held the truth in a world of n, or a test rejected what was true."""

    interval: str
    world: str
    n: int
    nominal: float
    share: float
    error: float  # standard error over the samples; 0 where all outcomes are summed
    samples: int


def nominal(name: str) -> float:
    """0.95 of an interval, 0.05 of a test."""
    return 0.05 if name.startswith(LEVELS) else 0.95


def measure(world: counts.World, n: int, most: int) -> Iterator[Row]:
    """A row for every interval of a world."""
    generator = np.random.default_rng([zlib.crc32(world.name.encode()), n])
    found: dict[str, list[np.ndarray]] = {}
    for _ in range(max(most, 1)):
        for name, one in world.draw(generator, n).items():
            found.setdefault(name, []).append(np.atleast_1d(np.asarray(one, float)))
    for name, parts in found.items():
        each = np.array([part.mean() for part in parts]) if most > 1 else parts[0]  # models of one sample are alike
        error = float(each.std(ddof=1) / np.sqrt(len(each))) if world.most else 0.0
        yield Row(name, world.name, n, nominal(name), float(each.mean()), error, len(each) if world.most else 0)


def rows(quick: bool = False) -> Iterator[Row]:
    """All worlds and sizes."""
    for world in (*counts.worlds(), *resampled.worlds()):
        for n in world.sizes[:1] if quick else world.sizes:
            yield from measure(world, n, min(world.most, QUICK) if quick else world.most)


def draw(found: list[Row]) -> Figure:
    """A line for every interval, a mark for every world and size: intervals on the left, tests on the right."""
    figure = Figure(figsize=(11, 9.5), layout="constrained")
    FigureCanvasAgg(figure)
    sides = figure.subplots(1, 2, width_ratios=(2.2, 1))
    bands = ((0, 15), (15, 40), (40, 100), (100, 300), (300, 10**9))
    for axes, level in zip(sides, (0.95, 0.05), strict=True):
        mine = [row for row in found if row.nominal == level]
        names = list(dict.fromkeys(row.interval for row in mine))
        for (low, high), colour in zip(bands, COLOURS, strict=False):
            some = [row for row in mine if low < row.n <= high]
            label = f"n to {high}" if high < 10**9 else f"n above {low}"
            y = [names.index(row.interval) for row in some]
            axes.scatter([row.share for row in some], y, s=22, color=colour, alpha=0.8, label=label, linewidths=0)
        axes.axvline(level, color="0.5", linewidth=0.8)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="y", color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    sides[0].set_xlabel("share of samples whose 95% interval holds the truth")
    sides[1].set_xlabel("share of true hypotheses\nrejected at 5%")
    sides[1].set_xlim(0, 0.15)
    figure.legend(*sides[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False)
    return figure


def main(quick: bool = False) -> list[Row]:
    found = []
    for row in rows(quick):
        found.append(row)
        print(*row[:4], f"{row.share:.3f}", f"{row.error:.3f}", sep="\t", flush=True)
    if not quick:
        with open(HERE / "coverage.csv", "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows(
                [Row._fields, *((*row[:4], f"{row.share:.4f}", f"{row.error:.4f}", row[6]) for row in found)]
            )
        figure = draw(found)
        figure.savefig(HERE / "coverage.png", dpi=120, metadata={"Software": "clipjax"})
        figure.savefig(HERE / "coverage.svg", metadata={"Date": None})
    return found


if __name__ == "__main__":
    main("--quick" in sys.argv)
