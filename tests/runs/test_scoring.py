"""Numbers of labelled images that no metric alone gives: test folds of a data set."""

import numpy as np
import pytest

from clipjax.runs import scoring


def test_folds_have_their_accuracies_a_mean_and_a_sample_standard_deviation():
    """UCF101 publishes three test folds: 3 of 4, 1 of 2 and 2 of 2 right, by hand."""
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    answers = np.array([0, 1, 2, 1, 1, 0, 0, 1])
    folds = np.array(["1", "1", "1", "1", "2", "2", "3", "3"])
    *each, mean = scoring._per_split(np.eye(3, dtype=np.float32)[answers], labels, folds)
    assert [(r.split, r.k, r.n) for r in each] == [("1", 3, 4), ("2", 1, 2), ("3", 2, 2)]
    assert (mean.metric, mean.n) == ("top1_mean_of_splits", 8)
    assert mean.value == pytest.approx(0.75)
    assert mean.spread == pytest.approx(0.25)  # squares of 0, 0.25 and 0.25, over two
