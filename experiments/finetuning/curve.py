"""Loss by step of one or several fine-tuning runs, as a figure: python curve.py OUT.png NAME=RUN [NAME=RUN ...]"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from clipjax.stored import events


def draw(out: Path, runs: dict[str, Path]) -> None:
    """One line per run, from its own log."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss")
    for name, run in runs.items():
        points = [(e["step"], e["loss"]) for e in events(run / "log.jsonl") if e["stage"] == "train"]
        axes.plot(*zip(*points, strict=True), label=name)
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), {name: Path(run) for name, _, run in (given.partition("=") for given in sys.argv[2:])})
