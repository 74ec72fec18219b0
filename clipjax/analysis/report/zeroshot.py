"""Runs of `zeroshot` and `linear`: numbers, and where confidences were scored the drawings that calibration needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipjax.analysis import figures, selective
from clipjax.analysis.records import Record
from clipjax.analysis.report import metrics
from clipjax.analysis.report.section import Section, run_names, slug
from clipjax.analysis.run import Run
from clipjax.analysis.tables import Table, percent, tidy

CONFIDENCE = "Are the confidences right?"


def sections(runs: Sequence[Run]) -> list[Section]:
    """A line per number; then a section about confidence for the runs that have one."""
    return [*metrics.sections(runs), *_confidence(runs)]


def _confidence(runs: Sequence[Run]) -> list[Section]:
    curves = {name: _bins(run) for name, run in zip(run_names(runs), runs, strict=True)}
    scored = {name: bins for name, bins in curves.items() if bins}
    if not scored:
        return []
    tables, drawings = [], {}
    for name, bins in scored.items():
        suffix = f"_{slug(name)}" if len(scored) > 1 else ""
        rows = [
            [
                f"{percent(r.low_edge)} to {percent(r.high_edge)}", r.n, percent(r.confidence), percent(r.accuracy),
                f"[{percent(r.low)}, {percent(r.high)}]",
            ]
            for r in bins
        ]  # fmt: skip
        head = ["confidence, %", "images", "mean confidence, %", "accuracy, %", "interval"]
        full = tidy([(name, [r.to_dict() for r in bins])])
        tables.append(Table(f"reliability{suffix}", f"Accuracy by confidence: {name}", head, rows, data=full))
        caption = f"Is {name} right as often as it says? Each bin with its exact interval; on the diagonal it would be."
        drawings[f"reliability{suffix}"] = (_reliability(bins), caption)
    of = {name: run for name, run in zip(run_names(runs), runs, strict=True) if name in scored}
    known = {name: curve for name, run in of.items() if (curve := _coverage(run)) is not None}
    if known:
        caption = (
            "How many of the accepted answers are wrong if answers below a confidence are withheld? Of all images with "
            "a label; at the right every answer counts."
        )
        drawings["risk_coverage"] = (_risk_coverage(known), caption)
    words = ["The confidence of an image is the probability of its answer among the classes of this design."]
    return [Section(CONFIDENCE, words, tables, drawings)]


def _bins(run: Run) -> list[Record]:
    """The bins over all images, as the model's own temperature has them."""
    return [r for r in run.records if r.metric == "reliability" and not r.group and r.temperature is None]


def _coverage(run: Run) -> selective.Curve | None:
    """Of all images with a label of the design; None where predictions have no confidence, as those of `linear`."""
    if run.design is None or not {"label", "probability"} <= set(run.names):
        return None
    parts = []
    for block in run.blocks(["probability", "prediction", "label"]):
        probability, answer, label = (block.predictions[name] for name in ("probability", "prediction", "label"))
        known = np.isin(label.astype(str), run.design.names)
        parts.append((probability[known].astype(np.float64), (answer == label)[known]))
    confidence, right = map(np.concatenate, zip(*parts, strict=True))
    return selective.risk_coverage(confidence, right) if len(right) else None


def _reliability(bins: Sequence[Record]) -> figures.Drawing:
    figure, axes = figures._axes(figures.ROWS, 4.4)
    axes.plot([0, 100], [0, 100], color=figures.GREY, lw=1, ls="--")
    x, y, low, high = (100 * np.array([getattr(r, part) for r in bins], float) for part in (
        "confidence", "accuracy", "low", "high"
    ))  # fmt: skip
    axes.vlines(x, low, high, color=figures.COLOURS[0], lw=1.6)
    face = ["white" if r.small else figures.COLOURS[0] for r in bins]
    axes.scatter(x, y, s=30, color=face, edgecolors=figures.COLOURS[0], zorder=3, clip_on=False)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    few = " (hollow: few images)" if any(r.small for r in bins) else ""
    figures._x_label(axes, f"mean confidence of the bin, percent{few}")
    figures._plain(axes.set_ylabel("accuracy, percent"))
    figures._grid(axes, "both")
    words = [f"{percent(r.confidence)}: {percent(r.accuracy)} of {r.n}" for r in bins]
    return figures.Drawing(figure, "Accuracy by mean confidence, percent. " + "; ".join(words) + ".")


def _risk_coverage(curves: dict[str, selective.Curve]) -> figures.Drawing:
    figure, axes = figures._axes(figures.ROWS, 3.6)
    words = []
    for i, (name, curve) in enumerate(curves.items()):
        style = {"color": figures.COLOURS[i % len(figures.COLOURS)], "ls": ("-", "--", ":", "-.")[i % 4]}
        axes.plot(100 * curve.coverage, 100 * curve.risk, lw=1.8, label=figures.short(name, 60), **style)
        half = int(np.abs(curve.coverage - 0.5).argmin())
        words.append(f"{name}: {100 * curve.risk[half]:.1f} at half, {100 * curve.risk[-1]:.1f} of all")
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    figures._x_label(axes, "accepted answers, percent of images (coverage)")
    figures._plain(axes.set_ylabel("wrong, percent of accepted (risk)"))
    figures._grid(axes, "both")
    if len(curves) > 1:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=8)
    return figures.Drawing(figure, "Errors among accepted answers by coverage, percent. " + "; ".join(words) + ".")
