"""Metrics against scikit-learn, against loops over the definition, and on cases small enough to count by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score, top_k_accuracy_score

from clipjax.analysis import clopper_pearson
from clipjax.errors import InputError
from clipjax.probes import metrics

KEYS = {"metric", "n", "value", "low", "high", "level", "method"}


def scored(n=300, c=7, seed=0, ties=False):
    r = np.random.default_rng(seed)
    labels = r.integers(0, c, n)
    scores = r.normal(size=(n, c)).astype(np.float32)
    scores[np.arange(n), labels] += 1
    return (np.round(scores) if ties else scores), labels


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k(k):
    scores, labels = scored()
    found = metrics.top_k(scores, labels, k)
    assert found.metric == f"top{k}"
    assert found.k == top_k_accuracy_score(labels, scores, k=k, normalize=False, labels=range(7))
    assert found.value == found.k / found.n
    assert (found.low, found.high) == clopper_pearson(found.k, 300)
    assert found.method == "clopper-pearson"


def test_top_k_in_blocks(monkeypatch):
    scores, labels = scored()
    whole = metrics.top_k(scores, labels, 2)
    monkeypatch.setattr(metrics, "ROWS", 7 * 11)
    assert metrics.top_k(scores, labels, 2) == whole


def test_ties_go_to_the_lowest_index():
    """Two classes of the same name: the second is never the prediction, and is among the best two."""
    scores = np.array([[0.0, 3.0, 3.0], [5.0, 3.0, 3.0]])
    for label, ks in [(1, (1, 2)), (2, (2, 3))]:
        labels = np.array([label, label])
        assert metrics.in_top(scores, labels, ks[0]).tolist() == [True, False]
        assert metrics.in_top(scores, labels, ks[1]).tolist() == [True, True]
    scores, labels = scored(ties=True)
    assert (metrics.in_top(scores, labels, 1) == (scores.argmax(1) == labels)).all()


def test_mean_per_class():
    scores, labels = scored()
    found = metrics.mean_per_class(scores, labels)
    assert found.value == pytest.approx(balanced_accuracy_score(labels, scores.argmax(1)), abs=1e-12)
    assert found.low < found.value < found.high
    assert found.classes == 7
    assert found.to_dict().keys() >= KEYS
    absent = metrics.mean_per_class(np.pad(scores, ((0, 0), (0, 3)), constant_values=-9), labels)
    assert (absent.value, absent.classes) == (found.value, 7)


def test_mean_per_class_interval_is_that_of_its_parts():
    """Independent classes: the variance of the mean is the mean of binomial variances over the number of classes."""
    labels = np.repeat(np.arange(4), [400, 100, 900, 250])
    right = np.concatenate([np.arange(n) < n * p for n, p in [(400, 0.5), (100, 0.8), (900, 0.3), (250, 0.6)]])
    scores = np.zeros((len(labels), 4))
    scores[np.arange(len(labels)), np.where(right, labels, (labels + 1) % 4)] = 1
    found = metrics.mean_per_class(scores, labels)
    error = np.sqrt(sum(p * (1 - p) / n for n, p in [(400, 0.5), (100, 0.8), (900, 0.3), (250, 0.6)])) / 4
    assert found.value == pytest.approx(0.55)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)  # Wilson's are not symmetric


def test_mean_per_class_has_a_width_where_every_class_is_all_right_or_all_wrong():
    labels = np.repeat([0, 1], [193, 82])
    scores = np.tile([1.0, 0.0], (len(labels), 1))
    found = metrics.mean_per_class(scores, labels)
    assert found.value == 0.5
    assert found.low < 0.49 < 0.51 < found.high


def test_mean_top1_top5():
    scores, labels = scored()
    found = metrics.mean_top1_top5(scores, labels)
    assert found.value == pytest.approx(
        (metrics.top_k(scores, labels, 1).value + metrics.top_k(scores, labels, 5).value) / 2
    )
    assert found.low < found.value < found.high
    with pytest.raises(InputError, match="top5 needs at least 5 classes; there are 3"):
        metrics.mean_top1_top5(scores[:, :3], np.zeros(300, int))


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision(ties):
    r = np.random.default_rng(1)
    labels = r.random((200, 6)) < 0.2
    scores = r.normal(size=(200, 6)) + labels
    scores = np.round(scores) if ties else scores
    found = metrics.map_all_point(scores, labels)
    assert found.value == pytest.approx(average_precision_score(labels, scores, average="macro"), abs=1e-12)
    assert found.low < found.value < found.high
    labels[:, 2] = False  # a class that no image shows
    found = metrics.map_all_point(scores, labels)
    kept = [0, 1, 3, 4, 5]
    assert found.value == pytest.approx(average_precision_score(labels[:, kept], scores[:, kept]), abs=1e-12)
    assert found.classes == 5


def eleven_points_by_definition(scores, labels):
    """The VOC 2007 devkit's, in words: best precision at any recall of t or more, t = 0, 0.1 .. 1."""
    order = np.argsort(-scores)
    hits = np.cumsum(labels[order])
    precision = hits / np.arange(1, len(hits) + 1)
    best = [
        max((p for p, h in zip(precision, hits, strict=True) if 10 * h >= t * hits[-1]), default=0) for t in range(11)
    ]
    return sum(best) / 11


