"""Worlds whose numbers are resampled: rankings, associations, confidence, wording, neighbours, few-shot, models."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from counts import Held, World, held, inside
from scipy import integrate, special, stats

from clipjax import design
from clipjax.analysis import agreement, calibration, eat, paired_numbers, panel, selective, skew, wording
from clipjax.analysis import effective_robustness as robustness
from clipjax.analysis.manifest import Manifest, Settings
from clipjax.analysis.rates import Cells, Method
from clipjax.analysis.records import Question, Record
from clipjax.analysis.run import Run
from clipjax.probes import captions, draws, fewshot, neighbours, retrieval

Generator = np.random.Generator
EXPECTED = 4000  # samples whose mean is the truth of a number that depends on n by its definition


def method(generator: Generator) -> Method:
    """Another seed each time: resampling is a part of the interval."""
    return Method(seed=int(generator.integers(1 << 31)))


def ranking(generator: Generator, n: int, lift: float, part: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """Scores of n images; group 0 is `part` of them, and its scores are higher by `lift`."""
    while True:
        group = (generator.random(n) >= part).astype(int)
        if np.bincount(group, minlength=2).min() >= n / (n // 3):  # fewer are refused: Skew@k of them says nothing
            return generator.normal(size=n) + lift * (group == 0), group


@functools.cache
def skews(lift: float, first: float, part: float = 0.4) -> tuple[float, float, float]:
    """Of all images that there could be: ln(share among the `first` / share of all) of both groups; Bias."""
    low, high = -10.0, 10.0
    for _ in range(80):
        t = (low + high) / 2
        above = part * stats.norm.sf(t - lift) + (1 - part) * stats.norm.sf(t)
        low, high = (t, high) if above > first else (low, t)
    share = part * stats.norm.sf(low - lift) / first
    return float(np.log(share / part)), float(np.log((1 - share) / (1 - part))), 2 * share - 1


@functools.cache
def expected_ndkl(lift: float, n: int) -> float:
    """The mean of NDKL over samples of n images."""
    generator, found = np.random.default_rng(99), []
    for _ in range(EXPECTED // 4):
        scores, group = ranking(generator, n, lift)
        order = group[np.argsort(-scores)]
        share = np.bincount(group, minlength=2) / n
        found.append(skew.ndkl_values(order[None], np.arange(1, n + 1), share)[0])
    return float(np.mean(found))


def skewed(generator: Generator, n: int, lift: float) -> Held:
    """A third of the images are the first."""
    scores, group = ranking(generator, n, lift)
    found = {
        (r.metric, *(r.group or {}).values()): r
        for r in skew.measure(scores, group, (n // 3,), ("share",), method=method(generator))
    }
    first, second, bias = skews(lift, 1 / 3)
    found_bias = skew.bias_at_k(scores, group, n // 3, ("0", "1"), method=method(generator))
    out = {
        "Skew@k": held(found["skew_at_k", "0"], first),
        "MaxSkew@k": held(found["max_skew_at_k",], max(first, second)),
        "MinSkew@k": held(found["min_skew_at_k",], min(first, second)),
        "NDKL": held(found["ndkl",], expected_ndkl(lift, n)),
        "Bias@k": held(found_bias, bias),
    }
    if not lift:
        out |= {
            "test of Skew@k": (found["skew_at_k", "0"].p or 0) <= 0.05,
            "test of MaxSkew@k": (found["max_skew_at_k",].p or 0) <= 0.05,
            "test of NDKL": (found["ndkl",].p or 0) <= 0.05,
        }
    return out


AXES = np.array([1, 1, -1, -1, 0, 0]) / 2  # towards A and away from B
ATTRIBUTES = np.split(np.eye(6)[:4], 2)


def stimuli(generator: Generator, n: int, apart: float) -> np.ndarray:
    """X and Y: unit vectors [2, n, 6]; X is moved by `apart`."""
    found = generator.normal(size=(2, n, 6))
    found[0] += apart * AXES
    return found / np.linalg.norm(found, axis=2, keepdims=True)


@functools.cache
def effect(apart: float) -> float:
    """d of 400,000 stimuli."""
    x, y = (eat.association(w, *ATTRIBUTES) for w in stimuli(np.random.default_rng(99), 400_000, apart))
    return float(eat.effect_size(x, y))


def associated(generator: Generator, n: int, apart: float) -> Held:
    """n stimuli in X and in Y; two in A and in B."""
    x, y = stimuli(generator, n, apart)
    found = eat.association_test(x, y, *ATTRIBUTES, method(generator))
    # One stimulus against n in A and n in B has the same arithmetic, and resamples A and B.
    single = eat.single_category_test(AXES, x, y, method(generator))
    out = {"association d": held(found, effect(apart)), "single-category d": held(single, single_effect(apart))}
    if not apart:
        out |= {
            "permutation test of d": (found.p or 0) <= 0.05, "two-sided test of d": (found.p_two_sided or 0) <= 0.05,
        }  # fmt: skip
    return out


@functools.cache
def single_effect(apart: float) -> float:
    """The same of one stimulus."""
    x, y = stimuli(np.random.default_rng(99), 400_000, apart)
    return float(eat.effect_size(x @ AXES, y @ AXES))


def confident(generator: Generator, n: int, sharpen: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, 2] and labels: right with the probability that softmax(logits / sharpen) says."""
    p = generator.uniform(0.5, 1, n)
    right = generator.random(n) < p
    odds = sharpen * special.logit(p)
    return np.stack([odds, np.zeros(n)], 1), np.where(right, 0, 1)


