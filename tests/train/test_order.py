"""Orders of weighted pairs: as often as their weights say, spread over batches, the same from any place."""

import numpy as np
import pytest

from clipjax.errors import InputError
from clipjax.train import order


def epochs(weights, batch, count, seed=1):
    found = order.of_weights(np.asarray(weights, float), batch, seed)
    size = int(found.epoch_batches) * batch
    return [np.array([found(place) for place in range(e * size, (e + 1) * size)]) for e in range(count)]


def test_equal_weights_are_the_order_of_pairs_without_weights():
    plain, found = order.Epochs(20, 6, 4), order.of_weights(np.full(20, 0.5), 6, 4)
    assert [found(i) for i in range(50)] == [plain(i) for i in range(50)]


def test_every_pair_comes_as_often_as_its_weight_says_and_once_a_batch():
    weights = np.array([0.2] * 30 + [1.0] * 30 + [2.5] * 12)
    wanted = weights * 72 / weights.sum()
    found = epochs(weights, 8, 40)
    counts = np.array([np.bincount(epoch, minlength=72) for epoch in found])
    assert ((counts == np.floor(wanted)) | (counts == np.ceil(wanted))).all()  # in every epoch
    # a count varies by less than 1/2: the mean of 40 epochs and 12 pairs by less than 1/40
    for pairs in (slice(0, 30), slice(30, 60), slice(60, 72)):
        assert abs(counts[:, pairs].mean() - wanted[pairs].mean()) < 4 / 40
    assert all(len(set(batch)) == 8 for epoch in found for batch in epoch.reshape(-1, 8))
    assert len({tuple(epoch) for epoch in found}) == 40


@pytest.mark.parametrize(("n", "batch"), [(7, 7), (9, 4), (40, 8), (33, 1)])
def test_no_batch_holds_a_pair_twice_where_that_is_possible(n, batch):
    """At the limit: pairs that come in every batch, or in every other."""
    rng = np.random.default_rng(0)
    for seed in range(6):
        weights = rng.random(n) + 0.01
        weights = np.minimum(weights, weights.sum() / batch * rng.choice([0.3, 0.6]))
        weights[0] = weights[1:].sum() / max(1, batch - 1)  # 1 / batch of the examples
        for epoch in epochs(weights, batch, 3, seed):
            batches = epoch.reshape(-1, batch)
            often = np.bincount(epoch, minlength=n) > len(batches)
            for one in batches:
                counts = np.bincount(one, minlength=n)
                assert (counts[~often] <= 1).all()


def test_a_pair_that_comes_more_often_than_there_are_batches_is_spread_evenly():
    for epoch in epochs([1.0] * 15 + [30.0], 4, 5):
        counts = [(batch == 15).sum() for batch in epoch.reshape(-1, 4)]
        assert max(counts) - min(counts) <= 1
        assert sum(counts) in (10, 11)


def test_any_place_is_known_without_those_before_it():
    weights = np.linspace(1, 3, 30)
    straight = order.of_weights(weights, 7, 3)
    everything = [straight(place) for place in range(200)]
    for place in (199, 0, 57, 120, 56):
        assert order.of_weights(weights, 7, 3)(place) == everything[place] == straight(place)
    assert [order.of_weights(weights, 7, 4)(place) for place in range(28)] != everything[:28]


def test_weighted_epochs_are_whole_batches():
    with pytest.raises(InputError, match=r"data\.last_batch=drop"):
        order.of_weights(np.array([1.0, 2.0]), 1, 0, "carry")
