"""Class designs: which classes a model may answer with, how it is asked, and which sets of classes are counted.

A design is a small YAML file, and it is the experiment ("Evaluating CLIP", section 2.1: "class design has the potential
to be a key factor determining both the model performance and the unwanted biases").

    name: fairface-default
    templates: ["a photo of a {}."]
    classes:
      - {name: "Black man", sets: [person], race: Black, gender: Male}
      - {name: thief, prompt: "a thief", sets: [crime]}
      - orangutan

A class is asked with its name in every template, or with `texts: [...]` instead of its name; `prompt` (or a list,
`prompts`) is asked as it stands, whatever the templates.

`extends: NAME`, `add: [child]` and `drop: [animal]` make one design out of another. A class that is added by its name
alone is in no set; `child:person` is in the set `person`, which the design has to have. `NAME+child`,
`config.sweep.add`, `add` and the explorer read one text alike (`Design.added`). No set is the default since only the
author knows what a class counts as: a set that the tool chose would move that set's rate by the choice and not by the
model's answers. What such classes are given is a rate of its own, `no set`.

A design is all that a probe asks: a list of classes, a named data set's own classes and templates, a file. It is what
`manifest["design"]` holds for every probe (`Design.manifest`).
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from clipjax.errors import InputError, brief, nearest, one_line, some

TEMPLATE = "a photo of a {}."
NO_SET = "no set"  # where answers are counted whose class is in no set of a design that has sets
KEYS = ("name", "note", "extends", "templates", "classes", "add", "drop")
LARGEST = 4 << 20  # bytes of a design file: thousands of classes are some 100 kB
SCHWEMMER = {"Google": "wiki_img_labels", "Amazon": "wiki_img_labels_awsrek", "Microsoft": "wiki_img_labels_macv"}


@dataclasses.dataclass(frozen=True)
class DesignClass:
    """One class: `texts` go into the templates, or `asked` are its whole prompts; several of either are averaged.

    attributes say what it means (race: Black).
    """

    name: str
    texts: Sequence[str] = ()
    sets: Sequence[str] = ()
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    asked: Sequence[str] = ()

    def __post_init__(self):
        object.__setattr__(self, "texts", tuple(self.texts) or (self.name,))
        object.__setattr__(self, "sets", tuple(self.sets))
        object.__setattr__(self, "asked", tuple(self.asked))
        if not self.name.strip() or not all(text.strip() for text in (*self.texts, *self.asked)):
            raise InputError(f"class {self.name!r} is empty or asks with an empty text; remove it or name it")
        if NO_SET in self.sets:
            raise InputError(f"class {self.name!r}: {NO_SET!r} counts classes without a set; leave its sets empty")


@dataclasses.dataclass(frozen=True)
class Design:
    """Classes in order (the index of a prediction), the templates they are asked with, a note, and where it is from.

    Retrieval asks with captions and identities with names that are kept private: their designs have no classes.
    """

    name: str
    classes: tuple[DesignClass, ...]
    templates: tuple[str, ...] = (TEMPLATE,)
    note: str = ""
    source: str = ""

    def __post_init__(self):
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "templates", tuple(self.templates))
        if not self.templates:
            raise InputError(f'design {self.name} has no templates; for example "{TEMPLATE}"')
        for template in self.templates:
            if template.count("{}") != 1:
                raise InputError(
                    f"design {self.name}: template {template!r} needs exactly one {{}}, where the class name goes"
                )
        seen: set[str] = set()
        for c in self.classes:
            if c.name in seen:
                raise InputError(
                    f"design {self.name}: class {c.name!r} is given twice; two equal classes would share its "
                    "probability"
                )
            seen.add(c.name)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names [C]."""
        return tuple(c.name for c in self.classes)

    @property
    def sets(self) -> dict[str, tuple[str, ...]]:
        """Set -> its classes, sets in the order they appear."""
        found: dict[str, list[str]] = {}
        for c in self.classes:
            for name in c.sets:
                found.setdefault(name, []).append(c.name)
        return {name: tuple(members) for name, members in found.items()}

    @property
    def unset(self) -> tuple[str, ...]:
        """The classes in no set; none where the design has no sets at all and is counted class by class."""
        return tuple(c.name for c in self.classes if not c.sets) if self.sets else ()

    @property
    def counted(self) -> dict[str, tuple[str, ...]]:
        """What rates are of -> its classes: the sets, then `NO_SET` where classes are in none."""
        return self.sets | ({NO_SET: self.unset} if self.unset else {})

    def unset_note(self) -> str:
        """One line that names the classes in no set and how to put them into one; "" where there are none."""
        if not self.unset:
            return ""
        one = next(iter(self.sets))
        return (
            f"{self.name}: {some(self.unset)}: in no set, counted as {NO_SET!r}; to put an added class into a set: "
            f"+{self.unset[0]}:{one}, and in a design file: sets: [{one}]"
        )

    def members(self, name: str) -> np.ndarray:
        """bool [C]: which classes belong to the set; `NO_SET`: which belong to none."""
        if name == NO_SET:
            return np.array([not c.sets for c in self.classes])
        if name not in self.sets:
            raise InputError(f"design {self.name} has no set {name!r}; it has {', '.join(self.sets) or 'none'}")
        return np.array([name in c.sets for c in self.classes])

    def attribute(self, key: str) -> tuple[str | None, ...]:
        """What each class means in column `key` [C]; None where it says nothing."""
        return tuple(c.attributes.get(key) for c in self.classes)

    def yaml(self) -> str:
        """The design as a file that `load` reads back to an equal design."""

        def dump(value: Any, **style: Any) -> str:
            plain = json.dumps(value, ensure_ascii=False).isprintable()  # else PyYAML reads U+0085 back as a space
            return yaml.safe_dump(value, allow_unicode=plain, sort_keys=False, width=float("inf"), **style)

        head = {"name": self.name} | ({"note": self.note} if self.note else {}) | {"templates": list(self.templates)}
        # One class a line; PyYAML would end a text that stands alone with "...", so each is dumped as a list of one.
        classes = [f"  - {dump([_dumped(c)], default_flow_style=True)[1:-2]}\n" for c in self.classes]
        return dump(head) + "classes:\n" + "".join(classes)

    def prompts(self) -> list[list[str]]:
        """Per class: its own prompts, or every text in every template."""
        return [
            list(c.asked) or [t.replace("{}", text) for text in c.texts for t in self.templates] for c in self.classes
        ]

    def manifest(self) -> dict[str, Any]:
        """All of it as JSON, prompts after templates."""
        classes = [
            {"name": c.name, "texts": list(c.texts), "prompts": prompts, "sets": list(c.sets)}
            | ({"attributes": dict(c.attributes)} if c.attributes else {})
            | ({"asked": list(c.asked)} if c.asked else {})
            for c, prompts in zip(self.classes, self.prompts(), strict=True)
        ]
        head = {"name": self.name, "note": self.note, "source": self.source, "sha256": _sha256(self.templates, classes)}
        return head | {"templates": list(self.templates), "classes": classes}

    @staticmethod
    def from_manifest(found: Mapping[str, Any]) -> Design:
        """The design of `manifest()`."""
        classes = [
            DesignClass(c["name"], c["texts"], c["sets"], dict(c.get("attributes", {})), c.get("asked", ()))
            for c in found["classes"]
        ]
        note, source = found.get("note", ""), found.get("source", "")
        return Design(found["name"], tuple(classes), tuple(found["templates"]), note, source)

    @property
    def sha256(self) -> str:
        """Of templates and classes: what is asked, without the name, note and source of the design."""
        return self.manifest()["sha256"]

    def add(self, classes: Iterable[str | DesignClass]) -> Design:
        """With more classes at the end: a text is `child`, in no set, or `child:person`, in sets that the design has.

        The name says so: `fairface-default+child:person`. InputError for a set that the design does not have.
        """
        added = [c if isinstance(c, DesignClass) else self.added(c) for c in classes]
        name = "+".join([self.name, *(":".join((c.name, *c.sets)) for c in added)])
        return dataclasses.replace(self, name=name, classes=(*self.classes, *added))

    def added(self, text: str) -> DesignClass:
        """`child` or `child:person` as a class."""
        name, *sets = (part.strip() for part in text.split(":"))
        if unknown := [s for s in sets if s not in self.sets]:
            raise InputError(
                f"{text!r} adds {name!r} to the set {unknown[0]!r}, and design {self.name} has "
                f"{'the sets ' + ', '.join(self.sets) if self.sets else 'no sets'}; write a new set, "
                f"or a name with a colon, in a design file: {{name: ..., sets: [...]}}{nearest(unknown[0], self.sets)}"
            )
        return DesignClass(name, sets=tuple(dict.fromkeys(sets)))

    def drop(self, names: Iterable[str]) -> Design:
        """Without these classes: `fairface-default-animal`."""
        names = list(names)
        for name in names:
            if name not in self.names:
                raise InputError(f"design {self.name} has no class {name!r}{nearest(name, self.names)}")
        kept = tuple(c for c in self.classes if c.name not in names)
        return dataclasses.replace(self, name="-".join([self.name, *names]), classes=kept)

    def ask(self, templates: Sequence[str]) -> Design:
        """The same classes asked with other templates."""
        return dataclasses.replace(self, templates=tuple(templates))


