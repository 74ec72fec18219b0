"""What a command used and did, as plain lines: the same ones for every verb that asks a model about images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clipjax import loading, skipping
from clipjax.errors import brief, some
from clipjax.files import sha256

SHORT = 12  # hex digits of a sha256
PROMPTS = 10  # classes whose first prompt is shown
DEMO = "--model=ViT-B/32 answers with OpenAI's weights"


def describe(
    model: str,
    weights_file: str,
    weights_sha256: str,
    data: str,
    n: int,
    skipped: Sequence[tuple[int, str, str]] = (),
    prompts: Mapping[str, Sequence[str]] | None = None,
    demo: str = "",
) -> list[str]:
    """Lines about one finished command, without line ends; for stderr, or above a table.

    Args:
        model: The model's name.
        weights_file: The file its parameters came from.
        weights_sha256: That file's, in full; shown short.
        data: What the images are: a folder, a list, a data set's name; "" where there are none.
        n: Images that were used.
        skipped: (row, file, reason) of those that were not.
        prompts: Class name -> its prompts, where classes were asked; the first prompt of each class is shown.
        demo: Where the embedded model answered because none was given: what to type for another one (`DEMO`).
    """
    name = f"{model}, the embedded demo (it has only seen emoji artwork); {demo}" if demo else model
    lines = [f"model: {name}", f"weights: {weights_file}, sha256 {weights_sha256[:SHORT]}"]
    if data:
        lost = f", {len(skipped)} skipped" if skipped else ""
        lines.append(f"data: {data}, {n} {'image' if n == 1 else 'images'}{lost}")
    if prompts:
        lines.append(_prompts(prompts))
    return lines + skipping.notes(skipped)


def _prompts(prompts: Mapping[str, Sequence[str]]) -> str:
    counts = {len(texts) for texts in prompts.values()}
    each = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    first = some([f'"{brief(texts[0], 80)}"' for texts in prompts.values() if texts], PROMPTS)
    shown = "" if counts == {1} else "; the first of each"
    return f"prompts: {len(prompts)} classes, {each} each{shown}: {first}"


def weights_of(named: str | os.PathLike, source: Mapping[str, Any]) -> tuple[str, str]:
    """Name and sha256 of the file that a model was read from.

    `named` is what was asked for, `source` the model's own word. A file of clipjax's format says where its parameters
    once came from, so a .safetensors that is named is hashed; of all others `source` has the bytes that were read.
    """
    # A folder may be a fine-tuning run, which is its result.
    path = loading.locate(named) if named == loading.DEMO or Path(named).is_dir() else Path(named)
    if path.is_file() and (path.suffix == ".safetensors" or source.get("file") != path.name):
        return path.name, sha256(path)
    return str(source.get("file", named)), str(source.get("sha256", "unknown"))
