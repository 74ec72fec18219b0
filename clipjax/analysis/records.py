"""One number of a run with everything it depends on: the records of metrics.json and of compare.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from clipjax.stored import Count

Number = Annotated[float, Meta(ge=-1e12, le=1e12)]  # larger ones no figure can show


class Record(Struct, frozen=True, kw_only=True):
    """One number of metrics.json. A field that is None is not written, but where null has a meaning.

    `value` null: undefined, as a rate of no images. `low` and `high` null, with a `method`: an open bound.
    `group`: {column: value}, {} for everybody; None for a number that is not asked by groups at all.
    """

    metric: str
    attribute: str | None = None
    classifier: str | None = None
    reading: str | None = None  # of an attribute: over all its values, or one value against all others
    over: str | None = None  # the column whose groups a mean weighs equally, and how many groups there are
    groups: Count | None = None
    set: str | None = None
    class_: str | None = msgspec.field(name="class", default=None)
    label: str | None = None
    threshold: float | None = None
    candidates: Count | None = None
    images: str | None = None  # which images: of which of the candidates
    denominator: Literal["images", "tokens"] | None = None
    correction: bool | None = None  # Yates'
    group: dict[str, str] | None = None
    against: str | None = None
    k: Count | None = None
    n: Count
    k_rest: Count | None = None
    n_rest: Count | None = None
    designs: Count | None = None
    value: Number | None
    p: float | None = None
    p_benjamini_hochberg: float | None = None
    p_bonferroni: float | None = None
    labels: Count | None = None  # how many labels are tested
    min_expected: float | None = None
    more: str | None = None  # the group that has the label more often; null where neither
    tokens: Count | None = None
    low: Number | None = None
    high: Number | None = None
    smallest: Number | None = None  # rate over the designs of a sweep; `value` is largest - smallest
    largest: Number | None = None
    lowest: str | None = None  # the designs that have them
    highest: str | None = None
    level: Number | None = None
    method: str | None = None
    small: bool | None = None  # fewer images than min_n; None where no min_n applies
    classes: Count | None = None
    direction: Literal["image_to_text", "text_to_image"] | None = None
    split: str | None = None
    spread: float | None = None
    values: list[float] | None = None
    shots: Count | None = None
    C: float | None = None
    seeds: list[int] | None = None
    alphas: list[float] | None = None  # of Tip-Adapter, chosen with each seed
    betas: list[float] | None = None
    losses: list[float] | None = None  # at the end of training
    iterations: Count | None = None
    converged: bool | None = None
    probability: Literal["softmax", "sigmoid"] | None = None
    # Of the worst group, gaps and means over groups
    worst: str | None = None  # the group with the smallest rate
    expected_if_equal: Number | None = None  # the value that chance gives to groups that do not differ
    weights: dict[str, float] | None = None  # of the groups in a mean
    tpr_difference: Number | None = None
    fpr_difference: Number | None = None
    undefined: list[str] | None = None  # groups without images that the rate is of
    # Of rankings
    reference: Literal["uniform", "share"] | None = None
    null_mean: Number | None = None  # the value that chance gives: a random ranking, or perfect calibration
    ties_at_k: Count | None = None  # images of the score at rank k
    absent: list[str] | None = None  # groups without an image among the first k
    k_first: float | None = None  # expected, where there are ties
    k_second: float | None = None
    # Of association tests
    p_two_sided: float | None = None
    sizes: list[Count] | None = None  # of X, Y, A and B
    partitions: Count | None = None
    # Of captions
    ties: Count | None = None
    subset: str | None = None
    chance: float | None = None
    ra_first: float | None = None
    ra_second: float | None = None
    # Of confidences
    bins: Count | None = None
    scheme: Literal["width", "mass"] | None = None
    reliability: Number | None = None
    resolution: Number | None = None
    uncertainty: Number | None = None
    within: Number | None = None
    temperature: Number | None = None
    scale: Number | None = None
    fitted_on: str | None = None
    infinite: Count | None = None  # labels of probability 0
    low_edge: float | None = None  # of a bin
    high_edge: float | None = None
    confidence: float | None = None
    accuracy: float | None = None
    rule: str | None = None
    optimal: Number | None = None  # the value of the same errors, ranked last
    coverage: float | None = None
    bound: float | None = None
    delta: float | None = None
    # Of answers to several wordings, and of two classifiers
    wordings: Count | None = None
    pairs: list[float] | None = None
    raters: Count | None = None
    agreement: float | None = None
    expected: Number | None = None
    slope: Number | None = None  # of a line through models
    intercept: Number | None = None
    r2: float | None = None
    axis: Literal["logit", "probit", "linear"] | None = None
    attack_success: float | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the group is of; () for everybody."""
        return tuple(self.group or ())

    @property
    def cell(self) -> tuple[str, ...]:
        """The group's value in each of `columns`."""
        return tuple((self.group or {}).values())

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json holds, in the order of the columns of tables/metrics.csv."""
        null = {"value"}
        null |= {"low", "high"} if self.method is not None else set()
        null |= {"more"} if self.min_expected is not None else set()
        names = _UNGROUPED if self.group is None else _GROUPED
        return {name: value for field, name in names if (value := getattr(self, field)) is not None or name in null}


class Finding(Struct, frozen=True, kw_only=True):
    """One statement. `kind`: disparity (between groups), moved (between two runs), no_difference, not_enough_data,
    undecided (the test passed and the interval holds zero; of a panel: models that are neither distinguished nor, by
    their interval, equal within the panel's margin).

    value, low, high: the difference of two rates and its interval; for no_difference the one whose interval reaches
    furthest; for not_enough_data the true difference that would be found four times in five, without bounds.
    `tests`: the size of the family that p_adjusted allows for. `records`: places in the list of records.
    """

    statement: str
    kind: Literal["disparity", "moved", "undecided", "no_difference", "not_enough_data"]
    what: dict[str, Any] = {}
    group: dict[str, str] = {}
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p_adjusted: float | None = None
    test: str = ""
    tests: int
    records: list[int] = []

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json and compare.json hold."""
        return msgspec.to_builtins(self)


class Metrics(Struct):
    """All of metrics.json."""

    records: list[Record]
    findings: list[Finding] = []


_GROUPED = list(zip(Record.__struct_fields__, Record.__struct_encode_fields__, strict=True))
_UNGROUPED = [one for one in _GROUPED if one[0] != "k"]
_UNGROUPED.insert(_UNGROUPED.index(("method", "method")) + 1, ("k", "k"))  # an accuracy tells its n before its k

# What else a record of a metric has, by the kind of run; those not named have no more than every record.
REQUIRED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("rates", "rate"): ("group", "k", "level", "method"),
    ("rates", "rate_difference"): ("set", "group", "k", "k_rest", "n_rest"),
    ("rates", "rate_ratio"): ("set", "group", "k", "k_rest", "n_rest"),
    ("rates", "rate_range"): ("set", "group", "designs", "smallest", "largest", "lowest", "highest"),
    ("labels", "label_rate"): ("label", "threshold", "group", "k"),
    ("labels", "chi_squared"): ("label", "threshold", "denominator", "p", "p_benjamini_hochberg", "min_expected"),
    ("labels", "fisher"): ("label", "threshold", "denominator", "p", "p_benjamini_hochberg", "min_expected"),
    ("attributes", "top1"): ("attribute", "classifier", "reading", "group", "k"),
    ("attributes", "recall"): ("attribute", "classifier", "class_", "k"),
    ("attributes", "top1_mean_of_groups"): ("attribute", "classifier", "reading", "over", "value", "low", "high"),
    ("identities", "top1"): ("candidates", "images", "k"),
    ("identities", "top5"): ("candidates", "images", "k"),
}


