"""The wording of findings, and the rules that it follows.

1. A difference is stated with both rates and their counts, its interval with the interval's level, the name of the
   test, the adjusted p-value and the number of tests that it is adjusted over.
2. Nothing is called significant without the name of the test in the same sentence.
3. No causal words: a sentence says what was counted under which design, for which group. It does not say why.
4. What was tested without a finding is "no difference was found", with what the intervals still allow; never "there is
   no difference".
5. Groups are "images with COLUMN VALUE", since a column holds what annotators or file names say, not what people are.

`broken_rules` checks a sentence. Names of classes and groups are the user's own and may contain any word: the tests
check sentences with neutral names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from clipjax.analysis.records import RIGHT
from clipjax.design import NO_SET
from clipjax.errors import brief, some

CAUSAL = re.compile(
    r"\b(because|causes?|caus(ed|ing|al|ally)|due to|owing to|thanks to|leads? to|led to|results? (in|from)|effects?|"
    r"affects?|affected|impacts?|makes?|made|drives?|driven|explains?|explained|therefore|hence|thus|so that|harms?|"
    r"fix(es|ed)?|improves?|worsens?|bias(ed|es)?|fair(er|ness)?|proves?|proven|shows? that)\b",
    re.IGNORECASE,
)
TEST = re.compile(r"Fisher's exact test|chi-squared test|McNemar's exact test")
NO_DIFFERENCE = re.compile(
    r"\b(there is no|there are no|is equal|are equal|the same rate|do not differ)\b", re.IGNORECASE
)
STATED = {  # what a sentence with a difference in points of percent holds
    "both counts": re.compile(r"\d+ of \d+.*\d+ of \d+", re.DOTALL),
    "an interval with its level": re.compile(r"\d+% interval [+-]?\d"),
    "the name of a test": TEST,
    "an adjusted p-value with the number of tests": re.compile(r"adjusted p [=<] ?\S+ over \d+ tests?\b"),
}
MOST_NAMED = 6


def broken_rules(sentence: str) -> list[str]:
    """The rules that a sentence breaks, in words; none where it is fit to be printed."""
    out = [f"the causal word {match[0]!r}" for match in CAUSAL.finditer(sentence)]
    if re.search(r"\bsignifican", sentence, re.IGNORECASE) and not TEST.search(sentence):
        out.append("'significant' without the name of the test")
    if match := NO_DIFFERENCE.search(sentence):
        out.append(f"{match[0]!r} claims that nothing differs")
    if re.search(r"[+-]\d+\.\d points", sentence):
        out += [f"a difference without {what}" for what, pattern in STATED.items() if not pattern.search(sentence)]
    return out


def percent(value: float) -> str:
    """0.5333 -> "53.3%"."""
    return f"{100 * value:.1f}%"


def p_value(p: float) -> str:
    """ "= 0.0078", "< 1e-15"."""
    if p < 1e-15:
        return "< 1e-15"
    return f"= {p:.2g}" if p < 0.995 else "= 1"


def count(n: int, what: str) -> str:
    """ "1 test", "4 tests"."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def points(share: float) -> str:
    """0.01 -> "1 point", 0.025 -> "2.5 points"."""
    return f"{100 * share:g} point{'' if share == 0.01 else 's'}"


def not_shown(left: int, what: str, where: str) -> list[str]:
    """ "12 more differences are in metrics.json."; nothing where nothing is left."""
    return [f"{left} more {what}{' is' if left == 1 else 's are'} in {where}."] if left else []


def images(group: Mapping[str, str]) -> str:
    """ "images with age child and gender male"; "all images"."""
    if not group:
        return "all images"
    return "images with " + " and ".join(value_of(column, value) for column, value in group.items())


def value_of(column: str, value: str) -> str:
    """ "skin tone dark"; fit for a terminal, whatever a table holds."""
    return f"{brief(column.replace('_', ' '))} {brief(value)}"


def answered(what: Mapping[str, Any]) -> str:
    """The question as the start of a sentence that ends with a rate and a group."""
    said = {
        "set": "An answer in the set {!r} is given to",
        "class": "{!r} is the answer for",
        "label": "The label {!r} is returned for",
        "attribute": "{} is recognised for",
        "moved": "The answer changed for",
    }
    if what.get("set") == NO_SET:
        return "An answer in no set is given to"
    kind = next((key for key in said if key in what), "")
    start = said[kind].format(what[kind]) if kind else "The answer is right for"
    details = [str(what[key]) for key in ("classifier", "reading") if what.get(key)]
    if (accuracy := str(what.get("accuracy", RIGHT.name))) != RIGHT.name:
        details.append(accuracy.replace("_", " "))
    if "threshold" in what:
        details.append(f"threshold {100 * what['threshold']:g}%")
    return f"{start.removesuffix(' for')} ({', '.join(details)}) for" if details else start


def named(what: Mapping[str, Any]) -> str:
    """The question as a name in a list: 'person', accuracy."""
    for key in ("set", "class", "label"):
        if key in what:
            return repr(what[key])
    details = [str(what[key]) for key in ("attribute", "classifier", "reading") if what.get(key)]
    accuracy = str(what.get("accuracy", RIGHT.name))
    accuracy = "accuracy" if accuracy == RIGHT.name else accuracy.replace("_", " ")
    return ", ".join(["the share of answers that changed" if "moved" in what else accuracy, *details])


