"""Numbers of labelled images that no metric alone gives: test folds of a data set, groups and how they compare."""

import dataclasses

import numpy as np
import pytest
from msgspec.structs import replace

from clipjax import design
from clipjax.analysis import groups, rates
from clipjax.analysis.rates import Method
from clipjax.analysis.tallies import Tally, added
from clipjax.data.labels import Labels
from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.runs import scoring
from clipjax.runs.task import Task

N = {("land", "land"): 40, ("land", "water"): 20, ("water", "land"): 10, ("water", "water"): 30}
RIGHT = {("land", "land"): 38, ("land", "water"): 14, ("water", "land"): 5, ("water", "water"): 27}
WEIGHTS = "bird*place: land*land=0.7; land*water=0.05; water*land=0.05; water*water=0.2"


def birds(classes=2):
    """A task whose groups have RIGHT of N images right, and the scores that do so."""
    rows = [(*group, i < RIGHT[group]) for group, n in N.items() for i in range(n)]
    bird, place, right = (np.array(column, object) for column in zip(*rows, strict=True))
    names = ["land", "water", *(f"class {i}" for i in range(2, classes))]
    labels = np.array([names.index(one) for one in bird])
    columns = {"bird": bird, "place": place}
    source = Source("birds", [f"{i}.jpg" for i in range(100)], lambda i: b"", Labels(tuple(names), labels))
    answer = np.where(right.astype(bool), labels, 1 - labels)
    task = Task(source, design.of_classes(names, source="here"), source.labels, groups=columns)
    return task, np.eye(classes, dtype=np.float32)[answer]


def of(task, scores, groupings=""):
    found = scoring.records(scores, task.labels, task, np.arange(100), groupings, Method())
    return {(r.metric, r.over, *r.cell): r for r in found}


def test_every_grouping_is_compared():
    task, scores = birds()
    found = of(task, scores)
    assert found["top1", None, "water", "land"].k == 5
    worst = found["top1_worst_group", "bird*place"]
    assert (worst.worst, worst.value, worst.groups, worst.small) == ("water, land", 0.5, 4, True)
    gap = found["top1_group_difference", "place"]
    assert gap.value == pytest.approx(43 / 50 - 41 / 50)
    assert gap.expected_if_equal > gap.value
    assert found["top1_group_difference", "bird*place"].p < 0.05
    assert found["top1_mean_of_groups", "bird*place"].value == pytest.approx((0.95 + 0.7 + 0.5 + 0.9) / 4)
    assert found["top1_group_ratio", "bird*place"].value == pytest.approx(0.5 / 0.95)
    assert ("top1_between_group_variance", "bird") in found
    assert not any(key[0].startswith("top5") for key in found)
    assert {key[1] for key in of(task, scores, "bird")} == {None, "bird"}


def test_five_best_by_group():
    found = of(*birds(classes=7))
    assert found["top5_worst_group", "bird"].value == 1
    assert found["top5", None, "water", "land"].n == 10


def test_an_average_by_given_weights():
    task, scores = birds()
    weights = scoring.weights_of(WEIGHTS, task.groups)
    assert weights["bird*place"]["land, water"] == 0.05
    found = of(Task(task.source, task.design, task.labels, groups=task.groups, group_weights=weights), scores)
    mean = found["top1_weighted_mean_of_groups", "bird*place"]
    assert mean.value == pytest.approx(0.7 * 0.95 + 0.05 * 0.7 + 0.05 * 0.5 + 0.2 * 0.9)
    assert mean.weights == weights["bird*place"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bird", "'bird' is not COLUMN"),
        ("birds: land=1", "no column 'birds' among bird, place"),
        ("bird: land=0.5; water=0.4", "weights sum to 0.9; they must sum to 1"),
        ("bird: land=0.5; sea=0.5", "weights name 'sea', which no image has; groups: land, water"),
        ("bird: land=half", "'land=half' is not VALUE"),
    ],
)
def test_weights_that_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        scoring.weights_of(text, birds()[0].groups)


def test_one_group_is_not_compared():
    task, scores = birds()
    same = Task(task.source, task.design, task.labels, groups={"bird": np.full(100, "land", object)})
    assert {key[0] for key in of(same, scores)} == {"top1", "mean_per_class"}


