"""Designs asked of an opened run: probabilities of every class for every image, kept while there is room."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import compare, rates
from clipjax.analysis.records import PairedRecord
from clipjax.design import Design
from clipjax.explore.opened import Opened
from clipjax.explore.texts import Texts
from clipjax.probes import zeroshot

MOST_BYTES = 512 << 20  # of probabilities kept; 10,000 images and 22 classes are 1 MB
MOST_FAMILIES = 16  # of paired tests


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """A design and its answers: probabilities [N, C], and the likeliest class of each image, `best` [N]."""

    design: Design
    probabilities: np.ndarray
    best: np.ndarray

    @functools.cached_property
    def names(self) -> np.ndarray:
        """The likeliest class by name [N]."""
        return np.array(self.design.names, object)[self.best]


class Answers:
    """Asks designs, and remembers what was asked last. Called from one thread at a time."""

    def __init__(self, opened: Opened):
        self.opened = opened
        self.texts = Texts(opened.run, opened.config)
        self._asked: OrderedDict[str, Asked] = OrderedDict()
        self._cells: dict[bool, list[rates.Cells]] = {}
        self._families: OrderedDict[tuple[str, str], list[PairedRecord]] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, design: Design, unwanted: Callable[[], bool] = lambda: False) -> Asked:
        """As the probe does: class weights, cosines times the scale, softmax; the first of equals wins."""
        key = design.sha256
        with self._lock:
            if (found := self._asked.pop(key, None)) is None:
                encode = functools.partial(self.texts.features, unwanted=unwanted)
                (weights,) = zeroshot.class_weights(encode, [design])
                cosines = zeroshot.similarity(weights)(self.opened.unit)
                probabilities = zeroshot.softmax(self.opened.scale * cosines)
                found = Asked(design, probabilities, probabilities.argmax(1))
            self._asked[key] = found
            while sum(a.probabilities.nbytes for a in self._asked.values()) > MOST_BYTES and len(self._asked) > 2:
                self._asked.popitem(last=False)
            return dataclasses.replace(found, design=design)  # the note may be another

    def paired(self, base: Asked, now: Asked) -> list[PairedRecord]:
        """`clipjax compare` of the two: every set that both have, over everybody, each column and each pair."""
        key = (base.design.sha256, now.design.sha256)
        with self._lock:
            if (found := self._families.pop(key, None)) is None:
                asked = [compare.set_questions(a.design, a.best) for a in (base, now)]
                both = compare.shared(*asked)
                found = self._paired(*both) if both[0] else []
            self._families[key] = found
            while len(self._families) > MOST_FAMILIES:
                self._families.popitem(last=False)
            return found

    def paired_class(self, base: Asked, now: Asked, name: str) -> list[PairedRecord]:
        """The same for one class of designs that are compared by sets: a test by itself, with nothing to adjust for."""
        if name not in base.design.names or name not in now.design.names:
            return []
        question = compare.Question("class", name)
        a, b = ({question: asked.best == asked.design.names.index(name)} for asked in (base, now))
        return [replace(r, p_benjamini_hochberg=None, p_bonferroni=None) for r in self._paired(a, b)]

    def _paired(self, a: compare.Answers, b: compare.Answers) -> list[PairedRecord]:
        many = len(a) > compare.MOST_CROSSED
        if many not in self._cells:
            run = self.opened.run
            columns = {name: self.opened.columns[name] for name in run.columns if name in self.opened.columns}
            self._cells[many] = compare.family(columns, len(self.opened.unit), len(a))
        return compare.paired(a, b, self._cells[many], compare.LEVEL, self.opened.method.min_n)
