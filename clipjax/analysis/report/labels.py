"""Runs of the probe `labels`: labels by group, the most gendered of them, and what the threshold does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from clipjax.analysis import association, figures, paper
from clipjax.analysis.records import finite
from clipjax.analysis.report.section import Section, beside_paper, run_names, slug
from clipjax.analysis.run import Run
from clipjax.analysis.tables import Cell, Table, percent

TOP = 20  # Figure 1


def sections(runs: Sequence[Run]) -> list[Section]:
    """Each run by itself, then the paper's claims."""
    found = []
    for name, run in zip(run_names(runs), runs, strict=True):
        several = len(runs) > 1
        for s in _one(run, f"_{slug(name)}" if several else ""):
            found.append(dataclasses.replace(s, title=f"{name}: {s.title}") if several else s)
    beside = beside_paper(runs)
    return [*found, *([beside] if beside else [])]


def _one(run: Run, suffix: str) -> list[Section]:
    assert run.design is not None
    contrast, sides, thresholds = _setting(run)
    k = len(run.design.classes)
    n = {s: run.values[contrast].get(s, 0) for s in sides}
    most = ", ".join(f"{int(1 / t)} labels at {100 * t:g}%" for t in thresholds)
    counted = ", ".join(f"{v} images {s}" for s, v in n.items())
    reaches = "Every label whose probability reaches the threshold counts."
    if run.manifest.computed_by:
        asked = [f"{k} labels, from answers that were ingested; {counted}.", reaches]
    else:
        asked = [
            f"{k} labels asked as {', '.join(map(repr, run.design.templates))}; {counted}.",
            f"{reaches} A uniform answer gives each label 1/{k} = {100 / k:.2g}%; at most {most} can reach it for one "
            "image.",
        ]
    words = [
        *asked,
        *([run.design.note] if run.design.note else []),
    ]
    found = [Section("What was asked", words)]
    found += [_at(run, threshold, suffix) for threshold in thresholds]
    return [*found, _curves(run, suffix)]


def _setting(run: Run) -> tuple[str, tuple[str, str], list[float]]:
    """The contrasted column, its two values, and the thresholds."""
    found = run.manifest.result
    assert found.contrast is not None
    assert found.sides is not None
    assert found.thresholds is not None
    return found.contrast, found.sides, found.thresholds


def _at(run: Run, threshold: float, suffix: str) -> Section:
    assert run.design is not None
    contrast, sides, _ = _setting(run)
    given = [r for r in run.records if r.metric == "label_rate" and r.threshold == threshold]
    first, second = ([r for r in given if r.group == {contrast: side}] for side in sides)
    found = association.gendered_labels([r.k or 0 for r in first], [r.k or 0 for r in second], first[0].n, second[0].n)
    n = list(found.n)
    given = np.flatnonzero(found.k.sum(1) > 0)
    p, smallest, exact = association.two_groups(found.tables)
    adjusted = np.where(association.can_reject(smallest), association.adjust_testable(p, smallest), np.nan)
    if not len(given):
        return Section(f"At {100 * threshold:g}%", [f"No label reaches {100 * threshold:g}% for any image."])
    top = association.top_gendered(found, TOP)
    name = f"{slug(f'{100 * threshold:g}')}{suffix}"
    tables = [_table(run, found, adjusted, rows, s, n, name, threshold) for rows, s in zip(top, sides, strict=True)]
    counted = {
        "images, chi-squared": found.image_p, "tokens, chi-squared (Yates)": found.token_p,
        "images, Fisher": found.fisher_p, "images, Fisher where an expected count is below 5": p,
    }  # fmt: skip
    rows = [[what, len(given), *paper.significant(p[given]).values()] for what, p in counted.items()]
    tables.append(Table(
        f"tests_{name}", f"Labels that differ by {contrast} at {100 * threshold:g}% (p < 0.05)",
        ["test", "labels", "uncorrected", "Benjamini-Hochberg", "Bonferroni"], rows,
        f"Expected counts below 5 in {int(exact[given].sum())} of {len(given)} labels: Fisher is read there. Over the "
        f"{int(association.can_reject(smallest).sum())} labels that could differ at all (Tarone), "
        f"{int((adjusted < association.ALPHA).sum())} do by Benjamini-Hochberg. "
        f"Tokens: {sides[0]} {found.tokens[0]}, {sides[1]} {found.tokens[1]}.",
    ))  # fmt: skip
    panels = [
        (f"most {s}", [run.design.names[c] for c in rows], found.k[rows, 0] / n[0], found.k[rows, 1] / n[1])
        for rows, s in zip(top, sides, strict=True)
    ]
    drawing = figures.mirrored_bars(panels, (sides[0], sides[1]))
    caption = (
        f"The {TOP} labels that most set each group apart (chi-squared over images) at {100 * threshold:g}%, sorted by "
        "how often the group gets them; as Figure 1 of the paper."
    )
    return Section(f"At {100 * threshold:g}%", [], tables, {f"labels_{name}": (drawing, caption)})


def _table(run, found, adjusted, rows, side: str, n: list[int], name: str, threshold: float) -> Table:
    _, sides, _ = _setting(run)
    cells: list[list[Cell]] = []
    for c in rows:
        a, b = found.k[c]
        cells.append([
            run.design.names[c], f"{percent(a / n[0])} ({a}/{n[0]})", f"{percent(b / n[1])} ({b}/{n[1]})",
            f"{found.image_chi2[c]:.1f}", "–" if np.isnan(adjusted[c]) else f"{adjusted[c]:.2g}",
            f"{found.token_chi2[c]:.1f}", f"{found.fisher_p[c]:.2g}", f"{found.min_expected[c]:.1f}",
        ])  # fmt: skip
    head = ["label", *(f"{s}, %" for s in sides), "χ² images", "p (BH)", "χ² tokens", "Fisher p", "min expected"]
    return Table(
        f"most_{slug(side)}_{name}", f"Labels given more often to {side}, threshold {100 * threshold:g}%", head, cells,
        "χ² images: with the label against without, uncorrected. χ² tokens: the label against all other labels given "
        "to that group, Yates-corrected (Schwemmer et al. 2020). p (BH): over images, Fisher's exact "
        "test where the smallest expected count is below 5; over the labels that could differ at all, – elsewhere.",
        [
            ["label", *(f"{x} {s}" for s in sides for x in "kn"), "chi-squared images", "p adjusted",
             "chi-squared tokens", "Fisher p", "min expected"],
            *([
                run.design.names[c], int(found.k[c, 0]), n[0], int(found.k[c, 1]), n[1], float(found.image_chi2[c]),
                finite(adjusted[c]), float(found.token_chi2[c]), float(found.fisher_p[c]), float(found.min_expected[c]),
            ] for c in rows),
        ],
    )  # fmt: skip


def _curves(run: Run, suffix: str) -> Section:
    assert run.design is not None
    contrast, sides, marks = _setting(run)
    k = len(run.design.classes)
    thresholds = association.curve_thresholds(k)
    assert run.manifest.result.curve is not None
    images = [max(run.values[contrast].get(side, 0), 1) for side in sides]
    curves = {s: np.array(c) / n for s, c, n in zip(sides, run.manifest.result.curve, images, strict=True)}
    drawing = figures.threshold_curves(thresholds, curves, k, marks, "labels per image")
    caption = "Labels returned per image by threshold, in multiples of the uniform probability."
    return Section("The whole range of thresholds", [], [], {f"thresholds{suffix}": (drawing, caption)})
