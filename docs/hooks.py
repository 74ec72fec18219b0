"""What the built pages take from the code itself: every verb's help, every config's keys, every shipped design.

A line `<!-- verbs -->`, `<!-- configs KIND -->` (probes, panels, finetune), `<!-- keys KIND.CONFIG -->` or
`<!-- designs -->` in a page is replaced by what the parsers and configs say at the time of the build.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

from clipjax import design
from clipjax.cli import main as cli
from clipjax.keys import flat
from clipjax.runs import config


def verbs(_: str) -> str:
    """A section per verb: its help as the command prints it."""
    parts = []
    for verb in cli.verbs():
        module = importlib.import_module(f"clipjax.cli.{verb}")
        parser = argparse.ArgumentParser(
            prog=f"clipjax {verb}",
            description=module.__doc__,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=100),
        )
        module.add_arguments(parser)
        parts.append(f"## {verb}\n\n```text\n{parser.format_help()}```\n")
    return "\n".join(parts)


def configs(kind: str) -> str:
    """A section per shipped config of a kind: its docstring and the keys that it changes."""
    parts = []
    for name, path in config.shipped(kind).items():
        found = config.load(name, [], kind)
        known = config.keys_of(found.to_dict())
        rows = [
            f"| `config.{key}` | {_cell(value)} |"
            for key, value in flat(found.to_dict()).items()
            if key not in ("probe", "verb") and (key not in known or known[key].default != value)
        ]
        doc = inspect.cleandoc(_docstring(path.read_text(encoding="utf-8")))
        table = "\n".join(["| key | value |", "|---|---|", *rows]) if rows else ""
        parts.append(f"### {name}\n\n```text\n{doc}\n```\n\n{table}\n")
    return "\n".join(parts)


def keys(name: str) -> str:
    """A row per key of a shipped config, as `clipjax probe NAME --keys` lists them."""
    kind, _, found = name.partition(".")
    rows = []
    for row in config.listing(config.load(found, [], kind)):
        sources = f" ({', '.join(row['sources'])})" if row.get("sources") else ""
        meaning = f"{row['meaning']}{sources}".replace("|", "\\|")
        rows.append(f"| `config.{row['name']}` | {_cell(row['default'])} | {row['type']} | {meaning} |")
    return "\n".join(["| key | default | type | meaning |", "|---|---|---|---|", *rows])


def designs(_: str) -> str:
    """A row per shipped class design."""
    rows = []
    for name in design.shipped():
        found = design.read_design(name)
        sets = ", ".join(f"{s} ({len(c)})" for s, c in found.sets.items()) or "none"
        rows.append(f"| `{name}` | {len(found.classes)} | {sets} | {found.note} |")
    return "\n".join(["| design | classes | sets | note |", "|---|---:|---|---|", *rows])


def _cell(value: Any) -> str:
    return f"`{value}`".replace("|", "\\|") if value not in ("", None, {}) else "empty"


def _docstring(source: str) -> str:
    import ast

    return ast.get_docstring(ast.parse(source)) or ""


MARKS: dict[str, Callable[[str], str]] = {"verbs": verbs, "configs": configs, "designs": designs, "keys": keys}
MARK = re.compile(r"^<!-- (verbs|configs|designs|keys) ?([\w.]*) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces the marks of a page."""
    return MARK.sub(lambda match: MARKS[match[1]](match[2]), markdown)
