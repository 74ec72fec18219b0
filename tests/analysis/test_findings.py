"""Findings name what was planted and only that; their sentences follow the rules; their tests are SciPy's."""

import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.rates import rate_records

from clipjax import design
from clipjax.analysis import association, findings, rates, sentences
from clipjax.analysis.association import adjust_testable, fisher_smallest, two_groups
from clipjax.analysis.records import Finding, PairedRecord, Question
from clipjax.analysis.report import head

WORLDS = Path(__file__).parents[2] / "experiments" / "findings" / "worlds.py"


@pytest.fixture(scope="module")
def worlds():
    """The experiment's own script."""
    spec = importlib.util.spec_from_file_location("worlds", WORLDS)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def run_of(answers, columns, asked):
    return rate_records(np.array(answers), asked, columns, rates.groupings("", list(columns)))


ASKED = design.Design("d", (design.DesignClass("man", sets=("person",)), design.DesignClass("elf", sets=("fantasy",))))


def test_smallest_p_by_enumeration():
    """Over all tables with the same margins, the smallest p that scipy's test gives."""
    rng = np.random.default_rng(0)
    for table in rng.integers(0, 9, (60, 2, 2)):
        (a, b), (c, d) = table.tolist()
        row, column, n = a + b, a + c, a + b + c + d
        every = [
            stats.fisher_exact([[x, row - x], [column - x, n - row - column + x]]).pvalue
            for x in range(max(0, row + column - n), min(row, column) + 1)
        ]
        assert fisher_smallest(table) == pytest.approx(min(every), rel=1e-9)


def test_two_groups_is_fisher_exactly_where_an_expected_count_is_small():
    tables = np.array([[[1, 4], [0, 255]], [[30, 70], [50, 50]], [[5, 15], [5, 15]]])
    p, smallest, exact = two_groups(tables)
    assert exact.tolist() == [True, False, False]
    assert p[0] == pytest.approx(stats.fisher_exact(tables[0]).pvalue)
    assert p[1] == pytest.approx(stats.chi2_contingency(tables[1], correction=False).pvalue)
    assert smallest[1] == 0


@pytest.mark.parametrize(
    ("smallest", "wanted"),
    [
        ([0.001, 0.5, 0.5], [1, 0, 0]),
        ([0.02, 0.02, 0.02, 0.02], [0, 0, 0, 0]),  # four could reach 0.05, none 0.05 / 3
        ([0.02, 0.02, 0.3, 1.0], [1, 1, 0, 0]),
        ([0.06, 0.2], [0, 0]),
        ([], []),
    ],
)
def test_tarone_by_definition(smallest, wanted):
    assert association.can_reject(smallest).astype(int).tolist() == wanted
    for k in range(1, len(smallest) + 1):  # the first K that at most K tests can reach
        if sum(s <= 0.05 / k for s in smallest) <= k:
            assert [s <= 0.05 / k for s in smallest] == [bool(w) for w in wanted]
            break


def test_only_testable_tests_are_adjusted_for():
    """10 of 15 images leave a set, none joins: 0.057 over 116 tests of which most cannot reject, 0.0078 over four."""
    p = np.array([2 * 0.5**10, 2 * 0.5**10, 2 * 0.5**10, 2 * 0.5**10, *[0.25] * 50, *[1.0] * 62])
    over_all = stats.false_discovery_control(p, method="bh")[0]
    assert over_all > 0.05
    assert adjust_testable(p, p)[0] == pytest.approx(2 * 0.5**10)
    assert (adjust_testable(p, p)[4:] == 1).all()


def test_false_discoveries_stay_at_their_level():
    """Families of discrete tests, a fifth of them with an effect: the share of false ones among the stated."""
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(300):
        n = rng.integers(0, 25, 60)
        real = rng.random(60) < 0.2
        ones = rng.binomial(n, np.where(real, 0.97, 0.5))
        p = np.minimum(2 * stats.binom.cdf(np.minimum(ones, n - ones), np.maximum(n, 1), 0.5), 1)
        found = adjust_testable(p, np.minimum(2 * 0.5 ** n.astype(float), 1)) < 0.05
        shares.append((found & ~real).sum() / max(found.sum(), 1))
    assert np.mean(shares) < 0.05


