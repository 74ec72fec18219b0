"""`clipjax.load`: whatever holds CLIP weights -> a Model."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import checkpoints_convert
from checkpoints_convert import Options, parse
from clipjax import stored, text
from clipjax.errors import InputError, nearest
from clipjax.files import sha256
from clipjax.keys import declared, key
from clipjax.models import catalog, peft, trained, weights
from clipjax.models.kinds.base import ACTIVATIONS
from clipjax.progress import say

# `find_weights` serves `clipjax convert`, which needs neither jax nor flax, and a local file needs no network: what
# brings those is imported where it is used.
if TYPE_CHECKING:
    from clipjax.custom import CustomModel
    from clipjax.model import Model
    from clipjax.models.config import CLIP

DEMO = "emoji-clip"


@dataclasses.dataclass(frozen=True)
class WeightsKeys:
    """What can be said of weights that carry no configuration: flags of verbs, and keys `weights.*` of configs."""

    activation: str = key("", "quick_gelu (OpenAI, DFN, MetaCLIP) or gelu (LAION, DataComp)")
    heads: int = key(0, "attention heads of the image encoder")
    text_heads: int = key(0, "attention heads of the text encoder")
    eps: float = key(0.0, "of its norms; 1e-5 where not given")
    mean: str = key("", "of pixels in 0..1, R,G,B; OpenAI's where not given")
    std: str = key("", "of pixels in 0..1, R,G,B; OpenAI's where not given")
    state_dict: str = key("", "which of several sets of weights in one file, e.g. state_dict_ema")


OPTIONS = declared(WeightsKeys)


def with_tokenizer(config: CLIP, source: str | os.PathLike) -> tuple[CLIP, Path | None]:
    """`checkpoints_convert.with_tokenizer` of what a model was loaded as: of an adapter, its base's."""
    path = locate(source)
    if peft.is_adapter(path):
        return with_tokenizer(config, _base_of(path))
    if trained.is_checkpoint(path):
        path = path.parents[1] / "model.safetensors"  # where its run keeps it
    return checkpoints_convert.with_tokenizer(config, path)


def load(
    source: str | os.PathLike, *, activation: str | None = None, heads: int | None = None,
    text_heads: int | None = None, dtype: str = "float32", options: Options | None = None,
) -> Model | CustomModel:  # fmt: skip
    """Loads a model.

    Args:
        source: a released name ("ViT-B/32": downloaded once, verified, cached), a weights file of any format, a
            Hugging Face or open_clip folder, "hf://org/name" or "hf://org/name@revision" (of the hub, or of its cache
            on this machine), "emoji-clip", the embedded demo model, or "py:FILE.py" and "py:FILE.py:ARGUMENT", a
            model of any library that a Python file of yours defines.
        activation: "quick_gelu" or "gelu", for a bare file with no configuration.
        heads: attention heads of the image encoder, for such a file.
        text_heads: of the text encoder.
        dtype: what the encoders compute in, "float32" or "bfloat16". Parameters stay as released.
        options: all that can be said of such a file, in place of the three above.

    Raises:
        InputError: the source does not exist, is damaged, is not CLIP, needs an architecture unknown here, or does
            not say what changes its numbers.
    """
    if is_custom(source):
        from clipjax import custom

        if dtype != "float32" or (options or Options(activation, heads, text_heads)) != Options():
            raise InputError(f"{source}: takes no options; the file decides how its model computes")
        return custom.load(os.fspath(source))
    from clipjax.model import Model
    from clipjax.models import clip

    given = Options(activation, heads, text_heads)
    if options is not None and given != Options():
        raise InputError("give activation, heads and text_heads inside options, not beside it")
    loaded = find_weights(source, options or given)
    config, tokenizer = loaded.config, None
    if config.tokens.kind == "file":
        config, tokenizer = with_tokenizer(config, source)
    return Model(loaded.name, config, clip.unflatten(loaded.flat), loaded.source, dtype, tokenizer)


def find_weights(source: str | os.PathLike, options: Options | None = None) -> weights.Weights:
    """The weights behind a name, path or hub address, as stored; notes about them go to stderr."""
    named, options = os.fspath(source), options or Options()
    _refuse_custom(named)
    path = locate(named)
    if peft.is_adapter(path):
        return _with_adapter(path, options)
    if release := catalog.find(named):
        from clipjax import download

        loaded = _read(path, options, download.digest)
        if loaded.config != release.config:
            raise InputError(f"{path}: is not {release.name} as the catalog describes it; delete it and try again")
        return dataclasses.replace(loaded, name=release.name)
    if named.startswith("hf://"):
        from clipjax import download

        return dataclasses.replace(_read(path, options, download.digest), name=named.removeprefix("hf://").strip("/"))
    return _read(path, options)


def _with_adapter(folder: Path, options: Options) -> weights.Weights:
    """The base model that a LoRA adapter in peft's form names, with the adapter added."""
    return peft.merged(folder, find_weights(_base_of(folder), options))


def _base_of(folder: Path) -> str:
    base = peft.read_config(folder).base_model_name_or_path
    if not base:
        raise InputError(f"{folder / peft.CONFIG}: names no base_model_name_or_path; write the base model there")
    known = base == DEMO or catalog.find(base) or Path(base).exists() or base.startswith("hf://")
    return base if known else f"hf://{base}"


