"""Deterministic changes of an image after resize and crop, before it is scaled: grey, blur, JPEG, pixels, a word.

Severities 1 to 5 have the scale of ImageNet-C where it has one (lengths are for a crop of 224 and grow with it). They
are not ImageNet-C: nothing is random, and no second JPEG is saved.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable

import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageFilter, ImageFont, features

from clipjax.errors import InputError, nearest

SIZE = 224  # of the crop that lengths are given for
SEVERITIES = 5
BLUR = (1, 2, 3, 4, 6)  # pixels, standard deviation
JPEG = (25, 18, 15, 10, 7)  # quality
PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)  # of the size
WORD = (0.06, 0.09, 0.12, 0.16, 0.20)  # height of the text box as a share of the size
WIDEST, LOWER = 0.9, 0.95  # of the size: the widest text, and where its lower edge lies
SMALLEST = 6  # the smallest size of type, in pixels, that can be read


def grey(image: Image.Image) -> Image.Image:
    """Three equal channels: Pillow's luma."""
    return image.convert("L").convert("RGB")


def blur(image: Image.Image, severity: int) -> Image.Image:
    """Pillow's Gaussian blur, which is three box filters."""
    return image.filter(ImageFilter.GaussianBlur(BLUR[severity - 1] * image.width / SIZE))


def jpeg(image: Image.Image, severity: int) -> Image.Image:
    """Saved as JPEG of low quality and read again; bytes depend on the codec."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG[severity - 1])
    return Image.open(buffer).convert("RGB")


def pixelate(image: Image.Image, severity: int) -> Image.Image:
    """Reduced by box averages and enlarged again."""
    return _pixelated(image, PIXELATE[severity - 1])


def _pixelated(image: Image.Image, share: float) -> Image.Image:
    small = int(image.width * share)
    return image.resize((small, small), Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


def written_word(image: Image.Image, severity: int, word: str) -> Image.Image:
    """A word in white with a black rim near the lower edge: the largest type whose box is within the height of the
    severity and within nine tenths of the width."""
    side = image.width
    size = _type_size(word, WORD[severity - 1] * side, WIDEST * side)
    if size < SMALLEST:
        raise InputError(
            f"word {word!r} does not fit into {side} x {side} pixels at severity {severity}; choose a shorter one, or "
            "a higher severity"
        )
    out = image.copy()
    font = ImageFont.load_default(size)
    left, _, right, bottom = font.getbbox(word)
    at = (side - (right - left)) / 2 - left, LOWER * side - bottom
    ImageDraw.Draw(out).text(at, word, "white", font, stroke_width=1, stroke_fill="black")
    return out


def _type_size(word: str, height: float, width: float) -> int:
    """The largest whole size of type whose box is within height and width; 0 where none is."""
    best = 0
    for size in range(1, max(2, int(3 * height))):
        left, top, right, bottom = ImageFont.load_default(size).getbbox(word)
        if bottom - top <= height and right - left <= width:
            best = size
    return best


WITHOUT_SEVERITY: dict[str, Callable[[Image.Image], Image.Image]] = {"grey": grey}
WITH_SEVERITY: dict[str, Callable[[Image.Image, int], Image.Image]] = {"blur": blur, "jpeg": jpeg, "pixelate": pixelate}
NAMES = (*WITHOUT_SEVERITY, *WITH_SEVERITY, "written_word")


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """One change: its name, its severity (0: it has none) and the word that is written."""

    name: str
    severity: int = 0
    word: str = ""

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [S, S, 3] -> uint8 [S, S, 3]."""
        image = Image.fromarray(pixels)
        if self.name in WITHOUT_SEVERITY:
            changed = WITHOUT_SEVERITY[self.name](image)
        elif self.name in WITH_SEVERITY:
            changed = WITH_SEVERITY[self.name](image, self.severity)
        else:
            changed = written_word(image, self.severity, self.word)
        return np.asarray(changed)

    @property
    def key(self) -> dict[str, object]:
        """What the changed pixels depend on, for caches and manifests."""
        codec = {"codec": features.version("jpg")} if self.name == "jpeg" else {}
        type_ = {"word": self.word, "freetype": features.version("freetype2")} if self.name == "written_word" else {}
        return {"name": self.name, "severity": self.severity, "pillow": PIL.__version__, **codec, **type_}

    def __str__(self) -> str:
        return self.name + (f":{self.severity}" if self.severity else "") + (f":{self.word}" if self.word else "")


@dataclasses.dataclass(frozen=True)
class Several:
    """Changes one after the other."""

    parts: tuple[Perturbation, ...]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [S, S, 3] -> uint8 [S, S, 3]."""
        for part in self.parts:
            pixels = part(pixels)
        return pixels

    @property
    def key(self) -> list[dict[str, object]]:
        """Of all changes, in their order."""
        return [part.key for part in self.parts]

    @property
    def word(self) -> str:
        """The word that is written; "" where none is."""
        return "".join(part.word for part in self.parts)

    def __str__(self) -> str:
        return ",".join(map(str, self.parts))


Change = Perturbation | Several


def parse(text: str) -> Change | None:
    """ "blur:3", "grey", "written_word:2:thief" -> the change; "grey,blur:2" -> both in this order; None for ""."""
    if not text:
        return None
    parts = tuple(_parse(one.strip()) for one in text.split(","))
    if len(parts) == 1:
        return parts[0]
    names = [part.name for part in parts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"data.perturb={text}: {twice[0]} comes twice; keep one")
    return Several(parts)


def _parse(text: str) -> Perturbation:
    name, *rest = text.split(":", 2)
    if name not in NAMES:
        raise InputError(f"data.perturb={text}: no change {name!r}{nearest(name, NAMES)}; choose {', '.join(NAMES)}")
    if name in WITHOUT_SEVERITY:
        if rest:
            raise InputError(f"data.perturb={text}: {name} has no severity; write {name}")
        return Perturbation(name)
    if not rest or not rest[0].isascii() or not rest[0].isdigit() or not 1 <= int(rest[0]) <= SEVERITIES:
        given = f"severity {rest[0]}" if rest else "no severity"
        raise InputError(f"data.perturb={text}: {given}; choose 1 to {SEVERITIES}, as {name}:3")
    word = rest[1] if len(rest) > 1 else ""
    if (name == "written_word") != bool(word):
        wanted = f"{name}:{rest[0]}:WORD" if name == "written_word" else f"{name}:{rest[0]}"
        raise InputError(f"data.perturb={text}: write {wanted}")
    return Perturbation(name, int(rest[0]), word)
