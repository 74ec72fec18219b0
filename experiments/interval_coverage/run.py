"""Coverage of each interval for a rate: exactly, over every possible count, and by simulation.

    python experiments/interval_coverage/run.py

Writes coverage.csv, coverage.png and coverage.svg beside this file; about ten seconds.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from clipjax.analysis.intervals import METHODS, interval

HERE = Path(__file__).parent
SIZES = {20: "min_n", 106: "over 70, first 10,000", 1406: "Black, first 10,000"}
SIMULATED = 20_000
STYLE = {
    "clopper-pearson": ("#0072B2", "-"), "wilson": ("#D55E00", "--"), "jeffreys": ("#009E73", "-."),
    "bootstrap": ("#CC79A7", ":"),
}  # fmt: skip


def grid(n: int) -> np.ndarray:
    """Rates from one in ten thousand to a half; denser where counts are small."""
    return np.unique(np.concatenate([np.geomspace(1e-4, 0.05, 200), np.linspace(0.05, 0.5, 300)]))


def exact(method: str, n: int, p: np.ndarray) -> np.ndarray:
    """P(interval holds p) summed over all n + 1 counts."""
    k = np.arange(n + 1)
    low, high = interval(k, n, method)
    inside = (low[:, None] <= p) & (p <= high[:, None])
    return (stats.binom.pmf(k[:, None], n, p) * inside).sum(0)


def simulated(method: str, n: int, p: np.ndarray, seed: int = 0) -> np.ndarray:
    """The same from seeded draws: an independent check of the sum."""
    k = np.arange(n + 1)
    low, high = interval(k, n, method)
    drawn = np.random.default_rng(seed).binomial(n, p[:, None], (len(p), SIMULATED))
    return ((low[drawn] <= p[:, None]) & (p[:, None] <= high[drawn])).mean(1)


def main() -> None:
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, sharey=True)
    rows = []
    for axes, (n, what) in zip(panels, SIZES.items(), strict=True):
        p = grid(n)
        for method in METHODS:
            cover, drawn = exact(method, n, p), simulated(method, n, p[::25])
            gap = np.abs(cover[::25] - drawn).max()
            noise = 5 * np.sqrt(0.25 / SIMULATED)
            assert gap < noise, (method, n, gap)
            rows += [[n, method, f"{x:.6g}", f"{c:.6f}"] for x, c in zip(p, cover, strict=True)]
            colour, dash = STYLE[method]
            axes.plot(p, cover, color=colour, ls=dash, lw=1.2, label=method)
            print(f"n={n:5} {method:16} min {cover.min():.4f}  mean {cover.mean():.4f}  simulation within {gap:.4f}")
        axes.axhline(0.95, color="black", lw=0.8)
        axes.set_xscale("log")
        axes.set_ylim(0.7, 1.005)
        axes.set_title(f"n = {n:,} ({what})", fontsize=10)
        axes.set_xlabel("true rate")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("coverage of a 95% interval")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(HERE / "coverage.png", dpi=160, metadata={"Software": "clipjax"})
    figure.savefig(HERE / "coverage.svg", metadata={"Date": None})
    with open(HERE / "coverage.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["n", "method", "p", "coverage"], *rows])


if __name__ == "__main__":
    main()
