"""What a report says of rankings, association tests and groups with other labels, from records."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from clipjax.analysis import predictions
from clipjax.analysis.records import Record
from clipjax.analysis.report import head, tested
from clipjax.analysis.run import Run


def ranking(p, class_="nurse", **more):
    common = {
        "metric": "max_skew_at_k", "k": 50, "n": 290, "value": 0.52, "low": 0.25, "high": 0.726, "null_mean": 0.172,
        "highest": "women", "reference": "share", "over": "gender", "p_benjamini_hochberg": p, "class_": class_,
    }  # fmt: skip
    return Record(**common | more)


def run(probe, *records):
    return SimpleNamespace(probe=probe, records=list(records))


def test_rankings_that_differ_are_named_the_clearest_first():
    few = run("skew", ranking(0.03, "doctor"), ranking(0.012), ranking(0.2), Record(metric="mean_ndkl", n=9, value=0.1))
    (said,) = tested.statements(few)
    assert said == (
        "2 of 3 tests reject a random ranking: 'nurse' by gender (MaxSkew@50, of women, reference share) 0.52 "
        "[0.25, 0.726], 0.172 by chance, adjusted p = 0.012; 'doctor' by gender (MaxSkew@50, of women, reference "
        "share) 0.52 [0.25, 0.726], 0.172 by chance, adjusted p = 0.03."
    )
    many = run("skew", *[ranking(0.01, f"class {i}") for i in range(5)])
    assert tested.statements(many)[0].endswith("; 2 more in the tables.")


def test_nothing_is_found_where_no_test_rejects():
    none = run("skew", ranking(0.31), ranking(0.5, metric="ndkl"))
    assert tested.statements(none) == ["None of 2 tests rejects a random ranking: the smallest adjusted p is 0.31."]


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.001, "1 of 1 test finds X nearer to A (one-sided): tools: d 0.448 [0.182, 0.693], adjusted p = 0.001."),
        (1.0, "None of 1 test finds X nearer to A (one-sided): the smallest adjusted p is 1."),
    ],
)
def test_associations(p, said):
    one = Record(metric="eat", label="tools", n=275, value=0.448, low=0.182, high=0.693, p_benjamini_hochberg=p)
    assert tested.statements(run("association", one)) == [said]


def test_other_probes_say_nothing_here():
    assert tested.statements(run("zeroshot", Record(metric="top1", n=9, value=0.5, p_benjamini_hochberg=0.01))) == []
    several = [run("skew", ranking(0.31)), run("skew", ranking(0.4))]
    assert [line.partition(":")[0] for line in tested.words(several, ["a", "b"])] == ["a", "b"]


@pytest.mark.parametrize(("women", "said"), [(30, True), (12, False)])
@pytest.mark.parametrize("rows", [4, 1000])
def test_groups_with_other_labels_are_named(women, said, rows, monkeypatch):
    """Of 40 images of each party, 10 and so many are of women; a third party has too few images to be compared."""
    label = np.array(["woman"] * 10 + ["man"] * 30 + ["woman"] * women + ["man"] * (40 - women) + ["man"])
    columns = {"party": np.array(["D"] * 40 + ["R"] * 40 + ["L"], object)}
    records = [Record(metric="top1", group={"party": "D"}, n=40, value=0.5)]
    manifest = SimpleNamespace(data=SimpleNamespace(group_columns=["party"]))
    mine = Run(Path("nowhere"), manifest, SimpleNamespace(min_n=20), records)._holding({"label": label} | columns)
    monkeypatch.setattr(predictions, "ROWS", rows)
    found = head._other_labels(mine)
    if said:
        assert found == [
            "Groups of party have other labels ('man': 30 of 40 D and 10 of 40 R): their accuracies differ also for a "
            "model that gives every image the same answer."
        ]
    else:
        assert found == []
    rates = [Record(metric="rate", group={"party": "D"}, n=40, value=0.5)]
    assert head._other_labels(mine.with_columns({}, records=rates)) == []
