"""Scores and labels -> numbers, each as a record with its n and a 95% interval whose method is named.

    Record(metric="top1", k=203, n=1406, value=0.144, low=0.126, high=0.164, level=0.95, method="clopper-pearson")

Proportions have k and an exact interval. The others are resampled with a seed (percentile, 1,000 resamples); the
method says what is drawn. What is drawn is first put into the order of its own values (`order`), so no number depends
on the order of examples and classes, or on what classes are called.

Ties. Predictions take the lowest index among equal scores, as argmax does: of two classes with the same name
(ImageNet's "missile" and "sunglasses" come twice) the second is never predicted, here as in the published numbers.
Rankings of examples (average precision, ROC) take equal scores as one block, as scikit-learn does, so that the order
of the files decides nothing.

A class without examples has no recall and no average precision: it is left out of means over classes, and the record
says how many classes there were. (CLIP_benchmark counts its average precision as 0.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from clipjax.analysis import groups, intervals, precision
from clipjax.analysis.records import Record
from clipjax.errors import InputError
from clipjax.probes import order

ROWS = 1 << 22  # scores looked at once
NEVER = float(np.finfo(np.float32).min)  # the score of a class that cannot be predicted


def top_k(scores: np.ndarray, labels: np.ndarray, k: int = 1) -> Record:
    """scores [N, C], labels int [N] -> how often the label is among the k best classes ("top1", "top5")."""
    scores, labels = check_scores(scores, labels)
    return proportion(f"top{k}", in_top(scores, labels, k))


def mean_top1_top5(scores: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> Record:
    """Kinetics-700's metric: the mean of top-1 and top-5 accuracy."""
    scores, labels = check_scores(scores, labels)
    points = (in_top(scores, labels, 1).astype(np.float64) + in_top(scores, labels, 5)) / 2
    low, high = intervals.bootstrap(points, seed)
    return record("mean_top1_top5", len(points), points.mean(), low, high, "bootstrap over examples")


def mean_per_class(scores: np.ndarray, labels: np.ndarray) -> Record:
    """The mean over classes of top-1 accuracy (balanced accuracy), over the classes that have examples."""
    scores, labels = check_scores(scores, labels)
    right = in_top(scores, labels, 1)
    sizes = np.bincount(labels, minlength=scores.shape[1])
    return mean_of_classes(np.bincount(labels, right, minlength=scores.shape[1]).astype(np.int64), sizes)


def mean_of_classes(hits: np.ndarray, sizes: np.ndarray) -> Record:
    """`mean_per_class` of counts: hits [C] of sizes [C] examples of each class are right."""
    classes = np.lexsort((hits, sizes))[np.count_nonzero(sizes == 0) :]
    hits, sizes = hits[classes], sizes[classes]
    low, high = groups.interval_of_mean(hits, sizes, np.full(len(sizes), 1 / len(sizes)))
    value, method = (hits / sizes).mean(), groups.MEAN.format("class")
    return record("mean_per_class", sizes.sum(), value, low, high, method, classes=len(sizes))


def map_11pt(scores: np.ndarray, labels: np.ndarray, difficult: np.ndarray | None = None, *, seed: int = 0) -> Record:
    """Pascal VOC 2007's mean over classes of 11-point interpolated average precision.

    scores [N, C], labels bool [N, C]. `difficult` bool [N, C] is true where every object of that class in that image
    is marked difficult: the image leaves that class's ranking, whatever its label, as in the VOC devkit. Scores are
    compared across images, so they should be probabilities (softmax over classes), not cosines.
    """
    return _mean_ap("map_11pt", precision.eleven_points, scores, labels, difficult, seed)


def map_all_point(
    scores: np.ndarray, labels: np.ndarray, difficult: np.ndarray | None = None, *, seed: int = 0
) -> Record:
    """The mean over classes of average precision over every recall, as CLIP_benchmark; arguments as `map_11pt`."""
    return _mean_ap("map_all_point", precision.all_points, scores, labels, difficult, seed)