def test_planted_worlds(worlds):
    """The small version of experiments/findings: 40 worlds of each kind."""
    for kind, found in worlds.measure(40, 5).items():
        for question, (rate, error) in found["false discovery rate"].items():
            assert rate - 2 * error <= association.ALPHA, (kind, question)
        assert found["false among all statements"]["share"] < 0.12
        assert found["missed, of effects large enough"]["share"] <= 0.1, kind
        assert found["right"] > 50


def test_one_group_is_named_and_its_echo_is_not():
    """Eleven of fifteen old people are elves: that the others are not is the same news."""
    age = np.array(["old"] * 15 + ["young"] * 25 + ["adult"] * 200, object)
    answers = [1] * 11 + [0] * 4 + [0] * 225
    found = findings.of_records(run_of(answers, {"age": age}, ASKED))
    named = [f for f in found if f.kind == "disparity" and f.what == {"set": "fantasy"}]
    assert [f.group for f in named] == [{"age": "old"}]
    (f,) = named
    p = stats.fisher_exact([[11, 4], [0, 225]]).pvalue
    assert p < f.p_adjusted < p * f.tests
    assert (f.value, f.test) == (pytest.approx(11 / 15), "Fisher's exact test")
    assert "73.3% of the images with age old (11 of 15) and 0.0% of the others (0 of 225): +73.3 points" in f.statement


def test_two_groups_are_one_comparison():
    gender = np.array(["F"] * 100 + ["M"] * 100, object)
    found = findings.of_records(run_of([1] * 50 + [0] * 150, {"gender": gender}, ASKED))
    named = [f for f in found if f.kind == "disparity"]
    assert len({str(f.what) for f in named}) == len(named)
    assert "and 100.0% of the images with gender M (100 of 100)" in named[0].statement
    assert len(named[0].records) == 2


def test_nothing_is_stated_of_random_answers_and_small_groups_are_named():
    rng = np.random.default_rng(0)
    age = np.array(["a"] * 100 + ["b"] * 98 + ["c"] * 2, object)
    found = findings.of_records(run_of(rng.integers(0, 2, 200), {"age": age}, ASKED))
    assert {f.kind for f in found} == {"no_difference", "not_enough_data"}
    small = next(f for f in found if f.kind == "not_enough_data")
    assert small.group == {"age": "c"}
    assert "age c (n = 2) could not be tested" in small.statement
    none = next(f for f in found if f.kind == "no_difference")
    assert none.p_adjusted >= 0.05
    assert none.low < 0 < none.high


@pytest.mark.parametrize(("n", "rest", "rate"), [(200, 400, 0.2), (60, 600, 0.4)])
def test_the_detectable_difference_is_found_four_times_in_five(n, rest, rate):
    rng, alpha = np.random.default_rng(0), 0.01
    gap = float(findings.detectable(rate, n, rest, alpha))
    k, other = rng.binomial(n, rate + gap, 2000), rng.binomial(rest, rate, 2000)
    p = two_groups(np.stack([np.stack([k, n - k], -1), np.stack([other, rest - other], -1)], -2))[0]
    assert 0.74 < (p < alpha).mean() < 0.88  # the arcsine approximation against the test itself
    assert np.isnan(findings.detectable(0.5, 2, 1000, alpha))


def test_a_flow_between_two_designs(worlds):
    age = np.array(["child"] * 15 + ["adult"] * 85, object)
    before = np.array(["man"] * 100, object)
    after = np.array(["child"] * 12 + ["man"] * 88, object)
    records, shares, flow = worlds.class_moves(before, after, ["man"], {"age": age})
    found = findings.of_comparison([], records, shares, flow)
    (f,) = [f for f in found if f.what == {"class": "man"} and f.group == {"age": "child"}]
    assert f.statement.endswith("From A to B: man → child 12.")
    assert f.p_adjusted == pytest.approx(2 * 0.5**12)
    assert (f.value, f.kind) == (-0.8, "moved")
    who = next(f for f in found if "moved" in f.what)
    assert "The answer changed for 80.0% of the images with age child (12 of 15) and 0.0% of" in who.statement
    assert len(findings.main(found)) < len(found)


