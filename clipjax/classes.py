"""Lists of texts as people write them: in one line, one a line in a file, in JSON; and what labels are called.

--classes=cat,dog    --classes=names.txt    --classes=names.json
--config.data.class_names=names.txt         names by position, or one OLD=NEW (or two columns) a line
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from clipjax.errors import InputError, brief, nearest, one_line, some
from clipjax.files import lines

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
        if all(re.fullmatch(r"0|-?[1-9][0-9]*", name) for name in ids):
            low, high = min(ids, key=int), max(ids, key=int)
            if int(low) >= 0 and int(high) < len(self.listed):
                return tuple(self.listed[int(name)] for name in ids)
            outside = low if int(low) < 0 else high
            raise InputError(
                f"{self.source}: {len(self.listed)} names by position, and {where} has the label {outside}; positions "
                f"count from 0, else write one OLD=NEW a line, such as {outside}=NAME"
            )
        if set(ids) <= set(self.listed):
            return tuple(ids)  # the labels are names already
        if len(self.listed) == len(ids) and all(
            len(name) == 9 and name[:1] == "n" and name[1:].isdigit() for name in ids
        ):
            return tuple(self.listed[sorted(ids).index(name)] for name in ids)  # WordNet ids, in their order
        raise InputError(
            f"{self.source}: {len(self.listed)} names without labels, and the labels of {where} are no numbers "
            f"({some([repr(name) for name in ids], 3)}); write one OLD=NEW a line"
        )

    def _columns(self, ids: Sequence[str]) -> dict[str, str]:
        """The listed lines as two columns, where the first column holds all labels: "n01440764 tench"."""
        for separator in ("\t", ",", " "):
            pairs = [line.partition(separator) for line in self.listed]
            found = {old.strip(): new.strip() for old, mark, new in pairs if mark and new.strip()}
            if len(found) == len(self.listed) and set(ids) <= found.keys():
                return found
        return {}

    def _mapped(self, ids: Sequence[str], mapping: Mapping[str, str], where: str) -> tuple[str, ...]:
        unnamed, unused = [name for name in ids if name not in mapping], [old for old in mapping if old not in ids]
        if unused and unnamed:
            raise InputError(
                f"{self.source}: {unused[0]!r} is not a label of {where}{nearest(unused[0], ids)}; its labels: "
                f"{some([repr(name) for name in ids])}"
            )
        return tuple(mapping.get(name, name) for name in ids)


def read_classes(text: str) -> list[str]:
    """`a,b,c`, or the list in the file of that name: one class a line, or a JSON list of texts."""
    found = _of_file(text, "classes")
    if isinstance(found, dict):
        raise InputError(f'{text}: a JSON object; a list of classes is ["cat", "dog"]')
    return [c.strip() for c in text.split(",")] if found is None else _names_only(found, text)


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
    """What labels are called: "cat,dog" or "0=cat,1=dog", or a file of lines or JSON with either."""
    found = _of_file(text, "class names")
    source = source or (text if found is not None else f"class_names={brief(text)}")
    if isinstance(found, dict):
        return Naming(source, mapping=found)
    listed = [part.strip() for part in text.split(",")] if found is None else found
    if not listed:
        raise InputError(f"{source} holds no names")
    if all("=" in line for line in listed):
        mapping: dict[str, str] = {}
        for line in listed:
            old, _, new = (part.strip() for part in line.partition("="))
            if not old or not new or mapping.setdefault(old, new) != new:
                raise InputError(f"{source}: {brief(line)!r} is not OLD=NEW, or gives {old!r} a second name")
        return Naming(source, mapping=mapping)
    return Naming(source, listed=tuple(listed))


def lines_of_file(text: str, what: str) -> list[str] | None:
    """The lines of the file called `text`, without blank ones and surrounding spaces; None where there is no such file.

    Raises InputError for a file that is not text in UTF-8; `what` says of what.
    """
    path = Path(text)
    try:
        if not path.is_file():
            return None
    except (OSError, ValueError):  # too long to be a file name, or a zero in it
        return None
    try:
        found = lines(path.read_bytes().decode("utf-8-sig"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{text}: not readable as a text file of {what} ({error})") from error
    return [line.strip() for line in found if line.strip()]


def _of_file(text: str, what: str) -> list[str] | dict[str, str] | None:
    listed = lines_of_file(text, what)
    if listed is None:
        if Path(text).suffix.lower() in LISTS and "," not in text:
            raise InputError(f"{text}: no such file of {what}")
        return None
    if listed and listed[0][:1] in ("[", "{"):
        return _of_json(text, "\n".join(listed), what)
    return listed


def _of_json(where: str, text: str, what: str) -> list[str] | dict[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: begins as JSON and is not JSON ({one_line(error, 80)}); {what} are one a line"
        ) from error
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return [name.strip() for name in found]
    if isinstance(found, dict) and all(isinstance(name, str) for name in found.values()):
        return {str(old): name.strip() for old, name in found.items()}
    raise InputError(f"{where}: {what} in JSON are a list of texts or an object of texts")
