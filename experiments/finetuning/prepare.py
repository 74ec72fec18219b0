"""Tables of the three data sets for real_runs.py, split by a rule: python prepare.py DATA WORK

DATA holds the folders tuxpaint, coco_mini and emoji. An image is a test image if the first four bytes of the digest
that clipjax compares images by (of its decoded content), read as a number from 0 to 1, are below the data set's share.
Copies of an image are therefore on one side, whatever they are called.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from clipjax.demo import people
from clipjax.runs import config as configs
from clipjax.runs import data as opening

SHARE = {"stamps": 0.2, "coco": 0.5, "emoji": 0.2}  # of the images, for the test
COCO_CAPTIONS = [f"caption{i}" for i in range(1, 6)]
# What a class is called; stamps and drawings of no class here are used with their captions only.
STAMPS = {
    "animals": "an animal", "food": "food", "plants": "a plant", "symbols": "a symbol", "town": "a building",
    "vehicles": "a vehicle", "clothes": "clothes", "household": "a thing at home", "seasonal": "a holiday",
}  # fmt: skip
EMOJI = {
    "animals-nature": "an animal or a plant", "food-drink": "food", "travel-places": "a place or a vehicle",
    "activities": "an activity", "objects": "an object", "symbols": "a symbol", "smileys-emotion": "a face",
}  # fmt: skip
COCO = {True: "a photo with people", False: "a photo without people"}
CLASSES = {name: list(classes.values()) for name, classes in (("stamps", STAMPS), ("coco", COCO), ("emoji", EMOJI))}


def rows(name: str, data: Path) -> list[dict[str, str]]:
    """file (absolute), caption columns, label ("" for none)."""
    folder = data / {"stamps": "tuxpaint", "coco": "coco_mini", "emoji": "emoji"}[name]
    table = folder / ("manifest_all.csv" if name == "emoji" else "captions.csv")
    with open(table, newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    if name == "stamps":
        return [
            {"file": str(folder / r["file"]), "caption": r["caption"], "label": STAMPS.get(r["category"], "")}
            for r in read
            if r["caption"].strip()
        ]
    if name == "coco":
        return [
            {"file": str(folder / r["file"])}
            | {column: r[column] for column in COCO_CAPTIONS}
            | {"label": COCO["person" in r["categories"].split("|")]}
            for r in read
        ]
    # One artist's drawings without people: the drawings of people of the bias probe are another artist's.
    return [
        {"file": str(folder / r["file"]), "caption": r["name"], "label": EMOJI[r["group"]]}
        for r in read
        if r["vendor"] == "twemoji" and r["group"] in EMOJI
    ]


def on_white(source: Path, target: Path) -> None:
    """Transparent images get the background that the artists draw for."""
    with Image.open(source) as image:
        drawn = image.convert("RGBA")
    page = Image.new("RGBA", drawn.size, "white")
    page.alpha_composite(drawn)
    page.convert("RGB").save(target)


def prepare(name: str, data: Path, work: Path) -> None:
    """WORK/NAME: images, classes.txt, train.csv, test.csv; with a class: train-classes.csv, test-classes.csv."""
    out = work / name
    if (out / "test-classes.csv").exists():
        return
    (out / "images").mkdir(parents=True, exist_ok=True)
    found = rows(name, data)
    for i, row in enumerate(found):
        on_white(Path(row["file"]), out / "images" / f"{i:05}.png")
        row["file"] = f"images/{i:05}.png"
    write(out / "all.csv", found)
    (out / "classes.txt").write_text("\n".join(CLASSES[name]) + "\n", encoding="utf-8")
    config = configs.load("zeroshot", ["--config.data.source=csv", f"--config.data.csv={out}/all.csv"])
    digests = opening.open_source(configs.typed(configs.plain(config)).data).source.digests(np.arange(len(found)))
    place = digests[:, :4].copy().view(">u4").reshape(-1) / 2**32
    for part, held in (("train", False), ("test", True)):
        mine = [row for row, at in zip(found, place, strict=True) if (at < SHARE[name]) == held]
        write(out / f"{part}.csv", mine)
        write(out / f"{part}-classes.csv", [row for row in mine if row["label"]])
        print(f"{name}, {part}: {len(mine)} images, {sum(bool(row['label']) for row in mine)} with a class")


def write(path: Path, table: list[dict[str, str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def main(data: Path, work: Path) -> None:
    """All data sets, and the drawings of people that are embedded in clipjax."""
    for name in SHARE:
        prepare(name, data, work)
    people.unpack(work / "people")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
