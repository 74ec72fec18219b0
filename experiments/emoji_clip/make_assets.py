"""Creates the images embedded in clipjax/assets: two sprites of Noto artwork and six public-domain photographs.

    python experiments/emoji_clip/make_assets.py --emoji EMOJI_FOLDER --skimage SKIMAGE_DATA_FOLDER

EMOJI_FOLDER as in prepare.py; SKIMAGE_DATA_FOLDER is skimage/data inside the scikit-image 0.26.0 wheel.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from PIL import Image
from prepare import DEMO

ASSETS = Path(__file__).parents[2] / "clipjax" / "assets"
TILE, COLUMNS, EDGE = 64, 6, 320
PHOTOGRAPHS = {  # file in scikit-image -> class in the demo, licence as scikit-image's docstrings state it
    "astronaut.png": ("astronaut", "Eileen Collins, NASA Great Images; public domain"),
    "chelsea.png": ("cat", "Chelsea, by Stefan van der Walt; CC0"),
    "coffee.png": ("cup of coffee", "by Rachel Michetti, courtesy of Pikolo Espresso Bar; CC0"),
    "rocket.jpg": ("rocket", "DSCOVR on Falcon 9, by SpaceX; public domain"),
    "horse.png": ("horse", "silhouette, by Andreas Preuss; CC0"),
    "camera.png": ("camera", "man with a camera, by Lav Varshney; CC0"),
}


# The demo's drawings of people: plain ones of every age, and adults in 16 roles; five skin tones, every gender drawn.
PLAIN = ("baby", "child", "boy", "girl", "person", "man", "woman", "older person", "old man", "old woman")
ROLES = (
    "artist", "astronaut", "construction worker", "cook", "farmer", "firefighter", "health worker", "judge", "mechanic",
    "office worker", "pilot", "scientist", "singer", "student", "teacher", "technologist",
)  # fmt: skip
KEPT = ("file", "name", "age", "skin_tone", "gender", "role")


def people(folder: Path) -> None:
    """people.png and people.csv."""
    with open(folder / "manifest_people.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["vendor"] == "noto" and r["skin_tone"] != "default"]
    roles = [r for r in rows if r["role_type"] == "occupation" and r["role"] in ROLES]
    rows = roles + [r for r in rows if not r["role"] and r["base_name"] in PLAIN]
    rows.sort(key=lambda r: r["file"])
    columns = 20
    sprite = Image.new("RGBA", (columns * TILE, -(-len(rows) // columns) * TILE))
    for i, row in enumerate(rows):
        tile = Image.open(folder / row["file"]).convert("RGBA").resize((TILE, TILE))
        sprite.paste(tile, (i % columns * TILE, i // columns * TILE))
        row["file"] = Path(row["file"]).name
    sprite.save(ASSETS / "people.png", optimize=True)
    with open(ASSETS / "people.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, KEPT, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emoji", type=Path, required=True)
    parser.add_argument("--skimage", type=Path, required=True)
    args = parser.parse_args()
    with open(args.emoji / "manifest_all.csv", newline="") as file:
        noto = {r["name"]: r["file"] for r in csv.DictReader(file) if r["vendor"] == "noto"}
    rows = -(-len(DEMO) // COLUMNS)
    sprite = Image.new("RGBA", (COLUMNS * TILE, rows * TILE))
    for i, name in enumerate(DEMO):
        tile = Image.open(args.emoji / noto[name]).convert("RGBA").resize((TILE, TILE))
        sprite.paste(tile, (i % COLUMNS * TILE, i // COLUMNS * TILE))
    sprite.save(ASSETS / "noto.png", optimize=True)
    people(args.emoji)
    photographs = []
    for file, (name, source) in PHOTOGRAPHS.items():
        picture = Image.open(args.skimage / file).convert("RGB")
        picture.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
        out = Path(file).with_suffix(".jpg").name
        picture.save(ASSETS / "photographs" / out, quality=90, optimize=True)
        photographs.append({"file": out, "class": name, "source": source})
    listing = {
        "noto": {"tile": TILE, "columns": COLUMNS, "classes": list(DEMO)},
        "photographs": photographs,
    }
    (ASSETS / "pictures.json").write_text(json.dumps(listing, indent=1) + "\n")


if __name__ == "__main__":
    main()
