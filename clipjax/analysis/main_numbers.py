"""Which numbers of a run are set beside those of other runs, and of what kind each is."""

from __future__ import annotations

from collections.abc import Sequence

from clipjax.analysis.records import Record

ACCURACIES = (
    "top1", "mean_per_class", "map_11pt", "roc_auc", "mean_top1_top5", "recall@1", "mwap", "pm_k", "choice_accuracy",
    "group_score", "resolution_accuracy",
)  # fmt: skip
KINDS = ("accuracy", "worst groups", "differences between groups", "rates", "confidence", "wording", "other numbers")
DIFFERENCES = (
    "demographic_parity_difference", "equal_opportunity_difference", "equalized_odds_difference", "mean_max_skew_at_k",
    "mean_ndkl", "eat", "sc_eat", "bias_at_k", "resolution_gap",
)  # fmt: skip
CONFIDENCE = ("ece", "brier", "nll", "aurc")
WORDING = ("answers_changed", "flip_rate")


def main_numbers(records: Sequence[Record]) -> list[Record]:
    """The numbers of a run that a page of several models has: over all images, of all classes together."""
    return [r for r in records if _is_main(r, records[0])]


def _is_main(r: Record, first: Record) -> bool:
    if r.group or r.split is not None or r.subset is not None or r.temperature is not None:
        return False
    kind = kind_of(r)
    if kind == "rates":
        return r.metric == "rate" and r.set is not None
    if kind == "accuracy":
        return r.metric == first.metric and r.class_ is None
    if kind in ("worst groups", "differences between groups"):
        if r.metric.startswith("top5") or r.metric == "answers_changed_worst_group":
            return False
        one_column = "*" not in (r.over or "")
        return one_column and (r.class_ is None or r.metric == "sc_eat")
    return kind != "other numbers" and r.class_ is None


def kind_of(record: Record) -> str:
    """One of `KINDS`."""
    metric = record.metric
    if metric in ACCURACIES:
        return "accuracy"
    if metric.endswith("_worst_group"):
        return "worst groups"
    if metric.endswith("_group_difference") or metric in DIFFERENCES:
        return "differences between groups"
    kinds = {"rate": "rates"} | dict.fromkeys(CONFIDENCE, "confidence") | dict.fromkeys(WORDING, "wording")
    return kinds.get(metric, "other numbers")
