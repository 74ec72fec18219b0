"""`clipjax.load`: whatever holds CLIP weights -> a Model."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import checkpoints_convert
from clipjax.errors import InputError
from clipjax.files import sha256
from clipjax.models import catalog, weights
from clipjax.progress import say

# `find_weights` serves `clipjax convert`, which needs neither jax nor flax, and a local file needs no network: what
# brings those is imported where it is used.
if TYPE_CHECKING:
    from clipjax.model import Model

DEMO = "emoji-clip"


def load(source: str | os.PathLike, *, activation: str | None = None, dtype: str = "float32") -> Model:
    """Loads a model.

    Args:
        source: a released name ("ViT-B/32": downloaded once, verified, cached), a .safetensors or OpenAI .pt
            file, a Hugging Face or open_clip folder, "hf://org/name", or "emoji-clip", the embedded demo model.
        activation: "quick_gelu" or "gelu", for a bare file with OpenAI's tensor names and no configuration.
        dtype: what the towers compute in, "float32" or "bfloat16". Parameters stay as released.

    Raises:
        InputError: the source does not exist, is damaged, is not CLIP, or needs an architecture unknown here.
    """
    from clipjax.model import Model
    from clipjax.models import clip

    found = find_weights(source, activation)
    return Model(found.name, found.config, clip.unflatten(found.flat), found.source, dtype)


def find_weights(source: str | os.PathLike, activation: str | None = None) -> weights.Weights:
    """The weights behind a name, path or hub address, as stored; notes about them go to stderr."""
    text = os.fspath(source)
    path = locate(text)
    if text == DEMO:
        return weights.load(path)
    if release := catalog.find(text):
        from clipjax import download

        found = _read(path, activation, download.digest)
        if found.config != release.config:
            raise InputError(f"{path}: is not {release.name} as the catalogue describes it; delete it and try again")
        return dataclasses.replace(found, name=release.name)
    if text.startswith("hf://"):
        from clipjax import download

        return dataclasses.replace(_read(path, activation, download.digest), name=text.removeprefix("hf://").strip("/"))
    return _read(path, activation)


def locate(source: str | os.PathLike) -> Path:
    """The file or folder behind a name, path or hub address, downloaded where it is not here yet; nothing is read."""
    text = os.fspath(source)
    if text == DEMO:
        return Path(str(resources.files("clipjax"))) / "assets" / f"{DEMO}.safetensors"
    if release := catalog.find(text):
        from clipjax import download

        return download.fetch_release(release.name, release.filename, release.sha256, release.hub)
    if text.startswith("hf://"):
        from clipjax import download

        return download.fetch_hub_model(text.removeprefix("hf://").strip("/"))
    return _existing(text)


def convert(
    source: str | os.PathLike, target: str | os.PathLike, to: str = "clipjax", dtype: str = "keep",
    activation: str | None = None,
) -> weights.Weights:  # fmt: skip
    """What `find_weights` finds, written to `target` as one of `checkpoints_convert.FORMATS`, cast to `dtype`."""
    text = os.fspath(source)
    if text == DEMO or catalog.find(text) or text.startswith("hf://"):
        loaded = checkpoints_convert.cast(find_weights(text, activation), dtype)
        checkpoints_convert.write(Path(target), loaded, to)
        return loaded
    return _say_notes(checkpoints_convert.translate(_existing(text), Path(target), to, dtype, activation))


def _existing(text: str) -> Path:
    if not Path(text).exists() and not Path(text).suffix and "\\" not in text:
        raise InputError(f"{text}: neither a file or folder nor a known model; {_nearest(text)}")
    return Path(text)


def _read(path: Path, activation: str | None, digest: Callable[[Path], str] = sha256) -> weights.Weights:
    return _say_notes(checkpoints_convert.read(path, activation, digest))


def _say_notes(found: checkpoints_convert.Read) -> weights.Weights:
    """The weights, once what their reader should know about them has gone to stderr."""
    for note in found.notes:
        say(f"note: {note}")
    return found.weights


def _nearest(name: str) -> str:
    known = (*catalog.names(), DEMO)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    start = f"did you mean {near[0]}? " if near else ""
    return f"{start}Names: {', '.join(known)}; or a path, or hf://org/name"
