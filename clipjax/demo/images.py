"""The main job on what is embedded: a small model answers about images it has not been trained on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clipjax.image import open_image, preprocess_uint8

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clipjax.runs.features import Features

ASSETS = resources.files("clipjax") / "assets"
CELL, ROW = 3.6, 1.25  # inches of one image with its bars
TITLE = 0.35  # rows


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images with the class each shows, and the classes to choose from."""

    title: str
    images: list[Image.Image]
    truth: list[str]
    classes: list[str]


def drawings() -> ImageSet:
    """24 Noto drawings on white; the model was trained on another artist's drawings of these things."""
    listing = _listing()["noto"]
    tile, columns, names = listing["tile"], listing["columns"], listing["classes"]
    with resources.as_file(ASSETS / "noto.png") as path:
        sprite = open_image(path)
    corners = [(i % columns * tile, i // columns * tile) for i in range(len(names))]
    tiles = [sprite.crop((x, y, x + tile, y + tile)) for x, y in corners]
    # Composited here: OpenAI's preprocessing drops the alpha channel, and what lies under it is arbitrary.
    white = [Image.alpha_composite(Image.new("RGBA", t.size, "white"), t).convert("RGB") for t in tiles]
    return ImageSet("Drawings (Noto emoji)", white, list(names), list(names))


def photographs() -> ImageSet:
    """Six public-domain photographs; a model that knows emoji only is not expected to do well."""
    listing = _listing()
    images = []
    for photograph in listing["photographs"]:
        with resources.as_file(ASSETS / "photographs" / photograph["file"]) as path:
            images.append(open_image(path))
    truth = [photograph["class"] for photograph in listing["photographs"]]
    classes = list(dict.fromkeys([*truth, *listing["noto"]["classes"]]))
    return ImageSet("Photographs (public domain)", images, truth, classes)


def answer(features: Features, image_set: ImageSet) -> np.ndarray:
    """Zero-shot probabilities [N, C], computed by the compiled programs of the probe that `features` is for."""
    from clipjax.design import of_classes
    from clipjax.runs.engine import JaxEngine

    assert isinstance(features.engine, JaxEngine)
    known = features.known
    pixels = preprocess_uint8(image_set.images, features.engine.model.preprocessing)
    with ThreadPoolExecutor(1) as pool:  # XLA compiles both encoders at once
        weights = pool.submit(features.class_weights, of_classes(image_set.classes))
        images = known.start(pixels, "proj")()
    return features.probabilities(images, weights.result(), "softmax")


def summary(image_set: ImageSet, probabilities: np.ndarray) -> str:
    """How often the first answer was right, and the wrong ones."""
    best = probabilities.argmax(1)
    answers = [image_set.classes[i] for i in best]
    wrong = [
        f"{truth} → {answer} {row[i]:.0%}"
        for truth, answer, row, i in zip(image_set.truth, answers, probabilities, best, strict=True)
        if truth != answer
    ]
    right, n = len(image_set.truth) - len(wrong), len(image_set.truth)
    said = f"{image_set.title}: first answer right: {right} of {n} (chance: 1 in {len(image_set.classes)})"
    return f"{said}. Wrong: {', '.join(wrong)}." if wrong else f"{said}."


def draw(path: Path, sections: Sequence[tuple[ImageSet, np.ndarray]], columns: int = 4) -> None:
    """A PNG grid: each image beside a bar for each of its three likeliest classes, the right one in green."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = sum(TITLE + -(-len(p.images) // columns) for p, _ in sections)
    figure = Figure(figsize=(CELL * columns, ROW * rows), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))  # one, in inches: axes are slow to draw
    axes.set_axis_off()
    top = 0.0
    for image_set, probabilities in sections:
        axes.text(CELL * columns / 2, top + ROW * TITLE / 2, image_set.title, fontsize=12, ha="center", va="center")
        top += ROW * TITLE
        for i, (image, truth, row) in enumerate(zip(image_set.images, image_set.truth, probabilities, strict=True)):
            x, y = CELL * (i % columns) + 0.08, top + ROW * (i // columns) + 0.05
            scale = (ROW - 0.1) / max(image.size)
            axes.imshow(image, extent=(x, x + scale * image.width, y + scale * image.height, y), aspect="auto")
            _bars(axes, x + ROW, y, image_set.classes, truth, row)
        top += ROW * -(-len(image_set.images) // columns)
    axes.set(xlim=(0, CELL * columns), ylim=(ROW * rows, 0))  # an image has set its own
    figure.savefig(path, format="png", metadata={"Software": "clipjax"})


def _bars(axes: Axes, x: float, y: float, classes: Sequence[str], truth: str, row: np.ndarray) -> None:
    best = np.argsort(-row, kind="stable")[:3]
    places = y + (np.arange(len(best)) + 0.5) * (ROW - 0.1) / 3
    colours = ["#2a9d5c" if classes[i] == truth else "#b8b8b8" for i in best]
    axes.barh(places, (CELL - ROW - 0.2) * row[best], left=x, color=colours, height=0.27 * ROW)
    for place, i in zip(places, best, strict=True):
        axes.text(x + 0.06, place, f"{classes[i]}  {row[i]:.0%}", va="center", fontsize=9)


def _listing() -> dict:
    return json.loads((ASSETS / "pictures.json").read_text(encoding="utf-8"))
