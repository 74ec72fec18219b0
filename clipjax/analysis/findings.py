"""What a run or a comparison found, computed: statements with their numbers, and what was tested without a finding.

A question is one family of tests: which sets (which classes, how much accuracy, which labels at one threshold) are
given to which groups more than to the rest; which sets moved between two runs; which classes moved; whose answers
changed. Within a question every p-value is adjusted over the tests that could reject at all (`adjust_testable`), and a
difference is stated where its adjusted p-value is below ALPHA and its interval excludes zero.

Groups are those of single columns, each against all other images that have a value in the column. A group that is named
would make all other groups of its column differ from a rest that it is part of: another group is named beside it only
where it differs from the rest without the groups already named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from scipy.special import ndtri

from clipjax.analysis import sentences, two_rates
from clipjax.analysis.association import ALPHA, adjust_testable, can_reject, two_groups
from clipjax.analysis.records import Finding, PairedRecord, Record

POWER = 0.8  # how often a true difference of the stated size is found
METRICS = ("rate", "top1", "label_rate", "changed")
ASKED = ("set", "class_", "label", "threshold", "attribute", "classifier", "reading")
TESTS = ("chi-squared test", "Fisher's exact test")
STATED = ("disparity", "moved")  # kinds of findings that state a difference
MCNEMAR = "McNemar's exact test"
What = dict[str, Any]
Group = dict[str, str]
Stated = Literal["disparity", "moved"]
Kind = Literal["disparity", "moved", "undecided"]
Move = tuple[str, str, int]  # class under A, class under B, images


@dataclasses.dataclass(frozen=True)
class Contrast:
    """k of n images of a group against k_rest of n_rest: the others with a value in the column, or `other`."""

    what: What
    group: Group
    other: Group | None
    k: int
    n: int
    k_rest: int
    n_rest: int
    level: float
    records: tuple[int, ...] = ()

    @property
    def column(self) -> str:
        """The column whose groups are compared."""
        return next(iter(self.group))


def of_records(records: Sequence[Record]) -> list[Finding]:
    """The findings of one run: differences between groups, question by question, the largest first."""
    found = contrasts(records)
    questions = dict.fromkeys(map(_question, found))
    return _ordered([f for q in questions for f in disparities([c for c in found if _question(c) == q])])


def of_comparison(
    records: Sequence[PairedRecord],
    classes: Sequence[PairedRecord] = (),
    changed: Sequence[Record] = (),
    flow: Callable[[Group, str], list[Move]] | None = None,
) -> list[Finding]:
    """The findings of two runs over the same images.

    records: paired records of sets, labels or accuracies. classes: of the classes that both designs have. changed: the
    rate of answers that changed by group. flow: (group, class) -> where that class's images went and came from.
    """
    others = [dataclasses.replace(c, records=()) for c in contrasts(changed)]
    return _ordered(moved(records, range(len(records)), flow) + moved(classes, (), flow) + disparities(others))


def contrasts(records: Sequence[Record]) -> list[Contrast]:
    """Every group of a single column against the rest, from records with k of n; what nobody or everybody got is left
    out. Of two groups the first is compared with the other."""
    tables: dict[tuple[Any, ...], list[int]] = {}
    for i, r in enumerate(records):
        if r.metric in METRICS and len(r.columns) == 1 and r.k is not None:
            tables.setdefault((*_what(r).items(), *r.columns), []).append(i)
    out = []
    for rows in tables.values():
        mine = [records[i] for i in rows]
        k, n = sum(r.k or 0 for r in mine), sum(r.n for r in mine)
        if len(mine) < 2 or not 0 < k < n:
            continue
        two = len(mine) == 2
        for i, r in zip(rows[: 1 if two else None], mine, strict=not two):
            other, places = (dict(mine[1].group or {}), tuple(rows)) if two else (None, (i,))
            own, level = r.k or 0, r.level or 0.95
            out.append(Contrast(_what(r), dict(r.group or {}), other, own, r.n, k - own, n - r.n, level, places))
    return out


def disparities(family: Sequence[Contrast]) -> list[Finding]:
    """The findings of one question: differences that are named, columns without one, groups that are too small."""
    if not family:
        return []
    k, n, k_rest, n_rest = (np.array([getattr(c, x) for c in family]) for x in ("k", "n", "k_rest", "n_rest"))
    p, smallest, exact = two_groups(np.stack([np.stack([k, n - k], -1), np.stack([k_rest, n_rest - k_rest], -1)], -2))
    counted, adjusted = can_reject(smallest), adjust_testable(p, smallest)
    gap = two_rates.difference(k, n, k_rest, n_rest, level=family[0].level)
    passed = (adjusted < ALPHA) & ((gap.low > 0) | (gap.high < 0))
    cut = p[passed].max(initial=0.0)
    tests = int(counted.sum())
    reliable = detectable(k_rest / n_rest, n, n_rest, ALPHA / max(tests, 1))
    out, silent = [], {}
    asked: dict[tuple[Any, ...], list[int]] = {}
    for i, c in enumerate(family):
        asked.setdefault((_key(c), c.column), []).append(i)
    for (_, column), mine in asked.items():
        if not (adjusted[mine] < ALPHA).any():
            silent.setdefault(column, []).extend(i for i in mine if counted[i])
        for i in _without_echoes(family, [i for i in mine if adjusted[i] < ALPHA], cut):
            c, test, bounds = family[i], TESTS[int(exact[i])], (float(gap.low[i]), float(gap.high[i]))
            end = sentences.tested(*bounds, c.level, test, adjusted[i], tests)
            said = sentences.disparity(c.what, c.group, c.other, (c.k, c.n, c.k_rest, c.n_rest), end)
            kind, said = _stated("moved" if "moved" in c.what else "disparity", said, *bounds)
            out.append(Finding(
                statement=said, kind=kind, what=c.what, group=c.group, value=float(gap.value[i]), low=bounds[0],
                high=bounds[1], p_adjusted=float(adjusted[i]), test=test, tests=tests, records=[*c.records],
            ))  # fmt: skip
    for column, rows in silent.items():
        if rows:
            widest = max(rows, key=lambda i: max(-gap.low[i], gap.high[i]))
            groups = len({str(family[i].group) for i in rows} | {str(family[i].other) for i in rows if family[i].other})
            whats = list(dict.fromkeys(sentences.named(family[i].what) for i in rows))
            bounds, least = (float(gap.low[widest]), float(gap.high[widest])), float(adjusted[rows].min())
            said = sentences.no_difference(
                whats, groups, column, least, tests, max(-bounds[0], bounds[1]), *_hardest(family, reliable, rows)
            )
            tested = " or ".join(TESTS[e] for e in sorted({int(exact[i]) for i in rows}))
            places = [place for i in rows for place in family[i].records]
            out.append(Finding(
                statement=said, kind="no_difference", value=float(gap.value[widest]), low=bounds[0], high=bounds[1],
                p_adjusted=least, test=tested, tests=tests, records=places,
            ))  # fmt: skip
    return out + _too_small(family, counted, reliable, tests)


def moved(
    family: Sequence[PairedRecord], places: Sequence[int] = (), flow: Callable[[Group, str], list[Move]] | None = None
) -> list[Finding]:
    """The findings of one question of a comparison, from its paired records; places: theirs among all records."""
    if not family:
        return []
    tests, out = family[0].tests or 0, []
    for i, r in enumerate(family):
        p = _adjusted(r)
        if p < ALPHA:
            what, group = _asked(r), dict(r.group)
            end = sentences.tested(r.low, r.high, r.level, MCNEMAR, p, tests)
            way = flow(group, what["class"]) if flow and "class" in what else ()
            said = sentences.moved(what, group, (r.k_a, r.k_b, r.n), end, way)
            kind, said = _stated("moved", said, r.low, r.high)
            out.append(Finding(
                statement=said, kind=kind, what=what, group=group, value=r.difference, low=r.low, high=r.high,
                p_adjusted=p, test=MCNEMAR, tests=tests, records=[*places[i : i + 1]],
            ))  # fmt: skip
    stated = [f.what for f in out]
    still = [i for i, r in enumerate(family) if r.testable and _asked(r) not in stated]
    if still:
        widest = max((family[i] for i in still), key=lambda r: max(-r.low, r.high))
        least = min(_adjusted(family[i]) for i in still)
        whats = list(dict.fromkeys(sentences.named(_asked(family[i])) for i in still))
        said = sentences.unmoved(whats, least, tests, max(-widest.low, widest.high))
        rows = [places[i] for i in still] if places else []
        out.append(Finding(
            statement=said, kind="no_difference", value=widest.difference, low=widest.low, high=widest.high,
            p_adjusted=least, test=MCNEMAR, tests=tests, records=rows,
        ))  # fmt: skip
    able = [_asked(r) for r in family if r.testable]
    silent = list(dict.fromkeys(sentences.named(_asked(r)) for r in family if _asked(r) not in able))
    if silent:
        said = sentences.few_moves(silent)
        out.append(Finding(statement=said, kind="not_enough_data", test=MCNEMAR, tests=tests))
    return out


def main(found: Sequence[Finding], most: int = 5) -> list[Finding]:
    """What a first page holds: the first differences, then the first statements of other kinds.

    Left out: a difference that mirrors another (two sets that share all answers of a group), and of one question that
    moved for several groups, which share images, all but the largest.
    """
    out, seen, rest = [], set(), []
    for f in found:
        if f.kind not in STATED:
            rest.append(f)
        elif f.value is not None:
            keys = {(str(f.group), f"{abs(f.value):.9f}", *f.what)}
            keys |= {(str(f.what), f.value > 0)} if f.test == MCNEMAR else set()
            if not keys & seen:
                out.append(f)
            seen |= keys
    return out[:most] + rest[:most]


def left_out(found: Sequence[Finding], shown: Sequence[Finding], where: str) -> list[str]:
    """How many statements a first page does not hold, in a sentence; nothing where it holds all."""
    left = [f for f in found if all(f is not one for one in shown)]
    differences = sum(f.kind in STATED for f in left)
    return [
        *sentences.not_shown(differences, "difference", where),
        *sentences.not_shown(len(left) - differences, "statement", where),
    ]


def detectable(rate: Any, n: Any, n_rest: Any, alpha: float) -> np.ndarray:
    """The true difference from `rate` (of the rest) that a two-sided test at alpha finds with probability POWER.

    Normal approximation on the arcsine scale (Cohen's h); nan where no rate is far enough. Arrays broadcast.
    """
    start = np.arcsin(np.sqrt(np.asarray(rate, np.float64)))
    reach = (ndtri(1 - alpha / 2) + ndtri(POWER)) * np.sqrt(1 / np.asarray(n) + 1 / np.asarray(n_rest)) / 2
    up, down = start + reach, start - reach
    above = np.where(up <= np.pi / 2, np.sin(np.minimum(up, np.pi / 2)) ** 2 - rate, np.nan)
    below = np.where(down >= 0, rate - np.sin(np.maximum(down, 0)) ** 2, np.nan)
    return np.fmax(above, below)


def _without_echoes(family: Sequence[Contrast], passed: Sequence[int], cut: float) -> list[int]:
    """Of the groups of one question and column that passed, the largest difference first, those that still differ from
    the rest (p at most `cut`, the largest that passed) without the groups named before them."""
    named: list[int] = []
    for i in sorted(passed, key=lambda i: -abs(family[i].k / family[i].n - family[i].k_rest / family[i].n_rest)):
        c = family[i]
        k, n = (getattr(c, f"{x}_rest") - sum(getattr(family[j], x) for j in named) for x in "kn")
        p = two_groups([[c.k, c.n - c.k], [k, n - k]])[0]
        same_way = n > 0 and (c.k / c.n - k / n) * (c.k / c.n - c.k_rest / c.n_rest) > 0
        if not named or (same_way and p <= cut):
            named.append(i)
    return named


def _too_small(family: Sequence[Contrast], counted: np.ndarray, reliable: np.ndarray, tests: int) -> list[Finding]:
    """Groups for which no test of the question could reject, a statement per column."""
    by_group: dict[tuple[str, str], list[int]] = {}
    for i, c in enumerate(family):
        by_group.setdefault((c.column, c.group[c.column]), []).append(i)
    silent: dict[str, list[tuple[str, list[int]]]] = {}
    for (column, value), rows in by_group.items():
        if not counted[rows].any():
            name = f"{sentences.value_of(column, value)} (n = {family[rows[0]].n})"
            silent.setdefault(column, []).append((name, rows))
    out = []
    for groups in silent.values():
        n, least = _hardest(family, reliable, [i for _, rows in groups for i in rows])
        said = sentences.not_enough([name for name, _ in groups], n, least)
        places = [place for _, rows in groups for i in rows for place in family[i].records]
        group = dict(family[groups[0][1][0]].group) if len(groups) == 1 else {}
        out.append(Finding(
            statement=said, kind="not_enough_data", group=group, value=least, tests=tests, records=places
        ))  # fmt: skip
    return out


def _stated(kind: Stated, said: str, low: float, high: float) -> tuple[Kind, str]:
    """Nothing is stated against the interval, whatever the test says."""
    return (kind, said) if low > 0 or high < 0 else ("undecided", sentences.undecided(said))


def _hardest(family: Sequence[Contrast], reliable: np.ndarray, rows: Sequence[int]) -> tuple[int, float | None]:
    """The smallest of some groups and the difference that would be found there; None where none would."""
    n = min(family[i].n for i in rows)
    found = reliable[[i for i in rows if family[i].n == n]]
    return n, None if np.isnan(found).any() else float(found.max())


def _ordered(found: Sequence[Finding]) -> list[Finding]:
    """Differences first, the largest first: of sets, of classes, whose answers changed; then what was not found and
    what could not be tested."""
    kinds = ("undecided", "no_difference", "not_enough_data")

    def place(f: Finding) -> tuple[int, int, float]:
        if f.kind in STATED:
            return -1, ("moved" in f.what) * 2 + ("class" in f.what), -abs(f.value or 0)
        return kinds.index(f.kind), 0, 0

    return sorted(found, key=place)


def _what(record: Record) -> What:
    """What a record's rate is of."""
    found = {key.rstrip("_"): getattr(record, key) for key in ASKED if getattr(record, key) is not None}
    return found | {"moved": True} if record.metric == "changed" else found


def _asked(record: PairedRecord) -> What:
    return dict([record.question]) if record.question else {}


def _adjusted(record: PairedRecord) -> float:
    return 1.0 if record.p_benjamini_hochberg is None else record.p_benjamini_hochberg


def _key(contrast: Contrast) -> tuple[Any, ...]:
    return tuple(contrast.what.items())


def _question(contrast: Contrast) -> tuple[Any, ...]:
    """Contrasts of one question are one family: all sets, all classes, all accuracies, all labels at one threshold."""
    kind = next((key for key in ("set", "class", "label") if key in contrast.what), "accuracy")
    return kind, contrast.what.get("threshold")
