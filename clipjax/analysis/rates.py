"""How often each group of people gets an answer out of a set of classes: rates with their counts, always.

"Evaluating CLIP", section 2.1: an image is misclassified when its likeliest class is in a set that its truth cannot be
in (crime-related, non-human); the rate of a group is P(class in set | group), with the group's images as denominator.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import ArrayLike

from clipjax.analysis import two_rates
from clipjax.analysis.intervals import interval
from clipjax.analysis.manifest import MIN_N
from clipjax.analysis.order import in_order
from clipjax.analysis.records import Record, finite
from clipjax.analysis.tallies import Tally, check_cells, tally
from clipjax.design import Design
from clipjax.errors import InputError
from clipjax.files import lines

Columns = Mapping[str, np.ndarray]
FEW = 1 << 22  # numbers that are counted one by one; among more they are sorted


@dataclasses.dataclass(frozen=True)
class Method:
    """How intervals are made and from which n on a cell is not marked as small."""

    name: str = "clopper-pearson"
    level: float = 0.95
    min_n: int = MIN_N
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Cells:
    """The groups of one grouping: `groups[g]` and, for every image, the index of its group (-1: in none)."""

    groups: list[dict[str, str]]
    of: np.ndarray


def bands(text: str, columns: Columns) -> tuple[dict[str, np.ndarray], list[str]]:
    """ "age_band=age: 0-19=0-2|3-9|10-19; 20-59=20-29|30-39" -> {"age_band": the band of each image, "" in none}.

    Several, separated by new lines or "&". The second result are notes: a line whose column is not there or whose
    values never occur is left out, a value that does not occur is named.
    """
    out: dict[str, np.ndarray] = {}
    notes: list[str] = []
    for line in filter(None, (part.strip() for part in lines(text.replace("&", "\n")))):
        head, colon, body = line.partition(":")
        name, equals, source = (part.strip() for part in head.partition("="))
        if not colon or not equals or not name or not source:
            raise InputError(f"bands: {line!r} is not NEW=COLUMN: BAND=value|value; BAND=value")
        if source not in columns:
            notes.append(f"bands: there is no column {source!r}, so no {name}")
            continue
        members = _members(body, source)
        texts = columns[source].astype(str)
        known = set(texts)
        if not known & set(members):
            notes.append(f"bands: no image has one of the values of {name} in column {source!r}; left out")
            continue
        if absent := [value for value in members if value not in known]:
            notes.append(f"bands: no image has {source} {', '.join(absent)}")
        out[name] = np.array([members.get(value, "") for value in texts], object)
    return out, notes


def band_names(text: str) -> dict[str, list[str]]:
    """The bands of `bands` in the order they are written: {"age_band": ["0-19", "20-59"]}."""
    found: dict[str, list[str]] = {}
    for line in lines(text.replace("&", "\n")):
        head, _, body = line.partition(":")
        named = (entry.partition("=")[0].strip() for entry in body.split(";"))
        found[head.partition("=")[0].strip()] = list(filter(None, named))
    return found


def _members(body: str, source: str) -> dict[str, str]:
    """Value -> its band."""
    found: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in body.split(";"))):
        band, equals, members = entry.partition("=")
        for value in (members if equals else band).split("|"):
            if found.setdefault(value.strip(), band.strip()) != band.strip():
                raise InputError(f"bands: {source} {value.strip()!r} is in two bands")
    return found


def groupings(text: str, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """ "race,gender,race*gender" -> tuples of columns, everybody () first. Empty: each column, and each pair."""
    if not text.strip():
        return [(), *((c,) for c in columns), *itertools.combinations(columns, 2)]
    found: list[tuple[str, ...]] = [()]
    for entry in text.split(","):
        names = tuple(name.strip() for name in entry.split("*") if name.strip())
        if unknown := [name for name in names if name not in columns]:
            raise InputError(f"groups: no column {unknown[0]!r} among {', '.join(columns) or 'none'}")
        if names not in found:
            found.append(names)
    return found


def cells(grouping: Sequence[str], columns: Columns, n: int) -> Cells:
    """The groups that have images, as `clipjax.analysis.order` has them; an image with an empty value is in none."""
    if not grouping:
        return Cells([{}], np.zeros(n, np.int64))
    coded = [_coded(np.asarray(columns[name])) for name in grouping]
    sizes = [max(len(values), 1) for values, _ in coded]
    known = np.all([of >= 0 for _, of in coded], axis=0)
    found, place = occurring(np.ravel_multi_index([of[known] for _, of in coded], sizes), math.prod(sizes))
    check_cells(grouping, len(found), n)
    places = zip(coded, np.unravel_index(found, sizes), strict=True)
    distinct = list(zip(*([values[i] for i in own.tolist()] for (values, _), own in places), strict=True))
    order = in_order(distinct)
    of = np.full(n, -1, np.int64)
    of[known] = np.argsort(order)[place]
    return Cells([dict(zip(grouping, distinct[g], strict=True)) for g in order], of)


def occurring(code: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers [N] below `size` -> those that occur, sorted [M], and the place of each among them [N]."""
    if size > FEW:
        return np.unique(code, return_inverse=True)
    found = np.flatnonzero(np.bincount(code, minlength=size))
    place = np.zeros(size, np.int64)
    place[found] = np.arange(len(found))
    return found, place[code]


