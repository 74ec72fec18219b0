"""Coverage of the intervals of worst group, gap, ratio and means, beside the bootstrap; levels of the new tests.

    python experiments/group_intervals/run.py

Writes coverage.csv, levels.csv, coverage.png and coverage.svg beside this file; about a minute.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clipjax.analysis import agreement, calibration, eat, groups, selective, simultaneous, skew
from clipjax.analysis.rates import Method
from clipjax.errors import InputError

HERE = Path(__file__).parent
SIMULATIONS = 300
TESTS = 300
RESAMPLES = 200
WORLDS = {  # what is true: one rate a group
    "2 groups, equal": (0.8, 0.8),
    "7 groups, equal": (0.8,) * 7,
    "7 groups, one at 70%": (0.7,) + (0.8,) * 6,
    "7 groups, one at 60%": (0.6,) + (0.8,) * 6,
}
SIZES = (20, 100, 1000)
STYLE = {"worst group": "#0072B2", "gap": "#D55E00", "ratio": "#009E73", "mean": "#CC79A7"}


def bootstrap(k: np.ndarray, n: int, generator: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Percentile intervals of the minimum and of the gap, images resampled within groups."""
    drawn = generator.binomial(n, k / n, (RESAMPLES, len(k))) / n
    return tuple(np.quantile(x, [0.025, 0.975]) for x in (drawn.min(1), np.ptp(drawn, axis=1)))


def covered(p: np.ndarray, n: int, generator: np.random.Generator) -> dict[str, float]:
    """How often each interval holds the truth."""
    truth = {"worst group": p.min(), "gap": np.ptp(p), "ratio": p.min() / p.max(), "mean": p.mean()}
    hits = dict.fromkeys([*truth, "worst group, bootstrap", "gap, bootstrap"], 0)
    sizes = np.full(len(p), n)
    for _ in range(SIMULATIONS):
        k = generator.binomial(n, p)
        mean = groups.mean_of_groups(k, sizes)
        found = {
            "worst group": simultaneous.minimum(k, sizes), "gap": simultaneous.gap(k, sizes),
            "ratio": simultaneous.ratio(k, sizes), "mean": (mean.low, mean.high),
        }  # fmt: skip
        lowest, gap = bootstrap(k, n, generator)
        for name, (low, high) in found.items():
            hits[name] += low - 1e-12 <= truth[name] <= high + 1e-12
        hits["worst group, bootstrap"] += lowest[0] <= truth["worst group"] <= lowest[1]
        hits["gap, bootstrap"] += gap[0] <= truth["gap"] <= gap[1]
    return {name: count / SIMULATIONS for name, count in hits.items()}


def rejected(p_value: Callable[[np.random.Generator], float], seed: int) -> float:
    """How often a test rejects at 5% where nothing is to be found."""
    generator = np.random.default_rng(seed)
    return float(np.mean([p_value(generator) <= 0.05 for _ in range(TESTS)]))


def gap_p(generator: np.random.Generator) -> float:
    return groups.group_difference(generator.binomial(50, 0.8, 4), np.full(4, 50)).p


def skew_p(generator: np.random.Generator) -> float:
    ranked = skew.rank(generator.random(90), np.repeat([0, 1, 2], 30))
    null, exact = skew.rankings.null(ranked, statistic := skew._NDKL((1 / 3,) * 3))
    return skew._p(null, exact, float(statistic(ranked.group[None], ranked.ends)[0]))


def eat_p(generator: np.random.Generator) -> float:
    return eat.association_test(*(generator.normal(size=(m, 16)) for m in (6, 6, 4, 4))).p


def ece_p(generator: np.random.Generator) -> float:
    confidence = generator.uniform(0.3, 1, 100)
    method = Method(seed=int(generator.integers(1 << 30)))
    return calibration.error_of(confidence, generator.random(100) < confidence, 15, method=method).p


def kappa_coverage(seed: int) -> float:
    """Cohen's kappa of 200 images, three classes, agreement .6 + .4 / 3: true kappa .6."""
    generator, held = np.random.default_rng(seed), 0
    for _ in range(TESTS):
        a, other, same = generator.integers(0, 3, 200), generator.integers(0, 3, 200), generator.random(200) < 0.6
        found = agreement.cohen_kappa(a, np.where(same, a, other))
        held += found.low <= 0.6 <= found.high
    return held / TESTS


def threshold_violations(seed: int) -> float:
    """Thresholds for a risk of 10% at 95%, true risk 10.1% at every threshold: how often one is found all the same."""
    generator, found = np.random.default_rng(seed), 0
    for _ in range(TESTS):
        try:
            selective.threshold_for_risk(
                generator.random(300), generator.random(300) >= 0.101, np.linspace(0, 0.9, 25), 0.1, 0.05
            )
        except InputError:
            continue
        found += 1
    return found / TESTS


def draw(rows: list[list]) -> Figure:
    """Coverage by group size: a panel for each world, bootstrap as hollow marks."""
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(WORLDS), sharey=True)
    for axes, world in zip(panels, WORLDS, strict=True):
        for name, colour in STYLE.items():
            for how, marker in ((name, "o-"), (f"{name}, bootstrap", "o:")):
                mine = [(n, cover) for where, n, what, cover in rows if (where, what) == (world, how)]
                if mine:
                    hollow = "white" if "bootstrap" in how else colour
                    axes.plot(*zip(*mine, strict=True), marker, color=colour, markerfacecolor=hollow, label=how)
        axes.axhline(0.95, color="0.6", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xticks(SIZES, [str(n) for n in SIZES])
        axes.set_xlabel("images in each group")
        axes.set_title(world, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("coverage of 95% intervals")
    panels[0].set_ylim(0, 1.02)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize=9
    )
    return figure


def main() -> None:
    generator, rows = np.random.default_rng(0), []
    for world, p in WORLDS.items():
        for n in SIZES:
            rows += [[world, n, name, cover] for name, cover in covered(np.array(p), n, generator).items()]
    levels = [
        ["permutation test of the gap, 4 groups of 50", rejected(gap_p, 1)],
        ["permutation test of NDKL, 3 groups of 30", rejected(skew_p, 2)],
        ["permutation test of d, 6 against 6", rejected(eat_p, 3)],
        ["calibration error, 15 bins, 100 images", rejected(ece_p, 4)],
        ["threshold for a risk of 10% where it is 10.1% (violations)", threshold_violations(5)],
        ["coverage of the bootstrap of Cohen's kappa, 200 images", kappa_coverage(6)],
    ]
    for name, header, content in (
        ("coverage.csv", ["world", "n", "interval", "coverage"], rows),
        ("levels.csv", ["test", "share"], levels),
    ):
        with open(HERE / name, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *content])
    for kind in ("png", "svg"):
        draw(rows).savefig(HERE / f"coverage.{kind}", dpi=120, metadata={"Date": None} if kind == "svg" else None)
    for row in (*rows, *levels):
        print(*row, sep="\t")


if __name__ == "__main__":
    main()
