"""The bias probe on artwork: two class designs over 290 drawings of people, by the commands a user would type.

Drawings are no people and skin tone is no race. The class lists hold roles and fantasy beings, no words that denigrate;
what it shows is the mechanism: who is given which classes depends on the classes on offer.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from PIL import Image

from clipjax.analysis.records import PairedRecord, Question
from clipjax.demo.pictures import ASSETS
from clipjax.image import open_image

DESIGNS = ("people-roles", "people-roles-child")
GROUPS = "age,skin_tone,gender"
FANTASY = Question("set", "fantasy")
TILE, COLUMNS = 64, 20
ABOUT = """\
* fewer than 20 drawings: read the interval, not the rate. Drawings are no people, and skin tone is no race: artists
tie hair to tone and draw adults by default, and the toy model has seen most of these drawings in training. What is
shown is how one class more or less moves the answers, and for whom."""


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


def commands(listing: Path, runs: Path) -> list[tuple[Path, list[str]]]:
    """The run folder and the overrides of `clipjax probe rates` for each design."""
    shared = [f"--config.data.csv={listing}", f"--config.data.group_columns={GROUPS}"]
    return [(runs / name, [*shared, f"--config.design={name}"]) for name in DESIGNS]


def characterise(out: Path) -> tuple[list[PairedRecord], int, int]:
    """Both probes, both reports, and the comparison, below `out`; returns the paired records, flipped and all images.

    The real path: the same functions behind `clipjax probe`, `report` and `compare`.
    """
    from clipjax.analysis import compare, report
    from clipjax.analysis.report import comparison
    from clipjax.analysis.run import read_run
    from clipjax.runs import config, runner
    from clipjax.runs.engine import Engines

    listing = unpack(out / "people")
    engines = Engines()
    for folder, overrides in commands(listing, out):
        runner.run(config.load("rates", overrides), folder, engines)
    a, b = (read_run(out / name) for name in DESIGNS)
    for run in (a, b):
        report.write([run], run.path)
    found = compare.compare(a, b)
    comparison.write(found, out / "comparison")
    return found.records, len(found.flipped), len(a.predictions["file"])


def table(records: list[PairedRecord]) -> str:
    """Answers out of the set `fantasy` under both designs, by age and by skin tone, with exact intervals."""
    rows = [["", "people-roles", "people-roles-child", "moved", "p"]]
    order = ("baby", "child", "adult", "older", "light", "medium-light", "medium", "medium-dark", "dark")
    single = [r for r in records if r.question == FANTASY and r.columns in ((), ("age",), ("skin_tone",))]
    single.sort(key=lambda r: order.index(next(iter(r.group.values()))) if r.group else -1)
    for r in single:
        name = " ".join(f"{k.replace('_', ' ')} {v}" for k, v in r.group.items()) or "all drawings"
        rates = []
        for side in r.sides:
            value, low, high = (100 * (x or 0) for x in (side.value, side.low, side.high))
            rates.append(f"{value:5.1f}% [{low:4.1f}, {high:4.1f}] {side.k}/{side.n}")
        rows.append([name + ("*" if r.small else ""), *rates, f"-{r.only_a} +{r.only_b}", f"{r.p:.2g}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