def _coded(column: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The texts of a column [N], sorted, and which of them each image has, int [N]; -1 for the empty one."""
    values = column.tolist()
    distinct = set(values)
    if not all(isinstance(value, str) for value in distinct):
        values = column.astype(str).tolist()
        distinct = set(values)
    texts = sorted(distinct - {""})
    place = {text: i for i, text in enumerate(texts)} | {"": -1}
    return texts, np.fromiter(map(place.__getitem__, values), np.int64, len(values))


def counts(prediction: np.ndarray, partition: Cells, classes: int) -> np.ndarray:
    """int64 [G, C]: images of each group whose answer is each class."""
    inside = partition.of >= 0
    flat = partition.of[inside] * classes + prediction[inside]
    return np.bincount(flat, minlength=len(partition.groups) * classes).reshape(len(partition.groups), classes)


def tallies(prediction: np.ndarray, columns: Columns, grouped: Sequence[Sequence[str]], classes: int) -> list[Tally]:
    """Class indices [N] -> for each grouping how many images of each group are given each class, [C]."""
    found = ((grouping, cells(grouping, columns, len(prediction))) for grouping in grouped)
    return [tally(one.groups, grouping, counts(prediction, one, classes)) for grouping, one in found]


def records_of(tallied: Sequence[Tally], design: Design, method: Method) -> list[Record]:
    """A record per set (or class) and group, then differences and ratios against the rest.

    Sets for every grouping, `no set` among them where classes are in none; single classes for everybody and for single
    columns. `small` marks a cell with fewer than `method.min_n` images. A design without sets is reported class
    by class.
    """
    out: list[Record] = []
    for one in tallied:
        out += tally_records(one.table, one.groups, design, method)
    for one in tallied:
        if len(one.grouping) == 1:
            out += against_rest(one.table, one.groups, design, method)
    return out


def tally_records(tally: np.ndarray, groups: list[dict[str, str]], design: Design, method: Method) -> list[Record]:
    """[G, C] counts of one grouping -> rate records, sets first; single classes only up to one column."""
    n = tally.sum(1)
    kinds = [({"set": name}, tally[:, design.members(name)].sum(1)) for name in design.counted]
    if groups and len(groups[0]) <= 1:  # two columns may have no image in common
        kinds += [({"class_": name}, tally[:, c]) for c, name in enumerate(design.names)]
    return [record for what, k in kinds for record in cell_records(k, n, groups, method, **what)]


def cell_records(
    k: np.ndarray, n: np.ndarray, groups: list[dict[str, str]], method: Method, **what: str
) -> list[Record]:
    """k [G] of n [G] images of each group -> a rate record each; `what` says of what: set="crime"."""
    found = numbers("rate", k, n, method)
    return [replace(record, group=group, **what) for group, record in zip(groups, found, strict=True)]


def numbers(metric: str, k: ArrayLike, n: ArrayLike, method: Method) -> list[Record]:
    """k of n images [G], either may be one number -> each rate with counts and interval; no images have no rate."""
    k, n = np.broadcast_arrays(np.atleast_1d(np.asarray(k)), np.atleast_1d(np.asarray(n)))
    low, high = interval(k, n, method.name, method.level, method.seed)
    cells = zip(k.tolist(), n.tolist(), low.tolist(), high.tolist(), strict=True)
    return [
        Record(
            metric=metric, k=k, n=n, value=k / n if n else None, low=low, high=high, level=method.level,
            method=method.name, small=n < method.min_n,
        )
        for k, n, low, high in cells
    ]  # fmt: skip


def against_rest(tally: np.ndarray, groups: list[dict[str, str]], design: Design, method: Method) -> list[Record]:
    """Difference and ratio of each group's set rates against all other images that have a value in the column."""
    n = tally.sum(1)
    out = []
    for name in design.counted if len(groups) > 1 else ():
        k = tally[:, design.members(name)].sum(1)
        pairs = (k, n, k.sum() - k, n.sum() - n)
        both = {
            "rate_difference": two_rates.difference(*pairs, level=method.level),
            "rate_ratio": two_rates.ratio(*pairs, level=method.level),
        }
        for metric, found in both.items():
            for g, group in enumerate(groups):
                out.append(Record(
                    metric=metric, set=name, group=group, against="the rest", k=int(k[g]), n=int(n[g]),
                    k_rest=int(pairs[2][g]), n_rest=int(pairs[3][g]), value=finite(found.value[g]),
                    low=finite(found.low[g]), high=finite(found.high[g]), level=method.level, method=found.method,
                    small=bool(min(n[g], pairs[3][g]) < method.min_n),
                ))  # fmt: skip
    return out
