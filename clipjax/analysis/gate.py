"""Conditions on a run's numbers, for whoever guards their own classes in CI.

    rate[set=crime, race=*] > 0.05 @ lower

reads: the run fails when, for any race, the lower bound of the interval of the rate of `crime` is above 0.05. The
selector names record fields (set, class, label, threshold, ...) or group columns; `column=*` is every value. Groups
have exactly the columns that are named: none is everybody. The part after `@` is lower, upper or value.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any

from clipjax.analysis.paired_numbers import PairedNumber
from clipjax.analysis.records import PairedRecord, Record
from clipjax.errors import InputError, some

OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
SIDES = {"lower": "low", "upper": "high", "value": "value"}
_NUMBERS = r"\s*(?P<metric>[\w@]+)\s*(\[(?P<selector>[^\]]*)\])?\s*"
SELECTOR = re.compile(_NUMBERS)
GRAMMAR = re.compile(_NUMBERS + r"(?P<op>>=|<=|>|<)\s*(?P<bound>[-+.\deE]+)\s*(@\s*(?P<side>\w+)\s*)?")
EXAMPLE = '"rate[set=crime, race=*] > 0.05 @ lower"'


@dataclasses.dataclass(frozen=True)
class Selector:
    """Which numbers are meant: of a metric, with these values of fields or group columns."""

    text: str
    metric: str
    selector: Mapping[str, str]

    def of(self, records: Sequence[Record]) -> list[Record]:
        """The records that are meant. InputError, with what there is, where none is."""
        found = [record for record in records if _matches(self, record.to_dict())]
        if not found:
            raise InputError(f"{self.text!r} matches nothing; {_offer(self, [r.to_dict() for r in records])}")
        return found


@dataclasses.dataclass(frozen=True)
class Condition(Selector):
    """When a record matching metric and selector has `side` `op` `bound`, the run fails."""

    op: str
    bound: float
    side: str


def parse(text: str) -> Condition:
    """The condition, or InputError with the part that cannot be read."""
    parsed = GRAMMAR.fullmatch(text)
    if not parsed:
        raise InputError(f"--fail-if {text!r} is not METRIC[key=value, ...] > NUMBER @ lower|upper|value, as {EXAMPLE}")
    selector = _selected(parsed["selector"] or "", f"--fail-if {text!r}")
    side = parsed["side"] or "value"
    if side not in SIDES:
        raise InputError(f"--fail-if {text!r}: @ {side} is none of {', '.join(SIDES)}")
    try:
        bound = float(parsed["bound"])
    except ValueError:
        raise InputError(f"--fail-if {text!r}: {parsed['bound']!r} is not a number") from None
    return Condition(text.strip(), parsed["metric"], selector, parsed["op"], bound, side)


def selector(text: str) -> Selector:
    """ "rate[set=crime, race=*]" -> which numbers are meant, or InputError with the part that cannot be read."""
    parsed = SELECTOR.fullmatch(text)
    if not parsed:
        raise InputError(f"{text!r} is not METRIC[key=value, ...], as rate[set=crime, race=*]")
    return Selector(text.strip(), parsed["metric"], _selected(parsed["selector"] or "", repr(text)))


def _selected(text: str, where: str) -> dict[str, str]:
    """ "set=crime, race=*" -> {"set": "crime", "race": "*"}."""
    found: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = (p.strip() for p in part.partition("="))
        if not equals or not key or not value:
            raise InputError(f"{where}: {part!r} is not key=value")
        if key in found:
            raise InputError(f"{where}: {key} is named twice")
        found[key] = value
    return found


def breaches(condition: Condition, results: Sequence[Record]) -> list[str]:
    """A line per record that fulfils the condition. A condition that no record can answer is an error, not a pass."""
    return _breaches(condition, [record.to_dict() for record in results])  # a condition names fields


def breaches_of_change(
    condition: Condition, results: Sequence[PairedRecord], numbers: Sequence[PairedNumber],
    agreement: Sequence[Record] = (),
) -> list[str]:  # fmt: skip
    """The same of a comparison, whose numbers are differences B - A: `paired_difference` of questions, and those of
    other metrics under their own names; and of the agreement of both."""
    paired = [record.to_dict() for record in results]
    changes = [{**one, "value": one["difference"]} for one in paired]
    return _breaches(condition, [*changes, *(one.to_dict() for one in (*numbers, *agreement))])


def _breaches(condition: Condition, records: Sequence[Mapping[str, Any]]) -> list[str]:
    named = [record for record in records if _matches(condition, record)]
    if not named:
        raise InputError(f"--fail-if {condition.text!r} matches nothing; {_offer(condition, records)}")
    if any(SIDES[condition.side] not in record for record in named):
        raise InputError(f"--fail-if {condition.text!r}: {condition.metric} has no interval; write @ value")
    out = []
    for record in named:
        value = record.get(SIDES[condition.side])
        if value is None:
            if record.get("value") is None or condition.op in ("<", "<=") or condition.side != "upper":
                continue  # undefined, or an open bound on the harmless side
            value = float("inf")
        if OPERATORS[condition.op](value, condition.bound):
            out.append(f"{_describe(record)}: {condition.side} {value:.4g} {condition.op} {condition.bound:g}")
    return out


def _matches(condition: Selector, record: Mapping[str, Any]) -> bool:
    group = record.get("group") or {}
    if record.get("metric") != condition.metric:
        return False
    fields = {key: value for key, value in condition.selector.items() if key in record and key != "group"}
    columns = {key: value for key, value in condition.selector.items() if key not in fields}
    if columns.keys() != group.keys():
        return False
    return all(v in ("*", str(record[k])) for k, v in fields.items()) and all(
        v in ("*", str(group[k])) for k, v in columns.items()
    )


def _offer(condition: Selector, records: Sequence[Mapping[str, Any]]) -> str:
    """What could have been asked."""
    same = [record for record in records if record.get("metric") == condition.metric]
    if not same:
        return f"metrics are {', '.join(sorted({str(r.get('metric')) for r in records}))}"
    parts = []
    for key in ("set", "class", "label", "accuracy", "threshold", "attribute", "classifier", "candidates", "over"):
        values = list(dict.fromkeys(str(r[key]) for r in same if key in r))
        if values:
            parts.append(f"{key}: {some(values, 8)}")
    grouped = sorted({"*".join((r.get("group") or {}).keys()) or "everybody" for r in same})
    return "; ".join([*parts, f"groups: {', '.join(grouped)}"])


def _describe(record: Mapping[str, Any]) -> str:
    keys = [
        k for k in record if k not in ("metric", "group", "k", "n", "value", "low", "high", "level", "method", "small")
    ]
    what = ", ".join(f"{k}={record[k]}" for k in keys if not isinstance(record[k], (dict, list)))
    group = ", ".join(f"{k}={v}" for k, v in (record.get("group") or {}).items()) or "everybody"
    count = f" {record['k']}/{record['n']}" if "k" in record and "n" in record else ""
    bounds = [("open" if record.get(s) is None else f"{record[s]:.4g}") for s in ("low", "high")]
    value = "undefined" if record.get("value") is None else f"{record['value']:.4g}"
    return f"{record['metric']}[{what}] of {group}:{count} = {value} [{bounds[0]}, {bounds[1]}]"