def missing(probe: str, record: Record) -> str | None:
    """The name of a field that a record of this kind of run needs and lacks; None where it is complete."""
    needed = REQUIRED.get((probe, record.metric), ())
    if absent := [name.rstrip("_") for name in needed if getattr(record, name) is None]:
        return absent[0]
    if (probe, record.metric) == ("rates", "rate") and record.set is None and record.class_ is None:
        return "set"
    return None


class Question(NamedTuple):
    """What a run says yes or no to for every image: whether its answer is in a set, is a class, is right, ..."""

    kind: Literal["set", "class", "label", "attribute", "accuracy"]
    name: str


RIGHT = Question("accuracy", "top1")  # the accuracy that is called so


class PairedRecord(Struct, frozen=True, kw_only=True):
    """The same question asked of the same images under A and B: both rates, their paired difference, McNemar's test.

    `method` is of `low` and `high`, as in every record: the interval of the difference. Those of the two rates are by
    `rate_method`. Rates of no images are None. The adjusted p-values and `tests` belong to its family of tests.
    """

    question: Question | None = None  # None: counts by themselves, as `paired_rates` gives them
    group: dict[str, str] = {}
    n: int
    k_a: int
    value_a: float | None
    low_a: float
    high_a: float
    k_b: int
    value_b: float | None
    low_b: float
    high_b: float
    only_a: int
    only_b: int
    difference: float | None
    low: float
    high: float
    p: float
    level: float
    rate_method: str
    method: str = "newcombe, paired"
    small: bool | None = None
    p_benjamini_hochberg: float | None = None
    p_bonferroni: float | None = None
    testable: bool | None = None  # whether enough answers changed for any result to be rejected
    tests: int | None = None  # the testable ones of the family, which the p-values are adjusted over
    asked: int | None = None  # all of the family

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the group is of; () for everybody."""
        return tuple(self.group)

    @property
    def sides(self) -> tuple[Record, Record]:
        """The rates under A and under B."""
        rates = (self.k_a, self.value_a, self.low_a, self.high_a), (self.k_b, self.value_b, self.low_b, self.high_b)
        a, b = (
            Record(
                metric="rate", group=self.group, k=k, n=self.n, value=value, low=low, high=high, level=self.level,
                method=self.rate_method, small=self.small,
            )
            for k, value, low, high in rates
        )  # fmt: skip
        return a, b

    def to_dict(self) -> dict[str, Any]:
        """What compare.json holds."""
        found = {name: getattr(self, name) for name in self.__struct_fields__ if name != "question"}
        family = ("small", "p_benjamini_hochberg", "p_bonferroni", "testable", "tests", "asked")
        asked = dict([self.question]) if self.question else {}
        kept = {name: value for name, value in found.items() if value is not None or name not in family}
        return {"metric": "paired_difference", **asked, **kept}


def finite(x: float) -> float | None:
    """JSON has neither nan nor infinity: null is undefined (value) or open (bound)."""
    return float(x) if math.isfinite(x) else None
