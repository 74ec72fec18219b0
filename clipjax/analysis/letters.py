"""Names in figures: cut to what an axis holds, and set in letters that the figures' own font may lack.

An .svg holds text, not outlines: names can be searched, selected and edited, files are smaller, and the reader's
machine sets every script in its own fonts. The layout is measured with DejaVu Sans, which matplotlib brings and which
is wider than common fonts, so that no other font runs out of its place. A .png holds no text: there a letter that
DejaVu Sans lacks is set in a font of this machine that has it, or is its number (\\u65e5) where none has.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from typing import Any

FAMILY = "DejaVu Sans"
FAMILIES = (FAMILY, "Verdana", "Arial")  # in an .svg, before the reader's own sans-serif
PLACEHOLDERS = "Last Resort"  # a font of boxes, which has every letter and shows none


def width(name: str) -> int:
    """How wide a name is: letters of East Asia and emoji count twice."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in name)


def short(name: str, longest: int, tail: str = "") -> str:
    """Cut to `longest` columns with the whole tail ("(n = 12)"); what is not printable is its number."""
    name = "".join(c if c.isprintable() else number(c) for c in name)
    room = longest - width(tail)
    if width(name) > room:
        while width(name) > room - 1:
            name = name[:-1]
        name += "…"
    return name + tail


def number(letter: str) -> str:
    """ "\\u65e5"."""
    return f"\\u{ord(letter):x}"


def to_glyphs(figure: Any) -> bool:
    """Prepares a figure's texts for a .png: fonts of this machine, then numbers, for what DejaVu Sans lacks; returns
    whether there was such a letter.

    The figure's layout has to be frozen: what is wider than its letter leaves the figure, and `savefig` with
    bbox_inches="tight" keeps it.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter

    texts = figure.findobj(Text)
    missing = lacking({c for text in texts for c in text.get_text()})
    if not missing:
        return False
    fonts = _fonts(missing)
    known = {c for font in fonts for c in missing if ord(c) in _letters(font.fname)}
    table = {ord(c): number(c) for c in missing - known}
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        labels = [label.get_text() for label in axis.get_ticklabels()]
        if lacking("".join(labels)):  # made again by the formatter at every drawing
            axis.set_major_formatter(FixedFormatter([label.translate(table) for label in labels]))
    for text in texts:
        text.set_text(text.get_text().translate(table))
        text.set_fontfamily([FAMILY, *(font.name for font in fonts)])
    return True


def lacking(letters: Iterable[str]) -> set[str]:
    """Those that DejaVu Sans does not have; a line break, which figures set themselves, is not a letter."""
    from matplotlib import font_manager

    known = _letters(font_manager.findfont(FAMILY))
    return {c for c in letters if ord(c) not in known and c != "\n"}


def _fonts(missing: set[str]) -> list[Any]:
    """Fonts of this machine that together have as many of the letters as there are, one after the other."""
    from matplotlib import font_manager

    found, left = [], {ord(c) for c in missing}
    for font in font_manager.fontManager.ttflist:
        plain = font.style == "normal" and font.weight in (400, "normal", "regular")
        if left and plain and not font.name.startswith((FAMILY, PLACEHOLDERS)) and left & _letters(font.fname):
            left -= _letters(font.fname)
            found.append(font)
    return found


@functools.cache
def _letters(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # a font that is listed and gone, or that FreeType does not scale
        return frozenset()
