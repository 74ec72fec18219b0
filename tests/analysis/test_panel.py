"""Models side by side: ranks under resampling, pairs, correlations, effective robustness, from planted answers."""

from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace
from scipy import stats

from clipjax.analysis import compare, main_numbers, panel
from clipjax.analysis.paired import mcnemar
from clipjax.analysis.panel import Row, Shift
from clipjax.analysis.rates import Method
from clipjax.analysis.records import Question, Record
from clipjax.analysis.report import panel as report
from clipjax.analysis.report import panel_findings
from clipjax.analysis.run import prediction_column
from clipjax.analysis.sentences import broken_rules

COLUMN, ASKED, MODELS = ("birds", "photos"), Question("accuracy", "top1"), ["a", "b", "c"]


def planted(shares, n=400, seed=0):
    """bool [M, N]: the first images are right for most models, so that answers are paired."""
    generator = np.random.default_rng(seed)
    difficulty = generator.random(n)
    return np.stack([np.where(generator.random(n) < 0.1, generator.random(n), difficulty) < p for p in shares])


def found_of(right, models=MODELS, level=0.95):
    pairs = panel.adjusted(panel.paired(COLUMN, ASKED, models, right, level))
    ranks = panel.ranked(COLUMN, ASKED, models, right, level, seed=0)
    return panel.Panel([], [], list(models), [COLUMN], [], ranks, pairs, [], None, [], level)


def test_a_planted_order_is_recovered_with_its_ranks():
    found = found_of(planted([0.5, 0.9, 0.7]))
    assert [(r.model, r.rank, r.low, r.high) for r in found.ranks] == [("b", 1, 1, 1), ("c", 2, 2, 2), ("a", 3, 3, 3)]
    assert found.ranks[0].first == 1
    assert all(pair.distinguished for pair in found.pairs)
    (said,) = panel_findings.of_panel(found)
    assert said.kind == "moved"
    assert broken_rules(said.statement) == []
    assert "3 of 3 pairs of models are distinguished" in said.statement


def test_equal_models_are_not_distinguished():
    right = planted([0.6, 0.6, 0.6])
    found = found_of(right)
    assert not any(pair.distinguished for pair in found.pairs)
    assert {(r.low, r.high) for r in found.ranks} >= {(1, 3)}
    assert sum(r.first for r in found.ranks) == pytest.approx(1)
    (said,) = panel_findings.of_panel(found)
    assert said.kind == "undecided"
    assert "undecided for 3 of 3 pairs of models" in said.statement
    assert "these 400 images still allow differences of up to" in said.statement
    assert broken_rules(said.statement) == []
    for pair in found.pairs:
        assert pair.record.p == mcnemar(pair.record.only_a, pair.record.only_b)[1]


def test_what_is_equal_is_not_what_could_not_be_decided():
    """Three models: two answer alike but for a few of 40,000 images, the third is better; then 400 of these."""
    right = np.stack([np.arange(40_000) % 10 < 6] * 3)
    right[1, :20] ^= True
    right[2] |= np.arange(40_000) % 10 == 6
    found = found_of(right)
    assert [pair.verdict for pair in found.pairs] == ["equal", "distinguished", "distinguished"]
    assert "2 of 3 pairs of models are distinguished, 1 is equal within 1 point" in report._ranks(found).words[0] + (
        panel_findings.of_panel(found)[0].statement
    )
    (equal,) = panel_findings.of_panel(found_of(right[:2], MODELS[:2]))
    assert equal.kind == "no_difference"
    assert "no two models differ by 1 point or more" in equal.statement
    assert broken_rules(equal.statement) == []
    few = found_of(right[:2, ::100], MODELS[:2])
    assert few.pairs[0].verdict == "undecided"
    (said,) = panel_findings.of_panel(few)
    assert said.kind == "not_enough_data"
    assert "no result could pass the adjusted threshold; the intervals allow differences of up to" in said.statement


def test_ranks_of_equal_answers_and_of_reordered_images():
    right = planted([0.6, 0.6])
    same = panel.ranked(COLUMN, ASKED, ["a", "b"], np.stack([right[0]] * 2), 0.95, 0)
    assert [(r.rank, r.low, r.high, r.first) for r in same] == [(1, 1, 1, 0.5), (1, 1, 1, 0.5)]
    shuffled = right[:, np.random.default_rng(1).permutation(right.shape[1])]
    assert panel.ranked(COLUMN, ASKED, ["a", "b"], right, 0.95, 0) == panel.ranked(
        COLUMN, ASKED, ["a", "b"], shuffled, 0.95, 0
    )


@pytest.mark.exhaustive
def test_pairs_of_equal_models_are_distinguished_at_the_level():
    """500 panels of three models that do not differ: a false finding in at most 5%."""
    wrong = [any(p.distinguished for p in found_of(planted([0.6] * 3, 150, seed)).pairs) for seed in range(500)]
    assert np.mean(wrong) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)


