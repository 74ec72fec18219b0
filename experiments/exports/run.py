"""Exported weights opened by the peers' default calls: format x stored dtype x peer, largest feature difference.

    python experiments/exports/run.py [--only=ViT-B/32]

Needs the extra [peers]. The state dict of a random model is stored in each dtype, converted to every format that holds
the model, opened by the call that `clipjax convert` prints, and compared with the peer's own class holding the same
stored values (made by tests/support/peer_exports.py, which shares no code with the conversion). Writes
results/results.json (continues with the missing rows) and results/table.md.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import peer_exports  # noqa: E402

PACKAGES = ("torch", "transformers", "open_clip_torch", "clip-anytorch", "timm")
HEAD = """# Exports opened by their readers

{date}, CPU, {versions}. Each cell: the largest difference of a feature from the peer's own class with the same stored
values / from open_clip's float32 class with the same stored values, both relative to the largest feature. "-": the
format or the peer has no such model.

"""


def measure(name: str, arch: peer_exports.Architecture, stored: str, folder: Path) -> dict[str, Any]:
    """Every export of one model stored in one dtype: column -> [own difference, float32 difference]."""
    state = peer_exports.make_state(arch, stored)
    source = peer_exports.save_source(arch, state, folder / "source")
    inputs = peer_exports.make_inputs(arch)
    reference = peer_exports.features(peer_exports.by_hand("open_clip", arch, state), *inputs)
    cells: dict[str, Any] = {}
    for to, line, open_it in peer_exports.cells(arch, source, folder):
        peer = line.split(":")[0]
        found = peer_exports.features(open_it(), *inputs)
        own = peer_exports.features(peer_exports.by_hand(peer, arch, state), *inputs)
        differences = [peer_exports.largest_difference(found, x) for x in (own, reference)]
        cells.setdefault(column(to, line), []).append(differences)
    # the file in the folder and the file alone are opened by the same call: the larger difference stands
    return {
        "model": name,
        "stored": stored,
        "cells": {k: [max(x) for x in zip(*v, strict=True)] for k, v in cells.items()},
    }


def column(to: str, line: str) -> str:
    """The column of a printed line."""
    peer = line.split(":")[0]
    if to == "open_clip" and peer == "open_clip":
        return "open_clip: local-dir" if "local-dir:" in line else "open_clip: by name"
    return f"{to}: {peer}"


def write_table(results: list[dict[str, Any]]) -> None:
    """results/table.md: a row per model and stored dtype, a column per format and reader."""
    columns = list(dict.fromkeys(c for r in results for c in r["cells"]))
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)
    lines = [
        HEAD.format(date=datetime.datetime.now(datetime.UTC).date(), versions=versions)
        + "| model | stored | " + " | ".join(columns) + " |",
        "|" + "---|" * (len(columns) + 2),
    ]  # fmt: skip
    for row in results:
        cells = (row["cells"].get(c) for c in columns)
        shown = (" / ".join("0" if x == 0 else f"{x:.0e}" for x in c) if c else "-" for c in cells)
        lines.append(f"| {row['model']} | {row['stored']} | {' | '.join(shown)} |")
    (HERE / "results" / "table.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Measures what is asked for and not yet there, and writes both files after each row."""
    models = peer_exports.TINY | peer_exports.NAMED
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=models, help="one model by its name")
    only = parser.parse_args().only
    where = HERE / "results" / "results.json"
    where.parent.mkdir(exist_ok=True)
    results = json.loads(where.read_text()) if where.exists() else []
    for name, arch in models.items() if only is None else [(only, models[only])]:
        for stored in peer_exports.STORED:
            if any((row["model"], row["stored"]) == (name, stored) for row in results):
                continue
            folder = Path(tempfile.mkdtemp())
            try:
                results.append(measure(name, arch, stored, folder))
            finally:
                shutil.rmtree(folder)
            print(json.dumps(results[-1]), flush=True)
            where.write_text(json.dumps(results, indent=1) + "\n")
            write_table(results)


if __name__ == "__main__":
    main()
