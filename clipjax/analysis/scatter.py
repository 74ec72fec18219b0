"""Models as points: one number against another, each with its interval, and a line where there is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from clipjax.analysis import figures
from clipjax.analysis.letters import short
from clipjax.analysis.records import Record


@dataclasses.dataclass(frozen=True)
class Point:
    """A model with two numbers and their intervals (the number itself where there is none)."""

    name: str
    x: tuple[float, float, float]  # value, low, high
    y: tuple[float, float, float]

    @staticmethod
    def of(name: str, x: Record, y: Record) -> Point:
        """Of the records of both numbers."""
        return Point(name, _bounds(x), _bounds(y))


def _bounds(record: Record) -> tuple[float, float, float]:
    value = float("nan") if record.value is None else float(record.value)
    low, high = (value if end is None else float(end) for end in (record.low, record.high))
    return value, low, high


def of_models(
    points: Sequence[Point], x: str, y: str, y_share: bool, line: Callable[[Any], np.ndarray] | None = None
) -> figures.Drawing:
    """x, y: what the numbers are; shares are in percent. line: x as shares -> y as shares."""
    figure, axes = figures._axes(figures.ROWS, 4.2)
    y_unit = 100 if y_share else 1
    for i, point in enumerate(points):
        colour = figures.COLOURS[i % len(figures.COLOURS)]
        (a, *ends_x), (b, *ends_y) = (100 * np.array(point.x), y_unit * np.array(point.y))
        axes.hlines(b, *ends_x, color=colour, lw=1.2)
        axes.vlines(a, *ends_y, color=colour, lw=1.2)
        axes.scatter([a], [b], s=32, color=colour, marker=figures.MARKERS[i % len(figures.MARKERS)], zorder=3,
                     label=short(point.name, 40))  # fmt: skip
    if line is not None:
        low, high = (np.clip(f([p.x[i] for p in points]), 1e-3, 1 - 1e-3) for f, i in ((min, 1), (max, 2)))
        span = np.linspace(low, high, 100)
        axes.plot(100 * span, 100 * line(span), color=figures.GREY, lw=1.2, ls="--", label="line of the baselines")
    unit = ", percent" if y_share else ""
    figures._x_label(axes, short(f"{x}, percent", 70))
    figures._plain(axes.set_ylabel(short(f"{y}{unit}", 60)))
    figures._grid(axes, "both")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, ncols=2, fontsize=8)
    words = [f"{p.name}: {100 * p.x[0]:.1f} and {y_unit * p.y[0]:.3g}" for p in points]
    return figures.Drawing(figure, f"{y} against {x}. " + "; ".join(words) + ".")
