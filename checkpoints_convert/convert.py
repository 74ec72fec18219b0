"""Any checkpoint in, any checkpoint out. `read` recognises what a file is by its contents; `write` makes what is asked.

A file's container (`containers`), the names of its tensors (`openai`, `huggingface`) and the form of its configuration
are independent of each other, and so is the code: any of the first, any of the second, any of the third.
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

from checkpoints_convert import bare, containers, folders, huggingface, open_clip, openai, rules
from checkpoints_convert.options import Options
from clipjax import stored
from clipjax.errors import InputError
from clipjax.files import check_new_folder, sha256
from clipjax.models import catalog, weights
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
    """What was read, and what the reader should be told about it (a line each)."""

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
        found, files = _read(Path(path), options)
    except InputError as error:
        raise InputError(options.spelled(str(error))) from error
    identified = _identified(found.weights, {file: digest(file) for file in files})
    return Read(identified, tuple(map(options.spelled, found.notes)))


def translate(
    source: str | Path, target: str | Path, to: str = "clipjax", dtype: str = "keep", options: Options | None = None
) -> Read:
    """`read`, `cast` and `write` in one: the source is hashed while its tensors are on their way into the target."""
    check_target(target, to)
    with ThreadPoolExecutor(1) as pool:
        found, files = _read(Path(source), options or Options())
        pending = {file: pool.submit(sha256, file) for file in files}
        loaded = cast(found.weights, dtype)

        def settle() -> Weights:
            return _identified(loaded, {file: future.result() for file, future in pending.items()})

        if to == "clipjax":
            weights.save(target, loaded, settle)
        else:
            write(target, loaded, to)
        return dataclasses.replace(found, weights=settle())


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


def _read(path: Path, options: Options) -> tuple[Read, tuple[Path, ...]]:
    """What a path holds, its source not yet hashed; and the files whose bytes that is, where they are to be hashed."""
    place = folders.find(path)
    where = str(place.file)
    if containers.is_native(place.file):
        found = weights.load(place.file)
        options.check(found.config, where)
        if options.state_dict:
            raise InputError(f"{where}: holds one set of weights; leave --state-dict={options.state_dict} out")
        return Read(found, place.notes), ()
    contents = containers.read(place.file, options.state_dict)
    dialect, tensors = _dialect(contents.tensors)
    flat, unknown = rules.to_native(dialect, tensors, where)
    kind = "huggingface" if dialect is huggingface.DIALECT else "openai"
    source: dict[str, Any] = {"file": place.file.name, "sha256": _UNHASHED, "format": kind}
    if contents.container not in ("safetensors", "state_dict"):
        source["container"] = contents.container
    if len(contents.files) > 1:
        source["shards"] = {file.name: _UNHASHED for file in contents.files[1:]}
    notes = place.notes + contents.notes
    notes += _take_scalars(flat, unknown, tensors, source)
    config, about = _configuration(contents, dialect, flat, options, place, source)
    weights.check(config, flat, where, unknown)
    bare.check_constants(tensors, config, where)
    weights.check_finite(flat, where)
    return Read(Weights(flat, config, place.name, source), notes + about), contents.files


def _identified(found: Weights, digests: Mapping[Path, str]) -> Weights:
    """The same weights once the sha256 of each of their files is known, and the released name where it is one."""
    if not digests:
        return found
    source = dict(found.source)
    source["sha256"], *shards = digests.values()
    if shards:
        source["shards"] = dict(zip(source["shards"], shards, strict=True))
    release = next((r for r in catalog.RELEASES if r.sha256 == source["sha256"]), None)
    return dataclasses.replace(found, name=release.name if release else found.name, source=source)


def _dialect(tensors: Mapping[str, np.ndarray]) -> tuple[rules.Dialect, Mapping[str, np.ndarray]]:
    """Whose names these are; with `text.` gone, where open_clip's CustomTextCLIP has it before the text encoder's."""
    if any(name.startswith(("vision_model.", "text_model.")) for name in tensors):
        return huggingface.DIALECT, tensors
    if "text.token_embedding.weight" in tensors:
        return openai.DIALECT, {name.removeprefix("text."): array for name, array in tensors.items()}
    return openai.DIALECT, tensors


def _take_scalars(
    flat: dict[str, np.ndarray], unknown: list[str], tensors: Mapping[str, np.ndarray], source: dict[str, Any]
) -> tuple[str, ...]:
    """A logit scale of shape (1,) is a scalar; a sigmoid loss's bias goes where fine-tuning keeps it."""
    scale = flat.get("logit_scale")
    if scale is not None and scale.shape == (1,):
        flat["logit_scale"] = scale.reshape(())
    if "logit_bias" not in unknown or tensors["logit_bias"].size != 1:
        return ()
    unknown.remove("logit_bias")
    source["logit_bias"] = float(tensors["logit_bias"].reshape(()))
    bias = f"logit_bias {source['logit_bias']:g} is kept in its source and not added"
    return (f"{source['file']}: {bias}: it moves every logit alike, so no probability over classes depends on it",)


def _configuration(
    contents: containers.Contents, dialect: rules.Dialect, flat: Mapping[str, np.ndarray], options: Options,
    place: folders.Place, source: dict[str, Any],
) -> tuple[CLIP, tuple[str, ...]]:  # fmt: skip
    """The file's own, else the one beside it, its own dialect's first, else what the options say."""
    where = str(place.file)
    if contents.config is not None:
        config = configs.from_dict(stored.parse(contents.config, f"{where}: its configuration", dict))
        options.check(config, where)
        return config, ()
    beside, theirs = place.folder / open_clip.CONFIG_FILE, place.folder / huggingface.CONFIG_FILE
    other = not beside.is_file() and (place.is_folder or huggingface.is_clip(place.folder))
    if theirs.is_file() and (dialect is huggingface.DIALECT or other):
        config, notes = huggingface.read_config(place.folder, options.mean, options.std)
        options.check(config, str(theirs))
        source["config"] = theirs.name
        return config, notes
    if beside.is_file():
        config = open_clip.read_config(beside)
        options.check(config, str(beside))
        source |= {"config": beside.name, "format": "open_clip"}
        return config, ()
    return bare.config(flat, options, contents.activation, contents.container == "torchscript", where)
