"""Conditions: what they match, which side of the interval they read, and what they say."""

import pytest

from clipjax.analysis import gate
from clipjax.analysis.records import Record
from clipjax.errors import InputError


def record(group, k=10, n=100, low=0.05, high=0.18, **extra):
    base = {"metric": "rate", "set": "crime", "group": group, "k": k, "n": n, "value": k / n, "low": low, "high": high}
    return Record(**base | extra)


RECORDS = [
    record({}),
    record({"race": "Black"}, 20, low=0.13, high=0.29),
    record({"race": "White"}, 5, low=0.02, high=0.11),
    record({"race": "Black", "gender": "Male"}, 30, low=0.2, high=0.4),
    record({}, set="non-human"),
    Record(metric="rate_ratio", set="crime", group={"race": "Black"}, n=100, value=None, low=1.4, high=None,
           method="miettinen-nurminen"),
    Record(metric="label_rate", label="nanny", threshold=0.005, group={"gender": "F"}, k=3, n=9, value=1 / 3, low=0.07,
           high=0.7),
    Record(metric="top1", n=9, value=0.5, low=0.3, high=0.7),
    Record(metric="rate_range", set="crime", group={}, n=100, designs=3, value=0.2, smallest=0.5, largest=0.7),
]  # fmt: skip


def lines(text):
    return gate.breaches(gate.parse(text), RECORDS)


def test_the_issues_own_example():
    found = lines("rate[set=crime, race=*] > 0.05 @ lower")
    assert found == ["rate[set=crime] of race=Black: 20/100 = 0.2 [0.13, 0.29]: lower 0.13 > 0.05"]


@pytest.mark.parametrize(
    ("text", "breaches"),
    [
        ("rate[set=crime] > 0.05", 1),  # everybody only
        ("rate[set=crime] > 0.05 @ lower", 0),
        ("rate[set=crime] >= 0.05 @ lower", 1),
        ("rate[set=*] > 0.05 @ value", 2),
        ("rate[set=crime, race=White] > 0.1 @ upper", 1),
        ("rate[set=crime, race=*, gender=Male] > 0 @ lower", 1),
        ("rate_ratio[set=crime, race=*] > 1.25 @ lower", 1),
        ("rate_ratio[set=crime, race=*] > 9 @ upper", 0),  # undefined: says nothing
        ("label_rate[label=nanny, threshold=0.005, gender=F] > 0.3", 1),
        ("top1 < 0.6 @ upper", 0),
        ("top1<6e-1", 1),
    ],
)
def test_what_conditions_match(text, breaches):
    assert len(lines(text)) == breaches


@pytest.mark.parametrize("side", ["lower", "upper"])
def test_a_number_without_an_interval_is_compared_by_its_value(side):
    assert len(lines("rate_range[set=crime] > 0.1")) == 1
    with pytest.raises(InputError, match="rate_range has no interval; write @ value"):
        lines(f"rate_range[set=crime] > 0.1 @ {side}")


def test_a_condition_that_nothing_answers_is_no_pass():
    with pytest.raises(InputError, match="matches nothing; set: crime, non-human; groups: everybody, race, race"):
        lines("rate[set=crimes] > 0")
    with pytest.raises(InputError, match="metrics are label_rate, rate, rate_range, rate_ratio, top1"):
        lines("rates[set=crime] > 0")
    with pytest.raises(InputError, match="matches nothing"):
        lines("rate[set=crime, age=*] > 0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate crime > 0.05", "is not METRIC"),
        ("rate[set=crime] = 0.05", "is not METRIC"),
        ("rate[crime] > 0.05", "'crime' is not key=value"),
        ("rate[set=a, set=b] > 0.05", "set is named twice"),
        ("rate > 0.05 @ middle", "@ middle is none of lower, upper, value"),
        ("rate > 0.0.5", "is not a number"),
        ("", "is not METRIC"),
    ],
)
def test_conditions_that_cannot_be_read(text, message):
    with pytest.raises(InputError, match=message):
        gate.parse(text)
