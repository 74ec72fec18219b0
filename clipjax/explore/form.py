"""A class design as the page holds it, and back: the same checks as for a YAML file, with limits for hostile texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from clipjax import design
from clipjax.design import Design, DesignClass
from clipjax.errors import InputError

LONGEST = 1000  # characters of one name, prompt or template: CLIP reads 77 tokens
LONGEST_NOTE = 20_000
MOST_CLASSES = 5000
MOST_TEMPLATES = 1000


def read(found: Any) -> Design:
    """{"name", "note", "templates", "classes": [{"name", "prompts", "texts", "sets", "attributes"}]} -> Design."""
    if not isinstance(found, dict) or not isinstance(found.get("classes"), list):
        raise InputError("the page sent no class design; load it again")
    if len(found["classes"]) > MOST_CLASSES:
        raise InputError(f"{len(found['classes'])} classes are more than the {MOST_CLASSES} of a page")
    templates = texts(found.get("templates"), "template")
    if len(templates) > MOST_TEMPLATES:
        raise InputError(f"{len(templates)} templates are more than the {MOST_TEMPLATES} of a page")
    mapping = {
        "name": _text(found.get("name"), "the design's name") or "design",
        "note": _text(found.get("note"), "the note", LONGEST_NOTE),
        "templates": templates,
        "classes": [_class(entry, i) for i, entry in enumerate(found["classes"], 1)],
    }
    if not templates:  # of a file, no templates mean the usual one; of a page, that the last was taken out
        raise InputError(f'the design has no template left; for example "{design.TEMPLATE}"')
    try:
        return design.of_mapping(mapping, "the design")
    except InputError as error:
        raise InputError(str(error).removeprefix("the design: ").removeprefix(f"design {mapping['name']}: ")) from error


def write(found: Design) -> dict[str, Any]:
    """What `read` reads."""
    classes = [_entry(c) for c in found.classes]
    return {"name": found.name, "note": found.note, "templates": list(found.templates), "classes": classes}


def added(body: Mapping[str, Any]) -> dict[str, Any]:
    """The class of `body["text"]`, read as after `NAME+` on the command line, for the design of the page.

    It is in the sets of `body["sets"]` too, which may be new.
    """
    found = read(body.get("design")).added(_text(body.get("text"), "the new class"))
    sets = [*found.sets, *filter(None, (s.strip() for s in texts(body.get("sets"), "a set")))]
    return _entry(dataclasses.replace(found, sets=tuple(dict.fromkeys(sets))))


def _entry(c: DesignClass) -> dict[str, Any]:
    return {
        "name": c.name, "prompts": list(c.asked), "texts": [] if c.texts == (c.name,) else list(c.texts),
        "sets": list(c.sets), "attributes": dict(c.attributes),
    }  # fmt: skip


def _class(entry: Any, number: int) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise InputError(f"class {number} is not a class; load the page again")
    name = _text(entry.get("name"), f"the name of class {number}")
    if not name.strip():
        raise InputError(f"class {number} has no name; name it or remove it")
    where = f"class {number} ({name[:40]})"
    attributes = entry.get("attributes") or {}
    if not isinstance(attributes, Mapping):
        raise InputError(f"{where}: its attributes are not a mapping")
    out: dict[str, Any] = {"name": name}
    if prompts := texts(entry.get("prompts"), f"{where}: a prompt"):
        out["prompts"] = prompts
    elif asked := texts(entry.get("texts"), f"{where}: a text"):
        out["texts"] = asked
    out["sets"] = [s.strip() for s in texts(entry.get("sets"), f"{where}: a set") if s.strip()]
    given = {_text(k, where): _text(v, where) for k, v in attributes.items()}
    return out | {k: v for k, v in given.items() if k not in ("name", "prompt", "prompts", "texts", "sets")}


def texts(value: Any, what: str) -> list[str]:
    """A list of texts, each within its limits; none where there is no list."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"{what} is not a text; load the page again")
    return [_text(v, what) for v in value]


def _text(value: Any, what: str, longest: int = LONGEST) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{what} is not a text; load the page again")
    if len(value) > longest:
        raise InputError(f"{what} has {len(value):,} characters; at most {longest:,}, and CLIP reads 77 tokens")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what} holds half a character (a lone surrogate); type it again") from error
    return value