def of_classes(
    names: Sequence[str], templates: Sequence[str] = (TEMPLATE,), name: str = "classes", source: str = ""
) -> Design:
    """A plain list of class names as a design without sets. InputError for an empty list and an empty name."""
    names = tuple(names)
    if not names:
        raise InputError("no classes given; name at least one")
    if empty := [i for i, c in enumerate(names) if not c.strip()]:
        raise InputError(f"class {empty[0] + 1} of {len(names)} is empty; remove it or name it")
    return Design(name, tuple(DesignClass(n) for n in names), tuple(templates), source=source)


def joined(designs: Mapping[str, Design]) -> Design:
    """Several questions as one design: the classes of each in a set of the question's name.

    A class name that two questions share is led by the question ("race: other").
    """
    names = [c.name for found in designs.values() for c in found.classes]
    classes = []
    for question, found in designs.items():
        asked = (
            found.prompts() if len({d.templates for d in designs.values()}) > 1 else [c.asked for c in found.classes]
        )
        for c, prompts in zip(found.classes, asked, strict=True):
            name = c.name if names.count(c.name) == 1 else f"{question}: {c.name}"
            classes.append(dataclasses.replace(c, name=name, asked=prompts, sets=(*c.sets, question)))
    first = next(iter(designs.values()))
    name = "+".join(found.name for found in designs.values())
    return Design(name, tuple(classes), first.templates, source="+".join(found.source for found in designs.values()))


