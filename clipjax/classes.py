"""Lists of texts as people write them: in one line, one a line in a file, in JSON; and what labels are called.

--classes=cat,dog    --classes=names.txt    --classes=names.json
--config.data.class_names=names.txt         names by position, or one OLD=NEW (or two columns) a line
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from clipjax.errors import InputError, brief, converted, nearest, some
from clipjax.files import lines

WORDNET_ID = re.compile(r"n[0-9]{8}")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
LISTS = (".txt", ".json", ".csv", ".tsv")  # a value with one of these endings is a file, there or not


@dataclasses.dataclass(frozen=True)
class Naming:
    """What the labels of a data set are called: `entries` are names by position, or {label: name}; `source` says whose.

    `pairs` are the entries of a file that may be a list by position or two columns: which of the two depends on the
    labels, and is decided in `names`.
    """

    source: str
    listed: tuple[str, ...] = ()
    mapping: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def names(self, ids: Sequence[str], where: str) -> tuple[str, ...]:
        """The name of each label [C]. InputError where the list or the mapping does not fit the labels."""
        mapping = self.mapping or self._columns(ids)
        if mapping:
            return self._mapped(ids, mapping, where)
        if numbers(ids) is not None:
            return tuple(self.listed[place] for place in positions(ids, len(self.listed), self.source, where))
        if set(ids) <= set(self.listed):
            return tuple(ids)  # the labels are names already
        if len(self.listed) == len(ids) and all(map(WORDNET_ID.fullmatch, ids)):
            return tuple(self.listed[sorted(ids).index(name)] for name in ids)  # in the order of the ids
        raise InputError(
            f"{self.source}: {len(self.listed)} names without labels, and the labels of {where} are not numbers "
            f"({some([repr(name) for name in ids], 3)}); write one OLD=NEW a line"
        )

    def _columns(self, ids: Sequence[str]) -> dict[str, str]:
        """The listed lines as two columns, where the first column holds all labels: "n01440764 tench"."""
        for separator in ("\t", ",", " "):
            pairs = [line.partition(separator) for line in self.listed]
            named = {old.strip(): new.strip() for old, mark, new in pairs if mark and new.strip()}
            if len(named) == len(self.listed) and set(ids) <= named.keys():
                return named
        return {}

    def _mapped(self, ids: Sequence[str], mapping: Mapping[str, str], where: str) -> tuple[str, ...]:
        unnamed, unused = [name for name in ids if name not in mapping], [old for old in mapping if old not in ids]
        if unused and unnamed:
            raise InputError(
                f"{self.source}: {unused[0]!r} is not a label of {where}{nearest(unused[0], ids)}; its labels: "
                f"{some([repr(name) for name in ids])}"
            )
        if bare := [name for name in unnamed if _is_id(name)]:
            raise InputError(
                f"{self.source}: gives no name to the label {bare[0]!r} of {where}; add {bare[0]}=NAME, or {bare[0]}= "
                "where it means that an image has no label"
            )
        return tuple(mapping.get(name, name) for name in ids)


def numbers(names: Sequence[str]) -> tuple[int, ...] | None:
    """Labels that are bare whole numbers, "7" or all of one width as "007"; None where one is anything else."""
    if not names or not all(map(_WHOLE.fullmatch, names)):
        return None
    if any(len(name) > 1 and name[0] == "0" for name in names) and len(set(map(len, names))) > 1:
        return None
    return tuple(map(int, names))


def positions(ids: Sequence[str], count: int, source: str, where: str) -> tuple[int, ...]:
    """Where a list of `count` names has each label, all numbers: counted from 0, or from 1 where only that fits."""
    given = numbers(ids)
    assert given is not None
    low, high = min(given), max(given)
    remedy = f"--config.data.class_names={','.join(f'{name}=NAME' for name in ids[:2])},... or a file with one a line"
    if low < 0:
        without = [name for name, number in zip(ids, given, strict=True) if number < 0]
        raise InputError(
            f"{source}: {count} names by position, and {where} has the label {without[0]}; if that means no label, say "
            f'so: --config.data.class_names="{without[0]}=,{ids[-1]}=NAME,..."'
        )
    if low == 1 and high == count:
        return tuple(number - 1 for number in given)
    if low == 1 and high < count:
        raise InputError(
            f"{source}: {count} names by position, and the labels of {where} are {low} to {high}: whether they count "
            f"from 0 or from 1 is not known; name each: {remedy}"
        )
    if high >= count:
        raise InputError(
            f"{source}: {count} names by position, and {where} has the label {high}; give {high + 1} names, counted "
            f"from 0, or name each: {remedy}"
        )
    return given


def read_classes(text: str) -> list[str]:
    """`a,b,c`, or the list in the file of that name: one class a line, or a JSON list of texts."""
    listed = _of_file(text, "classes")
    if isinstance(listed, dict):
        listed = {old: name for old, name in listed.items() if numbers([old]) is not None} or listed
        if all(map(WORDNET_ID.fullmatch, listed)):
            return list(listed.values())
        places = sorted(numbers(tuple(listed)) or ())
        if not places or places != list(range(places[0], places[0] + len(listed))) or places[0] not in (0, 1):
            raise InputError(
                f"{text}: says what labels are called: --config.data.class_names={text}; a list of classes has one a "
                "line"
            )
        return [listed[key] for key in sorted(listed, key=int)]
    return [_clean(c) for c in text.split(",")] if listed is None else _names_only(listed, text)


def read_texts(text: str, what: str) -> list[str] | None:
    """The texts in the file of that name, one a line or a JSON list; None where that file does not exist."""
    listed = _of_file(text, what)
    if isinstance(listed, dict):
        raise InputError(f"{text}: a JSON object; {what} are one a line, or a list of texts in JSON")
    return listed


def _names_only(listed: list[str], where: str) -> list[str]:
    """The second column of a file that numbers its classes or gives their WordNet ids first."""
    pairs = [re.fullmatch(r"(\d+|n\d{8})([\t, ]+)(.+)", line) for line in listed]
    if not listed or not all(pairs):
        return listed
    firsts = [pair[1] for pair in pairs if pair]
    if all(first[0] == "n" for first in firsts):
        return [pair[3].strip() for pair in pairs if pair]
    if firsts not in ([str(i) for i in range(len(firsts))], [str(i + 1) for i in range(len(firsts))]):
        return listed
    if all(pair and pair[2].strip(" ") for pair in pairs):
        return [pair[3].strip() for pair in pairs if pair]
    raise InputError(
        f"{where}: lines such as {brief(listed[0])!r} may be a number and a name, or a name; separate the columns by a "
        'tab or comma, or give the names in one line: --config.classes="1 dog,2 dogs"'
    )


def read_naming(text: str, source: str = "") -> Naming:
    """What labels are called: "cat,dog" or "0=cat,1=dog", or a file of lines or JSON with either.

    OLD= without a name says that images with the label OLD have none.
    """
    content = _of_file(text, "class names")
    source = source or (text if content is not None else f"class_names={brief(text)}")
    if isinstance(content, dict):
        return Naming(source, mapping=content)
    listed = [_clean(part) for part in text.split(",")] if content is None else content
    if not listed:
        raise InputError(f"{source} holds no names")
    if all("=" in line for line in listed):
        mapping: dict[str, str] = {}
        for line in listed:
            old, _, new = (part.strip() for part in line.partition("="))
            if not old or mapping.setdefault(old, new) != new:
                raise InputError(f"{source}: {brief(line)!r} is not OLD=NEW, or gives {old!r} a second name")
        return Naming(source, mapping=mapping)
    return Naming(source, listed=tuple(listed))


def lines_of_file(text: str, what: str) -> list[str] | None:
    """The lines of the file called `text`, without blank ones and surrounding spaces; None where it does not exist.

    Raises InputError for a file that is not text in UTF-8; `what` says of what.
    """
    path = Path(text)
    try:
        if not path.is_file():
            return None
    except (OSError, ValueError):  # too long to be a file name, or a zero in it
        return None
    problem = f"{text}: not readable as a text file of {what}"
    with converted(problem, "save it as UTF-8, and check its access rights", OSError, UnicodeDecodeError):
        listed = lines(path.read_bytes().decode("utf-8-sig"), path)
    return [_clean(line) for line in listed if line.strip()]


def _of_file(text: str, what: str) -> list[str] | dict[str, str] | None:
    listed = lines_of_file(text, what)
    if listed is None:
        if Path(text).suffix.lower() in LISTS and "," not in text:
            raise InputError(f"{text}: no such file of {what}")
        return None
    if listed and (listed[0][0] == "[" or (listed[0][0] == "{" and not listed[0].startswith("{}"))):
        return _of_json(text, "\n".join(listed), what)
    if Path(text).suffix.lower() in (".csv", ".tsv"):
        return _of_table(text, listed)
    return listed


def _of_table(where: str, listed: list[str]) -> list[str] | dict[str, str]:
    """One column of names, or two of labels and names; a header above numbers or WordNet ids is left out."""
    separator = "\t" if where.lower().endswith(".tsv") else ";" if all(";" in line for line in listed) else ","
    rows = [[_clean(cell) for cell in row] for row in csv.reader(listed, delimiter=separator)]
    widths = {len(row) for row in rows}
    if widths == {1}:
        return [row[0] for row in rows]
    if widths != {2}:
        if min(widths) > 1:
            raise InputError(f"{where}: has {max(widths)} columns; give one of names, or two of labels and names")
        return listed  # names with commas in them
    if not _is_id(rows[0][0]) and len(rows) > 1 and all(_is_id(row[0]) for row in rows[1:]):
        rows = rows[1:]
    if len({old for old, _ in rows}) < len(rows):
        raise InputError(f"{where}: the first column has a label twice; give each label one name")
    return dict(rows)


def _is_id(text: str) -> bool:
    return numbers([text]) is not None or WORDNET_ID.fullmatch(text) is not None


def _of_json(where: str, text: str, what: str) -> list[str] | dict[str, str]:
    with converted(f"{where}: begins as JSON and is not JSON", f"{what} are one a line", ValueError, RecursionError):
        content = json.loads(text)
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return [_clean(name) for name in content]
    if isinstance(content, dict) and content:
        pairs = list(content.items())
        if all(isinstance(name, str) for _, name in pairs):
            return {_clean(old): _clean(name) for old, name in pairs}
        if all(type(place) is int for _, place in pairs) and len(set(content.values())) == len(pairs):
            return {str(place): _clean(name) for name, place in pairs}  # torchvision's class_to_idx, label2id
        if all(isinstance(v, list) and len(v) == 2 and all(isinstance(one, str) for one in v) for _, v in pairs):
            return {key: _clean(v[1]) for old, v in pairs for key in (old, v[0])}  # Keras's imagenet_class_index.json
    raise InputError(
        f'{where}: {what} in JSON are a list of texts, or an object such as {{"0": "cat"}} or {{"cat": 0}}'
    )


def _clean(text: str) -> str:
    """A name without surrounding spaces, in the one spelling of accents that Unicode prefers."""
    return unicodedata.normalize("NFC", text).strip()