@functools.cache
def confidence_truth(sharpen: float) -> dict[str, float]:
    """Integrals over p, uniform from 1/2 to 1, with q = what the model says."""

    def q(p: float) -> float:
        return float(special.expit(sharpen * special.logit(p)))

    def over(f: Callable[[float], float]) -> float:
        return 2 * integrate.quad(f, 0.5, 1, limit=200)[0]

    def log_loss(p: float) -> float:
        z = sharpen * special.logit(p)
        return float(-p * special.log_expit(z) - (1 - p) * special.log_expit(-z))

    edges = special.expit(special.logit(np.clip(np.arange(16) / 15, 0, 1)) / sharpen)  # of q, as p
    edges = edges[edges > 0.5]
    bins = [(max(a, 0.5), b) for a, b in zip([0.5, *edges], [*edges, 1.0], strict=True) if b > max(a, 0.5)]
    return {
        "ece": sum(abs(2 * integrate.quad(lambda p: p - q(p), a, b, limit=200)[0]) for a, b in bins),
        "brier": over(lambda p: 2 * (p * (1 - q(p)) ** 2 + (1 - p) * q(p) ** 2)),
        "nll": over(log_loss),
    }


@functools.cache
def expected_aurc(n: int) -> float:
    """The mean over samples of n images."""
    generator = np.random.default_rng(99)
    p = -np.sort(-generator.uniform(0.5, 1, (EXPECTED, n)), axis=1)
    return float(((1 - p).cumsum(1) / np.arange(1, n + 1)).mean())


def scored(generator: Generator, n: int, sharpen: float) -> Held:
    """Confidence of n images."""
    logits, labels = confident(generator, n, sharpen)
    p, truth = special.softmax(logits, axis=1), confidence_truth(sharpen)
    both = calibration.top(p, labels)
    ece = calibration.expected_calibration_error(p, labels, method=method(generator))
    out = {
        "ECE": held(ece, truth["ece"]),
        "Brier score": held(calibration.brier_score(p, labels, method(generator)), truth["brier"]),
        "log loss": held(calibration.negative_log_likelihood(logits, labels, method(generator)), truth["nll"]),
        "AURC": held(selective.aurc(*both, method(generator)), expected_aurc(n)),
    }
    return out | ({"test of ECE": (ece.p or 0) <= 0.05} if sharpen == 1 else {})


def worded(generator: Generator, n: int, same: float) -> Held:
    """4 wordings, 3 classes: each gives an image's own class with probability `same`, else any."""
    own = generator.integers(0, 3, n)
    answers = np.where(generator.random((4, n)) < same, own, generator.integers(0, 3, (4, n)))
    pair = (same + (1 - same) / 3) ** 2 + 2 * ((1 - same) / 3) ** 2
    kappa = (pair - 1 / 3) / (2 / 3)
    changed = 1 - (same + (1 - same) / 3) ** 4 - 2 * ((1 - same) / 3) ** 4
    one = method(generator)
    return {
        "answers changed": held(wording.answers_changed(answers), changed),
        "flip rate": held(wording.flip_rate(answers, one), 1 - pair),
        "Fleiss' kappa": held(agreement.fleiss_kappa(wording.votes(answers, 3), one), kappa),
        "Cohen's kappa": held(agreement.cohen_kappa(answers[0], answers[1], one), kappa),
    }


CENTRES = np.eye(8)[:3]


