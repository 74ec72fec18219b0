"""What the page is about, as a file: a class design with one more key, `explorer`, that every other reader leaves out.

    name: people-roles+child
    templates: ["a photo of a {}."]
    classes: [...]
    explorer:
      view: {question: [set, person], grouping: [age]}
      pinned: {name: people-roles, ...}     # the design that it is compared with; the run's own where it is left out
      trail: [{name: people-roles, ...}]    # the designs that were asked, in order

`clipjax explore RUN --state=FILE` opens it, and the page loads and saves it; as a design it is what the page showed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from msgspec import Struct

from clipjax import design, stored
from clipjax.design import Design
from clipjax.errors import InputError, converted
from clipjax.explore import form

MOST_STEPS = 200
REMEDY = "save it again in the explorer, or leave the key out"


class Shown(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is looked at; left out: what the findings say."""

    view: Literal["rates", "labels"] = "rates"
    question: tuple[Literal["set", "class"], str] | None = None
    grouping: list[str] | None = None
    column: str | None = None
    sides: tuple[str, str] | None = None
    threshold: float | None = None


class Kept(Struct, forbid_unknown_fields=True):
    """The key `explorer`."""

    view: Shown = Shown()
    pinned: dict[str, Any] | None = None
    trail: list[dict[str, Any]] = []


def read(text: str, where: str) -> dict[str, Any]:
    """A design file's text -> {"design", "explorer"} as the page holds them; `explorer` is None in a plain design."""
    content = design.yaml_value(text, where)
    found = design.of_mapping(content, where, Path(where).stem)
    out: dict[str, Any] = {"design": _form(found), "explorer": None}
    if content.get("explorer") is not None:
        kept = stored.check(content["explorer"], Kept, f"{where}: explorer", REMEDY)
        if len(kept.trail) > MOST_STEPS:
            raise InputError(f"{where}: explorer.trail has {len(kept.trail)} designs, more than {MOST_STEPS}; {REMEDY}")
        pinned = design.of_mapping(kept.pinned, f"{where}: explorer.pinned") if kept.pinned else None
        trail = [design.of_mapping(one, f"{where}: explorer.trail[{i}]") for i, one in enumerate(kept.trail)]
        out["explorer"] = {
            **{name: getattr(kept.view, name) for name in Shown.__struct_fields__},
            "baseline": _form(pinned) if pinned else None, "trail": [_form(one) for one in trail],
        }  # fmt: skip
    return out


def read_file(path: Path) -> dict[str, Any]:
    """The same of a file; InputError where it cannot be read."""
    with converted(f"{path}: cannot be read as a state of the explorer", "check the path", OSError, UnicodeDecodeError):
        if path.stat().st_size > design.LARGEST:
            raise InputError(f"{path}: {path.stat().st_size} bytes are too many for a class design")
        text = path.read_text(encoding="utf-8")
    return read(text, str(path))


def write(body: Mapping[str, Any]) -> tuple[Design, str]:
    """The page's state -> the design on it, and the text that `read` reads."""
    now = form.read(body.get("design"))
    trail = steps(body)
    shown = {name: body[name] for name in Shown.__struct_fields__ if body.get(name) is not None}
    stored.check(shown, Shown, "the state", "load the page again")
    parts = [now.yaml(), "explorer:\n"]
    view = yaml.safe_dump(shown, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    parts.append(f"  view: {view}")
    if body.get("baseline"):
        parts.append(f"  pinned:\n{textwrap.indent(form.read(body['baseline']).yaml(), ' ' * 4)}")
    if trail:
        parts.append("  trail:\n" + "".join(f"  - {textwrap.indent(d.yaml(), ' ' * 4)[4:]}" for d in trail))
    return now, "".join(parts)


def steps(body: Mapping[str, Any]) -> list[Design]:
    """The designs of the page's trail."""
    trail = body.get("trail") or []
    if not isinstance(trail, list) or len(trail) > MOST_STEPS:
        raise InputError(f"the trail is not a list of at most {MOST_STEPS} designs; load the page again")
    return [form.read(one) for one in trail]


def _form(found: Design) -> dict[str, Any]:
    """As the page sends it: the limits of a page hold for files too."""
    return form.write(form.read(form.write(found)))
