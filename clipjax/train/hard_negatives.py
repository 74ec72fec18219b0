"""Captions that are wrong on purpose, as NegCLIP trains with: of a column, each beside the caption that it changes."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

import numpy as np

from clipjax.data.source import Source
from clipjax.errors import InputError, brief

Cells = Mapping[str, tuple[str, ...]]  # file -> the cells of its columns and rows


def beside(
    against: Cells, source: Source, rows: np.ndarray, captions: Sequence[tuple[str, ...]]
) -> list[tuple[tuple[str, ...], ...]]:
    """For each image of `rows`, for each of its captions, the wrong ones of which one is drawn.

    An image with as many cells as captions has them in the same order: the cell of a row, or of the k-th column, is of
    that row's, or that column's, caption. Otherwise every caption has all of them. A cell may be a list ("['a', 'b']",
    as NegCLIP's tables have them). Raises InputError where a wrong caption is one of the image's own, or none is there.
    """
    found, key = [], "data.hard_negative_columns"
    for row, own in zip(rows, captions, strict=True):
        file = source.files[row]
        cells = [_texts(cell, file) for cell in against.get(file, ())]
        flat = tuple(dict.fromkeys(text for cell in cells for text in cell))
        if same := set(flat) & set(own):
            raise InputError(f"{key}: {file} has {brief(same.pop())!r} as caption and as hard negative")
        # Of captions with gaps the order would be a guess.
        whole = source.captions is not None and len(source.captions[row]) == len(own) == len(cells)
        found.append(tuple(cells) if whole else (flat,) * len(own))
    if not any(any(row) for row in found):
        raise InputError(f"{key}: no image of {source.name} has a hard negative")
    return found


def _texts(cell: str, file: str) -> tuple[str, ...]:
    cell = cell.strip()
    if not (cell.startswith("[") and cell.endswith("]")):
        return (cell,) if cell else ()
    try:
        listed = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        listed = None
    if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
        raise InputError(
            f"data.hard_negative_columns: {file}: {brief(cell)!r} is not a list of texts, as ['one', 'two']"
        )
    return tuple(text.strip() for text in listed if text.strip())
