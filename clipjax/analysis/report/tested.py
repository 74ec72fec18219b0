"""What tests without a finding of their own say in a report's head: rankings against random ones, associations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clipjax.analysis import sentences, units
from clipjax.analysis.association import ALPHA
from clipjax.analysis.records import Record
from clipjax.analysis.run import Run

SHOWN = 3


def statements(run: Run) -> list[str]:
    """One sentence of a run of `skew` or `association`; nothing of others."""
    tested = [r for r in run.records if r.p_benjamini_hochberg is not None and r.value is not None]
    if run.probe not in SAID or not tested:
        return []
    what, one = SAID[run.probe]
    found, tests = sorted((r for r in tested if _p(r) < ALPHA), key=_p), sentences.count(len(tested), "test")
    if not found:
        least = sentences.p_value(min(map(_p, tested))).removeprefix("= ")
        return [f"None of {tests} {what[0]}: the smallest adjusted p is {least}."]
    more = f"; {len(found) - SHOWN} more in the tables" if len(found) > SHOWN else ""
    these = "; ".join(one(r) for r in found[:SHOWN])
    return [f"{len(found)} of {tests} {what[len(found) > 1]}: {these}{more}."]


def _p(record: Record) -> float:
    return 1.0 if record.p_benjamini_hochberg is None else record.p_benjamini_hochberg


def _ranking(r: Record) -> str:
    measure = "NDKL" if r.metric == "ndkl" else f"MaxSkew@{r.k}, of {r.highest}"
    chance = "" if r.null_mean is None else f", {r.null_mean:.3g} by chance"
    return (
        f"{r.class_!r} by {r.over} ({measure}, reference {r.reference}) {r.value:.3g} [{units.interval(r, ', ')}]"
        f"{chance}, adjusted p {sentences.p_value(_p(r))}"
    )


def _association(r: Record) -> str:
    who = f"{r.label}, {r.class_}" if r.class_ else r.label
    return f"{who}: d {r.value:.3g} [{units.interval(r, ', ')}], adjusted p {sentences.p_value(_p(r))}"


# of each probe: what one test does and what several do, and one of them
SAID: dict[str, tuple[tuple[str, str], Callable[[Record], str]]] = {
    "skew": (("rejects a random ranking", "reject a random ranking"), _ranking),
    "association": (("finds X nearer to A (one-sided)", "find X nearer to A (one-sided)"), _association),
}


def words(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """The sentences of all runs, with their names where there are several."""
    several = len(runs) > 1
    found = [(name, said) for name, run in zip(names, runs, strict=True) for said in statements(run)]
    return [f"{name}: {said}" if several else said for name, said in found]
