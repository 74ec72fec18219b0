"""How far two runs agree about the same images: kappas, flips, and how often a written word becomes the answer.

None of it is a difference: each number is about both runs at once. By group, agreement has to be read beside what the
marginal shares of that group give (`expected`). Everything is made of counts, which are added up block by block.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import agreement, rates
from clipjax.analysis.rates import Method
from clipjax.analysis.records import RIGHT, Question, Record
from clipjax.analysis.run import Run
from clipjax.analysis.tallies import Tally
from clipjax.analysis.transitions import Transitions

WORD = re.compile(r"(?:^|,)\s*written_word:\d:([^,]+)")  # of the key data.perturb
# Of images with one label: whether B answers as A does; of those that A has right, whether B answers with the word.
SAME, WRITTEN = Question("accuracy", "same"), Question("accuracy", "written_word")
Answers = dict[Question, np.ndarray]  # bool [N]


def asked(a: Run, b: Run) -> tuple[Answers, Answers, Answers]:
    """Rows of both runs are the same images, with labels -> what is counted under A, under B, and of which images."""
    before, after = (run.predictions["prediction"] for run in (a, b))
    right_a, right_b = (run.predictions["prediction"] == run.predictions["label"] for run in (a, b))
    label, word = a.predictions["label"].astype(str), _word(a, b)
    known, every = (label != "") & (np.char.find(label, "|") < 0), np.ones(len(label), bool)
    return (
        {RIGHT: right_a, SAME: every, WRITTEN: every},
        {RIGHT: right_b, SAME: before == after, WRITTEN: after == word},
        {RIGHT: known, SAME: known, WRITTEN: known & right_a & (before != word)},
    )


def of_counts(a: Run, b: Run, moves: Transitions, judged: Sequence[Tally], level: float = 0.95) -> list[Record]:
    """Answers of the same images, and [4, 3] (yes of both, A, B, neither) of what `asked` names, none without labels
    -> agreement for everybody and by single columns.

    Cohen's kappa and churn of answers out of a list of classes; of labelled images error consistency and the flips in
    both directions (negative: A right, B wrong); where B's images have a word written on them, `attack_success`. [] for
    runs without classes.
    """
    if not (a.manifest.design.classes and b.manifest.design.classes):
        return []
    method = Method(level=level, min_n=max(run.settings.min_n for run in (a, b)), seed=a.settings.seed)
    moves = moves.of_columns([name for name in a.group_columns if name in b.group_columns])
    by = {one.grouping: one for one in judged}
    out = []
    for groups, counts in zip(moves.groups, moves.counts, strict=True):
        for group, images in zip(groups, counts, strict=True):
            tally = by[tuple(group)].of(tuple(group.values())) if judged else np.zeros((4, 3), np.int64)
            found = [agreement.cohen_kappa(moves.a, moves.b, method, images)]
            found += _of_tally(tally, int(images[moves.changed].sum()), int(images.sum()), method)
            if _word(a, b):
                hits, misses = tally[:2, 2].tolist()
                found += rates.numbers("attack_success", hits, hits + misses, method)
            out += [replace(record, group=group, small=record.n < method.min_n) for record in found]
    return out


def _of_tally(tally: np.ndarray, changed: int, images: int, method: Method) -> list[Record]:
    """Churn of the labelled images with error consistency and flips; of all where none has a label."""
    right, same, _ = tally.T
    n = int(right.sum())
    if not n:
        return rates.numbers("churn", changed, images, method)
    flips = (("churn", same[1]), ("negative_flips", right[1]), ("positive_flips", right[2]))
    shares = [record for metric, k in flips for record in rates.numbers(metric, k, n, method)]
    return [agreement.error_consistency(right, method), *shares]


def _word(a: Run, b: Run) -> str:
    """What is written on the images of B and not on those of A; "" for nothing."""
    found = [WORD.search(str(run.manifest.config.get("data", {}).get("perturb", ""))) for run in (a, b)]
    return found[1][1] if found[1] and not found[0] else ""
