"""Products whose digits do not depend on how the rows are cut: what sharded runs rely on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.amount import amount

from clipjax.probes import zeroshot
from clipjax.probes.products import COLUMNS, ROWS, products

E = 48


def unit(seed, n, width=E):
    x = np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("m", [1, 22, 64, 65, COLUMNS + 3])
def test_they_are_products(m):
    rows, columns = unit(0, ROWS + 5), unit(1, m)
    found = products(columns)(rows)
    assert found.shape == (ROWS + 5, m)
    assert np.abs(found - rows.astype(np.float64) @ columns.T.astype(np.float64)).max() < 1e-6
    assert products(columns)(rows[:0]).shape == (0, m)


ROWS_ALL, WEIGHTS = unit(2, 1003), unit(3, 22)


@given(st.sets(st.integers(1, len(ROWS_ALL) - 1), max_size=amount(60, 20)))
def test_any_cut_of_the_rows_gives_the_same_digits(cuts):
    """With `rows @ columns.T` of BLAS up to half of the rows differ."""
    score = lambda rows: zeroshot.probabilities(rows, WEIGHTS, 100.0)  # noqa: E731
    parts = np.split(ROWS_ALL, sorted(cuts))
    assert np.array_equal(np.concatenate([score(part) for part in parts]), score(ROWS_ALL))


def test_a_row_has_the_same_digits_at_every_place():
    product, row = products(WEIGHTS), ROWS_ALL[:1]
    alone = product(row)[0]
    for place in range(0, ROWS, amount(1, 7)):
        rows = np.roll(ROWS_ALL[:ROWS], place, axis=0)
        rows[place] = row
        assert np.array_equal(product(rows)[place], alone)


def test_a_column_has_the_same_digits_at_every_place_of_every_block():
    """Whatever the other columns are, and however many: ranks of retrieval are counted block by block."""
    others, column, rows = unit(4, 200), WEIGHTS[:1], ROWS_ALL[:ROWS]
    alone = products(column, 128)(rows)[:, 0]
    for place in range(0, len(others), amount(1, 23)):
        beside = np.concatenate([others[:place], column, others[place:]])
        assert np.array_equal(products(beside, 128)(rows)[:, place], alone)
