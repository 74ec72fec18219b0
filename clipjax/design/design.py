"""What a probe asks: classes in order, how each is asked, the sets that are counted, and designs made of designs."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from clipjax.errors import InputError, nearest, require, some

TEMPLATE = "a photo of a {}."
NO_SET = "no set"  # where answers are counted whose class is in no set of a design that has sets


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
        members: dict[str, list[str]] = {}
        for c in self.classes:
            for name in c.sets:
                members.setdefault(name, []).append(c.name)
        return {name: tuple(names) for name, names in members.items()}

    @property
    def unset(self) -> tuple[str, ...]:
        """The classes in no set; none where the design has no sets at all and is counted class by class."""
        return tuple(c.name for c in self.classes if not c.sets) if self.sets else ()

    @property
    def counted(self) -> dict[str, tuple[str, ...]]:
        """What rates are of -> its classes: the sets, then `NO_SET` where classes are in none."""
        return self.sets | ({NO_SET: self.unset} if self.unset else {})

    @property
    def mirrored(self) -> str:
        """Where each class is in one of two sets: the set of which nothing has to be drawn, because its rates are 100%
        less those of the other: `NO_SET`, or the one of more classes (the second of equals). "" for other designs."""
        counted = list(self.counted.items())
        if len(counted) != 2 or sum(len(names) for _, names in counted) != len(self.classes):
            return ""
        (first, mine), (second, others) = counted
        return second if second == NO_SET or len(others) >= len(mine) else first

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
        require(name, self.sets, f"design {self.name}", "set")
        return np.array([name in c.sets for c in self.classes])

    def attribute(self, key: str) -> tuple[str | None, ...]:
        """What each class means in column `key` [C]; None where it says nothing."""
        return tuple(c.attributes.get(key) for c in self.classes)

    def yaml(self) -> str:
        """The design as a file that `read_design` reads back to an equal design."""

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
    def from_manifest(manifest: Mapping[str, Any]) -> Design:
        """The design of `manifest()`."""
        classes = [
            DesignClass(c["name"], c["texts"], c["sets"], dict(c.get("attributes", {})), c.get("asked", ()))
            for c in manifest["classes"]
        ]
        note, source = manifest.get("note", ""), manifest.get("source", "")
        return Design(manifest["name"], tuple(classes), tuple(manifest["templates"]), note, source)

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
            require(name, self.names, f"design {self.name}", "class")
        kept = tuple(c for c in self.classes if c.name not in names)
        return dataclasses.replace(self, name="-".join([self.name, *names]), classes=kept)

    def reword(self, name: str, text: str) -> Design:
        """The same classes, one of them asked by another text: `people~thief=robber`. The class keeps its name.

        InputError for a text that is the class's own, or another class's.
        """
        require(name, self.names, f"design {self.name}", "class")
        place = self.names.index(name)
        if text == name or (text,) == self.classes[place].texts:
            raise InputError(f"wording {f'{name}={text}'!r} is the class itself; give another text")
        if twice := [c.name for c in self.classes if text in c.texts and c.name != name]:
            raise InputError(f"wording {f'{name}={text}'!r} gives the text of class {twice[0]!r} twice")
        classes = list(self.classes)
        classes[place] = dataclasses.replace(classes[place], texts=(text,), asked=())
        return dataclasses.replace(self, name=f"{self.name}~{name}={text}", classes=tuple(classes))

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
    names = [c.name for design in designs.values() for c in design.classes]
    templates_differ = len({design.templates for design in designs.values()}) > 1
    classes = []
    for question, design in designs.items():
        asked = design.prompts() if templates_differ else [c.asked for c in design.classes]
        for c, prompts in zip(design.classes, asked, strict=True):
            name = c.name if names.count(c.name) == 1 else f"{question}: {c.name}"
            classes.append(dataclasses.replace(c, name=name, asked=prompts, sets=(*c.sets, question)))
    first = next(iter(designs.values()))
    name, source = ("+".join(getattr(design, key) for design in designs.values()) for key in ("name", "source"))
    return Design(name, tuple(classes), first.templates, source=source)


def variants(
    design: Design,
    add: Sequence[str] = (),
    drop: Sequence[str] = (),
    templates: Sequence[str] = (),
    subsets: int = 1,
    rename: Sequence[tuple[str, str]] = (),
) -> list[Design]:
    """The design itself, then every subset of up to `subsets` of the additions and of the removals, then each rewording
    (class, text) alone; each of them asked with each template alone where templates are given."""
    if subsets < 1:
        raise InputError(f"subsets={subsets} is not positive")
    designs = [design]
    for size in range(1, subsets + 1):
        designs += [design.add(group) for group in itertools.combinations(add, size)]
        designs += [design.drop(group) for group in itertools.combinations(drop, size)]
    designs += [design.reword(name, text) for name, text in rename]
    if templates:
        designs = [dataclasses.replace(d.ask([t]), name=f"{d.name} | {t}") for t in templates for d in designs]
    return designs


def _dumped(c: DesignClass) -> str | dict[str, Any]:
    """A class as `_class` reads it: only what it says."""
    texts = c.texts if c.texts != (c.name,) else ()
    asked = {"prompt": c.asked[0]} if len(c.asked) == 1 else {"prompts": list(c.asked)} if c.asked else {}
    rest = asked | ({"texts": list(texts)} if texts and not asked else {}) | ({"sets": list(c.sets)} if c.sets else {})
    return {"name": c.name} | rest | dict(c.attributes) if rest or c.attributes else c.name


def _sha256(templates: Sequence[str], classes: Sequence[Mapping[str, Any]]) -> str:
    asked = {"templates": list(templates), "classes": list(classes)}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