def row(kind, values, name="x"):
    records = {
        m: Record(metric="top1", group={}, n=100, value=v, low=v - 0.1, high=v + 0.1) for m, v in enumerate(values)
    }
    return Row(COLUMN, name, kind, {str(m): r for m, r in records.items()})


def test_correlations_are_pearsons_and_need_four_models():
    x, y = [0.3, 0.5, 0.6, 0.8, 0.9], [0.2, 0.1, 0.15, 0.05, 0.02]
    rows = [row("accuracy", x, "accuracy"), row("differences between groups", y, "gap"), row("rates", y, "rate")]
    (found,) = panel.correlations(rows, [str(i) for i in range(5)])
    expected = stats.pearsonr(x, y)
    assert (found.value, found.p, found.models) == (expected.statistic, expected.pvalue, 5)
    assert (found.low, found.high) == tuple(expected.confidence_interval(0.95))
    assert panel.correlations(rows, ["0", "1", "2"]) == []
    constant = [rows[0], row("differences between groups", [0.1] * 5)]
    assert panel.correlations(constant, [str(i) for i in range(5)]) == []


def test_attributes_are_compared_on_the_images_that_are_annotated():
    columns = {"race": np.array(["A", "", "B"], object)}
    predictions = {prediction_column("race", "zero-shot"): np.array(["A", "A", "A"], object)}
    run = SimpleNamespace(probe="attributes", columns=columns, predictions=predictions)
    ((question, right),) = panel.same_images([SimpleNamespace(run=run)]).items()
    assert question == Question("attribute", "race, zero-shot")
    assert right.tolist() == [[True, False]]
    asked = compare.questions(run)
    tallied = compare.tallies(asked, asked, {}, [()], compare.annotated(run))
    (record,) = compare.records_of(list(asked), tallied, 0.95, 1)
    assert (record.k_a, record.n) == (1, 2)


class Answers:
    """A run with one accuracy."""

    def __init__(self, value, n=1000):
        self.records = [Record(metric="top1", group={}, k=round(value * n), n=n, value=value)]


def test_effective_robustness_is_that_of_the_function():
    """The example of `effective_robustness`, of a panel: five baselines and a sixth model."""
    x, y = (60, 65, 70, 75, 80, 76.2), (45, 51, 58, 64, 71, 70.1)
    shift = Shift(("clean", "photos"), ("sketch", "photos"), tuple("abcde"), "logit", {})
    entries = [
        panel.Entry(m, "photos", probe, Answers(v / 100))
        for probe, values in (("clean", x), ("sketch", y))
        for m, v in zip("abcdef", values, strict=True)
    ]
    found = panel.robustness(entries, shift, Method())
    assert list(found.records) == ["f"]
    assert found.records["f"].value == pytest.approx(4.335594, abs=1e-6)
    few = panel.robustness(entries, Shift(shift.reference, shift.shifted, ("a",), "logit", {}), Method())
    assert few.line is None
    assert "1 baseline models; a line needs at least 3" in few.notes[0]
    further = Shift(shift.reference, shift.shifted, ("a",), "logit", {"g": (0.6, 0.45), "h": (0.8, 0.71)})
    assert set(panel.robustness(entries, further, Method()).records) == set("bcdef")
    lost = panel.robustness(entries[1:], shift, Method())  # a baseline whose run failed
    assert lost.line.names == tuple("bcde")
    assert lost.notes == ("clean on photos of a has no accuracy on this page.",)
    rates = [replace(one.run.records[0], metric="rate", set="x") for one in entries[:1]]
    entries[0].run.records[:] = rates
    assert "a" not in panel.robustness(entries, shift, Method()).points


def test_every_kind_has_a_place():
    named = {
        "top1": "accuracy", "top1_worst_group": "worst groups", "top1_group_difference": main_numbers.KINDS[2],
        "mean_ndkl": main_numbers.KINDS[2], "rate": "rates", "ece": "confidence", "flip_rate": "wording",
        "skew_at_k": "other numbers",
    }  # fmt: skip
    assert {m: main_numbers.kind_of(Record(metric=m, n=1, value=0.5)) for m in named} == named
    assert set(named.values()) == set(main_numbers.KINDS)
    assert set(report.DRAWN) <= set(main_numbers.KINDS)


def test_published_numbers_stand_beside_ours():
    numbers = {"paper_zero_shot": {"value": 63.2, "provenance": "read"}}
    run = Answers(0.63)
    run.records = [replace(run.records[0], low=0.60, high=0.66)]
    entries = [
        panel.Entry("ViT-B/32", "imagenet", "zeroshot", run, numbers),
        panel.Entry("x", "imagenet", "zeroshot", run),
    ]
    found = panel.Panel(entries, [], ["ViT-B/32", "x"], [("zeroshot", "imagenet")], [], [], [], [], None, [], 0.95)
    (table,) = report._published(found).tables
    assert [[row[2], row[4], row[-1]] for row in table.rows] == [["ViT-B/32", "63.20", "inside"]]
    assert report._published(panel.Panel(entries[1:], [], ["x"], [], [], [], [], [], None, [], 0.95)) is None
