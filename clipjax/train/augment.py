"""Random views of an image for training, in Pillow, on the host's threads: uint8 in the model's size.

Every random number comes from the generator that is passed in, so that a view depends on the seed and on the
example's place in the run, never on threads, hosts or restarts.
"""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
from PIL import Image, ImageEnhance

from clipjax.errors import InputError

WHITE = (255, 255, 255)
TRIES = 10  # windows drawn before the whole image is taken, as torchvision's RandomResizedCrop does


@dataclasses.dataclass(frozen=True)
class Augment:
    """What may happen to an image. The defaults are CLIP's only augmentation, "a random square crop from resized
    images" (paper, section 2.5), as open_clip spells it: a window of 90 to 100% of the image's area.

    scale: area of the window as a share of the image's; above 1 it reaches over the edge. ratio: its width to
    height. flip: share of images mirrored. turn: degrees, at most, either way. jitter: strengths for brightness,
    contrast, saturation (factors 1 - s to 1 + s) and hue (share of the circle, at most 0.5); jitter_share: how many
    images get it. grey: share of images without colour. background: what shows through transparent pixels and
    over the edge: "" (OpenAI's preprocessing, which ignores transparency), "white", or "random" (white or any colour).
    square: in place of a window, the largest square, anywhere along the longer side. flip_safe: an image whose texts
    name a side (`names_side`) is not mirrored, nor is one with such a template.
    """

    scale: tuple[float, float] = (0.9, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: float = 0.0
    turn: float = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_share: float = 0.8
    grey: float = 0.0
    background: str = ""
    square: bool = False
    flip_safe: bool = False

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


PRESETS: dict[str, Augment | None] = {
    "none": None,
    # open_clip.transform.AugmentationCfg: RandomResizedCrop, scale (0.9, 1.0), torchvision's ratios. There the area is
    # drawn uniformly, here its logarithm.
    "open_clip": Augment(),
    # Radford et al. 2021, section 2.5: "A random square crop from resized images is the only data augmentation".
    "openai": Augment(square=True),
    "flip_safe": Augment(flip=0.5, flip_safe=True),
}
_SIDES = re.compile(r"\b(left|right)|clockwise|mirror", re.IGNORECASE)


def names_side(text: str) -> bool:
    """Whether a text would be wrong of the mirrored image: it says left, right, clockwise or mirror, in English."""
    return _SIDES.search(text) is not None


def view(image: Image.Image, options: Augment, size: int, rng: np.random.Generator) -> np.ndarray:
    """One random view: uint8 [S, S, 3]. Raises InputError for a mode that has no way to RGB."""
    colour = _background(options, rng)
    image = _opaque(image, colour)
    if options.turn:
        angle = rng.uniform(-options.turn, options.turn)
        image = image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=colour)
    image = _window(image, options, size, colour, rng)
    if rng.random() < options.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if any(options.jitter) and rng.random() < options.jitter_share:
        image = _jitter(image, options.jitter, rng)
    if rng.random() < options.grey:
        image = image.convert("L").convert("RGB")
    return np.asarray(image)


def _background(options: Augment, rng: np.random.Generator) -> tuple[int, int, int] | None:
    if not options.background:
        return None
    drawn = rng.random(), rng.integers(0, 256, 3)
    if options.background == "white" or drawn[0] < 0.5:
        return WHITE
    r, g, b = (int(x) for x in drawn[1])
    return r, g, b


def _opaque(image: Image.Image, colour: tuple[int, int, int] | None) -> Image.Image:
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    try:
        if colour is None or not transparent:
            return image if image.mode == "RGB" else image.convert("RGB")
        image = image.convert("RGBA")
    except ValueError as error:
        raise InputError(f"mode {image.mode} cannot be converted to RGB ({error}); convert the image") from error
    under = Image.new("RGBA", image.size, (*colour, 255))
    under.alpha_composite(image)
    return under.convert("RGB")


def _window(
    image: Image.Image, options: Augment, size: int, colour: tuple[int, int, int] | None, rng: np.random.Generator
) -> Image.Image:
    width, height = image.size
    if options.square:
        side = min(width, height)
        left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
        return image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    for _ in range(TRIES):
        area = width * height * math.exp(rng.uniform(*np.log(options.scale)))
        ratio = math.exp(rng.uniform(*np.log(options.ratio)))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if options.scale[1] > 1 or (w <= width and h <= height):
            break
    else:  # no such window in this image: the largest with the nearest allowed ratio, in the middle
        ratio = min(max(width / height, options.ratio[0]), options.ratio[1])
        w, h = min(width, height * ratio), min(height, width / ratio)
        return image.resize((size, size), Image.Resampling.BICUBIC, box=_around_middle(width, height, w, h))
    # A window that reaches over the edge may lie anywhere between touching the near and the far side.
    left = rng.uniform(min(0, width - w), max(0, width - w))
    top = rng.uniform(min(0, height - h), max(0, height - h))
    border = math.ceil(max(0, -left, -top, left + w - width, top + h - height))
    if border:
        wider = Image.new("RGB", (width + 2 * border, height + 2 * border), colour or (0, 0, 0))
        wider.paste(image, (border, border))
        image, left, top = wider, left + border, top + border
    box = (left, top, min(left + w, image.width), min(top + h, image.height))
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


def _around_middle(width: float, height: float, w: float, h: float) -> tuple[float, float, float, float]:
    left, top = (width - w) / 2, (height - h) / 2
    return left, top, left + w, top + h


def _jitter(image: Image.Image, strengths: tuple[float, ...], rng: np.random.Generator) -> Image.Image:
    brightness, contrast, saturation = (rng.uniform(max(0.0, 1 - s), 1 + s) for s in strengths[:3])
    hue, order = rng.uniform(-strengths[3], strengths[3]), rng.permutation(4)
    for step in order:
        if step == 3 and strengths[3]:
            image = _rotate_hue(image, hue)
        elif step < 3 and strengths[step]:
            enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[step]
            image = enhance(image).enhance((brightness, contrast, saturation)[step])
    return image


def _rotate_hue(image: Image.Image, share: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    rotated = Image.fromarray((np.asarray(hue).astype(np.int16) + round(share * 255)).astype(np.uint8))
    return Image.merge("HSV", (rotated, saturation, value)).convert("RGB")
