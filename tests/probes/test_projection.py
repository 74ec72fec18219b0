"""Projections and nearest neighbours: by hand, by scikit-learn, and the algebra of a projection."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from clipjax.analysis.rates import cells
from clipjax.errors import InputError
from clipjax.probes import neighbours, projection

B = np.array([[0.6, 0, 0.8, 0]])
Z = np.array([[0.8, 0, 0.6, 0], [0, 0.6, 0.8, 0]])
T = np.array([[0.2, 0.4, 0.4, 0.8]])
seeds = st.integers(0, 10_000)


@pytest.mark.parametrize(
    ("strength", "wanted", "apart"),
    [
        (0, (-0.071270, 0.445435, 0.053452, 0.890871), 0.968297),
        (1, (-0.018652, 0.403530, 0.013989, 0.914669), 0.474656),
        (1000, (0.034324, 0.358739, -0.025743, 0.932451), 0.000930),
    ],
)
def test_worked_example(strength, wanted, apart):
    found = projection.calibrated_projection(B, [(0, 1)], strength, candidates=Z)
    assert found.removed == 1
    assert projection.project(T, found)[0] == pytest.approx(wanted, abs=5e-7)
    assert np.linalg.norm(found.matrix @ (Z[0] - Z[1])) == pytest.approx(apart, abs=5e-7)
    assert pytest.approx(0, abs=1e-7) == B @ projection.project(T, found).T


def test_worked_example_of_cosines_and_of_the_order_of_the_factors():
    images = np.array([(0.6, 0, 0.8, 0), (0, 0.6, 0, 0.8)])
    found = projection.calibrated_projection(B, [(0, 1)], 1, candidates=Z)
    assert (images @ T[0]).tolist() == pytest.approx([0.44, 0.88])
    assert images @ projection.project(T, found)[0] == pytest.approx([0, 0.973854], abs=5e-7)
    wrong = found.matrix.T @ T[0]  # P0 and the inverse in the other order
    assert wrong / np.linalg.norm(wrong) == pytest.approx((0.062715, 0.362071, 0.021513, 0.929790), abs=5e-7)


@given(seeds, st.integers(1, 4))
def test_it_is_a_projection(seed, n):
    generator = np.random.default_rng(seed)
    prompts, z = generator.normal(size=(n, 8)), generator.normal(size=(3, 8))
    p0, removed = projection.orthogonal_projection(prompts)
    assert removed == n
    assert p0 @ p0 == pytest.approx(p0, abs=1e-12)
    assert p0 == pytest.approx(p0.T, abs=1e-12)
    assert p0 @ prompts.T == pytest.approx(0, abs=1e-12)
    pairs = [(0, 1)]
    assert projection.calibrated_projection(prompts, pairs, 0, candidates=z).matrix == pytest.approx(p0)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    apart = [
        np.linalg.norm(projection.calibrated_projection(prompts, pairs, s, candidates=z).matrix @ (unit[0] - unit[1]))
        for s in (0, 1, 10, 100)
    ]
    assert sorted(apart, reverse=True) == apart


def test_neighbours_worked_example():
    database = np.array([(1, 0), (0.9, 0.1), (0.7, 0.7), (0.1, 0.9), (0, 1), (0.5, 0.4)])
    theirs, queries = [*"FFMMMF"], np.array([(1, 0.2), (0.6, 0.5), (0.2, 1)])
    own, by = [*"FMM"], cells(["tone"], {"tone": np.array(["light", "dark", "dark"])}, 3)
    for k, wanted in ((1, (2 / 3, 0.5, 1)), (3, (7 / 9, 2 / 3, 1))):
        found = neighbours.same_attribute_precision(queries, database, (own, theirs), k, [by])
        values = {r.group.get("tone", ""): r.value for r in found}
        assert values == pytest.approx(dict(zip(("", "dark", "light"), wanted, strict=True)))
        assert (found[0].null_mean, found[0].k, found[0].n) == (0.5, k, 3)
    whole = neighbours.same_attribute_precision(queries, database, (own, theirs), 6)[0]
    assert whole.value == whole.null_mean


@pytest.mark.parametrize("seed", range(200))
def test_scikit_learns_neighbours(seed):
    generator = np.random.default_rng(seed)
    queries, database = (generator.normal(size=(n, 6)).astype(np.float32) for n in (9, 30))
    own, theirs = generator.integers(0, 2, 9), generator.permutation(np.arange(30) % 2)
    places = NearestNeighbors(n_neighbors=5, metric="cosine").fit(database).kneighbors(queries)[1]
    wanted = (theirs[places] == own[:, None]).mean()
    assert neighbours.same_attribute_precision(queries, database, (own, theirs), 5)[0].value == pytest.approx(wanted)


def test_ties_among_neighbours_count_by_expectation():
    database = np.array([(1, 0), (1, 0), (0, 1)], float)
    found = neighbours.same_attribute_precision(np.array([[1.0, 0]]), database, (["F"], [*"FMM"]), 1)
    assert found[0].value == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: projection.orthogonal_projection(np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0.0]])),
            r"prompt 2 \(from 0\) depends on those before it \(rank 2 of 3\); drop one",
        ),
        (lambda: projection.calibrated_projection(B, [(0, 1)], -1, candidates=Z), "strength -1; choose 0 or more"),
        (lambda: projection.calibrated_projection(B, [(1, 1)], 1, candidates=Z), r"pair \(1, 1\)"),
        (lambda: projection.calibrated_projection(B, [], 1, candidates=Z), "no pairs"),
        (
            lambda: projection.project(B, projection.orthogonal_projection(B), ["man"]),
            "class 'man' lies in the removed directions",
        ),
        (lambda: projection.orthogonal_projection(B * 0), "has no direction"),
        (lambda: neighbours.same_attribute_precision(B, B, (["F"], ["F"]), 2), "K=2 of 1 database images"),
        (lambda: neighbours.same_attribute_precision(B, B, (["X"], ["F"]), 1), "value 'X' of the query is absent"),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
