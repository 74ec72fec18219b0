"""The emoji artwork as a table for `clipjax finetune`, and the artwork of other vendors as tables for the evaluation.

    python experiments/emoji_clip/prepare.py --data EMOJI_FOLDER --out TABLES [--vendor apple=FOLDER ...]

EMOJI_FOLDER holds `manifest_all.csv` (columns file, vendor, hexcode, name, base_name, keywords, skin_tone) and the
64-pixel RGBA images it lists: Noto from the npm package emoji-datasource-google 16.0.0 (Apache-2.0), Twemoji from
emoji-datasource-twitter 16.0.0 (CC BY 4.0), names from emojibase-data 17.0.0. FOLDER of another vendor is
`package/img/VENDOR/64` of the npm package emoji-datasource-VENDOR: images named by their code points.

TABLES/train.jsonl has file (relative to EMOJI_FOLDER), name, captions; TABLES/VENDOR.csv has file, label, base_name,
tone, concept.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from pathlib import Path

# Concepts of the embedded demo: their Noto drawings are never trained on (their Twemoji drawings are).
DEMO = (
    "dog", "cat", "horse", "butterfly", "octopus", "cactus", "rose", "red apple", "banana", "pizza", "hamburger",
    "hot beverage", "rocket", "airplane", "sailboat", "bicycle", "guitar", "soccer ball", "umbrella", "crown", "key",
    "camera", "snowman", "rainbow",
)  # fmt: skip
TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
NAMES = 4  # how often a name is among a picture's captions, beside up to three rows of keywords


def is_new_concept(base_name: str) -> bool:
    """One concept in 25, by a hash of its name: no artist's drawing of it is trained on, in any tone or gender."""
    return base_name not in DEMO and hashlib.sha256(base_name.encode()).digest()[0] < 10


def is_trained_on(row: dict[str, str]) -> bool:
    """Whether a drawing of the manifest may be seen in training."""
    if is_new_concept(row["base_name"]):
        return False
    return row["vendor"] != "noto" or row["base_name"] not in DEMO


def captions(row: dict[str, str]) -> list[str]:
    """The name, and the concept with three of its keywords at a time."""
    keywords = [k for k in row["keywords"].split("|") if k]
    groups = [keywords[i : i + 3] for i in range(0, len(keywords), 3)][:3]
    return [row["name"]] * NAMES + [f"{row['base_name']}, {', '.join(group)}" for group in groups]


def manifest(data: Path) -> list[dict[str, str]]:
    """The rows of the artwork's manifest."""
    with open(data / "manifest_all.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_training(rows: list[dict[str, str]], out: Path) -> int:
    """train.jsonl; returns how many drawings."""
    kept = [row for row in rows if is_trained_on(row)]
    with open(out / "train.jsonl", "w", encoding="utf-8") as file:
        for row in kept:
            record = {"file": row["file"], "name": row["name"], "captions": captions(row)}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return len(kept)


def write_vendor(rows: list[dict[str, str]], name: str, files: dict[str, Path], out: Path) -> int:
    """VENDOR.csv: every drawing whose code points are in the manifest; returns how many."""
    found = []
    for row in {row["hexcode"]: row for row in rows}.values():
        if file := files.get(_points(row["hexcode"])):
            concept = "new" if is_new_concept(row["base_name"]) else "known"
            tone = row["skin_tone"] if row["skin_tone"] in TONES else ""
            found.append([str(file.absolute()), row["name"], row["base_name"], tone, concept])
    with open(out / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file", "label", "base_name", "tone", "concept"], *found])
    return len(found)


def _points(text: str) -> str:
    """Code points without the variation selector, which vendors' file names leave out or not."""
    return text.lower().replace("-fe0f", "")


def main() -> None:
    """Writes the tables and says how many drawings are in each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vendor", action="append", default=[], metavar="NAME=FOLDER")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = manifest(args.data)
    print(f"train.jsonl: {write_training(rows, args.out)} of {len(rows)} drawings")
    for vendor in ("noto", "twemoji"):
        own = {_points(row["hexcode"]): args.data / row["file"] for row in rows if row["vendor"] == vendor}
        print(f"{vendor}.csv: {write_vendor(rows, vendor, own, args.out)} drawings, most of them trained on")
    for given in args.vendor:
        name, _, folder = given.partition("=")
        files = {_points(path.stem): path for path in Path(folder).glob("*.png")}
        print(f"{name}.csv: {write_vendor(rows, name, files, args.out)} drawings")


if __name__ == "__main__":
    main()