def near(generator: Generator, n: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, 8] about one of three centres, and which."""
    value = generator.integers(0, 3, n)
    return CENTRES[value] + noise * generator.normal(size=(n, 8)), value


@functools.cache
def database(noise: float) -> tuple[np.ndarray, np.ndarray, float]:
    """200 images that stay, and the true precision over 20,000 queries."""
    generator = np.random.default_rng(99)
    kept, value = near(generator, 200, noise)
    queries, own = near(generator, 20_000, noise)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, kept)]
    return kept, value, float(neighbours.precision(*unit, own.astype(str), value.astype(str), 5).mean())


def nearest(generator: Generator, n: int, noise: float) -> Held:
    """n queries, K = 5."""
    kept, value, truth = database(noise)
    queries, own = near(generator, n, noise)
    found = neighbours.same_attribute_precision(queries, kept, (own, value), 5, method=method(generator))[0]
    return {"same-attribute precision@5": held(found, truth)}


def paired_features(generator: Generator, n: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n images of 3 captions each."""
    images = generator.normal(size=(n, 16))
    owner = np.repeat(np.arange(n), 3)
    hard = noise * generator.gamma(2, 0.5, (n, 1))  # some images are hard for all their captions
    return images, images[owner] + hard[owner] * generator.normal(size=(3 * n, 16)), owner


@functools.cache
def expected_recalls(noise: float, n: int) -> tuple[float, float, float]:
    """Mean recalls over samples of n images: a recall depends on how many images and captions there are."""
    generator, found = np.random.default_rng(99), []
    for _ in range(300):
        images, texts, owner = paired_features(generator, n, noise)
        unit = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (images, texts)]
        to_text, to_image = retrieval.ranks(*unit, owner)
        one = (to_text < 1).mean(), (to_image < 1).mean()
        found.append((*one, one[0] + one[1] + (to_text < 5).mean() + (to_image < 5).mean()))
    return tuple(np.mean(found, axis=0).tolist())


def recalled(generator: Generator, n: int, noise: float) -> Held:
    """Recall@1 of both directions and the sum with recall@5."""
    found = retrieval.recalls(*paired_features(generator, n, noise), (1, 5), seed=int(generator.integers(1 << 31)))
    truth = expected_recalls(noise, n)
    names = "recall@1, image to text", "recall@1, text to image", "recall sum"
    return {name: held(r, t) for name, r, t in zip(names, (found[0], found[2], found[4]), truth, strict=True)}


def answered(generator: Generator, n: int, seeds: int, ease: float, groups: int = 4) -> tuple[np.ndarray, ...]:
    """Right or wrong [S, n] of classifiers fitted on `seeds` draws, of zero-shot [n], and each image's group."""
    group = generator.integers(0, groups, n)
    each = generator.normal(ease, 2, n)
    drawn = generator.normal(0, 0.4, seeds)[:, None] + generator.normal(0, 0.3, (seeds, groups))[:, group]
    right = generator.random((seeds, n)) < special.expit(each + drawn)
    return right, generator.random(n) < special.expit(each - 0.5), group


@functools.cache
def accuracy(ease: float) -> tuple[float, float]:
    """Over images and draws; of zero-shot."""
    reach, x = np.hypot(2, 0.5), np.linspace(-8, 8, 4001)
    weight = stats.norm.pdf(x) / stats.norm.pdf(x).sum()
    return float(weight @ special.expit(ease + reach * x)), float(weight @ special.expit(ease - 0.5 + 2 * x))


def few(generator: Generator, n: int, ease: float, seeds: int = 3) -> Held:
    """Accuracy of a few-shot probe, its gain over zero-shot, and by group; no group differs."""
    right, before, group = answered(generator, n, seeds, ease)
    truth, plain = accuracy(ease)
    found = fewshot.of_groups(right, Cells([{"g": str(g)} for g in range(4)], group), "g", method(generator))
    by = {r.metric: r for r in found if not r.group}
    return {
        "few-shot accuracy": held(fewshot.summary(right), truth),
        "few-shot gain": held(draws.gain(right, before), truth - plain),
        "few-shot accuracy of a group": held(found[0], truth),
        "few-shot worst group": held(by["top1_worst_group"], truth),
        "few-shot gap": held(by["top1_group_difference"], 0.0),
        "few-shot mean of groups": held(by["top1_mean_of_groups"], truth),
    }


def ranks(generator: Generator, n: int, rates: tuple[float, ...]) -> Held:
    """Models on the same n images; equal ones share the best of their ranks."""
    each = generator.normal(size=n)
    right = stats.norm.cdf(each + 0.7 * generator.normal(size=(len(rates), n))) < np.array(rates)[:, None]
    models, seed = [str(m) for m in range(len(rates))], int(generator.integers(1 << 31))
    found = panel.ranked(("p", "d"), Question("accuracy", "top1"), models, right, 0.95, seed)
    true = {str(m): 1 + sum(other > rate for other in rates) for m, rate in enumerate(rates)}
    return {"rank of a model": [one.low <= true[one.model] <= one.high for one in found]}