def tested(low: float, high: float, level: float, test: str, p: float, tests: int) -> str:
    """What follows a difference, in brackets."""
    return (
        f"({100 * level:g}% interval {100 * low:+.1f} to {100 * high:+.1f}; {test}, adjusted p {p_value(p)} over "
        f"{count(tests, 'test')})"
    )


def disparity(
    what: Mapping[str, Any], group: Mapping[str, str], other: Mapping[str, str] | None, counts: Sequence[int], end: str
) -> str:
    """One group against the others, or against the other one of two; counts: k, n, k and n of the others."""
    k, n, k_rest, n_rest = counts
    against = f"the {images(other)}" if other else "the others"
    return (
        f"{answered(what)} {percent(k / n)} of the {images(group)} ({k} of {n}) and {percent(k_rest / n_rest)} of "
        f"{against} ({k_rest} of {n_rest}): {100 * (k / n - k_rest / n_rest):+.1f} points {end}."
    )


def moved(
    what: Mapping[str, Any],
    group: Mapping[str, str],
    counts: Sequence[int],
    end: str,
    flow: Sequence[tuple[str, str, int]] = (),
) -> str:
    """One question under two runs; counts: k under A, k under B, n; flow: (class under A, class under B, images)."""
    k_a, k_b, n = counts
    them, start = f"the {images(group)}" if group else images(group), answered(what)
    start = start[0].lower() + start[1:] if start[0].isalpha() else start
    said = (
        f"Under A, {start} {percent(k_a / n)} of {them} ({k_a} of {n}), under B {start.split()[-1]} {percent(k_b / n)} "
        f"({k_b} of {n}): {100 * (k_b - k_a) / n:+.1f} points {end}."
    )
    return f"{said} From A to B: {flows(flow)}." if flow else said


def flows(flow: Sequence[tuple[str, str, int]]) -> str:
    """ "man -> child 8, man -> woman 1 and 2 other moves", the commonest first."""
    shown = [f"{brief(a)} → {brief(b)} {n}" for a, b, n in flow[:MOST_NAMED]]
    rest = sum(n for *_, n in flow[MOST_NAMED:])
    return ", ".join(shown) + (f" and {count(rest, 'other image')}" if rest else "")


def undecided(sentence: str) -> str:
    """A difference whose test passed while its interval holds zero."""
    return f"{sentence.removesuffix('.')}; the interval holds zero, so no difference is stated."


def few_moves(whats: Sequence[str]) -> str:
    """What moved too rarely between two runs."""
    return (
        f"{some(list(whats), MOST_NAMED)} could not be tested between A and B: so few answers changed that no result "
        "could pass the adjusted threshold (McNemar's exact test)."
    )


def no_difference(
    whats: Sequence[str], groups: int, column: str, p: float, tests: int, widest: float, n: int, reliable: float | None
) -> str:
    """What was tested in one column without a finding; `widest` is the bound furthest from zero of its intervals."""
    asked, between = some(list(whats), MOST_NAMED), f"{count(groups, 'group')} of {brief(column.replace('_', ' '))}"
    return (
        f"No difference was found in {asked} between {between}: the smallest adjusted p is "
        f"{p_value(p).removeprefix('= ')} over {count(tests, 'test')}. The intervals still allow "
        f"differences of up to {100 * widest:.1f} points; {_reliable(n, reliable)}."
    )


def unmoved(whats: Sequence[str], p: float, tests: int, widest: float) -> str:
    """What was tested between two runs without a finding."""
    return (
        f"Between A and B, no difference was found in {some(list(whats), MOST_NAMED)}: the smallest adjusted p is "
        f"{p_value(p).removeprefix('= ')} over {count(tests, 'test')} (McNemar's exact test). The intervals still "
        f"allow differences of up to {100 * widest:.1f} points."
    )


def not_enough(groups: Sequence[str], n: int, reliable: float | None) -> str:
    """Groups whose counts cannot give a p-value that passes; n: of the smallest of them."""
    return (
        f"{some(list(groups), MOST_NAMED)} could not be tested: with so few images or answers no result could pass the "
        f"adjusted threshold; {_reliable(n, reliable)}."
    )


def _reliable(n: int, difference: float | None) -> str:
    """From which true difference on a test at these counts finds it four times in five."""
    if difference is None:
        return f"at n = {n} no true difference, however large, would be found in four of five repetitions"
    return f"at n = {n} a true difference of {100 * difference:.0f} points is found in four of five repetitions"


def individual(level: float) -> str:
    """What every reader of several intervals needs to know."""
    return (
        f"Every interval is individual: each holds its true value in {100 * level:g}% of repetitions, all of them "
        "together less often. Adjusted p-values (Benjamini-Hochberg) allow for all tests of one question whose counts "
        "could reach 0.05 at all (Tarone); where an interval excludes zero and nothing is stated, that is the reason."
    )
