"""Association tests: are some images (or texts) nearer to one set of attributes than others are? WEAT, iEAT, SC-EAT."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from clipjax.analysis import association, eat
from clipjax.analysis.manifest import Outcome
from clipjax.analysis.paired_numbers import ASSOCIATION
from clipjax.analysis.rates import Method
from clipjax.analysis.records import Record
from clipjax.data.source import Source, digest
from clipjax.design import Design, of_classes
from clipjax.errors import InputError, located
from clipjax.keys import key
from clipjax.probes import zeroshot
from clipjax.runs import association_tests, groups
from clipjax.runs import data as opening
from clipjax.runs import task as tasks
from clipjax.runs.association_tests import Association, Associations, Stimuli
from clipjax.runs.config import Level, Templates
from clipjax.runs.features import Features
from clipjax.runs.result import Result

UNREAD = ("caption_columns",)  # `data.` keys that change nothing here


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Templates, Level):
    """What is read."""

    tests: str = key("", "a YAML file: tests, each with name, x, y, a, b of texts or images (docs: metrics)")
    allow_unequal: bool = key(False, "X and Y may differ in size; the means decide then")


@dataclasses.dataclass(frozen=True)
class AssociationTask:
    """`images`: of every test and set the rows of the source, (test, "x") -> int [n]."""

    source: Source
    design: Design
    tests: Associations
    images: dict[tuple[str, str], np.ndarray]


def prepare(config: Config) -> AssociationTask:
    """The images, the tests, and the rows of every set."""
    if not config.tests:
        raise InputError("association needs its tests: --config.tests=FILE.yaml")
    asked = association_tests.read(config.tests)
    templates = tasks.templates_of(config.templates) or tasks.templates_of("|".join(asked.templates))
    groups.checked_method("clopper-pearson", config.level, 1, config.seed)
    source = opening.open_source(config.data).source
    tasks.check_columns(source)
    images = {}
    for test in asked.tests:
        for name, stimuli in test.sets.items():
            where = f"{config.tests}: test {test.name!r}: {name}"
            found = association_tests.rows(source, stimuli, where) if stimuli.images else np.zeros(0, np.int64)
            images[test.name, name] = found
            if name in ("y", "b"):
                _check_apart(test, name, images, source, config.tests)
        if test.y is not None and not config.allow_unequal:
            x, y = (len(images[test.name, one]) + len(test.sets[one].texts) for one in "xy")
            if x != y:
                raise InputError(
                    f"{config.tests}: test {test.name!r}: X and Y have {x} and {y} stimuli; ieat and weat need equal "
                    "sizes; --config.allow_unequal=true uses the mean difference"
                )
    texts = dict.fromkeys(text for test in asked.tests for one in test.sets.values() for text in one.texts)
    design = of_classes(list(texts), templates, source=config.tests) if texts else Design("no texts", (), templates)
    return AssociationTask(source, design, asked, images)


def _check_apart(
    test: Association, name: str, images: dict[tuple[str, str], np.ndarray], source: Source, path: str
) -> None:
    """InputError where a stimulus is in X and Y, or in A and B."""
    other = {"y": "x", "b": "a"}[name]
    same = np.intersect1d(images[test.name, other], images[test.name, name])
    shared = [str(source.files[row]) for row in same] + [
        t for t in test.sets[other].texts if t in test.sets[name].texts
    ]
    if shared:
        raise InputError(
            f"{path}: test {test.name!r}: {shared[0]} is in {other.upper()} and {name.upper()}; keep it in one"
        )


def run(config: Config, features: Features, task: AssociationTask) -> Result:
    """Every test, p-values adjusted over all of them."""
    encoded = features.images(task.source)
    place = np.full(len(task.source), -1)
    place[encoded.rows] = np.arange(len(encoded.rows))
    weights = features.class_weights(task.design) if task.design.classes else np.zeros((0, encoded.values.shape[1]))
    names = list(task.design.names)

    def vectors(test: str, name: str, stimuli: Stimuli) -> np.ndarray:
        rows = place[task.images[test, name]]
        images = encoded.values[rows[rows >= 0]]
        images = zeroshot.normalise(images) if len(images) else images
        return np.concatenate([images, weights[[names.index(text) for text in stimuli.texts]]])

    method, records = Method(level=config.level, seed=config.seed), []
    compared = [test for test in task.tests.tests if test.y is not None]
    associations = np.full((2, len(encoded.rows), len(compared)), np.nan, np.float32)  # of the images of X, of Y
    for test in task.tests.tests:
        sets = {name: vectors(test.name, name, stimuli) for name, stimuli in test.sets.items()}
        with located(f"{config.tests}: test {test.name!r}"):
            x = task.images[test.name, "x"]
            files = task.source.files[x[place[x] >= 0]].tolist()
            records += tested(test, sets, method, config.allow_unequal, files)
        for side, name in enumerate("xy" if test in compared else ""):
            rows = place[task.images[test.name, name]]
            own = sets[name][: (rows >= 0).sum()].astype(np.float64)
            associations[side, rows[rows >= 0], compared.index(test)] = eat.association(own, sets["a"], sets["b"])
    table = tasks.columns(task.source, task.source.labels, encoded.rows)
    if compared:
        table[ASSOCIATION] = np.concatenate(associations, axis=1)
    return Result(adjusted(records), table, encoded.skipped, task.design, Outcome(stimuli=stimuli_of(task)))


def stimuli_of(task: AssociationTask) -> dict[str, dict[str, str]]:
    """Of each test and set the sha256 of its texts and of what its images hold, whatever their order."""
    found: dict[str, dict[str, str]] = {}
    for test in task.tests.tests:
        for name, one in test.sets.items():
            images = sorted(task.source.short_digests[task.images[test.name, name]].tolist())
            found.setdefault(test.name, {})[name] = digest([*sorted(one.texts), "", *images])
    return found


def tested(
    test: Association, sets: dict[str, np.ndarray], method: Method, allow_unequal: bool, files: Sequence[str]
) -> list[Record]:
    """Vectors of each set [n, E] -> the record of the test, or of each stimulus of X where there is no Y. files: of the
    images of X, which are before its texts."""
    if test.y is not None:
        x, y, a, b = (sets[name] for name in "xyab")
        found = eat.association_test(x, y, a, b, method, allow_unequal=allow_unequal)
        return [replace(found, label=test.name)]
    return [
        replace(eat.single_category_test(one, sets["a"], sets["b"], method), label=test.name, class_=name)
        for one, name in zip(sets["x"], [*files, *test.x.texts], strict=True)
    ]


def adjusted(records: list[Record]) -> list[Record]:
    """Benjamini and Hochberg's p-values over all tests that have one."""
    known = [i for i, record in enumerate(records) if record.p is not None]
    for i, p in zip(known, association.adjust([records[i].p or 0.0 for i in known]).tolist(), strict=True):
        records[i] = replace(records[i], p_benjamini_hochberg=p)
    return records