def robust(generator: Generator, n: int, models: int, planted: float = 0.04) -> Held:
    """Baselines about a line of slope 1 on logits, each with n images; the evaluated one is above it."""
    x = generator.uniform(0.4, 0.8, models)
    y = special.expit(special.logit(x) - 0.6 + generator.normal(0, 0.05, models))
    seen = generator.binomial(n, [x, y]) / n
    own = 0.75, float(special.expit(special.logit(0.75) - 0.6)) + planted
    k = generator.binomial(n, own) / n
    found = robustness.of(robustness.fit(*seen), *k, n=(n, n), method=method(generator))
    return {"effective robustness": held(found, 100 * planted)}


def correlated(generator: Generator, n: int, r: float) -> Held:
    """n models whose two numbers have correlation r."""
    x, y = generator.multivariate_normal([0, 0], [[1, r], [r, 1]], n).T
    models = [str(m) for m in range(n)]
    rows = []
    for kind, values in (("accuracy", x), ("confidence", y)):
        of = {m: Record(metric=kind, n=n, value=float(value)) for m, value in zip(models, values, strict=True)}
        rows.append(panel.Row(("p", "d"), kind, kind, of))
    found = panel.correlations(rows, models)[0]
    return {"correlation over models": inside(found.low, r, found.high)}


ASKED = design.of_classes(["doctor"], source="here")


def run_of(probe: str, table: dict[str, np.ndarray], records: list[Record], seed: int, asked: design.Design) -> Run:
    """A run in memory."""
    manifest = msgspec.convert({
        "config": {"probe": probe}, "precision": "float32", "design": asked.manifest(),
        "model": {"name": "m", "weights_sha256": "0" * 64, "config": {}, "logit_scale": 100.0},
        "data": {"name": "d", "fingerprint": "f" * 64, "n": 1, "group_columns": ["g"]},
        "counts": {"seen": 1, "skipped": 0, "skipped_files": []},
    }, Manifest)  # fmt: skip
    found = Run(Path("nowhere"), manifest, Settings(probe, seed=seed), records)
    vars(found)["predictions"] = table
    return found


