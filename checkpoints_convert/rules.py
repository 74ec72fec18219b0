"""One rule table per dialect, read both ways.

A rule says: our tensor `ours` is their tensors `theirs`, in this `layout`. `{n}` stands for a layer's index. On
the way in exactly one rule must match each of their names, every name is used and every leaf of ours is filled;
on the way out exactly one rule must match each of ours. Anything else is one message that lists both sides.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import numpy as np

from clipjax.errors import InputError, some

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one of their arrays becomes ours, and back; None where that cannot be said. `axes` that theirs must have."""

    to_ours: Callable[[np.ndarray], np.ndarray]
    to_theirs: Callable[[np.ndarray], np.ndarray] | None
    axes: int | None = None


SAME = Layout(lambda x: x, lambda x: x)
SCALAR = Layout(lambda x: x.reshape(()) if x.shape == (1,) else x, lambda x: x)  # some files have it as [1]
ONE_NUMBER = Layout(SCALAR.to_ours, lambda x: x.reshape(1))
LINEAR = Layout(lambda x: x.T, lambda x: x.T, 2)  # torch's [out, in] <-> [in, out]
CONV = Layout(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1), 4)  # OIHW <-> HWIO
ONE = Layout(lambda x: x[0], lambda x: x[None], 3)  # [1, N, D] <-> [N, D]
VECTOR = Layout(lambda x: x[0, 0], lambda x: x[None, None], 3)  # [1, 1, D] <-> [D]
FIRST = Layout(lambda x: x[:1], None, 2)  # of several rows, the only one that is read
ZEROS = ""  # in the place of a part that their model does not have: a bias that is nothing but zeros