def test_eleven_points():
    r = np.random.default_rng(2)
    labels = r.random((150, 4)) < 0.3
    scores = r.normal(size=(150, 4)) + labels
    by_class = [eleven_points_by_definition(scores[:, c], labels[:, c]) for c in range(4)]
    found = metrics.map_11pt(scores, labels)
    assert found.value == pytest.approx(np.mean(by_class), abs=1e-12)
    assert found.low < found.value < found.high
    assert found.metric == "map_11pt"


def test_eleven_points_by_hand():
    """Three positives at ranks 1, 3, 6: precision 1 up to recall 1/3, 2/3 up to 2/3, 1/2 beyond."""
    labels = np.array([1, 0, 1, 0, 0, 1], bool)[:, None]
    value = metrics.map_11pt(-np.arange(6.0)[:, None], labels).value
    assert value == pytest.approx((4 * 1 + 3 * 2 / 3 + 4 * 0.5) / 11)


def test_difficult_images_leave_the_ranking_of_their_class():
    r = np.random.default_rng(3)
    labels = r.random((80, 2)) < 0.4
    scores = r.normal(size=(80, 2))
    difficult = np.zeros_like(labels)
    difficult[::7, 0] = True
    kept = ~difficult[:, 0]
    parts = [metrics.map_11pt(scores[kept, :1], labels[kept, :1]), metrics.map_11pt(scores[:, 1:], labels[:, 1:])]
    found = metrics.map_11pt(scores, labels, difficult)
    assert found.value == pytest.approx(np.mean([p.value for p in parts]), abs=1e-12)
    assert found.value == metrics.map_11pt(scores, labels | difficult, difficult).value


@pytest.mark.parametrize("ties", [False, True])
def test_roc_auc(ties):
    r = np.random.default_rng(4)
    labels = r.random(120) < 0.4
    scores = r.normal(size=120) + labels
    scores = np.round(scores) if ties else scores
    found = metrics.roc_auc(scores, labels)
    assert found.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert found.low < found.value < found.high
    both = np.stack([1 - scores, scores], 1)
    assert metrics.roc_auc(both, labels.astype(int)) == found
    with pytest.raises(InputError, match="needs both kinds"):
        metrics.roc_auc(scores, np.ones(120, int))


def test_a_perfect_ranking_is_one_in_every_resample():
    labels = np.repeat([True, False], [20, 30])
    for found in (
        metrics.roc_auc(labels * 1.0, labels),
        metrics.map_all_point(labels[:, None] * 1.0, labels[:, None]),
        metrics.map_11pt(labels[:, None] * 1.0, labels[:, None]),
    ):
        assert (found.value, found.low, found.high) == (1, 1, 1)


def test_pm_k():
    """Three anchors: right with all neighbours, right with one wrong, wrong."""
    files = ["a", "a1", "a2", "b", "b1", "c", "c1"]
    anchors = ["a", "a", "a", "b", "b", "c", "c"]
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 1, 0, 1, 2])
    scores = np.eye(3)[predicted]
    zero, ten = (metrics.pm_k(scores, labels, files, anchors, k) for k in (0, 10))
    assert (zero.metric, zero.k, zero.n) == ("pm0", 2, 3)
    assert (ten.metric, ten.k, ten.n) == ("pm10", 1, 3)
    several = np.eye(3, dtype=bool)[labels]
    several[4, 0] = True  # the frame shows class 0 as well
    assert metrics.pm_k(scores, several, files, anchors).k == 2
    with pytest.raises(InputError, match="'b' has neighbours but no row"):
        metrics.pm_k(scores, labels, ["a", "a1", "a2", "x", "b1", "c", "c1"], anchors)


