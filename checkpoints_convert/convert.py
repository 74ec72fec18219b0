"""Any checkpoint in, any checkpoint out. `read` recognises what a file is by its contents; `write` makes what is asked.

    path -> folders.find -> Place -> containers.open_checkpoint -> Checkpoint (tensors under their own names)
         -> rules.to_native -> flat (tensors under ours) + read_config -> CLIP  =  Weights

A file's container (`containers`), the names of its tensors (a `rules.Dialect`) and the form of its configuration
(`read_config` of `huggingface`, `open_clip` or `bare`) are independent of each other: any of the first, any of the
second, any of the third.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from checkpoints_convert import (
    bare,
    big_vision,
    containers,
    dialects,
    folders,
    huggingface,
    open_clip,
    openai,
    released,
    rules,
    training_state,
)
from checkpoints_convert.options import Options
from checkpoints_convert.tokenizers import with_tokenizer
from clipjax import stored
from clipjax.errors import InputError
from clipjax.files import check_new_folder, sha256
from clipjax.models import catalog, trained, weights
from clipjax.models import config as configs
from clipjax.models.config import CLIP
from clipjax.models.weights import Weights

Digest = Callable[[Path], str]
FORMATS = ("clipjax", "openai", "huggingface", "open_clip")
# What a file holds is recognised by its contents; its name must not promise another thing.
SUFFIXES = {
    "clipjax": (".safetensors",),
    "openai": (".pt", ".pth", ".bin", ".ckpt"),
    "others": (".msgpack", ".npz", ".h5", ".onnx"),
}
DTYPES: dict[str, np.dtype] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
_UNHASHED = "0" * 64


@dataclasses.dataclass(frozen=True)
class Read:
    """What was read, and notes about it for the user, a line each."""

    weights: Weights
    notes: tuple[str, ...]


def read(path: str | Path, options: Options | None = None, digest: Digest = sha256) -> Read:
    """A checkpoint of any known format -> native weights, without torch and without executing anything.

    `options` are for files that carry no configuration; they may not contradict one. Tensors are memory-mapped, or
    views of that where the layout differs. `digest` gives the sha256 of a file that is not native; reading a large
    one takes longer than all else here, and a caller may know it.
    """
    options = options or Options()
    try:
        loaded, notes, files = _load(Path(path), options)
    except InputError as error:
        raise InputError(options.spelled(str(error))) from error
    return Read(_identified(loaded, {file: digest(file) for file in files}), tuple(map(options.spelled, notes)))


def translate(
    source: str | Path, target: str | Path, to: str = "clipjax", dtype: str = "keep", options: Options | None = None
) -> Read:
    """`read`, `cast` and `write` in one: the source is hashed while its tensors are on their way into the target."""
    check_target(target, to)
    with ThreadPoolExecutor(1) as pool:
        loaded, notes, files = _load(Path(source), options or Options())
        pending = {file: pool.submit(sha256, file) for file in files}
        loaded = cast(dataclasses.replace(loaded, config=with_tokenizer(loaded.config, Path(source))[0]), dtype)

        def settle() -> Weights:
            return _identified(loaded, {file: future.result() for file, future in pending.items()})

        if to == "clipjax":
            weights.save(target, loaded, settle)
        else:
            write(target, loaded, to)
        return Read(settle(), notes)


def check_target(path: str | os.PathLike[str], to: str) -> None:
    """InputError where a target's name promises another thing than `to` writes, or the place is taken by one."""
    path = Path(path)
    if to not in FORMATS:
        raise InputError(f"unknown format {to!r}; clipjax writes {', '.join(FORMATS)}")
    promised = next((name for name, suffixes in SUFFIXES.items() if path.suffix in suffixes), None)
    bare_file = to == "open_clip" and path.suffix == ".safetensors"
    stem = path.with_suffix("") if promised else path
    if to not in SUFFIXES and not bare_file:
        if promised:
            raise InputError(f"{path}: --to={to} writes a folder, not a file; name it {stem}")
        check_new_folder(path)
        return
    suffix = path.suffix if bare_file else SUFFIXES[to][0]
    if path.is_dir():
        raise InputError(f"{path}: is a folder, and --to={to} writes a file; name it {path / 'model'}{suffix}")
    if promised not in (None, to) and not bare_file:
        other = f"add --to={promised}, or " if promised in FORMATS else ""
        raise InputError(f"{path}: --to={to} writes a {suffix} file; {other}name it {stem}{suffix}")


def write(path: str | Path, loaded: Weights, to: str) -> None:
    """Writes `loaded` as one of FORMATS; the target appears whole or not at all."""
    check_target(path, to)
    weights.check(loaded.config, loaded.flat, str(path))
    if to == "clipjax":
        weights.save(path, loaded)
    elif to == "openai":
        openai.write(path, loaded.flat, loaded.config)
    elif to == "huggingface":
        huggingface.write(path, loaded.flat, loaded.config)
    else:
        open_clip.write(path, loaded.flat, loaded.config)