def roc_auc(scores: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> Record:
    """Area under the ROC curve. scores [N], or [N, 2] of probabilities (the second column counts); labels 0 or 1."""
    scores = np.asarray(scores)
    scores = check_features(scores[:, 1] if scores.ndim == 2 and scores.shape[1] == 2 else scores, "scores", 1)
    labels = check_labels(np.asarray(labels).astype(int), len(scores), 2).astype(bool)
    if labels.all() or not labels.any():
        raise InputError(f"all {len(labels)} labels are {int(labels[0])}; ROC AUC needs both kinds")
    examples = np.lexsort((labels, scores))
    scores, labels = scores[examples], labels[examples]
    ranking = precision.Ranked(scores)

    def area(weights: np.ndarray) -> np.ndarray:
        positive, negative = ranking.blocks(weights * labels), ranking.blocks(weights * ~labels)
        below = negative.sum(1, keepdims=True) - negative.cumsum(1)  # best first: what ranks after
        with np.errstate(invalid="ignore"):
            return (positive * (below + negative / 2)).sum(1) / (positive.sum(1) * negative.sum(1))

    low, high = intervals.bootstrap_statistic(area, len(scores), seed)
    return record("roc_auc", len(scores), area(np.ones((1, len(scores))))[0], low, high, "bootstrap over examples")


def pm_k(
    scores: np.ndarray, labels: np.ndarray, files: Sequence | np.ndarray, anchors: Sequence | np.ndarray, k: int = 10
) -> Record:
    """Robustness over neighbouring frames: the share of anchor frames right together with all their neighbours.

    `anchors` [N] names for every row the file of the anchor it belongs to; the anchor's own row names itself. labels:
    int [N], or bool [N, C] where a frame may show several classes and any of them is right. k = 0 asks for the anchor
    alone; any other k only names the metric: the rows are the neighbours.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2:
        scores = check_features(scores, "scores")
        _same(len(scores), len(labels), "labels")
        right = labels[np.arange(len(scores)), scores.argmax(1)]
    else:
        scores, labels = check_scores(scores, labels)
        right = in_top(scores, labels, 1)
    file, anchor = np.asarray(files).astype(str), np.asarray(anchors).astype(str)
    _same(len(right), len(file), "files")
    _same(len(right), len(anchor), "anchors")
    names, group = np.unique(anchor, return_inverse=True)
    own = np.equal(file, anchor)
    missing = np.bincount(group, own, minlength=len(names)) == 0
    if missing.any():
        raise InputError(f"anchor {str(names[missing][0])!r} has neighbours but no row of its own")
    counted = own if k == 0 else np.ones(len(right), bool)
    return proportion(f"pm{k}", np.bincount(group, counted & ~right, minlength=len(names)) == 0)


def mwap(scores: np.ndarray, relevance: np.ndarray, videos: Sequence | np.ndarray, *, seed: int = 0) -> Record:
    """RareAct's mean over actions of weighted average precision (Miech et al. 2020, their compute_score.py).

    scores [N, C]; relevance int8 [N, C] from `rare_actions`: 1 positive, 0 negative, 2 hard negative, -1 not judged;
    videos [N]. Segments of one video share the weight 1 among each of the three kinds. Whole videos are drawn.
    """
    scores, relevance, video = _check_actions(scores, relevance, videos)
    weight, label, judged = _video_weights(relevance, video), relevance == 1, relevance >= 0
    n_videos = video.max() + 1
    actions = np.flatnonzero(label.any(0))
    rankings = [precision.Ranked(scores[judged[:, c], c]) for c in actions]

    def mean(draws: np.ndarray) -> np.ndarray:
        points = []
        for c, ranking in zip(actions, rankings, strict=True):
            rows = judged[:, c]
            weights = draws[:, video[rows]] * weight[rows, c]
            points.append(precision.all_points(ranking.blocks(weights * label[rows, c]), ranking.blocks(weights)))
        return precision.mean_defined(np.array(points))

    low, high = intervals.bootstrap_statistic(mean, n_videos, seed)
    value = mean(np.ones((1, n_videos)))[0]
    return record("mwap", len(scores), value, low, high, "bootstrap over videos", classes=len(actions))


def mwsap(
    scores: np.ndarray, relevance: np.ndarray, videos: Sequence | np.ndarray, samples: int = 100, *, seed: int = 0
) -> Record:
    """RareAct's sampled variant of `mwap`: one segment of each video and kind, `samples` times; the mean of all.

    The interval is of those samples' means: what the choice of segments does, videos being given.
    """
    scores, relevance, video = _check_actions(scores, relevance, videos)
    generator = np.random.default_rng(seed)
    found = np.full((scores.shape[1], samples), np.nan)
    for c in np.flatnonzero((relevance == 1).any(0)):
        rows = np.flatnonzero(relevance[:, c] >= 0)
        group = np.unique(video[rows] * 3 + relevance[rows, c], return_inverse=True)[1]
        weights = np.zeros((samples, len(rows)))
        for s in range(samples):  # the first of a random order is a random member
            order = generator.permutation(len(rows))
            weights[s, order[np.unique(group[order], return_index=True)[1]]] = 1
        ranking = precision.Ranked(scores[rows, c])
        found[c] = precision.all_points(ranking.blocks(weights * (relevance[rows, c] == 1)), ranking.blocks(weights))
    means = precision.mean_defined(found)
    low, high = intervals.percentile(means, 0.95)
    method = f"percentiles of {samples} samples of segments"
    classes = int((~np.isnan(found[:, 0])).sum())
    return record("mwsap", len(scores), means.mean(), low, high, method, classes=classes)


def rare_actions(
    labels: np.ndarray,
    annotation: np.ndarray,
    verbs: Sequence[str] | np.ndarray,
    nouns: Sequence[str] | np.ndarray,
    classes: int,
) -> np.ndarray:
    """RareAct's table -> relevance int8 [N, C] for `mwap`.

    A segment is judged for the action in its row (annotation 1 positive, 0 negative, 2-4 hard negative); a positive
    one is also a hard negative for actions that share its verb or its noun, and a negative for all others.
    """
    labels = check_labels(labels, len(labels), classes)
    annotation, verb, noun = np.asarray(annotation), np.asarray(verbs), np.asarray(nouns)
    relevance = np.full((len(labels), classes), -1, np.int8)
    first = np.full(classes, -1)
    first[labels[::-1]] = np.arange(len(labels))[::-1]
    known = np.flatnonzero(first >= 0)
    shares = (verb[first[known]] == verb[:, None]) | (noun[first[known]] == noun[:, None])
    positive = annotation == 1
    relevance[np.ix_(positive, known)] = np.where(shares[positive], 2, 0)
    relevance[np.arange(len(labels)), labels] = np.where(positive, 1, np.where(annotation == 0, 0, 2))
    return relevance


def in_top(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether the label is among the k best, bool [N]; equal scores rank by index, and `NEVER` is in none."""
    if not 1 <= k <= scores.shape[1]:
        raise InputError(f"top{k} needs at least {k} classes; there are {scores.shape[1]}")
    right = np.zeros(len(scores), bool)
    step = max(1, ROWS // scores.shape[1])
    before = np.arange(scores.shape[1])
    for start in range(0, len(scores), step):
        part, label = scores[start : start + step], labels[start : start + step, None]
        own = np.take_along_axis(part, label, 1)
        right[start : start + step] = ((part > own) | ((part == own) & (before < label))).sum(1) < k
    return right


def proportion(metric: str, right: np.ndarray) -> Record:
    """`share` of those that are right, bool [N]."""
    return share(metric, int(right.sum()), len(right))


def share(metric: str, k: int, n: int) -> Record:
    """The record of k of n, with the exact interval."""
    low, high = intervals.clopper_pearson(k, n)
    return record(metric, n, k / n, float(low), float(high), "clopper-pearson", k=k)


def record(metric: str, n: int, value: float, low: float, high: float, method: str, **more: Any) -> Record:
    """One number with its 95% interval; `more` are further fields of the record."""
    return Record(
        metric=metric, n=int(n), value=float(value), low=float(low), high=float(high), level=0.95, method=method, **more
    )


def _mean_ap(
    metric: str, average: Callable, scores: np.ndarray, labels: np.ndarray, difficult: np.ndarray | None, seed: int
) -> Record:
    scores = check_features(scores, "scores")
    labels = np.asarray(labels, bool)
    difficult = np.zeros_like(labels) if difficult is None else np.asarray(difficult, bool)
    if labels.shape != scores.shape or difficult.shape != scores.shape:
        raise InputError(
            f"scores are {scores.shape}, labels {labels.shape}, difficult {difficult.shape}; all are [N, C]"
        )
    examples = order.of_examples(scores, labels, difficult)
    scores, labels, judged = scores[examples], labels[examples], ~difficult[examples]
    classes = np.flatnonzero((labels & judged).any(0))
    if not len(classes):
        raise InputError(f"no class has a positive among {len(labels)} examples; average precision needs one")
    mean = precision.mean_average(average, scores, labels, judged)
    low, high = intervals.bootstrap_statistic(mean, len(scores), seed)
    value = mean(np.ones((1, len(scores))))[0]
    return record(metric, len(scores), value, low, high, "bootstrap over examples", classes=len(classes))


def _video_weights(relevance: np.ndarray, video: np.ndarray) -> np.ndarray:
    """1 / how many segments of the same video are of the same kind for that action, float64 [N, C]."""
    weights = np.zeros(relevance.shape)
    for c in range(relevance.shape[1]):
        rows = np.flatnonzero(relevance[:, c] >= 0)
        _, group, sizes = np.unique(video[rows] * 3 + relevance[rows, c], return_inverse=True, return_counts=True)
        weights[rows, c] = 1 / sizes[group]
    return weights


def _check_actions(scores, relevance, videos) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores, relevance = check_features(scores, "scores"), np.asarray(relevance)
    if relevance.shape != scores.shape:
        raise InputError(f"scores are {scores.shape} and relevance is {relevance.shape}; both are [N, C]")
    if not (relevance == 1).any():
        raise InputError(f"no action has a positive among {len(scores)} segments; average precision needs one")
    _same(len(scores), len(videos), "videos")
    rows = order.of_examples(scores, relevance)
    scores, relevance = scores[rows], relevance[rows]
    classes = order.by_value(np.concatenate([scores, relevance]).T)
    _, first, video = np.unique(np.asarray(videos)[rows].astype(str), return_index=True, return_inverse=True)
    return scores[:, classes], relevance[:, classes], np.argsort(np.argsort(first))[video]  # videos by their first row


def check_scores(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """scores [N, C] finite and labels int [N] within them, or InputError."""
    scores = check_features(scores, "scores")
    return scores, check_labels(labels, len(scores), scores.shape[1])


def check_features(features: np.ndarray, what: str = "features", ndim: int = 2) -> np.ndarray:
    """Floats [N, D] with N > 0 and all finite, float16 as float32, or InputError naming the row."""
    features = np.asarray(features)
    if features.ndim != ndim or not features.size:
        raise InputError(f"{what} have shape {features.shape}; needed is {'[N, D]' if ndim == 2 else '[N]'} with N > 0")
    if features.dtype.kind not in "fiub" and features.dtype.name != "bfloat16":
        raise InputError(f"{what} are {features.dtype}, not numbers")
    if features.dtype not in (np.float32, np.float64):
        features = features.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # a sum is finite only if its row is, and costs no copy
        finite = np.isfinite(features if ndim == 1 else features.sum(1))
    if not finite.all():
        finite = np.isfinite(features.reshape(len(features), -1)).all(1)
        if not finite.all():
            row = int(np.flatnonzero(~finite)[0])
            bad = int((~finite).sum())
            raise InputError(f"{what}: row {row} (from 0) has nan or infinity; {bad} of {len(features)} rows do")
    return features


def check_labels(labels: np.ndarray, n: int, classes: int | None = None) -> np.ndarray:
    """Labels int [N] from 0 to classes - 1, or InputError naming the row."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"labels are {labels.dtype} {labels.shape}; needed are whole numbers [N]")
    _same(n, len(labels), "labels")
    outside = (labels < 0) | (labels >= (np.inf if classes is None else classes))
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        limit = "0 or more" if classes is None else f"0 .. {classes - 1}"
        raise InputError(f"labels: row {row} (from 0) is {labels[row]}; the classes are {limit}")
    return labels


def _same(n: int, m: int, what: str) -> None:
    if n != m:
        raise InputError(f"{n} rows and {m} {what}; they must be as many")
