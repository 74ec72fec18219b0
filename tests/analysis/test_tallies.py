"""Counts of units of work: they add up to those of all images, in any order, whatever the units are."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.amount import amount
from support.rates import rate_records

from clipjax import design
from clipjax.analysis import rates
from clipjax.analysis.tallies import MOST_CELLS, Tally, added
from clipjax.errors import InputError

ASKED = design.read_design("people-roles")
N, C = 400, len(ASKED.classes)
RNG = np.random.default_rng(0)
ANSWERS = RNG.integers(0, C, N)
COLUMNS = {
    "age": RNG.choice(np.array(["", "0-9", "10-19", "70+"], object), N),
    "gender": RNG.choice(np.array(["Female", "Male"], object), N),
}
GROUPED = rates.groupings("", list(COLUMNS))


def of_rows(rows):
    return rates.tallies(ANSWERS[rows], {k: v[rows] for k, v in COLUMNS.items()}, GROUPED, C)


def same(a, b):
    return [one.to_json() for one in a] == [one.to_json() for one in b]


def total(parts):
    return [added(kind) for kind in zip(*parts, strict=True)]


@given(st.integers(1, 60), st.randoms(use_true_random=False))
@settings(max_examples=amount(100, 5))
def test_units_in_any_order_give_the_counts_of_all_images_at_once(units, random):
    parts = np.split(np.arange(N), sorted(random.sample(range(1, N), units - 1)))
    parts = [of_rows(part) for part in parts]
    random.shuffle(parts)
    assert same(total(parts), of_rows(np.arange(N)))


def test_records_of_added_counts_are_those_of_all_images_at_once():
    method, found = rates.Method(), total([of_rows(np.arange(300, N)), of_rows(np.arange(300))])
    assert rates.records_of(found, ASKED, method) == rate_records(ANSWERS, ASKED, COLUMNS, GROUPED, method)


def test_addition_is_commutative_and_associative_and_has_a_zero():
    a, b, c, none = (of_rows(np.arange(*bounds)) for bounds in ((0, 100), (100, 150), (150, N), (0, 0)))
    assert same(total([a, b]), total([b, a]))
    assert same(total([total([a, b]), c]), total([a, total([b, c])]))
    assert same(total([none, a]), a)
    assert rates.records_of(none, ASKED, rates.Method())  # of no images: rates without a value


def test_they_come_back_from_json_and_hold_ten_billion_images():
    ten_billion = 10_000_000_000
    big = Tally(("g",), (2,), {("a",): np.array([ten_billion, 1]), ("b",): np.array([7, 3])})
    again = Tally.from_json(json.loads(json.dumps(big.to_json())))
    assert again.to_json() == big.to_json()
    twice = added([big, again])
    assert twice.table.tolist() == [[2 * ten_billion, 2], [14, 6]]
    assert big.counts["a",].tolist() == [ten_billion, 1], "a sum leaves its parts as they are"
    (rare,) = rates.numbers("rate", 1, ten_billion, rates.Method())
    assert 0 < rare.low < rare.value < rare.high < 1e-8


def test_too_many_groups_are_refused_after_the_sum_too():
    parts = [
        Tally(("name",), (1,), {(str(i),): np.array([1]) for i in range(start, start + MOST_CELLS - 1)})
        for start in (0, 2)
    ]
    assert len(added(parts[:1]).groups) == MOST_CELLS - 1
    with pytest.raises(InputError, match="name has 5001 cells; group by fewer columns"):
        added(parts)
