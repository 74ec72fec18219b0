"""What the built pages take from the code itself: every verb's help, every config's keys, every shipped design.

A line `<!-- verbs -->`, `<!-- configs probes -->`, `<!-- configs finetune -->` or `<!-- designs -->` in a page is
replaced by what the parsers and configs say at the time of the build; `<!-- source MODULE.FUNCTION -->` by its lines.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from clipjax import design
from clipjax.cli import main as cli
from clipjax.runs import config, finetune_config


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
    """A section per shipped config of a kind: its docstring and the keys in which it differs from the shared ones."""
    parts = []
    for name, path in config.shipped(kind).items():
        found = config.load(name, [], kind)
        shared = shared_keys(found, kind)
        rows = [
            f"| `config.{key}` | {_cell(value)} |"
            for key, value in flat(found).items()
            if key not in ("probe", "verb") and (key not in shared or shared[key] != value)
        ]
        doc = inspect.cleandoc(_docstring(path.read_text(encoding="utf-8")))
        table = "\n".join(["| key | value |", "|---|---|", *rows]) if rows else ""
        parts.append(f"### {name}\n\n```text\n{doc}\n```\n\n{table}\n")
    return "\n".join(parts)


def designs(_: str) -> str:
    """A row per shipped class design."""
    rows = []
    for name in design.shipped():
        found = design.load(name)
        sets = ", ".join(f"{s} ({len(c)})" for s, c in found.sets.items()) or "none"
        rows.append(f"| `{name}` | {len(found.classes)} | {sets} | {found.note} |")
    return "\n".join(["| design | classes | sets | note |", "|---|---:|---|---|", *rows])


def shared_keys(found: ConfigDict, kind: str) -> dict[str, Any]:
    """What a config file starts from before it changes and adds what it needs."""
    if kind == "finetune":
        return flat(finetune_config.finetune_config())
    return flat(config.design_config("") if "design" in found else config.probe_config(""))


def source(name: str) -> str:
    """A function's own lines, where its comments are the explanation."""
    module, _, function = name.rpartition(".")
    return f"```text\n{inspect.getsource(getattr(importlib.import_module(module), function))}```\n"


def flat(found: ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Dotted keys."""
    out: dict[str, Any] = {}
    for key, value in found.items():
        if isinstance(value, ConfigDict):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out


def _cell(value: Any) -> str:
    return f"`{value}`".replace("|", "\\|") if value not in ("", None) else "empty"


def _docstring(source: str) -> str:
    import ast

    return ast.get_docstring(ast.parse(source)) or ""


MARKS: dict[str, Callable[[str], str]] = {"verbs": verbs, "configs": configs, "designs": designs, "source": source}
MARK = re.compile(r"^<!-- (verbs|configs|designs|source) ?([\w.]*) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces the marks of a page."""
    return MARK.sub(lambda match: MARKS[match[1]](match[2]), markdown)
