"""Designs as people write them: a YAML file, a shipped name, `NAME+class:set`; labels of commercial services."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from clipjax.design.design import TEMPLATE, Design, DesignClass
from clipjax.errors import InputError, brief, converted, located, nearest, require

KEYS = ("name", "note", "extends", "templates", "classes", "add", "drop", "explorer")  # the last: see explore.state
LARGEST = 4 << 20  # bytes of a design file: thousands of classes are some 100 kB
SCHWEMMER = {"Google": "wiki_img_labels", "Amazon": "wiki_img_labels_awsrek", "Microsoft": "wiki_img_labels_macv"}


def read_design(text: str) -> Design:
    """A path to a .yaml, a shipped name, either with `+class` or `+class:set`, or `schwemmer:PATH` to mc_data.tsv."""
    return dataclasses.replace(_read(text), source=text)


def _read(text: str) -> Design:
    if text.startswith("schwemmer:"):
        return platform_labels(Path(text.removeprefix("schwemmer:")))
    if Path(text).suffix in (".yaml", ".yml"):
        return _read_file(Path(text), ())
    if own := re.fullmatch(r"(.+\.ya?ml)\+(.+)", text):  # a folder's name may hold a + too
        design, added = _read_file(Path(own[1]), ()), own[2].split("+")
    else:
        base, *added = text.split("+")
        design = _read_file(_shipped_file(base.strip()), ())
    return design.add(a.strip() for a in added) if added else design


def shipped(kind: str = "designs") -> dict[str, Path]:
    """Name -> file of every design (or list of "stimuli") that comes with clipjax, from a clone and from a wheel."""
    package = Path(__file__).parents[1]
    for folder in (package / "configs" / kind, package.parent / "configs" / kind):
        if folder.is_dir():
            return {p.stem: p for p in sorted(folder.glob("*.yaml"))}
    return {}


def platform_labels(path: Path) -> Design:
    """The labels that Google, Amazon and Microsoft returned for Schwemmer et al.'s portraits, combined (311)."""
    per_platform = {platform: {label for row in rows for label in row} for platform, rows in read_labels(path).items()}
    labels = sorted(set().union(*per_platform.values()))
    classes = [
        DesignClass(label, attributes={"platforms": ", ".join(p for p, own in per_platform.items() if label in own)})
        for label in labels
    ]
    counts = ", ".join(f"{platform} {len(own)}" for platform, own in per_platform.items())
    note = (
        f"{len(labels)} labels returned by commercial services for portraits of Members of Congress ({counts}), from "
        "the replication material of Schwemmer et al. (2020). How the paper asked for them (templates) is not known."
    )
    return Design("platform-labels", tuple(classes), note=note)


def read_labels(path: Path) -> dict[str, list[set[str]]]:
    """mc_data.tsv -> platform -> per portrait the labels it returned, lower case, spaces for its underscores."""
    remedy = "take mc_data.tsv of the replication material"
    damage = (OSError, UnicodeDecodeError, csv.Error)
    with (
        converted(f"{path}: not readable as a tab-separated table", remedy, *damage),
        open(path, encoding="utf-8-sig", newline="") as file,
    ):
        rows = list(csv.DictReader(file, delimiter="\t"))
    for column in SCHWEMMER.values():
        require(column, rows[0] if rows else (), path, "column", f"; {remedy}")
    out = {}
    for platform, column in SCHWEMMER.items():
        cells = [(row[column] or "").strip().replace("_", " ") for row in rows]
        separator = max(";|,", key=lambda s: sum(cell.count(s) for cell in cells))
        labels = [{part.strip().lower() for part in cell.split(separator)} - {"", "na"} for cell in cells]
        if not any(labels):
            raise InputError(f"{path}: column {column!r} holds no labels")
        out[platform] = labels
    return out


def _shipped_file(name: str) -> Path:
    if name in shipped():
        return shipped()[name]
    raise InputError(
        f"unknown class design {brief(name)!r}{nearest(name, shipped())}; shipped: {', '.join(shipped())}, and "
        "your own is a path that ends in .yaml"
    )


def parse(text: str, where: str = "the design") -> Design:
    """The design of a YAML text that came without a file: it extends shipped designs only. `where` leads messages."""
    return of_mapping(yaml_value(text, where), where, Path(where).stem)


def yaml_value(text: str, where: str) -> Any:
    """What a YAML text holds, whether it is a design or not."""
    if len(text.encode(errors="surrogatepass")) > LARGEST:
        raise InputError(f"{where}: {len(text)} characters are too many for a class design")
    damage = (yaml.YAMLError, RecursionError, ValueError, LookupError)  # a date that is none, among others
    with converted(f"{where}: not readable as YAML", "correct that line", *damage):
        return yaml.load(text, Loader=_Loader)


