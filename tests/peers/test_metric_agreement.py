"""The same numbers as fairlearn, torchmetrics and krippendorff, over random inputs, where they are installed.

Known differences are in tests of the metrics: fairlearn's rate of no positives is 0, torchmetrics puts a confidence of
1 into a bin of its own, Krippendorff's alpha corrects for few ratings.
"""

import numpy as np
import pytest

from clipjax.analysis import agreement, calibration, groups, wording
from clipjax.analysis.rates import Cells

pytestmark = pytest.mark.peers
SEEDS = range(200)


def data(seed, n=60):
    """Answers and truth bool [N], and groups, each of which has both kinds of truth."""
    generator = np.random.default_rng(seed)
    of = generator.integers(0, int(generator.integers(2, 6)), n)
    truth, answer = generator.random((2, n)) < generator.uniform(0.2, 0.8, (2, 1))
    names = [f"g{g}" for g in range(of.max() + 1)]
    present = np.unique(of)
    both = all(len(set(truth[of == g])) == 2 for g in present)
    place = np.searchsorted(present, of)
    return truth, answer, np.array(names, object)[of], Cells([{"g": names[g]} for g in present], place), both


@pytest.mark.parametrize("seed", SEEDS)
def test_fairlearn(seed):
    metrics = pytest.importorskip("fairlearn.metrics")
    from sklearn.metrics import accuracy_score

    truth, answer, names, cells, both = data(seed)
    frame = metrics.MetricFrame(metrics=accuracy_score, y_true=truth, y_pred=answer, sensitive_features=names)
    k, n = groups.tally(truth == answer, cells)
    assert frame.by_group.tolist() == pytest.approx((k / n).tolist())
    assert groups.worst_group(k, n).value == pytest.approx(frame.group_min())
    for ours in ("between_groups", "to_overall"):
        assert groups.group_difference(k, n, against=ours).value == pytest.approx(frame.difference(method=ours))
        assert groups.group_ratio(k, n, against=ours).value == pytest.approx(frame.ratio(method=ours))
    y, x, of = truth.astype(int), answer.astype(int), {"sensitive_features": names}
    found = groups.demographic_parity_difference(answer, cells).value
    assert found == pytest.approx(metrics.demographic_parity_difference(y, x, **of))
    if (ratio := groups.demographic_parity_ratio(answer, cells).value) is not None:
        assert ratio == pytest.approx(metrics.demographic_parity_ratio(y, x, **of))
    if both:  # elsewhere fairlearn's rates of no images are 0, and ours undefined
        found = groups.equal_opportunity_difference(answer, truth, cells).value
        assert found == pytest.approx(metrics.equal_opportunity_difference(y, x, **of))
        for agg in ("worst_case", "mean"):
            found = groups.equalized_odds_difference(answer, truth, cells, agg=agg).value
            assert found == pytest.approx(metrics.equalized_odds_difference(y, x, agg=agg, **of))


@pytest.mark.parametrize("seed", SEEDS)
def test_torchmetrics(seed):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    generator = np.random.default_rng(seed)
    logits, labels = generator.normal(size=(80, 4)) * 2, generator.integers(0, 4, 80)
    odds = np.exp(logits)
    p = odds / odds.sum(1, keepdims=True)
    bins = int(generator.integers(2, 20))
    ours = {
        "l1": calibration.expected_calibration_error(p, labels, bins).value,
        "max": calibration.maximum_calibration_error(p, labels, bins).value,
        "l2": calibration.root_mean_square_calibration_error(p, labels, bins).value,
    }
    for norm, value in ours.items():
        theirs = functional.multiclass_calibration_error(
            torch.tensor(p), torch.tensor(labels), num_classes=4, n_bins=bins, norm=norm
        )
        assert value == pytest.approx(float(theirs), abs=2e-6)  # theirs sums in float32
    each = [
        float(functional.binary_calibration_error(torch.tensor(p[:, c]), torch.tensor(labels == c).int(), n_bins=bins))
        for c in range(4)
    ]
    assert calibration.classwise_calibration_error(p, labels, bins).value == pytest.approx(np.mean(each), abs=2e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_krippendorff(seed):
    peer = pytest.importorskip("krippendorff")
    answers = np.random.default_rng(seed).integers(0, 3, (4, 15))
    kappa, ratings = agreement.fleiss_kappa(wording.votes(answers, 3)), answers.size
    alpha = 1 - (1 - kappa.agreement) / (1 - kappa.expected) * (ratings - 1) / ratings
    assert alpha == pytest.approx(peer.alpha(answers, level_of_measurement="nominal"))
