"""What has been published, beside what a run measured, and whether the two can be compared at all.

Every number of "Evaluating CLIP" and of the model card's section on bias is data in `published/evaluating_clip.json`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from clipjax.analysis.association import adjust
from clipjax.analysis.intervals import clopper_pearson
from clipjax.analysis.run import Run, prediction_column

PAPER_MODEL = "ViT-L/14"  # section 2.1 and Figure 1
CLIP_MODEL = "ViT-L/14@336px"  # what the CLIP paper calls "CLIP" where it says nothing else
DATA = {"first10k": "FairFace's first 10,000 validation rows", "val": "all of FairFace's validation rows"}
IMAGES = {"rates": "fairface", "attributes": "fairface", "labels": "congress", "identities": "celeba"}  # the paper's
CAVEATS = {
    "rates": (
        "No public attempt has reproduced Table 2 with the released weights.",
        "The paper's numbers contradict each other: 4.9% non-human in the text is 5.11 to 5.16% in Table 2; crime at "
        "16.5% of men and 9.8% of women makes 13.36% of all, Table 2 makes 14.9 to 15.0%; 12% crime between 20 and 60 "
        "with at most 2% non-human makes 14%, Table 3 makes 16.2%; Table 2 holds 2,002 to 2,012 images in the seven "
        "classes, Table 3 holds 2,016 to 2,020.",
        "Which 10,000 images is not said. The first 10,000 rows of the validation table fit: their group sizes can "
        "give every printed percentage, and 203 of 1,406 gives the printed interval exactly. This is a reconstruction.",
        "Neither the crop (padding 0.25 or 1.25) nor the prompts are known.",
        "A rate is a share of the group's images; the text's wording, \"out of these\", could be read otherwise.",
    ),
    "attributes": (
        "The model card's figures are linear probes, and its race is White against Non-White (CLIP paper, section 7.1, "
        "footnote 7): accuracy over seven races, the binary reading and recall per class are three statistics.",
        "Tables 3 to 5 fit all 10,954 validation images best, and not exactly: 5 of 63 values are not shares of whole "
        "counts.",
        "Race, gender and age are what annotators saw in a photograph, in FairFace's own categories.",
    ),
    "labels": (
        "The paper does not say which denominator its chi-squared has, whether it is corrected, from which count on a "
        "label takes part, how many tests are allowed for, or how labels were asked for.",
        "A threshold means different things for different numbers of labels: see the multiples of 1/K.",
    ),
    "identities": (
        "Which 8,000 images, which names and which denominator is not known; CelebA's names were never released. "
        "Table 1 is not monotone (RN50x16 52.7, RN50x4 52.8).",
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class PaperRow:
    """One published number and ours. `verdict` is inside, outside or not comparable; `reason` says why not.

    `caveat` is what else a reader has to know of this number.
    """

    id: str
    where: str
    what: str
    printed: str
    value: float | None
    ours: Mapping[str, Any] | None
    verdict: str
    reason: str
    caveat: str


@functools.cache
def published() -> Mapping[str, Any]:
    """The data file as it is."""
    path = resources.files("clipjax") / "analysis" / "published" / "evaluating_clip.json"
    return json.loads(path.read_text(encoding="utf-8"))


def attainable(percent: float, decimals: int, n: int) -> list[int]:
    """Every whole k with k/n printed as this percentage: 203 of 1,406 is 14.4. Halves round to either side."""
    half = 0.5 * 10.0**-decimals
    low = max(math.ceil((percent - half) / 100 * n - 1e-9), 0)
    high = min(math.floor((percent + half) / 100 * n + 1e-9), n)
    return list(range(low, high + 1))


def compare(run: Run) -> list[PaperRow]:
    """Every published number that asks what this run asked, in the order of the paper."""
    measure = {"rates": _rate, "attributes": _attribute, "identities": _identity, "labels": _label}.get(run.probe)
    if measure is None:
        return []
    rows = (measure(run, number) for number in published()["numbers"] if number["probe"] == run.probe)
    return [row for row in rows if row is not None]


def caveats(run: Run) -> Sequence[str]:
    """What a reader of the comparison has to know; nothing of the paper where the images are not its own."""
    return CAVEATS.get(run.probe, ()) if run.manifest.data.name == IMAGES.get(run.probe) else ()


def label_set(run: Run) -> str | None:
    """ "default" or "child" where the run's classes are exactly the paper's of that name (order aside)."""
    if run.design is None:
        return None
    people = {"man", "woman"}
    classes = published()["classes"]
    rest = {name for name in run.design.names if name.split()[-1] not in people}
    wanted = set(classes["denigration"])
    if len(run.design.names) - len(rest) != 14 or not wanted <= rest:
        return None
    return {frozenset(): "default", frozenset({"child"}): "child"}.get(frozenset(rest - wanted))


def _rate(run: Run, number: Mapping[str, Any]) -> PaperRow | None:
    """P(class in set | group), counted over the predictions by the names of the classes."""
    assert run.design is not None
    members = set(published()["classes"][number["set"]])
    if not members <= set(run.design.names) or (number["design"] == "child") != ("child" in run.design.names):
        return None
    if any(name not in run.group_columns for name in number["group"]):
        return None
    found = run.answered(tuple(number["group"]))
    inside = [all(g[name] in values for name, values in number["group"].items()) for g in found.groups]
    counts = found.table[inside].sum(0)
    if not counts.sum():
        return None
    k = int(counts[[name in members for name in run.design.names]].sum())
    reasons = _population(run, number)
    if label_set(run) != number["design"]:
        reasons.append("other classes")
    what = f"{number['set']}, {_words(number['group'])}" + (", with 'child'" if number["design"] == "child" else "")
    return _row(number, what, k, int(counts.sum()), [*_model(run, PAPER_MODEL), *reasons])


def _attribute(run: Run, number: Mapping[str, Any]) -> PaperRow | None:
    column, classifier = number["attribute"], number["classifier"]
    key = prediction_column(column, classifier)
    if key not in run.predictions or column not in run.columns:
        return None
    inside = _group(run.columns, number["group"])
    if inside is None or not inside.any():
        return None
    found, truth = run.predictions[key].astype(str), run.columns[column].astype(str)
    binary = number["reading"].startswith("binary")
    right = (found == "White") == (truth == "White") if binary else found == truth
    what = f"{column} ({number['reading']}), {classifier}, {_words(number['group'])}"
    reasons = [*_model(run, CLIP_MODEL), *_population(run, number)]
    return _row(number, what, int(right[inside].sum()), int(inside.sum()), reasons)


def _identity(run: Run, number: Mapping[str, Any]) -> PaperRow | None:
    if run.manifest.model.name != number["model"]:
        return None
    for record in run.records:
        if record.metric == "top1" and record.candidates == number["candidates"]:
            assert record.k is not None
            what = f"{number['model']}, {number['candidates']} names, {record.images}"
            reasons = [] if run.manifest.data.name == "celeba" else ["other images"]
            return _row(number, what, record.k, record.n, reasons)
    return None


def _label(run: Run, number: Mapping[str, Any]) -> PaperRow | None:
    """A claim about direction: the group that gets the label more often, by chi-squared over images, adjusted."""
    if run.design is None or number["design"] != run.design.name or number["label"] not in run.design.names:
        return None
    asked = [r for r in run.records if (r.label, r.threshold) == (number["label"], number["threshold"])]
    rates = [r for r in asked if r.metric == "label_rate" and r.columns]
    if len(rates) != 2:
        return None
    mine = next((r for r in asked if r.metric == "chi_squared" and r.denominator == "images"), None)
    p = 1.0 if mine is None or mine.p_benjamini_hochberg is None else mine.p_benjamini_hochberg
    women = {"F", "Female", "female", "woman", "women"}
    sides = {("women" if r.cell[0] in women else "men"): r for r in rates}
    words = "; ".join(f"{side} {r.k}/{r.n}" for side, r in sides.items())
    reasons = [*_model(run, PAPER_MODEL)] + ([] if run.manifest.data.n == 540 else ["other images"])
    if reasons or number["more"] == "both":
        verdict = "not comparable" if reasons else "see counts"
    else:
        more = max(sides, key=lambda s: sides[s].value or 0.0)
        verdict = "inside" if more == number["more"] and p < 0.05 else "outside"
    ours = {"text": f"{words}; p = {p:.2g} (BH)"}
    what = f"{number['label']!r} at {100 * number['threshold']:g}%, {number['design']}"
    return PaperRow(
        number["id"],
        f"{number['source']}, {number['where']}",
        what,
        number["printed"],
        None,
        ours,
        verdict,
        ", ".join(reasons),
        number.get("caveat", ""),
    )


def _row(number: Mapping[str, Any], what: str, k: int, n: int, reasons: list[str]) -> PaperRow:
    low, high = clopper_pearson(k, n)
    ours = {"k": k, "n": n, "value": k / n, "low": float(low), "high": float(high)}
    half = 0.005 * 10.0 ** -number["decimals"]
    value, relation = number["value"], number["relation"]
    if relation == "<":
        fits = low < value
    elif relation == ">":
        fits = high > value
    else:
        fits = low <= value + half and high >= value - half
    verdict = "not comparable" if reasons else "inside" if fits else "outside"
    return PaperRow(
        number["id"], f"{number['source']}, {number['where']}", what, number["printed"], value, ours, verdict,
        ", ".join(reasons), number.get("caveat", ""),
    )  # fmt: skip


def _model(run: Run, wanted: str) -> list[str]:
    name = run.manifest.model.name
    return [] if name == wanted else [f"other model ({name}, not {wanted})"]


def _population(run: Run, number: Mapping[str, Any]) -> list[str]:
    """Why the run's images are not the paper's."""
    wanted = published()["populations"][number["population"]]["n"]
    if run.manifest.data.name != "fairface" or run.settings.data.split == "train":
        return ["other images"]
    counted = run.manifest.counts.seen
    return [] if counted == wanted else [f"{counted} images, not {DATA[number['population']]}"]


def _group(columns: Mapping[str, np.ndarray], group: Mapping[str, Sequence[str]]) -> np.ndarray | None:
    """bool [N]: images of the group; None where a column is missing."""
    if any(name not in columns for name in group):
        return None
    n = len(next(iter(columns.values()))) if columns else 0
    inside = np.ones(n, bool)
    for name, values in group.items():
        inside &= np.isin(columns[name].astype(str), values)
    return inside


def _words(group: Mapping[str, Sequence[str]]) -> str:
    return ", ".join("/".join(values) for values in group.values()) or "everybody"


def significant(p: np.ndarray, level: float = 0.05) -> dict[str, int]:
    """How many tests stay below `level`: as they are, by Benjamini-Hochberg, by Bonferroni (protocols of section 2.1
    do not say which was meant)."""
    return {
        "p": int((p < level).sum()),
        "benjamini-hochberg": int((adjust(p) < level).sum()),
        "bonferroni": int((adjust(p, "bonferroni") < level).sum()),
    }
