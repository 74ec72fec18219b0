"""Designs asked of an opened run: the likeliest class of every image, and what moves from one design to another.

What was computed is kept by what it depends on: answers by the prompts of the classes, counts by grouping, tests and
findings by the pair of designs. A changed set or name therefore costs no product of features.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import association, compare, findings, rates
from clipjax.analysis.findings import Finding
from clipjax.analysis.records import PairedRecord, Question, Record
from clipjax.analysis.transitions import Transitions
from clipjax.design import NO_SET, Design
from clipjax.explore.opened import Opened
from clipjax.explore.texts import GivenTexts, Texts
from clipjax.probes import zeroshot

MOST_BYTES = 512 << 20  # of answers kept: a million images are 8 MB a design
MOST_NUMBERS = 1 << 25  # probabilities computed at once: 128 MiB
MOST_PAIRS = 64  # of designs whose tests and findings are kept

Unwanted = Callable[[], bool]


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """The answers to some prompts: the likeliest class of each image as an index [N], and its probability [N]."""

    weights: np.ndarray
    best: np.ndarray
    top: np.ndarray
    tallies: dict[tuple[str, ...], np.ndarray] = dataclasses.field(default_factory=dict)
    curves: dict[tuple[str, ...], list[np.ndarray]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """A design and its answers."""

    design: Design
    scored: Scored

    @property
    def best(self) -> np.ndarray:
        """The likeliest class of each image as an index of the design's classes [N]."""
        return self.scored.best

    @property
    def names(self) -> np.ndarray:
        """The likeliest class of each image by name [N]."""
        return np.array(self.design.names, object)[self.best]


@dataclasses.dataclass(frozen=True, eq=False)
class Between:
    """What moved from one design to another: as `clipjax compare` of two runs tells it.

    `records`: of the family of sets (of classes, for designs without sets); `classes`: of the classes of both designs.
    """

    moves: Transitions
    records: list[PairedRecord]
    classes: list[PairedRecord]
    findings: list[Finding]

    @property
    def moved(self) -> int:
        """Images that got another class."""
        return self.moves.moved

    def of(self, question: Question) -> list[PairedRecord]:
        """The records of one set or class; none where it is not in both designs."""
        return [r for r in (*self.records, *self.classes) if r.question == question]