def test_folds_have_their_accuracies_a_mean_and_a_sample_standard_deviation():
    """UCF101 publishes three test folds: 3 of 4, 1 of 2 and 2 of 2 right, by hand."""
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    answers = np.array([0, 1, 2, 1, 1, 0, 0, 1])
    folds = np.array(["1", "1", "1", "1", "2", "2", "3", "3"])
    right = np.stack([np.ones(len(folds), bool), answers == labels], axis=1)
    counts = {(fold,): right[folds == fold].sum(0) for fold in set(folds)}
    *each, mean = scoring._per_split(Tally((scoring.SPLIT,), (2,), counts))
    assert [(r.split, r.k, r.n) for r in each] == [("1", 3, 4), ("2", 1, 2), ("3", 2, 2)]
    assert (mean.metric, mean.n) == ("top1_mean_of_splits", 8)
    assert mean.value == pytest.approx(0.75)
    assert mean.spread == pytest.approx(0.25)  # squares of 0, 0.25 and 0.25, over two


def test_the_gap_of_every_set_of_a_design():
    """Half of "a" and a tenth of "b" are given a class of the set `crime`."""
    asked = design.Design(
        "d", (design.DesignClass("thief", sets=["crime"]), design.DesignClass("cook", sets=["person"]))
    )  # fmt: skip
    group = np.repeat(["a", "b"], 100).astype(object)
    prediction = np.where(np.arange(200) % 100 < np.where(group == "a", 50, 10), 0, 1)
    tallied = rates.tallies(prediction, {"g": group, "h": group}, [(), ("g",), ("g", "h")], 2)
    found = scoring.parity(tallied, asked, Method())
    gap = next(r for r in found if r.set == "crime" and r.metric == "demographic_parity_difference")
    assert (gap.value, gap.highest, gap.over) == (pytest.approx(0.4), "a", "g")
    assert gap.p < 0.001
    assert gap.expected_if_equal < 0.1
    ratio = next(r for r in found if r.set == "crime" and r.metric == "demographic_parity_ratio")
    assert ratio.value == pytest.approx(0.2)
    assert len(found) == 4, "single columns only"


def test_rates_of_true_and_of_false_answers_are_compared_by_group():
    """Each class against the rest, and the same of a design with sets: the functions of groups over the answers."""
    task, scores = birds()
    found = {(r.metric, r.class_): r for r in scoring.records(scores, task.labels, task, np.arange(100), "", Method())
             if r.over == "place" and r.metric.startswith("equal")}  # fmt: skip
    answer, label = scores.argmax(1), task.labels.column
    cells = rates.cells(("place",), task.groups, 100)
    for c, name in enumerate(("land", "water")):
        opportunity = groups.equal_opportunity_difference(answer == c, label == c, cells)
        odds = groups.equalized_odds_difference(answer == c, label == c, cells)
        assert found["equal_opportunity_difference", name] == replace(opportunity, over="place", class_=name)
        assert found["equalized_odds_difference", name] == replace(odds, over="place", class_=name)
    classes = tuple(design.DesignClass(name, sets=("wet",) * (name == "water")) for name in ("land", "water"))
    asked = dataclasses.replace(task, design=dataclasses.replace(task.design, classes=classes))
    of_sets = [r for r in scoring.records(scores, asked.labels, asked, np.arange(100), "place", Method()) if r.set]
    assert [(r.metric, r.set, r.value) for r in of_sets if r.set == "wet"] == [
        (metric, "wet", found[metric, "water"].value)
        for metric in ("equal_opportunity_difference", "equalized_odds_difference")
    ]
    many, more = birds(classes=11)
    assert not any("equal" in r.metric for r in scoring.records(more, many.labels, many, np.arange(100), "", Method()))


def test_parts_of_the_images_add_up_to_the_same_records():
    task, scores = birds()
    whole = scoring.tallies(scores, task.labels, *scoring.selected(task, np.arange(100)), "", task.design)
    cut = [np.arange(0, 3), np.arange(3, 3), np.arange(3, 100)]
    parts = [
        scoring.tallies(scores[rows], task.labels.select(rows), *scoring.selected(task, rows), "", task.design)
        for rows in cut
    ]
    sums = [added(kind) for kind in zip(*parts, strict=True)]
    assert [one.to_json() for one in sums] == [one.to_json() for one in whole]
