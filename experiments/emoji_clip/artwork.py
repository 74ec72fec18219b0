"""The emoji artwork as arrays, its captions as token ids, and the split.

Expects the folder that holds `manifest_all.csv` (columns file, vendor, name, base_name, keywords, group) and the
64-pixel RGBA pictures it lists: Noto from the npm package emoji-datasource-google 16.0.0 (Apache-2.0), Twemoji
from emoji-datasource-twitter 16.0.0 (CC BY 4.0), names from emojibase-data 17.0.0.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from clipjax.text import tokenize

# Concepts of the embedded demo: their Noto drawings are never trained on (their Twemoji drawings are).
DEMO = (
    "dog", "cat", "horse", "butterfly", "octopus", "cactus", "rose", "red apple", "banana", "pizza", "hamburger",
    "hot beverage", "rocket", "airplane", "sailboat", "bicycle", "guitar", "soccer ball", "umbrella", "crown", "key",
    "camera", "snowman", "rainbow",
)  # fmt: skip

TEMPLATES = (
    "{}", "{}.", "a {}", "an emoji of {}", "a drawing of a {}.", "a photo of a {}.", "a picture of a {}.",
    "an icon of a {}", "a photo of {}", "a cartoon of a {}",
)  # fmt: skip
CONTEXT = 24  # the longest caption has 23 tokens; what follows the end of text cannot matter


@dataclasses.dataclass(frozen=True)
class Artwork:
    """pixels uint8 [M, 64, 64, 4]; `names[i]`, `vendors[i]`, `held_out[i]` describe picture i."""

    pixels: np.ndarray
    names: np.ndarray
    base_names: np.ndarray
    vendors: np.ndarray
    held_out: np.ndarray
    files: list[str]
    captions: dict[str, np.ndarray]  # name -> int32 [captions, CONTEXT]
    weights: dict[str, float]  # name -> how often it is drawn


def load(folder: Path) -> Artwork:
    """Reads every picture and tokenizes every caption once."""
    with open(folder / "manifest_all.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    pixels = np.stack([np.asarray(Image.open(folder / r["file"]).convert("RGBA").resize((64, 64))) for r in rows])
    captions, variants = {}, defaultdict(set)
    for r in rows:
        captions[r["name"]] = _captions(r)
        variants[r["base_name"]].add(r["name"])
    # Skin tones multiply some concepts by 6 to 26: the square root keeps people from crowding out the rest.
    weights = {r["name"]: len(variants[r["base_name"]]) ** -0.5 for r in rows}
    return Artwork(
        pixels,
        np.array([r["name"] for r in rows]),
        np.array([r["base_name"] for r in rows]),
        np.array([r["vendor"] for r in rows]),
        np.array([r["vendor"] == "noto" and is_held_out(r["base_name"]) for r in rows]),
        [r["file"] for r in rows],
        captions,
        weights,
    )


def is_held_out(base_name: str) -> bool:
    """One concept in ten, by a hash of its name, and the demo's."""
    return base_name in DEMO or hashlib.sha256(base_name.encode()).digest()[0] < 26


def _captions(row: dict[str, str]) -> np.ndarray:
    keywords = [k for k in row["keywords"].split("|") if k]
    texts = [t.format(row["name"]) for t in TEMPLATES]
    texts += [f"{row['base_name']}, {', '.join(keywords[i : i + 3])}" for i in range(0, len(keywords), 3)][:3]
    return tokenize(texts, truncate=True)[:, :CONTEXT]