def test_a_test_that_passes_against_its_interval_is_not_stated():
    record = PairedRecord(
        question=Question("class", "man"), n=50, k_a=9, value_a=0.18, low_a=0.1, high_a=0.3, k_b=20, value_b=0.4,
        low_b=0.3, high_b=0.5, only_a=0, only_b=11, difference=0.22, low=-0.01, high=0.4, p=0.01, level=0.95,
        rate_method="clopper-pearson", p_benjamini_hochberg=0.01, testable=True, tests=1, asked=1,
    )  # fmt: skip
    (found,) = findings.moved([record])
    assert found.kind == "undecided"
    assert "no difference is stated" in found.statement


def test_every_sentence_follows_the_rules(worlds):
    rng = np.random.default_rng(3)
    kinds = set()
    for _ in range(12):
        w = worlds.world(rng)
        a = rng.integers(0, len(worlds.CLASSES), w.n)
        b = np.where((w.columns["age"] == "a0") & (rng.random(w.n) < 0.5), len(worlds.CLASSES), a)
        names = [np.array(d.names, object)[x] for d, x in ((worlds.DESIGN, a), (worlds.LARGER, b))]
        moves = worlds.class_moves(*names, worlds.DESIGN.names, w.columns)
        found = findings.of_records(run_of(b, w.columns, worlds.LARGER)) + findings.of_comparison([], *moves)
        for f in found:
            assert sentences.broken_rules(f.statement) == [], f.statement
            kinds.add(f.kind)
    assert kinds >= {"disparity", "moved", "no_difference"}
    assert sentences.broken_rules(sentences.individual(0.95)) == []


@pytest.mark.parametrize(
    ("sentence", "rule"),
    [
        ("The class list causes it.", "causal word 'causes'"),
        ("A is 1.0% (1 of 100), due to B.", "causal word 'due to'"),
        ("The difference is significant.", "without the name of the test"),
        ("There is no difference between them.", "claims that nothing differs"),
        ("+3.0 points (95% interval +1.0 to +5.0; 3 of 9, 4 of 9).", "a difference without the name of a test"),
        ("3 of 9 and 4 of 9: +3.0 points (Fisher's exact test, adjusted p = 0.01 over 4 tests).", "an interval"),
        ("+3.0 points (95% interval +1.0 to +5.0; Fisher's exact test, p = 0.01).", "an adjusted p-value"),
    ],
)
def test_the_rules_see_what_breaks_them(sentence, rule):
    assert any(rule in broken for broken in sentences.broken_rules(sentence)), sentences.broken_rules(sentence)


@pytest.mark.parametrize("what", [{"set": "x"}, {"set": "no set"}, {"class": "x"}, {"label": "x", "threshold": 0.04},
                                  {"attribute": "race", "classifier": "linear"}, {"moved": True}, {}])  # fmt: skip
def test_every_kind_of_question_reads_as_a_sentence(what):
    end = sentences.tested(0.1, 0.3, 0.95, "Fisher's exact test", 0.01, 3)
    for group, other in itertools.product(
        ({"skin_tone": "dark"}, {"a": "b", "c": "d"}), (None, {"skin_tone": "light"})
    ):
        said = sentences.disparity(what, group, other, (3, 10, 1, 10), end)
        assert sentences.broken_rules(said) == []
        assert "{" not in said
    assert sentences.named(what)


def test_names_of_a_table_are_fit_for_a_terminal():
    said = sentences.disparity({"class": "a\x1b[31m"}, {"g\x07": "v\n"}, None, (3, 10, 1, 10), "(x)")
    assert said.isprintable()
    assert sentences.flows([("a\x1b", "b", 3)]).isprintable()


def test_a_first_page_says_how_many_statements_it_does_not_hold():
    made = [
        Finding(statement=f"{kind} {i}", kind=kind, group={"g": str(i)}, value=0.1 + i / 100, tests=1)
        for kind, n in (("disparity", 8), ("no_difference", 1))
        for i in range(n)
    ]
    shown = findings.main(made)
    assert findings.left_out(made, shown, "metrics.json") == ["3 more differences are in metrics.json."]
    assert findings.left_out(made, made, "metrics.json") == []
    both = ["7 more differences are in x.", "1 more statement is in x."]
    assert findings.left_out(made, made[:1], "x") == both
    assert head.terminal(made).endswith("- 3 more differences are in metrics.json.")
