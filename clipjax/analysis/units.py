"""How a record's value reads: shares as percentages, everything else as the number it is."""

from __future__ import annotations

from clipjax.analysis.records import Record

# Metrics whose values are not shares of something: nats, standard deviations, kappas, thresholds, ratios of scales.
PLAIN = frozenset((
    "labels_per_image", "nll", "temperature", "threshold_for_risk", "brier", "brier_decomposition", "skew_at_k",
    "max_skew_at_k",
    "min_skew_at_k", "ndkl", "bias_at_k", "eat", "sc_eat", "fleiss_kappa",
    "cohen_kappa", "error_consistency", "effective_robustness", "group_ratio", "demographic_parity_ratio",
    "between_group_variance",
))  # fmt: skip


def name(record: Record) -> str:
    """What a number is, in words: "top1_group_difference gender", "max_skew@100 doctor gender share"."""
    r = record
    test = r.label if r.sizes is not None else None  # of an association test
    about = (
        r.direction, r.split, r.attribute, r.classifier, r.reading, r.set, test, r.subset, r.class_, r.over,
        r.reference,
    )  # fmt: skip
    extra = [str(part) for part in about if part is not None]
    extra += [f"shots {r.shots}"] if r.shots is not None else []
    extra += [f"threshold {r.threshold}"] if r.threshold is not None else []
    extra += [f"candidates {r.candidates}"] if r.candidates is not None else []
    extra += [r.images] if r.images is not None else []
    group = [f"{column}={value}" for column, value in (r.group or {}).items()]
    metric = f"{r.metric.removesuffix('_at_k')}@{r.k}" if r.metric.endswith("_at_k") else r.metric
    return ", ".join([" ".join([metric, *extra]), *group])


def is_share(record: Record) -> bool:
    """Whether a value of 0.5 is 50%."""
    return not any(record.metric == one or record.metric.endswith(f"_{one}") for one in PLAIN)


def value(record: Record, decimals: int = 2) -> str:
    """ "14.44%" or "0.653"; "undefined" without a value."""
    if record.value is None:
        return "undefined"
    return _text(record, record.value, decimals) + "%" * is_share(record)


def interval(record: Record, between: str = " to ") -> str:
    """Both ends in the unit of the value; nothing where an end is open or there is none."""
    if record.low is None or record.high is None:
        return ""
    return between.join(_text(record, end, 2) for end in (record.low, record.high))


def method(record: Record) -> str:
    """How it was made, and what chance gives: "newcombe, ...; 9.80% by chance, p = 0.36"; both p of an association."""
    known = (c for c in (record.null_mean, record.expected_if_equal, record.chance) if c is not None)
    chance = next(known, None)
    notes = [f"{_text(record, chance, 2)}{'%' * is_share(record)} by chance"] if chance is not None else []
    if record.value is not None:
        one_sided = "" if record.p_two_sided is None else "one-sided "
        notes += [f"{one_sided}p = {record.p:.3g}"] if record.p is not None else []
        notes += [f"two-sided p = {record.p_two_sided:.3g}"] if record.p_two_sided is not None else []
    return "; ".join(filter(None, [record.method, ", ".join(notes)]))


def _text(record: Record, number: float, decimals: int) -> str:
    if is_share(record):
        return f"{100 * number:.{decimals}f}"
    return f"{number:.2f}" if record.metric in ("labels_per_image", "effective_robustness") else f"{number:.4g}"
