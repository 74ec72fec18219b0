"""How far two runs agree about the same images: kappas, flips, and how often a written word becomes the answer.

None of it is a difference: each number is about both runs at once. By group, agreement has to be read beside what the
marginal shares of that group give (`expected`).
"""

from __future__ import annotations

import re

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import agreement, rates
from clipjax.analysis.rates import Method
from clipjax.analysis.records import Record
from clipjax.analysis.run import Run

WORD = re.compile(r"(?:^|,)\s*written_word:\d:([^,]+)")  # of the key data.perturb
MOST_VALUES = 50  # of a column that is grouped by


def of_runs(a: Run, b: Run, level: float = 0.95) -> list[Record]:
    """Rows of both runs are the same images in the same order -> agreement for everybody and by single columns.

    Cohen's kappa and churn of answers out of a list of classes; of labelled images error consistency and the flips in
    both directions; where B's images have a word written on them, `attack_success`. [] for runs without one answer to
    each image.
    """
    if any("prediction" not in run.predictions or not run.manifest.design.classes for run in (a, b)):
        return []
    method = Method(level=level, min_n=max(run.settings.min_n for run in (a, b)), seed=a.settings.seed)
    columns = {name: values for name, values in a.columns.items() if name in b.columns}
    kept = {name: values for name, values in columns.items() if len(set(values)) <= MOST_VALUES}
    codes, label = _codes(a, b)
    word = _word(a, b)
    out = []
    for grouping in [(), *((name,) for name in kept)]:
        cells = rates.cells(grouping, kept, len(label))
        for g, group in enumerate(cells.groups):
            rows = np.flatnonzero(cells.of == g)
            found = _of_images(codes[:, rows], label[rows], method)
            if word is not None:
                found += _attack(codes[:, rows], label[rows], _code(a, b, word), method)
            out += [replace(record, group=group, small=record.n < method.min_n) for record in found]
    return out


def _of_images(codes: np.ndarray, label: np.ndarray, method: Method) -> list[Record]:
    known = label >= 0
    (a, b), out = codes, [agreement.cohen_kappa(codes[0], codes[1], method)]
    if not known.any():
        return out + agreement.flips(a, b, method=method)
    a, b, label = a[known], b[known], label[known]
    flips = [r for r in agreement.flips(a, b, label, method) if r.metric != "accuracy_change"]
    return [*out, agreement.error_consistency(a, b, label, method), *flips]


def _attack(codes: np.ndarray, label: np.ndarray, word: int, method: Method) -> list[Record]:
    """Of the images that A has right and that are not of the word's class: how many B answers with the word."""
    asked = (label >= 0) & (codes[0] == label) & (label != word)
    return rates.numbers("attack_success", int((asked & (codes[1] == word)).sum()), int(asked.sum()), method)


def _codes(a: Run, b: Run) -> tuple[np.ndarray, np.ndarray]:
    """Answers int [2, N] and labels int [N] as places in `_names`; -1: no label."""
    names = _names(a, b)
    codes = np.stack([np.searchsorted(names, run.predictions["prediction"].astype(str)) for run in (a, b)])
    if any("label" not in run.predictions for run in (a, b)):
        return codes, np.full(codes.shape[1], -1)
    label = a.predictions["label"].astype(str)
    place = np.minimum(np.searchsorted(names, label), len(names) - 1)
    scored = (label != "") & (np.char.find(label.astype(str), "|") < 0)
    return codes, np.where(scored, np.where(names[place] == label, place, len(names)), -1)


def _names(a: Run, b: Run) -> np.ndarray:
    return np.unique(np.concatenate([run.predictions["prediction"].astype(str) for run in (a, b)]))


def _word(a: Run, b: Run) -> str | None:
    """What is written on the images of B and not on those of A."""
    found = [WORD.search(str(run.manifest.config.get("data", {}).get("perturb", ""))) for run in (a, b)]
    return found[1][1] if found[1] and not found[0] else None


def _code(a: Run, b: Run, word: str) -> int:
    """The place of a class among the answers; one that no image has where nobody is given it."""
    names = _names(a, b)
    place = int(np.searchsorted(names, word))
    return place if place < len(names) and names[place] == word else len(names) + 1
