"""List the named data sets: task, metric, split, size, prompts, how to obtain them, published numbers.

    clipjax datasets
    clipjax datasets food101
    clipjax datasets food101 --json

`clipjax datasets NAME` shows one completely: the expected files, how known ambiguities are resolved, its classes and
templates, and the published numbers of all nine models. Numbers marked ? were not confirmed in a second source.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import Any

MODEL = "ViT-L/14@336px"  # the model that the CLIP paper calls CLIP
MARKS = {"read": "", "recalled": "?", "derived": "~"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax datasets`."""
    parser.add_argument("name", nargs="?", help="one data set, by its key or the model card's name")
    parser.add_argument("--json", action="store_true", help="everything as one JSON list (one object with a name)")


def run(args: argparse.Namespace) -> None:
    """Prints the catalog or one row of it; reads no data and uses no device."""
    from clipjax.data import catalog

    if args.name:
        row = describe(catalog.find(args.name))
        print(json.dumps(row, indent=2, ensure_ascii=False) if args.json else page(row))
        return
    rows = [describe(key) for key in catalog.names()]
    print(json.dumps(rows, indent=2, ensure_ascii=False) if args.json else overview(rows))


def describe(key: str) -> dict[str, Any]:
    """All metadata of a data set as one JSON object."""
    import dataclasses

    from clipjax.data import catalog, info
    from clipjax.errors import InputError

    row: dict[str, Any] = dataclasses.asdict(catalog.info(key))
    row["layout"] = row["layout"].strip("\n")
    try:
        found = info.design(key)
        row |= {
            "n_classes": info.count(key) or None,
            "n_templates": len(found.templates),
            "classes": [list(c.texts) for c in found.classes],
            "templates": list(found.templates),
            "prompts_source": found.source,
        }
    except InputError:  # a bias probe: its class design is the experiment
        row |= {"n_classes": None, "n_templates": None, "classes": [], "templates": [], "prompts_source": None}
    row["published"] = info.published(key)
    return row


def overview(rows: list[dict[str, Any]]) -> str:
    """The table of all data sets, two lines each: the protocol, and how to obtain the data."""
    lines = [
        f"{'key':<15} {'task':<14} {'metric':<15} {'n':>6} {'classes':>7} {'templates':>9} {'published':>9}  split",
    ]
    obtain = textwrap.TextWrapper(width=118, initial_indent=" " * 16, subsequent_indent=" " * 16)
    obtain.break_long_words = obtain.break_on_hyphens = False  # addresses stay whole
    for row in rows:
        number = headline(row["published"])
        lines.append(
            f"{row['key']:<15} {row['task']:<14} {row['metric']:<15} {row['n'] or '-':>6} {row['n_classes'] or '-':>7} "
            f"{row['n_templates'] or '-':>9} {number:>9}  {row['split']}"
        )
        lines.append(obtain.fill(row["obtain"]))
    card = sum(row["model_card"] for row in rows)
    lines.append(
        f"\n{len(rows)} data sets, {card} of them on OpenAI's model card. published: zero-shot, {MODEL}, paper, in %;\n"
        "? marks a number that was not confirmed in a second source. `clipjax datasets NAME` shows one completely."
    )
    return "\n".join(lines)


def headline(published: dict[str, Any]) -> str:
    """The paper's zero-shot number of the model that it calls CLIP, with its mark; the first if there are several."""
    cell = published.get("paper_zero_shot", {}).get(MODEL)
    if cell is None:
        return "-"
    value = cell["value"]
    return f"{next(iter(value.values())) if isinstance(value, dict) else value}{MARKS[cell['provenance']]}"


def page(row: dict[str, Any]) -> str:
    """One data set with all metadata."""
    wrap = textwrap.TextWrapper(width=110, initial_indent="  ", subsequent_indent="  ")
    n = row["n"] or "not fixed"
    lines = [f"{row['name']} ({row['key']}): {row['task']}, {row['metric']}, split {row['split']}, n = {n}"]
    for title, text in (("Obtain", row["obtain"]), ("Interpretation", row["reading"])):
        lines += [f"\n{title}", wrap.fill(text)]
    lines += ["\nFiles", textwrap.indent(row["layout"], "  ")]
    if row["tfds"]:
        lines.append(f"  or prepared by TFDS as {row['tfds']} (array_record)")
    if row["prompts_source"]:
        lines += [
            f"\n{row['n_classes'] or 'no'} classes, {row['n_templates']} templates",
            wrap.fill(row["prompts_source"]),
        ]
        lines += [f"  {template!r}" for template in row["templates"]]
        names = "; ".join(" / ".join(names) for names in row["classes"])
        lines.append(wrap.fill(names or "The data set itself has the class names."))
    return "\n".join([*lines, *numbers(row["published"])])


def numbers(published: dict[str, Any]) -> list[str]:
    """The published tables of a data set, one column per table, one line per model; other records by name."""
    from clipjax.models import catalog

    if not published:
        return ["\nNo published numbers."]
    tables = {
        k: cells for k, cells in published.items() if isinstance(cells, dict) and set(cells) <= {*catalog.names()}
    }
    lines = ["\nPublished, in % (? not confirmed in a second source, ~ derived)"]
    if tables:
        models = [m for m in catalog.names() if any(m in cells for cells in tables.values())]
        columns = [["model", *models]]
        columns += [[name, *(shown(cells.get(model)) for model in models)] for name, cells in tables.items()]
        widths = [max(map(len, column)) for column in columns]
        for line in zip(*columns, strict=True):
            lines.append("  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip())
    if note := published.get("note"):
        lines.append(f"  {note}")
    for name, record in published.items():
        if name not in tables and name != "note":
            lines.append(f"  {name}: {', '.join(record)} (--json prints them)")
    return lines


def shown(cell: dict[str, Any] | None) -> str:
    """A published cell with its mark; several numbers as name=value."""
    if cell is None:
        return "-"
    value = cell["value"]
    text = " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    return text + MARKS[cell["provenance"]]