class Answers:
    """Asks designs, and remembers what was asked last. Called from one thread at a time."""

    def __init__(self, opened: Opened):
        self.opened = opened
        if opened.config is None:
            assert opened.given is not None
            self.texts: Texts | GivenTexts = GivenTexts(opened.given)
        else:
            self.texts = Texts(opened.run, opened.config)
        self._scored: OrderedDict[tuple[tuple[str, ...], ...], Scored] = OrderedDict()
        self._between: OrderedDict[tuple[str, str], Between] = OrderedDict()
        self._findings: OrderedDict[str, list[Finding]] = OrderedDict()
        self._probabilities: OrderedDict[int, tuple[Scored, np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, design: Design, unwanted: Unwanted = lambda: False) -> Asked:
        """As the probe does: class weights, cosines times the scale, probabilities; the first of equals wins."""
        key = tuple(tuple(prompts) for prompts in design.prompts())
        with self._lock:
            if (found := self._scored.pop(key, None)) is None:
                encode = functools.partial(self.texts.features, unwanted=unwanted)
                (weights,) = zeroshot.class_weights(encode, [design])
                found = self._score(weights)
            self._scored[key] = found
            while sum(s.best.nbytes + s.top.nbytes for s in self._scored.values()) > MOST_BYTES:
                if len(self._scored) <= 2:
                    break
                self._scored.popitem(last=False)
            return Asked(design, found)

    def probabilities(self, asked: Asked) -> np.ndarray:
        """Of every class for every image [N, C]; those of the last designs are kept, within MOST_BYTES."""
        scored, kept = asked.scored, self._probabilities
        found = kept.pop(id(scored), None)
        if found is None:
            values = np.empty((len(scored.best), len(scored.weights)), np.float32)
            for part, odds in self._parts(scored.weights):
                values[part] = odds
            found = (scored, values)
        kept[id(scored)] = found
        while len(kept) > 1 and sum(values.nbytes for _, values in kept.values()) > MOST_BYTES:
            kept.popitem(last=False)
        return found[1]

    def curves(
        self, asked: Asked, sides: tuple[str, ...], inside: Sequence[np.ndarray], grid: np.ndarray
    ) -> list[np.ndarray]:
        """How many labels reach each threshold of a grid, on average over the images of each side."""
        kept = asked.scored.curves
        if sides not in kept:
            given = self.probabilities(asked)
            kept[sides] = [association.reached(given[rows], grid) / max(len(rows), 1) for rows in inside]
        return kept[sides]

    def tally(self, asked: Asked, grouping: tuple[str, ...]) -> np.ndarray:
        """Images of each group whose answer is each class [G, C]."""
        kept = asked.scored.tallies
        if grouping not in kept:
            kept[grouping] = rates.counts(asked.best, self.opened.cells(grouping), len(asked.design.classes))
        return kept[grouping]

    def alone(self, asked: Asked) -> list[Finding]:
        """The findings of one design, as those of a run of the probe `rates`: differences between groups."""
        return _kept(self._findings, asked.design.sha256, lambda: findings.of_records(self._rates(asked)))

    def between(self, base: Asked, now: Asked) -> Between:
        """`clipjax compare` of the two: every set that both have, over everybody, each column and each pair."""
        key = (base.design.sha256, now.design.sha256)
        return _kept(self._between, key, lambda: self._compared(base, now))

    def paired(self, base: Asked, now: Asked, question: Question, grouping: tuple[str, ...]) -> list[PairedRecord]:
        """The records of one question for everybody and the groups of one grouping, those of its family if it has one.

        Single classes and many sets are not asked of pairs of columns: such a cell is tested by itself, and nothing is
        adjusted. None where one of the designs has no such set or class.
        """
        wanted = [r for r in self.between(base, now).of(question) if r.columns in ((), grouping)]
        rest = [g for g in dict.fromkeys([(), grouping]) if all(r.columns != g for r in wanted)]
        if not rest or not all(has(asked.design, question) for asked in (base, now)):
            return wanted
        moves = self._transitions(base, now, rest)
        in_a, in_b = (
            np.array([members(asked.design, question)[own]]) for asked, own in ((base, moves.a), (now, moves.b))
        )
        level, min_n = compare.LEVEL, self.opened.method.min_n
        single = compare.records_of_tallies([question], moves.groups, moves.tallies(in_a, in_b), level, min_n)
        return wanted + [replace(r, p_benjamini_hochberg=None, p_bonferroni=None) for r in single]

    def _score(self, weights: np.ndarray) -> Scored:
        n = len(self.opened.unit)
        best, top = np.empty(n, np.int32), np.empty(n, np.float32)
        for part, odds in self._parts(weights):
            best[part] = odds.argmax(1)
            top[part] = odds[np.arange(len(odds)), best[part]]
        return Scored(weights, best, top)

    def _parts(self, weights: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Probabilities [rows, C] of some images after the other, so that a million images fit into memory."""
        unit, step = self.opened.unit, max(MOST_NUMBERS // len(weights), 1024)
        for start in range(0, len(unit), step):
            part = slice(start, start + step)
            yield part, zeroshot.of_unit(unit[part], weights, self.opened.scale, self.opened.bias)

    def _transitions(self, base: Asked, now: Asked, grouped: Sequence[tuple[str, ...]]) -> Transitions:
        cells = [self.opened.cells(grouping) for grouping in grouped]
        return Transitions.of(base.design.names, base.best, now.design.names, now.best, cells)

    def _compared(self, base: Asked, now: Asked) -> Between:
        none = np.zeros(0, np.int64)
        asked = list(compare.shared(*(compare.set_questions(d, none) for d in (base.design, now.design)))[0])
        columns = [name for name in self.opened.run.columns if name in self.opened.columns]
        moves = self._transitions(base, now, compare.groupings(columns, max(len(asked), 1)))
        under = compare.shared(compare.set_questions(base.design, moves.a), compare.set_questions(now.design, moves.b))
        records: list[PairedRecord] = []
        if asked:
            in_a, in_b = (np.stack(list(side.values())) for side in under)
            tallies, min_n = moves.tallies(in_a, in_b), self.opened.method.min_n
            records = compare.records_of_tallies(asked, moves.groups, tallies, compare.LEVEL, min_n)
        classes = compare.moves_of_classes(moves, compare.shared_classes(base.design, now.design))
        return Between(moves, records, classes[0], findings.of_comparison(records, *classes))

    def _rates(self, asked: Asked) -> list[Record]:
        """Counts of every set and class, by each column: all that findings need, without an interval for each."""
        design, out = asked.design, []
        for column in self.opened.asked:
            found, tally = self.opened.cells((column,)), self.tally(asked, (column,))
            kinds = [({"set": name}, tally[:, design.members(name)].sum(1)) for name in design.counted]
            kinds += [({"class_": name}, tally[:, c]) for c, name in enumerate(design.names)]
            n, level = tally.sum(1).tolist(), self.opened.method.level
            for what, k in kinds:
                for group, hits, of in zip(found.groups, k.tolist(), n, strict=True):
                    out.append(Record(metric="rate", group=group, k=hits, n=of, value=hits / of, level=level, **what))
        return out


def has(design: Design, question: Question) -> bool:
    """Whether a design can answer with a set or class; where it has sets, always with `no set`."""
    if question.kind == "class":
        return question.name in design.names
    return question.name in design.sets or (question.name == NO_SET and bool(design.sets))


def members(design: Design, question: Question) -> np.ndarray:
    """bool [C]: the classes that answer a question with yes."""
    return design.members(question.name) if question.kind == "set" else np.array(design.names) == question.name


def _kept(kept: OrderedDict, key: Any, make: Callable[[], Any]) -> Any:
    """What is known under a key, else made; the last MOST_PAIRS stay."""
    found = kept.pop(key, None)
    kept[key] = make() if found is None else found
    while len(kept) > MOST_PAIRS:
        kept.popitem(last=False)
    return kept[key]
