"""Numbers of two runs over the same images that are not shares of them: skew, associations, calibration, gaps.

Where a number can be computed from the images' own values, both runs are asked for the same draws of the images, and
the difference has the percentiles of those draws. A worst group, a gap or a ratio of groups has no such interval: a
bootstrap of a minimum does not hold its level, and two runs may have two worst groups. Both numbers stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from clipjax.analysis import calibration, eat, paired_draws, precision, rates, skew, units
from clipjax.analysis.intervals import RESAMPLES, draws, percentile
from clipjax.analysis.main_numbers import kind_of, main_numbers
from clipjax.analysis.records import Record
from clipjax.analysis.run import FEW_IMAGES, FLIPS, REMEDY, Run
from clipjax.errors import InputError

ASSOCIATION = "association"  # of predictions.parquet: of every test, first of the images of X, then of those of Y
BOOTSTRAP = "bootstrap over images, the same draws of both runs"
ABOUT = (
    "metric", "class", "set", "label", "attribute", "classifier", "reading", "direction", "threshold", "candidates",
    "over", "k", "reference", "shots", "group",
)  # fmt: skip
AVERAGES = {"map_11pt": precision.eleven_points, "map_all_point": precision.all_points}
OF_CLASSES = (*AVERAGES, "mean_per_class")
ROUNDING = 1e-9  # of a mean over classes in another order
REFLECTED = "reflected bootstrap over images, the same draws of both runs"
Draw = Callable[[], Iterator[np.ndarray]]  # the same values of the statistic for the same draws, in blocks


class PairedNumber(Struct, frozen=True, kw_only=True):
    """One number under A and under B; `difference` is B - A. Without `method` it has no valid interval."""

    name: str
    a: Record
    b: Record
    difference: float | None
    level: float
    low: float | None = None
    high: float | None = None
    method: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """What compare.json holds: what the number is (as in metrics.json), both values, the difference as `value`."""
        about = self.b.to_dict()
        kept = {name: about[name] for name in ABOUT if name in about}
        numbers = {"value_a": self.a.value, "value_b": self.b.value, "n": self.b.n, "value": self.difference}
        bounds = {} if self.method is None else {"low": self.low, "high": self.high, "level": self.level}
        return kept | numbers | bounds | ({} if self.method is None else {"method": self.method})


def paired_numbers(a: Run, b: Run, level: float = 0.95) -> list[PairedNumber]:
    """Rows of both runs are the same images in the same order -> every number that both have."""
    theirs = {units.name(r): r for r in _numbers(b)}
    if b.probe == "association":  # stimuli that are images are called by their files: here by A's
        files = dict(zip(b.predictions["file"].tolist(), a.predictions["file"].tolist(), strict=True))
        theirs = {units.name(replace(r, class_=files.get(r.class_ or "", r.class_))): r for r in theirs.values()}
    out = []
    for record in _numbers(a):
        name = units.name(record)
        if (other := theirs.get(name)) is None or (record.wordings or 0) != (other.wordings or 0):
            continue  # more wordings change more answers
        difference = None if record.value is None or other.value is None else other.value - record.value
        low = high = method = None
        seed = a.settings.seed  # of both, whatever B's own is: the draws are the same ones
        if record.shots is not None:
            low, high, method = paired_draws.of_record(a, b, record) or (None, None, None)
        drawn_a, drawn_b = statistic(a, record, seed), statistic(b, other, seed)
        of_the_same = record.n == other.n  # two designs may leave out the images of other labels
        if difference is not None and of_the_same and drawn_a is not None and drawn_b is not None:
            apart = np.concatenate(list(drawn_b())) - np.concatenate(list(drawn_a()))
            (low, high), method = percentile(apart, level), BOOTSTRAP
            if record.metric == "ece":  # as its own interval: a bootstrap has the bias of each of both once more
                low, high, method = 2 * difference - high, 2 * difference - low, REFLECTED
        out.append(PairedNumber(
            name=name, a=record, b=other, difference=difference, level=level, low=low, high=high, method=method
        ))  # fmt: skip
    return out


def check_stimuli(a: Run, b: Run) -> None:
    """InputError where two association tests of one name are about other texts or images: they are not one test."""
    for run in (a, b):
        if run.manifest.result.stimuli is None:
            raise InputError(f"{run.path}: does not say what its tests hold; {REMEDY}")
    one, other = (run.manifest.result.stimuli or {} for run in (a, b))
    for name in (name for name in one if name in other):
        if differing := [s.upper() for s in "xyab" if one[name].get(s) != other[name].get(s)]:
            raise InputError(
                f"{a.path} and {b.path} have a test {name!r} each, of other texts or images ({', '.join(differing)}): "
                "rename one of them, or give both the same"
            )


def _numbers(run: Run) -> list[Record]:
    """Metrics that are not shares of images; McNemar's test compares the others."""
    if run.probe in FEW_IMAGES:
        return run.records
    kept = [r for r in main_numbers(run.records) if kind_of(r) not in ("accuracy", "rates")] if run.records else []
    kept += [r for r in run.records if r.metric in OF_CLASSES and not r.group and r.split is None]
    return kept + [r for r in run.records if r.metric in ("max_skew_at_k", "ndkl") and r.class_ is not None]


