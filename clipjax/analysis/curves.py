"""Figures of numbers over the steps of training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from clipjax.analysis import figures
from clipjax.analysis.figures import COLOURS, GREY, MARKERS, ROWS, Drawing

FEW = 40  # points of a line that are marked one by one


@dataclasses.dataclass(frozen=True)
class Curve:
    """(step, value) in order. faint: shown behind the others, because its values are not comparable one by one."""

    label: str
    points: Sequence[tuple[float, float]]
    faint: bool = False
    intervals: Sequence[tuple[float, float]] = ()  # (low, high) of every point, where they have one


def over_steps(series: Sequence[Curve], quantity: str, marked: int | None = None, across: str = "step") -> Drawing:
    """A line per curve over the steps; `marked`: a step with a line of its own, the best one."""
    figure, axes = figures._axes(ROWS, 2.6)
    for i, curve in enumerate(series):
        x, y = zip(*curve.points, strict=True)
        colour = GREY if curve.faint else COLOURS[i % len(COLOURS)]
        marker = MARKERS[i % len(MARKERS)] if len(x) <= FEW else ""
        axes.plot(
            x, y, color=colour, lw=0.8 if curve.faint else 1.5, alpha=0.6 if curve.faint else 1.0, marker=marker, ms=3,
            label=curve.label,
        )  # fmt: skip
        if curve.intervals:
            low, high = zip(*curve.intervals, strict=True)
            axes.vlines(x, low, high, color=colour, lw=1.2, alpha=0.7)
    if marked is not None:
        axes.axvline(marked, color="black", lw=0.9, ls="--", zorder=1)
        figures._text(
            axes, marked, 1.01, f"best, {across} {marked}", transform=axes.get_xaxis_transform(), fontsize=7.5,
            ha="center", va="bottom",
        )  # fmt: skip
    figures._x_label(axes, across)
    if across == "step":
        axes.xaxis.get_major_locator().set_params(integer=True)
    figures._plain(axes.set_ylabel(quantity))
    figures._grid(axes, "both")
    if any(curve.label for curve in series):
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.06), frameon=False, ncols=3, fontsize=8)
    words = [
        f"{curve.label or quantity}: {curve.points[0][1]:.4g} at {across} {curve.points[0][0]:g}, "
        f"{curve.points[-1][1]:.4g} at {across} {curve.points[-1][0]:g}"
        for curve in series
    ]
    return Drawing(figure, f"{quantity} over the {across}s. {'; '.join(words)}.")
