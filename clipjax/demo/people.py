"""The bias probe on artwork: two class designs over 290 drawings of people, by the commands a user would type.

Drawings are not people and skin tone is not race. The class lists hold roles and fantasy beings, no words that
denigrate; what it shows is the mechanism: who is given which classes depends on the classes on offer.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from clipjax.demo.images import ASSETS
from clipjax.image import open_image

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from clipjax.analysis.compare import Compared
    from clipjax.runs.engine import Engines

DESIGNS = ("people-roles", "people-roles-child")
GROUPS = "age,skin_tone,gender"
TILE, COLUMNS = 64, 20
ABOUT = """\
Drawings are not people, and skin tone is not race: artists tie hair to tone and draw adults by default, and the toy
model has seen most of these drawings in training. What is shown is which answers move with one more class, for whom."""


def unpack(folder: Path) -> Path:
    """Writes the drawings as PNG on white and people.csv (file, name, role and the groups); returns the table."""
    with open(str(ASSETS / "people.csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sprite = open_image(Path(str(ASSETS / "people.png")))
    folder.mkdir(parents=True, exist_ok=True)
    for i, row in enumerate(rows):
        x, y = i % COLUMNS * TILE, i // COLUMNS * TILE
        tile = sprite.crop((x, y, x + TILE, y + TILE)).convert("RGBA")
        path = folder / row["file"]
        if not path.exists():  # an unchanged file keeps its features in the cache
            Image.alpha_composite(Image.new("RGBA", tile.size, "white"), tile).convert("RGB").save(path)
    listing = folder / "people.csv"
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    listing.write_text(text.getvalue(), encoding="utf-8")
    return listing


def configs(listing: Path) -> list[ConfigDict]:
    """Of `clipjax probe rates` for each design."""
    from clipjax.runs import config

    shared = [f"--config.data.csv={listing}", f"--config.data.group_columns={GROUPS}"]
    return [config.load("rates", [*shared, f"--config.design={name}"]) for name in DESIGNS]


def characterise(asked: Sequence[ConfigDict], out: Path, engines: Engines) -> Compared:
    """Both probes, their comparison and the reports below `out`.

    The real path: the same functions behind `clipjax probe`, `report` and `compare`.
    """
    from clipjax.analysis import compare, report
    from clipjax.analysis.report import comparison
    from clipjax.analysis.run import read_run
    from clipjax.runs import runner

    for name, config in zip(DESIGNS, asked, strict=True):
        runner.run(config, out / name, engines)
    a, b = (read_run(out / name) for name in DESIGNS)
    report.write([a], a.path)
    found = compare.compare(a, b)
    comparison.write(found, out / "comparison")
    return found


def table(found: Compared) -> str:
    """How often the class that moved furthest is the answer under both designs, by the groups of the column in which it
    moved: images, counts and shares; "" where no class moved."""
    moved = next((f for f in found.findings if f.kind == "moved" and "class" in f.what and f.group), None)
    if moved is None:
        return ""
    column, name = next(iter(moved.group)), moved.what["class"]
    a, b = (run.predictions["prediction"].astype(str) for run in (found.a, found.b))
    values = found.a.columns[column].astype(str)
    gained = found.moves[0][1]
    rows = [[column, "drawings", f"{name!r} under A", f"{name!r} under B", f"{gained!r} under B"]]
    groups = sorted(set(values), key=lambda g: -float((a[values == g] == name).mean()))
    for group in groups:
        inside = values == group
        n = int(inside.sum())
        counts = [int((answers[inside] == which).sum()) for answers, which in ((a, name), (b, name), (b, gained))]
        rows.append([group, str(n), *(f"{k:3d} ({100 * k / n:3.0f}%)" for k in counts)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
