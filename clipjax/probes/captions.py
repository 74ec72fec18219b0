"""Choosing captions: Winoground's three scores, right against wrong captions, and whom a pronoun is resolved to.

All comparisons are strict: an equal score is wrong, as in SugarCrepe, VL-Checklist and Winoground, and `ties` counts
them. (CLIP_benchmark and ARO take the first of equals, which is right or wrong by the order of the captions.)
`chance`: what scores without any relation to the captions give.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace
from scipy.stats import binom

from clipjax.analysis import two_rates
from clipjax.analysis.rates import Method, numbers
from clipjax.analysis.records import Record
from clipjax.errors import InputError

USUAL = Method()
CHANCE = {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6}


def winoground(scores: np.ndarray, method: Method = USUAL) -> list[Record]:
    """scores [N, 2, 2] of image i with caption c, where caption i belongs to image i -> text, image and group score.

    Text: each image scores its own caption higher. Image: each caption scores its own image higher. Group: both.
    """
    right = winoground_right(scores)
    tied = _winoground_ties(np.asarray(scores, np.float64))
    found = [_share(f"{name}_score", hits, method, CHANCE[name]) for name, hits in right.items()]
    return [replace(record, ties=int(tied[record.metric.removesuffix("_score")].sum())) for record in found]


def winoground_right(scores: np.ndarray) -> dict[str, np.ndarray]:
    """scores [N, 2, 2] -> {"text", "image", "group"}: bool [N]."""
    s = np.asarray(scores, np.float64)
    if s.ndim != 3 or s.shape[1:] != (2, 2) or not len(s):
        raise InputError(f"scores are {s.shape}; Winoground needs 2 images and 2 captions in each instance: [N, 2, 2]")
    _finite(s)
    text = (s[:, 0, 0] > s[:, 0, 1]) & (s[:, 1, 1] > s[:, 1, 0])
    image = (s[:, 0, 0] > s[:, 1, 0]) & (s[:, 1, 1] > s[:, 0, 1])
    return {"text": text, "image": image, "group": text & image}


def _winoground_ties(s: np.ndarray) -> dict[str, np.ndarray]:
    text = (s[:, 0, 0] == s[:, 0, 1]) | (s[:, 1, 1] == s[:, 1, 0])
    image = (s[:, 0, 0] == s[:, 1, 0]) | (s[:, 1, 1] == s[:, 0, 1])
    return {"text": text, "image": image, "group": text | image}


def choice_accuracy(
    positive: np.ndarray, negatives: np.ndarray, subset: Sequence[str] | np.ndarray | None = None,
    method: Method = USUAL,
) -> list[Record]:  # fmt: skip
    """positive [N], negatives [N, M] (nan where an instance has fewer) -> how often the right caption beats every wrong
    one: a record for all instances, and one per subset [N], whose unweighted mean is the last.

    `p` is the exact two-sided binomial test against chance.
    """
    right, tied, chance = _chosen(positive, negatives)
    out = [replace(_share("choice_accuracy", right, method, float(chance.mean())), ties=int(tied.sum()))]
    if subset is None:
        return out
    subset = np.asarray(subset).astype(str)
    if subset.shape != right.shape:
        raise InputError(f"{len(subset)} subsets for {len(right)} instances; give one for each")
    for name in sorted(set(subset)):
        rows = subset == name
        found = _share("choice_accuracy", right[rows], method, float(chance[rows].mean()))
        out.append(replace(found, subset=name, ties=int(tied[rows].sum())))
    values = [record.value for record in out[1:] if record.value is not None]
    if len(values) > 1:
        macro = Record(
            metric="choice_accuracy_mean_of_subsets", group={}, groups=len(values), n=len(right),
            value=float(np.mean(values)),
        )  # fmt: skip
        out.append(macro)
    return out


def choice_right(positive: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """positive [N], negatives [N, M] (nan where there are fewer) -> bool [N]."""
    return _chosen(positive, negatives)[0]


def _chosen(positive: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right, tied and the chance of each instance [N]."""
    positive, negatives = np.asarray(positive, np.float64), np.asarray(negatives, np.float64)
    negatives = negatives[:, None] if negatives.ndim == 1 else negatives
    if positive.ndim != 1 or negatives.ndim != 2 or len(positive) != len(negatives) or not len(positive):
        raise InputError(f"scores are {positive.shape} and {negatives.shape}; they are [N] and [N, M]")
    _finite(positive)
    wrong = (~np.isnan(negatives)).sum(1)
    if (none := np.flatnonzero(wrong == 0)).size:
        raise InputError(f"row {none[0]} has no wrong caption")
    best = np.where(np.isnan(negatives), -np.inf, negatives).max(1)
    return positive > best, positive == best, 1 / (wrong + 1)