def _read_file(path: Path, above: tuple[Path, ...]) -> Design:
    if path.resolve() in above:
        raise InputError(f"{path}: extends itself by way of {' and '.join(p.name for p in above)}")
    damage = (OSError, UnicodeDecodeError)
    with converted(f"{path}: cannot be read as a class design", "check the path, and save it as UTF-8", *damage):
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: {path.stat().st_size} bytes are too many for a class design")
        text = path.read_text(encoding="utf-8")

    def parent(base: str) -> Design:
        beside = path.parent / f"{base}.yaml"
        try:
            there = beside.exists()
        except (OSError, ValueError):  # a name too long for a file, or with a NUL
            there = False
        return _read_file(beside if there else _shipped_file(base), (*above, path.resolve()))

    return _of_mapping(yaml_value(text, str(path)), str(path), path.stem, parent)


def _shipped_parent(base: str) -> Design:
    return _read_file(_shipped_file(base), ())


def of_mapping(content: object, where: str = "the design", stem: str = "design") -> Design:
    """The design of what a YAML text holds, with the same checks; it extends shipped designs only. `stem` is its name
    where it says none."""
    return _of_mapping(content, where, stem, _shipped_parent)


def _of_mapping(content: object, where: str, stem: str, parent: Callable[[str], Design]) -> Design:
    if not isinstance(content, dict):
        raise InputError(f"{where}: a class design is a mapping with `name` and `classes`")
    if unknown := [key for key in content if key not in KEYS]:
        near = nearest(unknown[0], KEYS)
        raise InputError(f"{where}: unknown key {unknown[0]!r}{near}; known: {', '.join(KEYS)}")
    with located(where):
        design = _build(stem, content, parent)
        if not design.classes:
            raise InputError(f"design {design.name} has no classes; name at least one")
        return design


def _build(stem: str, content: Mapping[str, Any], parent_of: Callable[[str], Design]) -> Design:
    name = str(content.get("name", stem))
    note = str(content.get("note", "")).strip()
    templates = _texts(content.get("templates"), "templates")
    if base := content.get("extends"):
        parent = parent_of(str(base))
        kept = parent.drop(_texts(content.get("drop"), "drop")) if content.get("drop") else parent
        asked = Design(name, kept.classes, tuple(templates) or parent.templates, note or parent.note)
    elif "drop" in content:
        raise InputError("`drop` needs `extends`: there is nothing to drop from")
    else:
        asked = Design(name, (), tuple(templates) or (TEMPLATE,), note)
    asked = dataclasses.replace(asked, classes=(*asked.classes, *_classes(content, "classes", DesignClass)))
    return dataclasses.replace(asked, classes=(*asked.classes, *_classes(content, "add", asked.added)))


def _classes(content: Mapping[str, Any], key: str, of_text: Callable[[str], DesignClass]) -> tuple[DesignClass, ...]:
    listed = content.get(key) or []
    if not isinstance(listed, list):
        raise InputError(f"`{key}` is a list of classes, not {type(listed).__name__}")
    return tuple(
        of_text(entry) if isinstance(entry, str) else _class(entry, f"{key}[{i}]") for i, entry in enumerate(listed)
    )


def _class(entry: object, where: str) -> DesignClass:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise InputError(
            f"{where} is {brief(repr(entry))}: a class is a text or a mapping with `name` (quote yes, no and numbers)"
        )
    own = ("name", "texts", "prompt", "prompts", "sets")
    rest = {key: value for key, value in entry.items() if key not in own}
    if odd := [key for key, value in rest.items() if isinstance(value, (dict, list)) or value is None]:
        raise InputError(f"{where} ({entry['name']}): {odd[0]!r} is not a single value")
    asked = _texts(entry.get("prompts", entry.get("prompt")), f"{where} prompt")
    texts = _texts(entry.get("texts"), f"{where} texts")
    if asked and texts:
        raise InputError(f"{where} ({entry['name']}) has a prompt and texts: the prompt is asked alone; keep one")
    if odd := [prompt for prompt in asked if "{}" in prompt]:
        raise InputError(f"{where} ({entry['name']}): prompt {odd[0]!r} is asked as it stands; {{}} is for templates")
    sets = _texts(entry.get("sets"), f"{where} sets")
    return DesignClass(entry["name"], texts, sets, {str(k): str(v) for k, v in rest.items()}, asked)


def _texts(value: object, where: str) -> list[str]:
    if value is None:
        return []
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(v, str) for v in listed):
        raise InputError(
            f"`{where}` is {brief(repr(value))}: give a text or a list of texts (quote yes, no and numbers)"
        )
    return listed


class _Loader(yaml.SafeLoader):
    """YAML without aliases, nine lines of which can stand for a billion classes, and without tags."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError(f"aliases (*name) are not read, line {self.peek_event().start_mark.line + 1}")
        if getattr(self.peek_event(), "tag", None):
            raise yaml.YAMLError(f"tags (!name) are not read, line {self.peek_event().start_mark.line + 1}")
        return super().compose_node(parent, index)
