"""How images and texts become what the encoders take, as frozen data without defaults."""

from __future__ import annotations

import dataclasses
from typing import Any

from clipjax.errors import InputError, brief
from clipjax.models.kinds.base import check_choice, is_finite

RESIZES = ("shortest", "squash", "longest")
INTERPOLATIONS = ("bicubic", "bilinear")
TOKENIZERS = ("clip-bpe", "file")
CLEANINGS = ("openai", "whitespace", "canonicalize", "remove_punctuation", "lower", "none")


@dataclasses.dataclass(frozen=True)
class Pixels:
    """An image of any size -> a square of S pixels, (x / 255 - mean) / std per channel.

    resize: "shortest": the short side to S, the centre cropped; "squash": both sides to S; "longest": the long side to
        S, in the middle of a square of the level `fill`.
    interpolation: "bicubic" or "bilinear", both with Pillow's antialiasing.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str
    interpolation: str
    fill: int

    def __post_init__(self):
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or len(values) != 3 or not all(map(is_finite, values)):
                raise InputError(f"{name} is {brief(values)}: three numbers (R, G, B)")
            object.__setattr__(self, name, tuple(values))
        if min(self.std) <= 0:
            raise InputError(f"std is {self.std}: positive in every channel")
        check_choice("resize", self.resize, RESIZES)
        check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        if type(self.fill) is not int or not 0 <= self.fill <= 255:
            raise InputError(f"fill is {brief(self.fill)}: a level from 0 to 255")


@dataclasses.dataclass(frozen=True)
class Tokens:
    """A text -> token ids int [T]; T is the text encoder's `context_length`, and padding is always on the right.

    kind: "clip-bpe": CLIP's own byte-pair encoding; "file": a `tokenizer.json` beside the weights.
    clean: what is done to a text before: "openai": ftfy, HTML entities, white space, lower case; "whitespace": the same
        in the text's own case; "canonicalize": "whitespace", then "_" to a space, ASCII punctuation removed, lower
        case; "remove_punctuation": lower case, ASCII punctuation removed, white space; "lower"; "none".
    pad_id: the id after the end of a text.
    file_sha256: of the `tokenizer.json`; None for "clip-bpe", and where the weights came without one.
    relabel: (id, the id in its place) for what the file gives, e.g. BERT's [SEP] in CLIPA.
    clips: ids (start, end, class) of OpenVision's form: start, words, end, padding, and the class in the last place.
    """

    kind: str
    clean: str
    pad_id: int
    file_sha256: str | None
    relabel: tuple[int, int] | None
    clips: tuple[int, int, int] | None

    def __post_init__(self):
        check_choice("tokenizer", self.kind, TOKENIZERS)
        check_choice("clean", self.clean, CLEANINGS)
        for name, length in (("relabel", 2), ("clips", 3)):
            if (ids := getattr(self, name)) is None:
                continue
            if not isinstance(ids, list | tuple) or len(ids) != length or not all(map(_is_id, ids)):
                raise InputError(f"{name} is {brief(ids)}: {length} token ids")
            object.__setattr__(self, name, tuple(ids))
        if not _is_id(self.pad_id):
            raise InputError(f"pad_id is {brief(self.pad_id)}: a token id")
        if self.file_sha256 is not None and not (isinstance(self.file_sha256, str) and len(self.file_sha256) == 64):
            raise InputError(f"file_sha256 is {brief(self.file_sha256)}: 64 hexadecimal digits")
        own = (self.clean, self.pad_id, self.file_sha256, self.relabel, self.clips)
        if self.kind == "clip-bpe" and own != ("openai", 0, None, None, None):
            raise InputError("clip-bpe cleans and pads texts in one way, and has no file")


def _is_id(value: Any) -> bool:
    return type(value) is int and value >= 0


CLIP_BPE = Tokens("clip-bpe", "openai", 0, None, None, None)
# Of OpenAI's models and of all that version 1 of the stored form can say.
OPENAI_RESIZE: dict[str, Any] = {"resize": "shortest", "interpolation": "bicubic", "fill": 0}