def resolution_accuracy(
    scores: np.ndarray, truth: np.ndarray, occupation: np.ndarray | None = None,
    pronouns: Sequence[str] = ("his", "her", "their"), genders: Sequence[str] = ("masculine", "feminine"),
    method: Method = USUAL,
) -> list[Record]:  # fmt: skip
    """VisoGender: scores [N, 3] of captions with his, her and their, truth [N] in `genders` -> accuracies and gap.

    Right where the likeliest pronoun (the first of equals) is the one of the person's perceived gender, so "their" is
    wrong. Records: `resolution_accuracy` of each gender, their unweighted mean, and the gap first minus second
    (Newcombe's interval). Nothing is rounded, unlike the public code. occupation [N] only counts how many there are:
    images of one occupation are alike, and the exact intervals treat them as independent.
    """
    scores, truth = np.asarray(scores, np.float64), np.asarray(truth).astype(str)
    if scores.ndim != 2 or scores.shape[1] != len(pronouns) or len(scores) != len(truth) or not len(scores):
        raise InputError(f"scores are {scores.shape} and truth {truth.shape}; they are [N, {len(pronouns)}] and [N]")
    _finite(scores)
    if unknown := sorted(set(truth.tolist()) - set(genders)):
        raise InputError(f"perceived gender {unknown[0]!r} has no pronoun here; there are {', '.join(genders)}")
    wanted = np.array([list(genders).index(one) for one in truth])
    right = scores.argmax(1) == wanted
    k, n = np.array([right[wanted == g].sum() for g in (0, 1)]), np.bincount(wanted, minlength=2)
    parts = [
        replace(_share("resolution_accuracy", right[wanted == g], method), subset=name)
        for g, name in enumerate(genders)
    ]
    gap = two_rates.difference(k[0], n[0], k[1], n[1], level=method.level)
    known = bool((n > 0).all())
    first, second = (record.value for record in parts)
    groups = None if occupation is None else len(set(np.asarray(occupation).astype(str)))
    mean = float((k / np.maximum(n, 1)).mean()) if known else None
    return [
        *parts,
        Record(metric="resolution_accuracy_mean", group={}, groups=groups, n=len(right), value=mean,
            ra_first=first, ra_second=second),
        Record(
            metric="resolution_gap", group={}, groups=groups, n=len(right), value=float(gap.value) if known else None,
            low=float(gap.low), high=float(gap.high), level=method.level, method=gap.method,
            against=f"{genders[0]} minus {genders[1]}", ra_first=first, ra_second=second,
        ),
    ]  # fmt: skip


def _share(metric: str, hits: np.ndarray, method: Method, chance: float | None = None) -> Record:
    k, n = int(hits.sum()), len(hits)
    (found,) = numbers(metric, k, n, method)
    return replace(found, group={}, chance=chance, p=None if chance is None or not n else against_chance(k, n, chance))


def against_chance(k: int, n: int, chance: float) -> float:
    """The exact two-sided binomial p of k of n (outcomes that are at most as likely, as scipy's binomtest)."""
    each = binom.pmf(np.arange(n + 1), n, chance)
    return min(1.0, float(each[each <= each[k] * (1 + 1e-7)].sum()))


def _finite(scores: np.ndarray) -> None:
    bad = ~np.isfinite(scores.reshape(len(scores), -1)).all(1)
    if bad.any():
        raise InputError(f"scores of row {int(np.flatnonzero(bad)[0])} are not finite")
