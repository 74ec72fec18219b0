"""Rates by group against a recount in plain Python; groupings, bands and small cells."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
from support import planted_runs
from support.rates import rate_records

from clipjax import design
from clipjax.analysis import clopper_pearson, difference, rates
from clipjax.analysis.intervals import wilson
from clipjax.cli.main import main
from clipjax.errors import InputError

DESIGN = design.read_design("fairface-default")
METHOD = rates.Method(min_n=20)


def population(n=500, seed=0):
    rng = np.random.default_rng(seed)
    columns = {
        "race": rng.choice(np.array(["Black", "White", "Indian"], object), n),
        "age": rng.choice(np.array(["0-2", "3-9", "20-29", "more than 70"], object), n, p=[0.02, 0.3, 0.6, 0.08]),
    }
    return rng.integers(0, 21, n), columns


def test_every_rate_is_a_recount():
    answers, columns = population()
    grouped = rates.groupings("", list(columns))
    assert grouped == [(), ("race",), ("age",), ("race", "age")]
    records = rate_records(answers, DESIGN, columns, grouped, METHOD)
    n, k = Counter(), Counter()
    for i, a in enumerate(answers):
        for grouping in grouped:
            key = tuple(columns[c][i] for c in grouping)
            n[grouping, key] += 1
            for name in DESIGN.classes[a].sets:
                k[grouping, key, name] += 1
    found = [r for r in records if r.metric == "rate" and r.set is not None]
    assert len(found) == 4 * (1 + 3 + 4 + len({p for p in n if len(p[0]) == 2}))
    for r in found:
        key = r.columns, r.cell
        assert (r.k, r.n) == (k[(*key, r.set)], n[key])
        assert r.value == r.k / r.n
        assert (r.low, r.high) == pytest.approx(clopper_pearson(r.k, r.n))
        assert r.small is (r.n < 20)
    assert any(r.small for r in found)
    json.dumps([r.to_dict() for r in records], allow_nan=False)


@pytest.mark.parametrize(("n", "small"), [(19, True), (20, False)])
def test_a_cell_of_min_n_images_is_large_enough(n, small):
    records = rate_records(np.zeros(n, np.int64), DESIGN, {}, [()], METHOD)
    assert records[0].small is small
    assert records[0].to_dict()["small"] is small  # false is written, not left out


def test_single_classes_for_everybody_and_single_columns():
    answers, columns = population()
    records = rate_records(answers, DESIGN, columns, rates.groupings("", list(columns)), METHOD)
    thief = [r for r in records if r.class_ == "thief"]
    assert len(thief) == 1 + 3 + 4
    assert thief[0].k == (answers == DESIGN.names.index("thief")).sum()


def test_differences_and_ratios_against_the_rest():
    answers, columns = population()
    records = rate_records(answers, DESIGN, columns, [("race",)], METHOD)
    mine = {r.group["race"]: r for r in records if r.metric == "rate_difference" and r.set == "crime"}
    crime = DESIGN.members("crime")[answers]
    black = columns["race"] == "Black"
    r = mine["Black"]
    assert (r.k, r.n, r.k_rest, r.n_rest) == (
        crime[black].sum(), black.sum(), crime[~black].sum(), (~black).sum(),
    )  # fmt: skip
    wanted = difference(r.k, r.n, r.k_rest, r.n_rest)
    assert (r.value, r.low, r.high) == pytest.approx((wanted.value, wanted.low, wanted.high))
    assert r.method == "newcombe"
    ratio = next(r for r in records if r.metric == "rate_ratio")
    assert ratio.against == "the rest"


def test_undefined_ratios_are_null_and_not_nan():
    answers = np.array([14, 0, 0, 0])  # one animal
    records = rate_records(answers, DESIGN, {"g": np.array(["a", "a", "b", "b"], object)}, [("g",)])
    ratio = [r for r in records if r.metric == "rate_ratio" and r.set == "non-human"]
    assert (ratio[0].group["g"], ratio[0].value, ratio[0].high) == ("a", None, None)
    crime = [r for r in records if r.metric == "rate_ratio" and r.set == "crime"]
    assert all(r.value is None and r.low == 0 for r in crime)
    json.dumps([r.to_dict() for r in records], allow_nan=False)


def test_method_and_level_are_the_records_own():
    answers, columns = population()
    records = rate_records(answers, DESIGN, columns, [()], rates.Method("wilson", 0.9))
    assert {(r.method, r.level) for r in records} == {("wilson", 0.9)}
    assert (records[0].low, records[0].high) == pytest.approx(wilson(records[0].k, 500, 0.9))


def test_a_design_without_sets_is_told_class_by_class():
    records = rate_records(np.array([0, 1, 1]), design.of_classes(["cat", "dog"]), {}, [()])
    assert [(r.class_, r.k, r.n) for r in records] == [("cat", 1, 3), ("dog", 2, 3)]


def test_images_without_a_value_are_in_no_group():
    columns = {"g": np.array(["a", "", "b", ""], object)}
    records = rate_records(np.array([14, 14, 0, 0]), DESIGN, columns, [(), ("g",)])
    mine = [(r.group, r.k, r.n) for r in records if r.metric == "rate" and r.set == "non-human"]
    assert mine == [({}, 2, 4), ({"g": "a"}, 1, 1), ({"g": "b"}, 0, 1)]


def test_bands():
    columns = {"age": np.array(["0-2", "3-9", "20-29", "more than 70"], object)}
    text = "age_band=age: 0-19=0-2|3-9|10-19; over 70=more than 70 & young=age: 0-2; rest=3-9|20-29"
    found, notes = rates.bands(text, columns)
    assert found["age_band"].tolist() == ["0-19", "0-19", "", "over 70"]
    assert found["young"].tolist() == ["0-2", "rest", "rest", ""]
    assert notes == ["bands: no image has age 10-19"]
    found, notes = rates.bands("x=nothing: a=b & y=age: a=b", columns)
    assert found == {}
    assert "no column 'nothing'" in notes[0]
    assert "left out" in notes[1]
    with pytest.raises(InputError, match="in two bands"):
        rates.bands("x=age: a=0-2; b=0-2", columns)
    with pytest.raises(InputError, match="is not NEW=COLUMN"):
        rates.bands("age 0-2", columns)


def test_groupings():
    assert rates.groupings("race, race*age", ["race", "age"]) == [(), ("race",), ("race", "age")]
    with pytest.raises(InputError, match="no column 'sex' among race, age"):
        rates.groupings("sex", ["race", "age"])
    many = {"a": np.arange(6000).astype(str).astype(object)}
    with pytest.raises(InputError, match="6000 cells"):
        rates.cells(("a",), many, 6000)


def test_ten_thousand_images_in_many_cells_are_quick():
    answers, columns = population(10_000)
    columns = columns | {"c": np.array([str(i % 40) for i in range(10_000)], object)}
    records = rate_records(answers, DESIGN, columns, rates.groupings("race*c,age*c,c", list(columns)))
    assert len(records) > 1000


def test_no_set_makes_disjoint_sets_add_up(tmp_path):
    """Classes in no set have a rate of their own, by group and against the rest."""
    asked = design.read_design("people-roles+child")
    rng = np.random.default_rng(0)
    columns = {"age": rng.choice(np.array(["young", "old"], object), 300)}
    records = rate_records(rng.integers(0, len(asked.names), 300), asked, columns, [(), ("age",)])
    for group in ({}, {"age": "young"}, {"age": "old"}):
        mine = {r.set: r for r in records if r.metric == "rate" and r.set is not None and r.group == group}
        assert list(mine) == ["person", "fantasy", "no set"]
        assert sum(r.k for r in mine.values()) == mine["person"].n
        assert mine["no set"].k > 0
    assert {r.set for r in records if r.metric == "rate_difference"} == {"person", "fantasy", "no set"}
    whole = rate_records(np.zeros(9, np.int64), design.read_design("people-roles"), {}, [()])
    assert not [r for r in whole if r.set == "no set"]
    path = planted_runs.write(tmp_path / "run", asked, columns, rng.integers(0, len(asked.names), 300))
    assert main(["report", str(path)]) == 0
    with open(path / "tables" / "rates_by_age.csv", newline="") as file:
        assert {"person", "fantasy", "no set"} <= {row["set"] for row in csv.DictReader(file)}
    page = (path / "report.html").read_text()
    assert "people-roles+child: child: in no set" in page
    assert '<th scope="row">child</th><td>no set</td>' in page