def load(text: str) -> Design:
    """A path to a .yaml, a shipped name, either with `+class` or `+class:set`, or `schwemmer:PATH` to mc_data.tsv."""
    return dataclasses.replace(_load(text), source=text)


def _load(text: str) -> Design:
    if text.startswith("schwemmer:"):
        return platform_labels(Path(text.removeprefix("schwemmer:")))
    if Path(text).suffix in (".yaml", ".yml"):
        return _read(Path(text), ())
    if own := re.fullmatch(r"(.+\.ya?ml)\+(.+)", text):  # a folder's name may hold a + too
        design, added = _read(Path(own[1]), ()), own[2].split("+")
    else:
        base, *added = text.split("+")
        design = _read(_find(base.strip()), ())
    return design.add(a.strip() for a in added) if added else design


def shipped() -> dict[str, Path]:
    """Name -> file of every design that comes with clipjax, from a clone and from a wheel."""
    package = Path(__file__).parent
    for folder in (package / "configs" / "designs", package.parent / "configs" / "designs"):
        if folder.is_dir():
            return {p.stem: p for p in sorted(folder.glob("*.yaml"))}
    return {}


def variants(
    design: Design,
    add: Sequence[str] = (),
    drop: Sequence[str] = (),
    templates: Sequence[str] = (),
    subsets: int = 1,
) -> list[Design]:
    """The design itself, then every subset of up to `subsets` of the additions and of the removals, each of them
    asked with each template alone where templates are given."""
    if subsets < 1:
        raise InputError(f"subsets={subsets} is not positive")
    found = [design]
    for size in range(1, subsets + 1):
        found += [design.add(group) for group in itertools.combinations(add, size)]
        found += [design.drop(group) for group in itertools.combinations(drop, size)]
    if templates:
        found = [dataclasses.replace(d.ask([t]), name=f"{d.name} | {t}") for t in templates for d in found]
    return found


