"""Random views of a picture for training, in Pillow, on the host's threads: uint8 in the model's size.

Every random number comes from the generator that is passed in, so that a view depends on the seed and on the
example's place in the run, never on threads, hosts or restarts.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image, ImageEnhance

from clipjax.errors import InputError

WHITE = (255, 255, 255)
TRIES = 10  # windows drawn before the whole picture is taken, as torchvision's RandomResizedCrop does


@dataclasses.dataclass(frozen=True)
class Augment:
    """What may happen to a picture. The defaults are CLIP's only augmentation, "a random square crop from resized
    images" (paper, section 2.5), as open_clip spells it: a window of 90 to 100% of the picture's area.

    scale: area of the window as a share of the picture's; above 1 it reaches over the edge. ratio: its width to
    height. flip: share of pictures mirrored. turn: degrees, at most, either way. jitter: strengths for brightness,
    contrast, saturation (factors 1 - s to 1 + s) and hue (share of the circle, at most 0.5); jitter_share: how many
    pictures get it. grey: share of pictures without colour. background: what shows through transparent pixels and
    over the edge: "" (OpenAI's preprocessing, which ignores transparency), "white", or "random" (white or any colour).
    """

    scale: tuple[float, float] = (0.9, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: float = 0.0
    turn: float = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_share: float = 0.8
    grey: float = 0.0
    background: str = ""

    def __post_init__(self):
        for name, length in (("scale", 2), ("ratio", 2), ("jitter", 4)):
            values = tuple(float(x) for x in getattr(self, name))
            if len(values) != length or min(values) < 0:
                raise InputError(f"augment.{name}={values} takes {length} numbers from 0 up")
            object.__setattr__(self, name, values)
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise InputError(f"augment.{name}=({low}, {high}): the first is above 0 and not above the second")
        for name in ("flip", "grey", "jitter_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"augment.{name}={getattr(self, name)} is a share, from 0 to 1")
        if self.jitter[3] > 0.5:
            raise InputError(f"augment.jitter: hue {self.jitter[3]} is more than half of the circle")
        if self.background not in ("", "white", "random"):
            raise InputError(f"augment.background={self.background!r} is none of '', 'white', 'random'")


def view(picture: Image.Image, options: Augment, size: int, rng: np.random.Generator) -> np.ndarray:
    """One random view: uint8 [S, S, 3]. Raises InputError for a mode that has no way to RGB."""
    colour = _background(options, rng)
    picture = _opaque(picture, colour)
    if options.turn:
        angle = rng.uniform(-options.turn, options.turn)
        picture = picture.rotate(angle, Image.Resampling.BICUBIC, fillcolor=colour)
    picture = _window(picture, options, size, colour, rng)
    if rng.random() < options.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if any(options.jitter) and rng.random() < options.jitter_share:
        picture = _jitter(picture, options.jitter, rng)
    if rng.random() < options.grey:
        picture = picture.convert("L").convert("RGB")
    return np.asarray(picture)


def _background(options: Augment, rng: np.random.Generator) -> tuple[int, int, int] | None:
    if not options.background:
        return None
    drawn = rng.random(), rng.integers(0, 256, 3)
    if options.background == "white" or drawn[0] < 0.5:
        return WHITE
    r, g, b = (int(x) for x in drawn[1])
    return r, g, b


def _opaque(picture: Image.Image, colour: tuple[int, int, int] | None) -> Image.Image:
    transparent = picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
    try:
        if colour is None or not transparent:
            return picture if picture.mode == "RGB" else picture.convert("RGB")
        picture = picture.convert("RGBA")
    except ValueError as error:
        raise InputError(f"mode {picture.mode} cannot be turned into RGB ({error}); convert the picture") from error
    under = Image.new("RGBA", picture.size, (*colour, 255))
    under.alpha_composite(picture)
    return under.convert("RGB")


def _window(
    picture: Image.Image, options: Augment, size: int, colour: tuple[int, int, int] | None, rng: np.random.Generator
) -> Image.Image:
    width, height = picture.size
    for _ in range(TRIES):
        area = width * height * math.exp(rng.uniform(*np.log(options.scale)))
        ratio = math.exp(rng.uniform(*np.log(options.ratio)))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if options.scale[1] > 1 or (w <= width and h <= height):
            break
    else:  # no such window in this picture: the largest with the nearest allowed ratio, in the middle
        ratio = min(max(width / height, options.ratio[0]), options.ratio[1])
        w, h = min(width, height * ratio), min(height, width / ratio)
        return picture.resize((size, size), Image.Resampling.BICUBIC, box=_around_middle(width, height, w, h))
    # A window that reaches over the edge may lie anywhere between touching the near and the far side.
    left = rng.uniform(min(0, width - w), max(0, width - w))
    top = rng.uniform(min(0, height - h), max(0, height - h))
    border = math.ceil(max(0, -left, -top, left + w - width, top + h - height))
    if border:
        wider = Image.new("RGB", (width + 2 * border, height + 2 * border), colour or (0, 0, 0))
        wider.paste(picture, (border, border))
        picture, left, top = wider, left + border, top + border
    box = (left, top, min(left + w, picture.width), min(top + h, picture.height))
    return picture.resize((size, size), Image.Resampling.BICUBIC, box=box)


def _around_middle(width: float, height: float, w: float, h: float) -> tuple[float, float, float, float]:
    left, top = (width - w) / 2, (height - h) / 2
    return left, top, left + w, top + h


def _jitter(picture: Image.Image, strengths: tuple[float, ...], rng: np.random.Generator) -> Image.Image:
    brightness, contrast, saturation = (rng.uniform(max(0.0, 1 - s), 1 + s) for s in strengths[:3])
    hue, order = rng.uniform(-strengths[3], strengths[3]), rng.permutation(4)
    for step in order:
        if step == 3 and strengths[3]:
            picture = _turn_hue(picture, hue)
        elif step < 3 and strengths[step]:
            enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[step]
            picture = enhance(picture).enhance((brightness, contrast, saturation)[step])
    return picture


def _turn_hue(picture: Image.Image, share: float) -> Image.Image:
    hue, saturation, value = picture.convert("HSV").split()
    turned = Image.fromarray((np.asarray(hue).astype(np.int16) + round(share * 255)).astype(np.uint8))
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")