def statistic(run: Run, record: Record, seed: int) -> Draw | None:
    """Values of a number under images resampled from this seed; None where it has no such interval."""
    metric = record.metric.removeprefix("mean_")
    if metric in ("max_skew_at_k", "ndkl") and "similarities" in run.names:
        return _skew(run, record, seed)
    if metric in ("ece", "brier", "nll") and "probabilities" in run.names:
        return _confidence(run, record, seed)
    if record.metric in OF_CLASSES and "probabilities" in run.names:
        return _of_classes(run, record, seed)
    if metric in ("answers_changed", "flip_rate") and FLIPS in run.names:
        flips = run.predictions[FLIPS].astype(np.float64)
        each = (flips > 0).astype(np.float64) if metric == "answers_changed" else flips
        return _of_weights(lambda w: w @ each / w.sum(1), len(each), seed) if len(each) == record.n else None
    if metric == "eat" and ASSOCIATION in run.names:
        return _association(run, record, seed)
    return None


def _of_classes(run: Run, record: Record, seed: int) -> Draw | None:
    """Means over classes: average precision, where images may have several labels, and accuracy. None where images
    were scored in another way than the predictions tell, as those that Pascal VOC marks difficult."""
    assert run.design is not None
    texts = run.predictions["label"].astype(str)
    known = texts != ""
    labels = np.array([[name in text for name in run.design.names] for text in map(_parts, texts[known])], bool)
    scores = run.predictions["probabilities"][known]
    if int(known.sum()) != record.n or not labels.any():
        return None
    if record.metric == "mean_per_class":
        right = labels[np.arange(len(scores)), scores.argmax(1)]
        hits, labelled = (labels & right[:, None]).astype(np.float64), labels.astype(np.float64)

        def of(weights: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore"):
                return precision.mean_defined(((weights @ hits) / (weights @ labelled)).T)
    else:
        of = precision.mean_average(AVERAGES[record.metric], scores, labels, np.ones_like(labels))
    own = float(of(np.ones((1, len(scores))))[0])
    return _of_weights(of, len(scores), seed) if abs(own - (record.value or 0)) < ROUNDING else None


def _parts(text: str) -> set[str]:
    return set(text.split("|"))


def _skew(run: Run, record: Record, seed: int) -> Draw:
    assert run.design is not None
    assert record.over is not None
    assert record.reference is not None
    cosines, reference = run.predictions["similarities"], record.reference
    cells = rates.cells(record.over.split("*"), run.columns, len(cosines))
    k = record.k if record.metric.endswith("max_skew_at_k") else None
    classes = range(len(run.design.names)) if record.class_ is None else [run.design.names.index(record.class_)]
    ranked = [skew.rank(cosines[:, c], cells.of) for c in classes]

    def values() -> Iterator[np.ndarray]:
        for weights in draws(len(ranked[0]), seed):
            yield np.mean([skew.drawn(one, weights, k, reference) for one in ranked], axis=0)

    return values


def _confidence(run: Run, record: Record, seed: int) -> Draw | None:
    """None where a part of the images fitted a temperature: the predictions do not say which."""
    assert run.design is not None
    place = {name: c for c, name in enumerate(run.design.names)}
    label = np.array([place.get(name, -1) for name in run.predictions["label"]])
    known = label >= 0
    if int(known.sum()) != record.n or record.scheme == "mass":
        return None
    p, label = run.predictions["probabilities"][known].astype(np.float64), label[known]
    own, confidence, right = p[np.arange(len(p)), label], p.max(1), p.argmax(1) == label
    if record.metric == "ece":
        assert record.bins is not None
        member = np.eye(record.bins)[calibration.bin_of(confidence, record.bins)]
        gap = (right - confidence)[:, None] * member
        return _of_weights(lambda w: np.abs(w @ gap).sum(1) / w.sum(1), len(p), seed)
    with np.errstate(divide="ignore"):
        each = (p**2).sum(1) - 2 * own + 1 if record.metric == "brier" else -np.log(own)
        if record.metric == "nll" and record.probability == "sigmoid":  # of every class, yes or no
            each += np.log1p(-own) - np.log1p(-p).sum(1)
    return _of_weights(lambda w: w @ each / w.sum(1), len(p), seed) if np.isfinite(each).all() else None


def _of_weights(of: Callable[[np.ndarray], np.ndarray], n: int, seed: int) -> Draw:
    return lambda: (of(weights) for weights in draws(n, seed))


def _association(run: Run, record: Record, seed: int) -> Draw | None:
    """None where X or Y has texts, whose associations the predictions do not have."""
    tests = [r.label for r in run.records if r.metric == "eat"]
    columns = run.predictions[ASSOCIATION]
    i = tests.index(record.label)
    x, y = (column[~np.isnan(column)].astype(np.float64) for column in (columns[:, i], columns[:, len(tests) + i]))
    if record.sizes is None or [len(x), len(y)] != list(record.sizes[:2]):
        return None

    def values() -> Iterator[np.ndarray]:
        generator = np.random.default_rng(seed)
        rows = [generator.integers(0, len(one), (RESAMPLES, len(one))) for one in (x, y)]
        yield eat.effect_size(x[rows[0]], y[rows[1]])

    return values
