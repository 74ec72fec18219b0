"""Tests of labels against Schwemmer et al.'s figures, scipy, and enumeration with whole numbers."""

import math
import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clipjax import design
from clipjax.analysis import adjust, chi_squared, fisher
from clipjax.analysis.association import chi_squared_table, gendered_labels, min_expected, top_gendered
from clipjax.analysis.paper import significant
from clipjax.errors import InputError

# Google Cloud Vision's labels for 110 women and 430 men in Congress (1,108 and 4,457 labels in all): women, men, and
# chi-squared at image level (uncorrected) and at token level (Yates), computed from the replication data.
SCHWEMMER = {
    "hairstyle": (57, 4, 226.4, 204.5),
    "smile": (99, 92, 180.3, 124.3),
    "long hair": (41, 0, 173.4, 161.1),
    "brown hair": (31, 0, 128.6, 120.4),
    "television presenter": (37, 7, 119.9, 110.5),
    "businessperson": (56, 428, 222.8, 22.6),
    "suit": (17, 346, 168.0, 55.4),
    "official": (79, 428, 117.3, 6.3),
    "elder": (17, 307, 114.2, 45.4),
    "necktie": (0, 225, 98.7, 57.0),
}


def schwemmer():
    women, men, image, token = (np.array(x) for x in zip(*SCHWEMMER.values(), strict=True))
    return gendered_labels(women, men, 110, 430, tokens=(1108, 4457)), image, token


def test_schwemmers_labels_at_both_levels():
    found, image, token = schwemmer()
    np.testing.assert_allclose(found.image_chi2, image, atol=0.05)  # as printed, one decimal
    np.testing.assert_allclose(found.token_chi2, token, atol=0.05)
    assert found.more.tolist() == [0] * 5 + [1] * 5


def test_the_denominator_changes_the_ranking():
    found, _, _ = schwemmer()
    names = list(SCHWEMMER)
    women, men = top_gendered(found, 2)
    assert [names[i] for i in women] == ["smile", "hairstyle"]  # the two largest chi-squared, sorted by frequency
    assert [names[i] for i in men] == ["businessperson", "suit"]
    assert [names[i] for i in top_gendered(found, 2, by="token")[1]] == ["suit", "necktie"]
    everything = top_gendered(found, 20)[1]
    assert all(a >= b for a, b in pairwise(found.k[everything, 1]))
    assert top_gendered(found, 20, min_count=50)[0].tolist() == [1, 0]


def test_reconstructed_tables_of_the_paper():
    """protocols: gender x crime 96.7; race x crime 612 on 6 degrees of freedom; race x non-human 400."""
    assert chi_squared([[876, 5307 - 876], [460, 4693 - 460]])[0] == pytest.approx(96.7, abs=0.3)
    n = np.array([1406, 1910, 1373, 1479, 1104, 1291, 1437])
    for k, wanted in (((231, 475, 335, 160, 217, 57, 18), 612), ((203, 105, 104, 55, 22, 24, 0), 400)):
        statistic, freedom, p = chi_squared_table(np.stack([k, n - k]))
        assert statistic == pytest.approx(wanted, rel=0.01)
        assert freedom == 6
        assert p < 1e-80


@given(st.lists(st.integers(0, 60), min_size=4, max_size=4), st.booleans())
def test_chi_squared_is_scipys(cells, correction):
    table = np.reshape(cells, (2, 2))
    statistic, p = chi_squared(table, correction)
    if (table.sum(0) == 0).any() or (table.sum(1) == 0).any():
        assert (statistic, p) == (0, 1)
    else:
        wanted = stats.chi2_contingency(table, correction=correction)
        assert (statistic, p) == pytest.approx((wanted.statistic, wanted.pvalue), abs=1e-12)
        assert min_expected(table) == pytest.approx(wanted.expected_freq.min())


@pytest.mark.parametrize("table", [[[3, 1], [1, 5]], [[0, 6], [4, 2]], [[5, 5], [0, 3]], [[2, 2], [2, 2]]])
def test_fisher_by_enumeration(table):
    """All tables with the same margins, in fractions: those no likelier than the one seen."""
    (a, b), (c, d) = table
    rows, columns, n = (a + b, c + d), (a + c, b + d), a + b + c + d
    chance = {
        x: Fraction(math.comb(columns[0], x) * math.comb(columns[1], rows[0] - x), math.comb(n, rows[0]))
        for x in range(max(0, rows[0] - columns[1]), min(rows[0], columns[0]) + 1)
    }
    wanted = sum(p for p in chance.values() if p <= chance[a])
    assert fisher(table)[1] == pytest.approx(float(wanted), rel=1e-9)


