"""Few-shot: a linear probe on k examples a class, drawn several times; how good it is and how much the draw decides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh
from msgspec.structs import replace
from scipy.stats import t as student

from clipjax.errors import InputError
from clipjax.probes import linear, metrics

C = 0.316  # of the linear probe in OpenAI's README; the paper names none for few-shot


def evaluate(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    shots: Sequence[int] = (1, 2, 4, 8, 16),
    *,
    seeds: Sequence[int] = (0, 1, 2),
    C: float = C,
    classes: int | None = None,
    max_iter: int = 1000,
    mesh: Mesh | None = None,
) -> list[metrics.Record]:
    """features [N, D], labels int [N] to draw from, and a test set -> one top-1 record per number of shots.

    `value` is the mean over the seeds, `spread` their standard deviation, `values` each. The interval (Student's t,
    one degree of freedom fewer than seeds) adds both sources of error: another draw of the shots, and another draw of
    the test examples, whose part is the variance over them of how often they are answered right.
    """
    if len(set(seeds)) < 2:
        raise InputError(f"seeds {list(seeds)}: a spread needs two different seeds or more")
    labels = metrics.check_labels(labels, len(features))
    test_labels = metrics.check_labels(test_labels, len(test_features), classes)
    classes = classes or int(max(labels.max(), test_labels.max())) + 1
    records = []
    for k in shots:
        right = np.empty((len(seeds), len(test_labels)), bool)
        for i, seed in enumerate(seeds):
            rows = draw(labels, k, seed, classes)
            probe = linear.fit(features[rows], labels[rows], C, max_iter, classes=classes, mesh=mesh)
            right[i] = metrics.in_top(linear.scores(test_features, *probe), test_labels, 1)
        records.append(replace(summary(right), shots=int(k), C=C, seeds=[int(s) for s in seeds]))
    return records


def draw(labels: np.ndarray, k: int, seed: int, classes: int | None = None) -> np.ndarray:
    """k rows of every class at random, class by class: int [C * k]. A larger k contains the smaller's rows.

    A class without rows is left out: it is never predicted.
    """
    labels = np.asarray(labels)
    if k < 1:
        raise InputError(f"{k} shots; choose 1 or more")
    generator = np.random.default_rng(seed)
    rows = []
    for c in range(classes or int(labels.max()) + 1):
        members = generator.permutation(np.flatnonzero(labels == c))
        if 0 < len(members) < k:
            raise InputError(f"class {c} has {len(members)} examples to draw from; {k} shots need {k}")
        rows.append(members[:k])
    return np.concatenate(rows)


def summary(right: np.ndarray) -> metrics.Record:
    """Right or wrong per seed and test example, bool [S, N] -> the record of the mean over seeds."""
    seeds, n = right.shape
    values = right.mean(1)
    spread = values.std(ddof=1)
    error = np.sqrt(spread**2 / seeds + np.sort(right.mean(0)).var() / n)
    reach = student.ppf(0.975, seeds - 1) * error
    value = values.mean()
    method = f"t ({seeds - 1} df) over draws and examples"
    low, high = max(value - reach, 0.0), min(value + reach, 1.0)
    return metrics.record("top1", n, value, low, high, method, spread=float(spread), values=[float(v) for v in values])
