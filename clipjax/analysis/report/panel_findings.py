"""The head of a panel's page: which models are distinguished, which differences several models share."""

from __future__ import annotations

from collections.abc import Sequence

from clipjax.analysis import sentences
from clipjax.analysis.association import ALPHA
from clipjax.analysis.findings import MCNEMAR
from clipjax.analysis.panel import Column, Pair, Panel
from clipjax.analysis.records import RIGHT, Finding, Question
from clipjax.errors import some

MOST = 5  # statements of a kind in the first section
SHARED = 6  # differences between groups that several models state


def of_panel(found: Panel) -> list[Finding]:
    """The largest difference of models for every question, then correlations, then what was not distinguished."""
    out = [_of_question(found, mine) for mine in _questions(found.pairs)]
    moved = sorted((f for f in out if f.kind == "moved"), key=lambda f: -abs(f.value or 0))
    accuracy = [f for f in moved if "set" not in f.what]
    sets = [f for f in moved if "set" in f.what]
    return [*accuracy, *sets, *_correlated(found), *(f for f in out if f.kind != "moved")]


def _questions(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """The pairs of every question, together."""
    found: dict[tuple[Column, Question | None], list[Pair]] = {}
    for one in pairs:
        found.setdefault(((one.probe, one.data_set), one.record.question), []).append(one)
    return list(found.values())


def _of_question(found: Panel, pairs: Sequence[Pair]) -> Finding:
    first = pairs[0].record
    assert first.question is not None
    what = {"probe": pairs[0].probe, "data_set": pairs[0].data_set, first.question.kind: first.question.name}
    named = _named(pairs[0])
    apart = [one for one in pairs if one.distinguished]
    tests = first.tests or 0
    if apart:
        most = max(apart, key=lambda one: abs(one.record.difference or 0))
        r = most.record
        p = r.p_benjamini_hochberg
        assert r.difference is not None
        assert p is not None
        up = r.difference > 0  # the larger share leads
        low, high = (r.low, r.high) if up else (-r.high, -r.low)
        end = sentences.tested(low, high, r.level, MCNEMAR, p, tests)
        a, b = (f"{sentences.percent(k / r.n)} for {m} ({k} of {r.n})" for k, m in ((r.k_a, most.a), (r.k_b, most.b)))
        more, less = (b, a) if up else (a, b)
        said = (
            f"{named}: {more} and {less}: {100 * abs(r.difference):+.1f} points {end}. {len(apart)} of "
            f"{sentences.count(len(pairs), 'pair')} of models {'is' if len(apart) == 1 else 'are'} "
            f"distinguished{_others(pairs)}{_rank(found, most)}."
        )
        return Finding(
            statement=said, kind="moved", what=what, value=abs(r.difference), low=low, high=high, p_adjusted=p,
            test=MCNEMAR, tests=tests,
        )  # fmt: skip
    able = [one.record for one in pairs if one.record.testable]
    undecided = [one for one in pairs if one.verdict == "undecided"]
    widest = max((one.record for one in pairs), key=lambda r: max(-r.low, r.high))
    allowed = f"{100 * max(-widest.low, widest.high):.1f} points"
    if not able and undecided:
        said = (
            f"{named}: so few answers differ between the models that no result could pass the adjusted threshold; the "
            f"intervals allow differences of up to {allowed}."
        )
        return Finding(statement=said, kind="not_enough_data", what=what, test=MCNEMAR, tests=tests)
    least = min((r.p_benjamini_hochberg or 0.0 for r in able), default=1.0)
    tested = f"the smallest adjusted p {sentences.p_value(least)} over {sentences.count(tests, 'test')} ({MCNEMAR})"
    if undecided:
        said = (
            f"{named}: undecided for {len(undecided)} of {sentences.count(len(pairs), 'pair')} of models: {tested}, "
            f"and the intervals of these {widest.n} images still allow differences of up to {allowed}."
        )
    else:
        said = (
            f"{named}: no two models differ by {sentences.points(pairs[0].margin)} or more: {tested}, and the "
            f"intervals allow differences of up to {allowed}."
        )
    return Finding(
        statement=said, kind="undecided" if undecided else "no_difference", what=what, value=widest.difference,
        low=widest.low, high=widest.high, p_adjusted=least, test=MCNEMAR, tests=tests,
    )  # fmt: skip


def _others(pairs: Sequence[Pair]) -> str:
    """What the pairs are that are not distinguished: ", 1 is equal within 1 point, 2 are undecided"."""
    equal, undecided = (sum(one.verdict == v for one in pairs) for v in ("equal", "undecided"))
    within = sentences.points(pairs[0].margin)
    said = [f"{equal} {'is' if equal == 1 else 'are'} equal within {within}"] * bool(equal)
    said += [f"{undecided} {'is' if undecided == 1 else 'are'} undecided with these images"] * bool(undecided)
    return "".join(f", {one}" for one in said)


def _named(pair: Pair) -> str:
    question = pair.record.question
    assert question is not None
    if question.kind == RIGHT.kind and question != RIGHT:
        return f"{pair.probe} on {pair.data_set}, {question.name.replace('_', ' ')}"
    asked = {"set": f"an answer in the set {question.name!r}", "attribute": f"{question.name} recognised"}
    return f"{pair.probe} on {pair.data_set}, {asked.get(question.kind, 'the answer right')}"


def _rank(found: Panel, pair: Pair) -> str:
    """How sure the first rank is."""
    mine = [
        r for r in found.ranks
        if (r.probe, r.data_set, r.question) == (pair.probe, pair.data_set, pair.record.question)
    ]  # fmt: skip
    return f"; {mine[0].model} has the largest share in {100 * mine[0].first:.0f}% of resamples" if mine else ""


def distinguished(found: Panel) -> str:
    """How many pairs of models are distinguished, in a sentence."""
    apart = sum(one.distinguished for one in found.pairs)
    asked = len(_questions(found.pairs))
    return (
        f"{apart} of {sentences.count(len(found.pairs), 'pair')} of models ({sentences.count(asked, 'question')}) "
        f"{'is' if apart == 1 else 'are'} distinguished on the same images{_others(found.pairs)}."
    )


def _correlated(found: Panel) -> list[Finding]:
    """Correlations over models whose adjusted p passes and whose interval excludes zero."""
    out, tests = [], len(found.correlations)
    for c in found.correlations:
        p = c.p_benjamini_hochberg
        if p is not None and p < ALPHA and (c.low > 0 or c.high < 0):
            said = (
                f"Over {c.models} models, {c.x} and {c.y} have a correlation of {c.value:+.2f} ({100 * c.level:g}% "
                f"interval {c.low:+.2f} to {c.high:+.2f}; adjusted p {sentences.p_value(p)} over "
                f"{sentences.count(tests, 'test')}); the models are not a random sample."
            )
            out.append(Finding(
                statement=said, kind="disparity", what={"x": c.x, "y": c.y}, value=c.value, low=c.low, high=c.high,
                p_adjusted=p, test="Pearson's correlation", tests=tests,
            ))  # fmt: skip
    if tests and not out:
        c = min(found.correlations, key=lambda one: one.p)
        said = (
            "Undecided: no correlation of accuracy with another number was found over the models: the smallest "
            f"adjusted p {sentences.p_value(c.p_benjamini_hochberg or 0.0)} over {sentences.count(tests, 'test')}; "
            f"with {c.models} models its interval is {c.low:+.2f} to {c.high:+.2f}."
        )
        out.append(Finding(statement=said, kind="undecided", tests=tests))
    return out


def shared(found: Panel) -> list[str]:
    """Differences between groups by how many models state them, with the first model's sentence."""
    stated: dict[tuple[Column, str, str, bool], list[tuple[str, str]]] = {}
    for one in found.entries:
        for f in one.run.findings:
            if f.kind == "disparity":
                key = (one.column, str(f.what), str(f.group), (f.value or 0) > 0)
                stated.setdefault(key, []).append((one.model, f.statement))
    several = sorted((key for key, of in stated.items() if len(of) > 1), key=lambda key: -len(stated[key]))
    out = []
    for key in several[:SHARED]:
        (probe, data_set), of = key[0], stated[key]
        asked = sum(one.column == key[0] for one in found.entries)
        models = some([m for m, _ in of])
        out.append(f"{len(of)} of {asked} models ({models}) state the same direction, {probe} on {data_set}. "
                   f"{of[0][0]}: {of[0][1]}")  # fmt: skip
    return out + sentences.not_shown(max(len(several) - SHARED, 0), "difference", "the findings of the runs")