def cast(loaded: Weights, dtype: str) -> Weights:
    """All floating tensors in `dtype` ("keep" leaves them). A value that would overflow is refused by name."""
    if dtype == "keep":
        return loaded
    if dtype not in DTYPES:
        raise InputError(f"unknown dtype {dtype!r}; choose keep, {', '.join(DTYPES)}")
    flat = {}
    for name, array in loaded.flat.items():
        with np.errstate(over="ignore"):  # looked for below, with the tensor's name
            flat[name] = np.asarray(array).astype(DTYPES[dtype])
        if not np.isfinite(flat[name]).all() and np.isfinite(np.asarray(array, np.float32)).all():
            raise InputError(f"{name} holds values beyond {dtype}'s range; choose float32 or bfloat16")
    return dataclasses.replace(loaded, flat=flat)


def _load(path: Path, options: Options) -> tuple[Weights, tuple[str, ...], tuple[Path, ...]]:
    """What a path holds, its source not yet hashed; notes; and the files whose sha256 the source is to have."""
    if trained.is_checkpoint(path):
        if options != Options():
            raise InputError(f"{path}: a training checkpoint says itself what its model is; leave the options out")
        return training_state.read(path), (), ()
    place = folders.find(path)
    where = str(place.file)
    if containers.is_native(place.file):
        loaded = weights.load(place.file)
        options.check(loaded.config, where)
        if options.state_dict:
            raise InputError(f"{where}: holds one set of weights; leave --state-dict={options.state_dict} out")
        return loaded, place.notes, ()
    checkpoint = containers.open_checkpoint(place, options.state_dict)
    dialect = dialects.of(checkpoint.tensors)
    flat, unknown = rules.to_native(dialect, checkpoint.tensors, where)
    source = _source(checkpoint, dialect)
    config, described, about = _configuration(checkpoint, dialect, flat, options)
    weights.check(config, flat, where, unknown)
    bare.check_constants(checkpoint.tensors, config, where)
    weights.check_finite(flat, where)
    return Weights(flat, config, place.name, source | described), checkpoint.notes + about, checkpoint.files


def _source(checkpoint: containers.Checkpoint, dialect: rules.Dialect) -> dict[str, Any]:
    """What the weights' source says of their files, whose sha256 are not known yet."""
    source: dict[str, Any] = {"file": checkpoint.place.file.name, "sha256": _UNHASHED, "format": dialect.format}
    if checkpoint.container not in ("safetensors", "state_dict"):
        source["container"] = checkpoint.container
    if len(checkpoint.files) > 1:
        source["shards"] = {file.name: _UNHASHED for file in checkpoint.files[1:]}
    return source


def _configuration(
    checkpoint: containers.Checkpoint, dialect: rules.Dialect, flat: Mapping[str, np.ndarray], options: Options
) -> tuple[CLIP, dict[str, str], tuple[str, ...]]:
    """The file's own, else the one beside it, its own dialect's first, else what the options say.

    With what the weights' source says of it, and notes.
    """
    place, where = checkpoint.place, str(checkpoint.place.file)
    if checkpoint.config is not None:
        config = configs.from_dict(stored.parse(checkpoint.config, f"{where}: its configuration", dict))
        options.check(config, where)
        return config, {}, ()
    has_open_clip = (place.folder / open_clip.CONFIG_FILE).is_file()
    other = not has_open_clip and (place.is_folder or huggingface.is_clip(place.folder))
    form, described = open_clip, {"config": open_clip.CONFIG_FILE, "format": "open_clip"}
    if (place.folder / huggingface.CONFIG_FILE).is_file() and (dialect.format == "huggingface" or other):
        form, described = huggingface, {"config": huggingface.CONFIG_FILE}
    elif dialect.format == "big_vision":
        options.check(config := big_vision.config(checkpoint.tensors, where), where)
        return config, {}, (f"{where}: {big_vision.NOTE}",)
    elif not has_open_clip and (known := released.find(flat)):
        options.check(known[1], where)
        return known[1], {"architecture": known[0]}, ()
    elif not has_open_clip:
        config, notes = bare.config(flat, options, checkpoint.activation, checkpoint.container == "torchscript", where)
        return dataclasses.replace(config, logit_bias="logit_bias" in flat), {}, notes
    config, notes = form.read_config(place.folder, options)
    if "logit_bias" in flat:  # open_clip's files say how it began, and not all of them
        config = dataclasses.replace(config, logit_bias=True)
    options.check(config, str(place.folder / form.CONFIG_FILE))
    return config, described, notes


def _identified(loaded: Weights, digests: Mapping[Path, str]) -> Weights:
    """The same weights once the sha256 of each of their files is known, and the released name where it is one."""
    if not digests:
        return loaded
    source = dict(loaded.source)
    source["sha256"], *shards = digests.values()
    if shards:
        source["shards"] = dict(zip(source["shards"], shards, strict=True))
    release = next((r for r in catalog.RELEASES if r.sha256 == source["sha256"]), None)
    return dataclasses.replace(loaded, name=release.name if release else loaded.name, source=source)
