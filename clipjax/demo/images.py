"""The main job on what is embedded: a small model answers about images it has not been trained on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from clipjax.image import open_image

ASSETS = resources.files("clipjax") / "assets"


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

    rows = sum(-(-len(p.images) // columns) for p, _ in sections)
    figure = Figure(figsize=(3.6 * columns, 1.25 * rows + 0.5 * len(sections)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    heights = [-(-len(p.images) // columns) + 0.35 for p, _ in sections]
    for part, (image_set, probabilities) in zip(
        figure.subfigures(len(sections), 1, height_ratios=heights, squeeze=False)[:, 0], sections, strict=True
    ):
        part.suptitle(image_set.title, fontsize=12)
        grid = part.subplots(-(-len(image_set.images) // columns), 2 * columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        cells = grid.reshape(-1, 2)
        for cell, image, truth, row in zip(cells, image_set.images, image_set.truth, probabilities, strict=False):
            cell[0].imshow(image)
            _bars(cell[1], image_set.classes, truth, row)
    figure.savefig(path, format="png", metadata={"Software": "clipjax"})


def _bars(axes, classes: Sequence[str], truth: str, row: np.ndarray) -> None:
    best = np.argsort(-row, kind="stable")[:3]
    colours = ["#2a9d5c" if classes[i] == truth else "#b8b8b8" for i in best]
    axes.barh(range(len(best)), row[best], color=colours, height=0.82)
    axes.set_xlim(0, 1.0)
    axes.set_ylim(len(best) - 0.4, -0.6)
    for y, i in enumerate(best):
        axes.text(0.03, y, f"{classes[i]}  {row[i]:.0%}", va="center", fontsize=9)


def _listing() -> dict:
    return json.loads((ASSETS / "pictures.json").read_text(encoding="utf-8"))