def test_fisher_is_scipys():
    rng = np.random.default_rng(0)
    tables = np.concatenate([rng.integers(0, most, (60, 2, 2)) for most in (4, 30, 400, 6000)])
    wanted = [stats.fisher_exact(t).pvalue for t in tables]
    assert fisher(tables)[1] == pytest.approx(wanted, rel=1e-7, abs=1e-300)
    assert fisher([[0, 0], [0, 0]])[1] == 1
    assert fisher(np.zeros((0, 2, 2), int))[1].shape == (0,)


def test_chi_squared_against_permutations():
    """The p-value is near the share of all relabelings of 12 images with a statistic as large."""
    from itertools import combinations

    yes = 5
    for a in range(6):
        table = np.array([[a, 6 - a], [yes - a, 6 - yes + a]])
        if (table < 0).any():
            continue
        seen = chi_squared(table)[0]
        groups = [sum(i < yes for i in chosen) for chosen in combinations(range(12), 6)]
        counts = [chi_squared([[x, 6 - x], [yes - x, 6 - yes + x]])[0] >= seen - 1e-12 for x in groups]
        assert fisher(table)[1] == pytest.approx(np.mean(counts), abs=1e-9)  # Fisher's is this very enumeration


def test_adjusting_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.20])
    np.testing.assert_allclose(adjust(p), [0.04, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.20])
    np.testing.assert_allclose(adjust(p, "bonferroni"), [0.04, 0.16, 0.12, 0.80])
    assert adjust([]).size == 0
    with pytest.raises(InputError, match="choose benjamini-hochberg or bonferroni"):
        adjust(p, "holm")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_by_its_own_words(p):
    """Reject up to the largest i with p_(i) <= i q / m."""
    p, q = np.array(p), 0.1
    order = np.sort(p)
    passed = [i for i in range(len(p)) if order[i] <= (i + 1) * q / len(p)]
    rejected = p <= order[max(passed)] if passed else np.zeros(len(p), bool)
    close = np.abs(adjust(p) - q) < 1e-12
    assert ((adjust(p) <= q) == rejected)[~close].all()


def test_counts_of_significant_labels():
    p = np.array([0.001, 0.02, 0.03, 0.035, 0.9])
    assert significant(p) == {"p": 4, "benjamini-hochberg": 4, "bonferroni": 1}


def test_refusals():
    with pytest.raises(InputError, match=r"has to be \[..., 2, 2\]"):
        chi_squared([1, 2, 3])
    with pytest.raises(InputError, match="give counts, not rates"):
        chi_squared([[0.5, 0.5], [0.1, 0.9]])
    with pytest.raises(InputError, match=r"label 1 .* counts \[5, 1\] of 4 and 9"):
        gendered_labels([1, 5], [1, 1], 4, 9)
    with pytest.raises(InputError, match="more tokens than its group"):
        gendered_labels([3], [1], 4, 9, tokens=(2, 5))


@pytest.mark.skipif(
    not os.environ.get("CLIPJAX_MC_DATA"), reason="needs mc_data.tsv of Schwemmer et al. (CLIPJAX_MC_DATA)"
)
def test_multiplicity_of_the_real_labels():
    """Of 61 labels that Google gave at least five times 45 differ at p < .05 (BH 45, Bonferroni 42); of the union's
    178, 115 (114, 88); by Fisher and Bonferroni 40 and 83. Two more ("human", "person") are of every portrait."""
    import csv

    path = Path(os.environ["CLIPJAX_MC_DATA"])
    labels = design.read_labels(path)
    with open(path, encoding="utf-8-sig", newline="") as file:
        women = np.array([row["gender"].lower().startswith("f") for row in csv.DictReader(file, delimiter="\t")])
    union = [set().union(*row) for row in zip(*labels.values(), strict=True)]
    for rows, wanted in ((labels["Google"], (61, 45, 45, 42, 40)), (union, (178, 115, 114, 88, 83))):
        names = sorted(set().union(*rows))
        has = np.array([[name in row for name in names] for row in rows])
        has = has[:, (has.sum(0) >= 5) & ~has.all(0)]
        found = gendered_labels(has[women].sum(0), has[~women].sum(0), women.sum(), (~women).sum())
        counted = (has.shape[1], *significant(found.image_p).values(), significant(found.fisher_p)["bonferroni"])
        assert counted == wanted