@dataclasses.dataclass(frozen=True)
class Rule:
    """`theirs` may be several tensors, which ours holds side by side along its last axis (fused q, k, v).

    One of them may be ZEROS, in the shape of the first. `shares` are their widths where they differ, in proportion.
    """

    ours: str
    theirs: str | tuple[str, ...]
    layout: Layout
    shares: tuple[int, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """`theirs`, always as a tuple."""
        return (self.theirs,) if isinstance(self.theirs, str) else self.theirs


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How one library names its tensors.

    name: what messages call it. format: what a model's source calls it.
    rules: of every family of models that has names of this dialect; a new family adds its rows.
    ignored: names that files carry but no model reads, each with its reason.
    marks: parts of names, all of which occur in a file of this dialect and not in one of those that are tried later.
    fold: what is done to their tensors before any rule, where several become one.
    """

    name: str
    format: str
    rules: tuple[Rule, ...]
    ignored: Mapping[str, str]
    marks: tuple[str, ...] = ()
    fold: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] | None = None

    def knows(self, names: Iterable[str]) -> bool:
        """Whether these are names of this dialect, by its marks."""
        names = list(names)
        return all(any(mark in name for name in names) for mark in self.marks)

    # What a name can match at all, so that hundreds of names do not each try hundreds of patterns.

    @functools.cached_property
    def theirs_by_skeleton(self) -> dict[str, list[tuple[Rule, int]]]:
        """(rule, which of its parts)."""
        return _grouped(((rule, i), part) for rule in self.rules for i, part in enumerate(rule.parts) if part != ZEROS)

    @functools.cached_property
    def ours_by_skeleton(self) -> dict[str, list[Rule]]:
        """Rules by our names."""
        return _grouped((rule, rule.ours) for rule in self.rules)

    @functools.cached_property
    def ignored_by_skeleton(self) -> dict[str, list[str]]:
        """Templates of `ignored`."""
        return _grouped((template, template) for template in self.ignored)


def to_native(
    dialect: Dialect, theirs: Mapping[str, np.ndarray], where: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Their tensors -> ours, and the names that no rule knows; arrays come back as views where they can.

    Whether that is what a configuration asks for is `shapes.check`'s business: of a fused tensor a part of which is
    missing, the parts are among the unknown.
    """
    if dialect.fold is not None:
        theirs = dialect.fold(theirs)
    collected: dict[str, dict[int, tuple[str, np.ndarray]]] = {}
    rules: dict[str, Rule] = {}
    unknown: list[str] = []
    for name, array in theirs.items():
        skeleton = _skeleton(name)
        if any(_pattern(p).fullmatch(name) for p in dialect.ignored_by_skeleton.get(skeleton, ())):
            continue
        matches = [
            (rule, i, m)
            for rule, i in dialect.theirs_by_skeleton.get(skeleton, ())
            if (m := _pattern(rule.parts[i]).fullmatch(name))
        ]
        if not matches:
            unknown.append(name)
            continue
        assert len(matches) == 1, f"{dialect.name} has two rules for {name}"
        rule, i, match = matches[0]
        ours = _fill(rule.ours, match.groups())
        collected.setdefault(ours, {})[i] = (name, array)
        rules[ours] = rule
    for ours in [
        k for k, parts in collected.items() if len(parts) != len(rules[k].parts) - rules[k].parts.count(ZEROS)
    ]:
        unknown += [name for name, _ in collected.pop(ours).values()]
    flat = {
        k: _join(k, {i: array for i, (_, array) in parts.items()}, rules[k], where) for k, parts in collected.items()
    }
    return flat, unknown


def from_native(dialect: Dialect, ours: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """Our tensors -> theirs, contiguous; the inverse of `to_native`, bit for bit."""
    out: dict[str, np.ndarray] = {}
    bad = []
    for name, array in ours.items():
        near = dialect.ours_by_skeleton.get(_skeleton(name), ())
        rules = [rule for rule in near if _pattern(rule.ours).fullmatch(name)]
        if len(rules) != 1:
            bad.append(name)
            continue
        layout, names = rules[0].layout, _theirs_of(rules[0], name)
        for their_name, piece in zip(names, _pieces(array, rules[0]), strict=True):
            if layout.to_theirs is None or (their_name == ZEROS and np.asarray(piece, np.float32).any()):
                bad.append(name)
            elif their_name != ZEROS:
                made = layout.to_theirs(piece)
                out[their_name] = np.ascontiguousarray(made).reshape(made.shape)  # ascontiguousarray makes () into (1,)
    if bad:
        raise InputError(f"{where}: {dialect.name} has no place for {some(bad)}")
    return out


def _pieces(array: np.ndarray, rule: Rule) -> list[np.ndarray]:
    if len(rule.parts) == 1:
        return [array]
    shares = rule.shares or (1,) * len(rule.parts)
    one = array.shape[-1] // sum(shares)
    return np.split(array, [one * sum(shares[:k]) for k in range(1, len(shares))], axis=-1)


def _join(name: str, parts: Mapping[int, np.ndarray], rule: Rule, where: str) -> np.ndarray:
    given = list(parts.values())
    if len({p.dtype for p in given}) > 1:
        raise InputError(f"{where}: the parts of {name} differ in dtype: {', '.join(str(p.dtype) for p in given)}")
    axes = rule.layout.axes
    if axes and (odd := [p for p in given if p.ndim != axes]):
        raise InputError(f"{where}: {name} should have {axes} axes, the file's have shape {odd[0].shape}")
    whole = [parts[i] if part != ZEROS else np.zeros_like(given[0]) for i, part in enumerate(rule.parts)]
    made = [rule.layout.to_ours(p) for p in whole]
    return made[0] if len(made) == 1 else np.concatenate(made, axis=-1)


def _theirs_of(rule: Rule, ours: str) -> list[str]:
    match = _pattern(rule.ours).fullmatch(ours)
    assert match, (rule, ours)
    return [_fill(part, match.groups()) for part in rule.parts]


def _skeleton(name: str) -> str:
    """A name or a template without its numbers: equal where one can match the other."""
    return re.sub(r"\{n\}|\d+", "#", name)


def _grouped(items: Iterable[tuple[T, str]]) -> dict[str, list[T]]:
    out: dict[str, list[T]] = {}
    for item, template in items:
        out.setdefault(_skeleton(template), []).append(item)
    return out


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(r"\{n\}", r"(\d+)"))


def _fill(template: str, indices: Iterable[str]) -> str:
    for i in indices:
        template = template.replace("{n}", i, 1)
    return template
