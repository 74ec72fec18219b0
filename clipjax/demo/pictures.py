"""The main job on what is embedded: a small model answers about pictures it has not been trained on."""

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
class Pictures:
    """Pictures with the class each shows, and the classes to choose from."""

    title: str
    images: list[Image.Image]
    truth: list[str]
    classes: list[str]


def drawings() -> Pictures:
    """24 Noto drawings on white; the model was trained on another artist's drawings of these things."""
    listing = _listing()["noto"]
    tile, columns, names = listing["tile"], listing["columns"], listing["classes"]
    with resources.as_file(ASSETS / "noto.png") as path:
        sprite = open_image(path)
    corners = [(i % columns * tile, i // columns * tile) for i in range(len(names))]
    tiles = [sprite.crop((x, y, x + tile, y + tile)) for x, y in corners]
    # Composited here: OpenAI's preprocessing drops the alpha channel, and what lies under it is arbitrary.
    white = [Image.alpha_composite(Image.new("RGBA", t.size, "white"), t).convert("RGB") for t in tiles]
    return Pictures("Drawings (Noto emoji)", white, list(names), list(names))


def photographs() -> Pictures:
    """Six public-domain photographs; a model that knows emoji only is not expected to do well."""
    listing = _listing()
    images = []
    for photograph in listing["photographs"]:
        with resources.as_file(ASSETS / "photographs" / photograph["file"]) as path:
            images.append(open_image(path))
    truth = [photograph["class"] for photograph in listing["photographs"]]
    classes = list(dict.fromkeys([*truth, *listing["noto"]["classes"]]))
    return Pictures("Photographs (public domain)", images, truth, classes)


def summary(pictures: Pictures, probabilities: np.ndarray) -> str:
    """How often the first answer was right, and the wrong ones."""
    best = probabilities.argmax(1)
    answers = [pictures.classes[i] for i in best]
    wrong = [
        f"{truth} → {answer} {row[i]:.0%}"
        for truth, answer, row, i in zip(pictures.truth, answers, probabilities, best, strict=True)
        if truth != answer
    ]
    right, n = len(pictures.truth) - len(wrong), len(pictures.truth)
    said = f"{pictures.title}: first answer right: {right} of {n} (chance: 1 in {len(pictures.classes)})"
    return f"{said}. Wrong: {', '.join(wrong)}." if wrong else f"{said}."


def draw(path: Path, sections: Sequence[tuple[Pictures, np.ndarray]], columns: int = 4) -> None:
    """A PNG grid: each picture beside a bar for each of its three likeliest classes, the right one in green."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = sum(-(-len(p.images) // columns) for p, _ in sections)
    figure = Figure(figsize=(3.6 * columns, 1.25 * rows + 0.5 * len(sections)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    heights = [-(-len(p.images) // columns) + 0.35 for p, _ in sections]
    for part, (pictures, probabilities) in zip(
        figure.subfigures(len(sections), 1, height_ratios=heights, squeeze=False)[:, 0], sections, strict=True
    ):
        part.suptitle(pictures.title, fontsize=12)
        grid = part.subplots(-(-len(pictures.images) // columns), 2 * columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        cells = grid.reshape(-1, 2)
        for cell, picture, truth, row in zip(cells, pictures.images, pictures.truth, probabilities, strict=False):
            cell[0].imshow(picture)
            _bars(cell[1], pictures.classes, truth, row)
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