def moved_skew(generator: Generator, n: int, before: float, after: float) -> Held:
    """Rankings of the same images by two texts, with skews of `before` and `after`."""
    group, seed = (generator.random(n) >= 0.4).astype(int), int(generator.integers(1 << 31))
    runs, names = [], np.array(["A", "B"], object)[group]
    for lift in (before, after):
        scores = generator.normal(size=n) + lift * (group == 0)
        found = [skew.max_skew(scores, group, n // 3), skew.ndkl(scores, group)]
        named = [msgspec.structs.replace(r, class_="doctor", over="g") for r in found]
        runs.append(run_of("skew", {"similarities": scores[:, None], "g": names}, named, seed, ASKED))
    both = paired_numbers.paired_numbers(*runs)
    largest = max(skews(after, 1 / 3)[:2]) - max(skews(before, 1 / 3)[:2])
    truth = {"MaxSkew@k": largest, "NDKL": expected_ndkl(after, n) - expected_ndkl(before, n)}
    return {
        f"difference of {name}": inside(one.low or 0, t, one.high or 0)
        for (name, t), one in zip(truth.items(), both, strict=True)
    }


def moved_confidence(generator: Generator, n: int, after: float) -> Held:
    """Two models that err independently on the same images, the first calibrated."""
    seed, runs = int(generator.integers(1 << 31)), []
    asked = design.of_classes(["cat", "dog"], source="here")
    names, labels = np.array(asked.names, object), generator.integers(0, 2, n)
    for sharpen in (1.0, after):
        logits, wrong = confident(generator, n, sharpen)
        logits = np.where((wrong == labels)[:, None], logits, logits[:, ::-1])  # the label is 0 where it is right
        said = special.softmax(logits, axis=1)
        found = [
            calibration.expected_calibration_error(said, labels), calibration.brier_score(said, labels),
            calibration.negative_log_likelihood(logits, labels),
        ]  # fmt: skip
        table = {"label": names[labels], "prediction": names[said.argmax(1)], "probabilities": said}
        runs.append(run_of("zeroshot", table, found, seed, asked))
    a, b = confidence_truth(1.0), confidence_truth(after)
    return {
        f"difference of {called}": inside(one.low or 0, b[one.a.metric] - a[one.a.metric], one.high or 0)
        for called, one in zip(("ECE", "Brier score", "log loss"), paired_numbers.paired_numbers(*runs), strict=True)
    }


def moved_association(generator: Generator, n: int, after: float) -> Held:
    """The same stimuli, one association of all of them; the second model adds `after` standard deviations to X's."""
    seed, s = int(generator.integers(1 << 31)), generator.normal(size=2 * n)
    x = np.arange(2 * n) < n
    runs = []
    for lift in (0.0, after):
        values = s + 0.5 * generator.normal(size=2 * n) + lift * x
        columns = np.stack([np.where(x, values, np.nan), np.where(x, np.nan, values)], 1)
        d = float(eat.effect_size(values[x], values[~x]))
        record = Record(metric="eat", label="t", n=2 * n, value=d, sizes=[n, n, 2, 2])
        files = np.array([f"{i}.png" for i in range(2 * n)], object)
        runs.append(run_of("association", {"file": files, "association": columns}, [record], seed, ASKED))
    (found,) = paired_numbers.paired_numbers(*runs)
    truth = after / np.sqrt(1.25 + after**2 / 4)
    return {"difference of association d": inside(found.low or 0, truth, found.high or 0)}


def alike_captions(generator: Generator, n: int) -> Held:
    """Winoground and pairs whose scores say nothing."""
    p = captions.choice_accuracy(generator.random(n), generator.random((n, 3)))[0].p
    return {"test against chance": (p or 0) <= 0.05}


USUAL = (20, 100)
Asked = tuple[str, tuple[int, ...], Callable[..., Held], dict[str, Any]]
ASKED_OF: list[Asked] = [
    ("no group first", (30, 100), skewed, {"lift": 0.0}),
    ("a group first, weakly", (30, 100), skewed, {"lift": 0.5}),
    ("a group first, strongly", (30, 100), skewed, {"lift": 1.5}),
    ("no association", (4, 8, 25), associated, {"apart": 0.0}),
    ("association of half a deviation", (4, 8, 25), associated, {"apart": 0.5}),
    ("association of 1.5 deviations", (4, 8, 25), associated, {"apart": 1.5}),
    ("calibrated", (50, 200), scored, {"sharpen": 1.0}),
    ("confidence too high", (50, 200), scored, {"sharpen": 2.0}),
    ("confidence far too high", (50, 200), scored, {"sharpen": 4.0}),
    ("wordings nearly always agree", USUAL, worded, {"same": 0.99}),
    ("wordings often differ", USUAL, worded, {"same": 0.7}),
    ("neighbours nearly always alike", USUAL, nearest, {"noise": 0.3}),
    ("neighbours often different", USUAL, nearest, {"noise": 1.0}),
    ("retrieval nearly always right", (20, 100), recalled, {"noise": 0.5}),
    ("retrieval often wrong", (20, 100), recalled, {"noise": 2.0}),
    ("few-shot, often wrong", (50, 200), few, {"ease": 1.0}),
    ("few-shot, nearly always right", (50, 200), few, {"ease": 6.0}),
    ("four models, 50, 55, 60, 70%", (50, 200, 1000), ranks, {"rates": (0.5, 0.55, 0.6, 0.7)}),
    ("four equal models", (50, 200, 1000), ranks, {"rates": (0.6, 0.6, 0.6, 0.6)}),
    ("line of 10 models", (200, 10_000), robust, {"models": 10}),
    ("line of 30 models", (200, 10_000), robust, {"models": 30}),
    ("correlation 0", (4, 10, 30), correlated, {"r": 0.0}),
    ("correlation 0.8", (4, 10, 30), correlated, {"r": 0.8}),
    ("two equal rankings", (100,), moved_skew, {"before": 0.0, "after": 0.0}),
    ("a ranking with skew beside one without", (100,), moved_skew, {"before": 0.0, "after": 1.5}),
    ("two equal confidences", (50, 200), moved_confidence, {"after": 1.0}),
    ("one confidence too high", (50, 200), moved_confidence, {"after": 2.0}),
    ("equal associations", (8, 25, 100), moved_association, {"after": 0.0}),
    ("one association stronger", (8, 25, 100), moved_association, {"after": 1.5}),
    ("captions say nothing", (10, 50, 400), alike_captions, {}),
]
SLOW = (skewed, moved_skew, few, robust)


def worlds() -> Iterator[World]:
    """All of them."""
    for name, sizes, draw, values in ASKED_OF:
        yield World(name, sizes, functools.partial(draw, **values), 200 if draw in SLOW else 300)