def platform_labels(path: Path) -> Design:
    """The labels that Google, Amazon and Microsoft returned for Schwemmer et al.'s portraits, combined (311)."""
    per_platform = {platform: {label for row in rows for label in row} for platform, rows in read_labels(path).items()}
    labels = sorted(set().union(*per_platform.values()))
    classes = [
        DesignClass(
            label, attributes={"platforms": ", ".join(p for p, found in per_platform.items() if label in found)}
        )
        for label in labels
    ]
    counts = ", ".join(f"{platform} {len(found)}" for platform, found in per_platform.items())
    note = (
        f"{len(labels)} labels returned by commercial services for portraits of Members of Congress ({counts}), from "
        "the replication material of Schwemmer et al. (2020). How the paper asked for them (templates) is not known."
    )
    return Design("platform-labels", tuple(classes), note=note)


def read_labels(path: Path) -> dict[str, list[set[str]]]:
    """mc_data.tsv -> platform -> per portrait the labels it returned, lower case."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as a tab-separated table ({error})") from error
    columns = rows[0].keys() if rows else ()
    if missing := [column for column in SCHWEMMER.values() if column not in columns]:
        raise InputError(f"{path} has no column {missing[0]!r}; take mc_data.tsv of the replication material")
    out = {}
    for platform, column in SCHWEMMER.items():
        cells = [(row[column] or "").strip() for row in rows]
        separator = max(";|,", key=lambda s: sum(cell.count(s) for cell in cells))
        found = [{part.strip().lower() for part in cell.split(separator)} - {"", "na"} for cell in cells]
        if not any(found):
            raise InputError(f"{path}: column {column!r} holds no labels")
        out[platform] = found
    return out


def _find(name: str) -> Path:
    if name in shipped():
        return shipped()[name]
    raise InputError(
        f"unknown class design {brief(name)!r}{nearest(name, shipped())}; shipped: {', '.join(shipped())}, and "
        "your own is a path that ends in .yaml"
    )


def parse(text: str, where: str = "the design") -> Design:
    """The design of a YAML text that came without a file: it extends shipped designs only. `where` leads messages."""
    if len(text.encode(errors="surrogatepass")) > LARGEST:
        raise InputError(f"{where}: {len(text)} characters are no class design")
    return _parsed(text, where, Path(where).stem, _shipped_parent)


def _read(path: Path, above: tuple[Path, ...]) -> Design:
    if path.resolve() in above:
        raise InputError(f"{path}: extends itself by way of {' and '.join(p.name for p in above)}")
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: {path.stat().st_size} bytes are no class design")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a class design ({error})") from error

    def parent(base: str) -> Design:
        beside = path.parent / f"{base}.yaml"
        try:
            there = beside.exists()
        except (OSError, ValueError):  # a name too long for a file, or with a NUL
            there = False
        return _read(beside if there else _find(base), (*above, path.resolve()))

    return _parsed(text, str(path), path.stem, parent)


def _shipped_parent(base: str) -> Design:
    return _read(_find(base), ())


def _parsed(text: str, where: str, stem: str, parent: Callable[[str], Design]) -> Design:
    """`parent` finds what a design extends; every message says where."""
    try:
        found = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError, LookupError) as error:  # a date that is none, among others
        raise InputError(f"{where}: {one_line(error)}") from error
    return _of_mapping(found, where, stem, parent)


def of_mapping(found: Any, where: str = "the design") -> Design:
    """The design of what a YAML text holds, with the same checks; it extends shipped designs only."""
    return _of_mapping(found, where, "design", _shipped_parent)


def _of_mapping(found: Any, where: str, stem: str, parent: Callable[[str], Design]) -> Design:
    if not isinstance(found, dict):
        raise InputError(f"{where}: a class design is a mapping with `name` and `classes`")
    if unknown := [key for key in found if key not in KEYS]:
        raise InputError(f"{where}: unknown key {unknown[0]!r}{nearest(unknown[0], KEYS)}; known: {', '.join(KEYS)}")
    try:
        built = _build(stem, found, parent)
        if not built.classes:
            raise InputError(f"design {built.name} has no classes; name at least one")
        return built
    except InputError as error:
        raise error if where in str(error) else InputError(f"{where}: {error}") from error


def _build(stem: str, found: dict[str, Any], parent_of: Callable[[str], Design]) -> Design:
    name = str(found.get("name", stem))
    note = str(found.get("note", "")).strip()
    templates = _texts(found.get("templates"), "templates")
    if base := found.get("extends"):
        parent = parent_of(str(base))
        kept = parent.drop(_texts(found.get("drop"), "drop")) if found.get("drop") else parent
        asked = Design(name, kept.classes, tuple(templates) or parent.templates, note or parent.note)
    elif "drop" in found:
        raise InputError("`drop` needs `extends`: there is nothing to drop from")
    else:
        asked = Design(name, (), tuple(templates) or (TEMPLATE,), note)
    asked = dataclasses.replace(asked, classes=(*asked.classes, *_classes(found, "classes", DesignClass)))
    return dataclasses.replace(asked, classes=(*asked.classes, *_classes(found, "add", asked.added)))


def _classes(found: dict[str, Any], key: str, of_text: Callable[[str], DesignClass]) -> tuple[DesignClass, ...]:
    listed = found.get(key) or []
    if not isinstance(listed, list):
        raise InputError(f"`{key}` is a list of classes, not {type(listed).__name__}")
    return tuple(
        of_text(entry) if isinstance(entry, str) else _class(entry, f"{key}[{i}]") for i, entry in enumerate(listed)
    )


def _class(entry: Any, where: str) -> DesignClass:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise InputError(
            f"{where} is {brief(repr(entry))}: a class is a text or a mapping with `name` (quote yes, no and numbers)"
        )
    own = ("name", "texts", "prompt", "prompts", "sets")
    rest = {key: value for key, value in entry.items() if key not in own}
    if odd := [key for key, value in rest.items() if isinstance(value, (dict, list)) or value is None]:
        raise InputError(f"{where} ({entry['name']}): {odd[0]!r} is no single value")
    asked = _texts(entry.get("prompts", entry.get("prompt")), f"{where} prompt")
    texts = _texts(entry.get("texts"), f"{where} texts")
    if asked and texts:
        raise InputError(f"{where} ({entry['name']}) has a prompt and texts: the prompt is asked alone; keep one")
    if odd := [prompt for prompt in asked if "{}" in prompt]:
        raise InputError(f"{where} ({entry['name']}): prompt {odd[0]!r} is asked as it stands; {{}} is for templates")
    sets = _texts(entry.get("sets"), f"{where} sets")
    return DesignClass(entry["name"], texts, sets, {str(k): str(v) for k, v in rest.items()}, asked)


def _dumped(c: DesignClass) -> str | dict[str, Any]:
    """A class as `_class` reads it: only what it says."""
    texts = c.texts if c.texts != (c.name,) else ()
    asked = {"prompt": c.asked[0]} if len(c.asked) == 1 else {"prompts": list(c.asked)} if c.asked else {}
    rest = asked | ({"texts": list(texts)} if texts and not asked else {}) | ({"sets": list(c.sets)} if c.sets else {})
    return {"name": c.name} | rest | dict(c.attributes) if rest or c.attributes else c.name


def _texts(value: Any, where: str) -> list[str]:
    if value is None:
        return []
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(v, str) for v in listed):
        raise InputError(
            f"`{where}` is {brief(repr(value))}: give a text or a list of texts (quote yes, no and numbers)"
        )
    return listed


def _sha256(templates: Sequence[str], classes: Sequence[Mapping[str, Any]]) -> str:
    asked = {"templates": list(templates), "classes": list(classes)}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class _Loader(yaml.SafeLoader):
    """YAML without aliases, nine lines of which can stand for a billion classes, and without tags."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError(f"aliases (*name) are not read, line {self.peek_event().start_mark.line + 1}")
        if getattr(self.peek_event(), "tag", None):
            raise yaml.YAMLError(f"tags (!name) are not read, line {self.peek_event().start_mark.line + 1}")
        return super().compose_node(parent, index)