def describe(source: str | os.PathLike, options: Options | None = None) -> dict[str, Any]:
    """What a model is, in plain JSON types; with the file that was read, its format and the sha256 of its bytes."""
    if is_custom(source):
        from clipjax import custom

        return custom.load(os.fspath(source)).description
    from clipjax.models import describe

    found, path = find_weights(source, options), locate(source)
    if trained.is_checkpoint(path) or peft.is_adapter(path):
        kind = "training checkpoint" if trained.is_checkpoint(path) else "peft adapter"
        read: dict[str, Any] = {"file": str(path), "format": kind, "sha256": ""}
    elif checkpoints_convert.is_native(path):
        read = {"file": str(path), "format": "clipjax", "sha256": sha256(path)}
    else:
        folder = path if path.is_dir() else path.parent
        read = {"file": str(folder / found.source["file"])} | {k: found.source[k] for k in ("format", "sha256")}
    return read | describe.describe(found) | {"missing": _missing(found.config, source)}


def _missing(config: CLIP, source: str | os.PathLike) -> list[str]:
    """What has to come before the model can be used for all that it is for."""
    if config.tokens.kind != "file":
        return []
    if (path := with_tokenizer(config, source)[1]) is None:
        return ["the model's tokenizer.json beside the weights: without it there are features of images alone"]
    library = "sentencepiece" if path.suffix == ".model" else "tokenizers"
    return [] if importlib.util.find_spec(library) else [f"the library that reads its tokenizer: pip install {library}"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The flags of every verb that takes a weights file; `options_of` reads them."""
    group = parser.add_argument_group("for weights that carry no configuration")
    for name, one in OPTIONS.items():
        choices = ACTIVATIONS if name == "activation" else None
        group.add_argument(f"--{name.replace('_', '-')}", type=type(one.default), choices=choices, help=one.meaning)


def options_of(given: argparse.Namespace | WeightsKeys) -> Options:
    """From a verb's arguments, or from the keys `weights.*` of a run's config (empty and 0: not given)."""
    return parse({name: getattr(given, name, None) for name in OPTIONS}, not isinstance(given, argparse.Namespace))


def locate(source: str | os.PathLike) -> Path:
    """The file or folder behind a name, path or hub address, downloaded where it is not here yet; nothing is read."""
    named = os.fspath(source)
    if named == DEMO:
        return Path(str(resources.files("clipjax"))) / "assets" / f"{DEMO}.safetensors"
    if release := catalog.find(named):
        from clipjax import download

        return download.fetch_release(release.name, release.filename, release.sha256, release.hub)
    if named.startswith("hf://"):
        from clipjax import download

        return download.fetch_hub(named)
    if is_custom(named):
        from clipjax import custom

        return custom.parts_of(named)[0]
    return _existing(named)


def convert(
    source: str | os.PathLike, target: str | os.PathLike, to: str = "clipjax", dtype: str = "keep",
    options: Options | None = None,
) -> weights.Weights:  # fmt: skip
    """What `find_weights` finds, written to `target` as one of `checkpoints_convert.FORMATS`, cast to `dtype`."""
    checkpoints_convert.check_target(Path(target), to)
    named = os.fspath(source)
    _refuse_custom(named)
    if named == DEMO or catalog.find(named) or named.startswith("hf://") or peft.is_adapter(Path(named)):
        found = find_weights(named, options)
        config = with_tokenizer(found.config, named)[0]
        loaded = checkpoints_convert.cast(dataclasses.replace(found, config=config), dtype)
        checkpoints_convert.write(Path(target), loaded, to)
    else:
        loaded = _say_notes(checkpoints_convert.translate(_existing(named), Path(target), to, dtype, options))
    if (tokenizer := with_tokenizer(loaded.config, named)[1]) is not None:
        say(f"note: the tokenizer of the model is {text.copy_beside(tokenizer, Path(target))}")
    return loaded


def is_custom(source: str | os.PathLike) -> bool:
    """Whether this names a Python file that defines a model (`clipjax.custom`)."""
    return os.fspath(source).startswith("py:")


def _refuse_custom(named: str) -> None:
    if is_custom(named):
        raise InputError(
            f"{named}: a Python file gives features, not weights; it can be probed, embedded and explored, and not "
            "converted, fine-tuned, interpolated, planned or prepared for"
        )


def _existing(named: str) -> Path:
    if Path(named).suffix == ".py":
        raise InputError(f"{named}: a Python file that defines a model is named py:{named}")
    if not Path(named).exists() and not Path(named).suffix and "\\" not in named:
        known = (*catalog.names(), DEMO)
        hint = f"{nearest(named, known)}; names: {', '.join(known)}; or a path, or hf://org/name"
        raise InputError(f"{named}: neither a file or folder nor a known model{hint}")
    return _of_run(Path(named))


def _of_run(path: Path) -> Path:
    """The result of a folder of `clipjax finetune`; any other path as it is."""
    config = path / "config.json"
    if not config.is_file() or not (path / "log.jsonl").is_file():
        return path
    if stored.read(config, dict[str, Any]).get("verb") != "finetune":
        return path
    if (path / "model.safetensors").is_file():
        return path / "model.safetensors"
    steps = sorted((p.name for p in (path / "checkpoints").glob("*") if p.name.isdigit()), key=int)
    remedy = f"name a checkpoint of it: {path / 'checkpoints' / steps[-1]}" if steps else "it has no checkpoint yet"
    raise InputError(f"{path}: is a fine-tuning run that is not finished, and has no model.safetensors; {remedy}")


def _read(path: Path, options: Options, digest: Callable[[Path], str] = sha256) -> weights.Weights:
    return _say_notes(checkpoints_convert.read(path, options, digest))


def _say_notes(result: checkpoints_convert.Read) -> weights.Weights:
    """The weights, once what their reader should know about them has gone to stderr."""
    for note in result.notes:
        say(f"note: {note}")
    return result.weights