def actions(seed=5, n=160, verbs=3, nouns=3):
    """A table as RareAct's: a segment is judged for one action, several segments a video."""
    r = np.random.default_rng(seed)
    labels = r.integers(0, verbs * nouns, n)
    verb, noun = np.array(list("uvw"))[labels // nouns], np.array(list("xyz"))[labels % nouns]
    annotation = np.where(r.random(n) < 0.4, 1, r.integers(0, 5, n))
    videos = [f"video{i}" for i in r.integers(0, 40, n)]
    scores = r.normal(size=(n, verbs * nouns))
    scores[np.arange(n), labels] += annotation == 1
    return scores, labels, annotation, verb, noun, videos


def weighted_by_definition(scores, labels, annotation, verb, noun, videos):
    """compute_score.py in words: its three lists per action, weights 1 / (segments of the video in the list)."""
    points = []
    for c in range(scores.shape[1]):
        v, n = "uvw"[c // 3], "xyz"[c % 3]
        lists = {"positive": [], "negative": [], "hard": []}
        for i in range(len(labels)):
            if labels[i] == c:
                kind = {0: "negative", 1: "positive"}.get(annotation[i], "hard")
                lists[kind].append(i)
            elif annotation[i] == 1:
                lists["hard" if verb[i] == v or noun[i] == n else "negative"].append(i)
        rows, weights = [], []
        for members in lists.values():
            owners = [videos[i] for i in members]
            rows += members
            weights += [1 / owners.count(o) for o in owners]
        truth = np.isin(rows, lists["positive"])
        if truth.any():
            points.append(average_precision_score(truth, scores[rows, c], sample_weight=weights))
    return np.mean(points)


def test_weighted_average_precision():
    scores, labels, annotation, verb, noun, videos = actions()
    relevance = metrics.rare_actions(labels, annotation, verb, noun, 9)
    found = metrics.mwap(scores, relevance, videos)
    expected = weighted_by_definition(scores, labels, annotation, verb, noun, videos)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low < found.value < found.high
    sampled = metrics.mwsap(scores, relevance, videos)
    assert sampled.low < sampled.value < sampled.high
    assert abs(sampled.value - found.value) < 0.1  # the same thing estimated another way
    assert sampled == metrics.mwsap(scores, relevance, videos)
    assert sampled.value != metrics.mwsap(scores, relevance, videos, seed=1).value


def test_sampled_average_precision_without_a_choice():
    """One segment a video: nothing to sample, nothing to weigh."""
    scores, labels, annotation, verb, noun, _ = actions()
    relevance = metrics.rare_actions(labels, annotation, verb, noun, 9)
    videos = range(len(labels))
    sampled = metrics.mwsap(scores, relevance, videos, samples=3)
    assert sampled.value == pytest.approx(metrics.mwap(scores, relevance, videos).value, abs=1e-12)
    assert sampled.low == pytest.approx(sampled.high)


@given(st.integers(0, 10_000))
def test_values_lie_in_their_intervals_and_bounds(seed):
    scores, labels = scored(40, 5, seed)
    for found in (
        metrics.top_k(scores, labels), metrics.mean_per_class(scores, labels), metrics.mean_top1_top5(scores, labels)
    ):  # fmt: skip
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_bad_input_names_the_row():
    scores, labels = scored()
    scores[17, 3] = np.nan
    with pytest.raises(InputError, match=r"scores: row 17 \(from 0\) has nan or infinity; 1 of 300"):
        metrics.top_k(scores, labels)
    scores, labels = scored()
    labels[5] = 7
    with pytest.raises(InputError, match=r"labels: row 5 \(from 0\) is 7; the classes are 0 \.\. 6"):
        metrics.mean_per_class(scores, labels)
    labels[5] = -1
    with pytest.raises(InputError, match="row 5"):
        metrics.top_k(scores, labels)
    with pytest.raises(InputError, match="300 rows and 299 labels"):
        metrics.top_k(scores, labels[:-1])
    with pytest.raises(InputError, match="whole numbers"):
        metrics.top_k(scores, labels.astype(float))
    with pytest.raises(InputError, match="N > 0"):
        metrics.top_k(scores[:0], labels[:0])
    with pytest.raises(InputError, match="no class has a positive"):
        metrics.map_11pt(scores, np.zeros(scores.shape, bool))
    with pytest.raises(InputError, match=r"\[N, C\]"):
        metrics.map_11pt(scores, np.zeros((300, 6), bool))


def test_large_finite_rows_pass():
    """The quick check sums a row, and a sum may overflow where no value is infinite."""
    assert metrics.check_features(np.full((2, 4), 3e38, np.float32)).shape == (2, 4)
