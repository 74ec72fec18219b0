"""Any checkpoint in, any checkpoint out. `read` recognises the format; `write` makes the one asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from checkpoints_convert import huggingface, open_clip, openai, torchfile
from clipjax import stored
from clipjax.errors import InputError
from clipjax.files import sha256
from clipjax.models import catalog, weights
from clipjax.models import config as configs
from clipjax.models.config import CLIP, ViT
from clipjax.models.weights import Weights

Digest = Callable[[Path], str]
FORMATS = ("clipjax", "openai", "huggingface", "open_clip")
DTYPES: dict[str, np.dtype] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


@dataclasses.dataclass(frozen=True)
class Read:
    """What was read, and what the reader should be told about it (a line each)."""

    weights: Weights
    notes: tuple[str, ...]


def read(path: str | Path, activation: str | None = None, digest: Digest = sha256) -> Read:
    """A checkpoint of any known format -> native weights, without torch and without executing anything.

    `activation` ("quick_gelu" or "gelu") is for files that carry no configuration; it may not contradict one.
    Tensors are memory-mapped, or views of that where the layout differs. `digest` gives the sha256 of a file that is
    not native; reading a large one takes longer than all else here, and a caller may know it.
    """
    path = Path(path)
    if path.is_dir():
        found = _read_folder(path, activation, digest)
    elif not path.exists():
        raise InputError(f"{path}: no such file or folder")
    elif path.suffix == ".safetensors":
        found = _read_safetensors(path, activation, digest)
    else:
        found = _read_torch(path, activation, digest)
    _check_activation(found.weights.config, activation, path)
    return found


def translate(
    source: str | Path, target: str | Path, to: str = "clipjax", dtype: str = "keep", activation: str | None = None
) -> Read:
    """`read`, `cast` and `write` in one: the source is hashed while its tensors are on their way into the target."""
    with ThreadPoolExecutor(1) as pool:
        pending: dict[Path, Future[str]] = {}

        def later(path: Path) -> str:
            pending[path] = pool.submit(sha256, path)
            return "0" * 64

        first = read(source, activation, later)
        loaded = cast(first.weights, dtype)
        final = first

        def settle() -> Weights:
            nonlocal final
            if pending:
                again = read(source, activation, lambda path: pending[path].result())
                named = dataclasses.replace(loaded, name=again.weights.name, source=again.weights.source)
                final = Read(named, again.notes)
            else:
                final = Read(loaded, first.notes)
            return final.weights

        if to == "clipjax":
            weights.save(target, loaded, settle)
        else:
            write(target, loaded, to)
            settle()
        return final


def write(path: str | Path, loaded: Weights, to: str) -> None:
    """Writes `loaded` as one of FORMATS; the target appears whole or not at all."""
    if to == "clipjax":
        weights.save(path, loaded)
    elif to == "openai":
        openai.write(path, loaded.flat, loaded.config)
    elif to == "huggingface":
        huggingface.write(path, loaded.flat, loaded.config)
    elif to == "open_clip":
        open_clip.write(path, loaded.flat, loaded.config)
    else:
        raise InputError(f"unknown format {to!r}; clipjax writes {', '.join(FORMATS)}")


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


def _read_folder(folder: Path, activation: str | None, digest: Digest) -> Read:
    if (folder / open_clip.CONFIG_FILE).is_file():
        for name in open_clip.WEIGHT_FILES:
            if (folder / name).is_file():
                return read(folder / name, activation, digest)
        raise InputError(f"{folder}: has {open_clip.CONFIG_FILE} but none of {', '.join(open_clip.WEIGHT_FILES)}")
    if (folder / "config.json").is_file():
        return Read(huggingface.read(folder, {"file": folder.name}), ())
    raise InputError(
        f"{folder}: neither config.json (Hugging Face) nor {open_clip.CONFIG_FILE} (open_clip) in this folder"
    )


def _read_safetensors(path: Path, activation: str | None, digest: Digest) -> Read:
    with weights.open_tensors(path) as file:
        metadata = file.metadata() or {}
        if metadata.get("format") == weights.FORMAT:
            return Read(weights.load(path), ())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    source = {"file": path.name, "sha256": digest(path)}
    if any(name.startswith("vision_model.") for name in tensors):
        return Read(huggingface.read(path.parent, source), ())
    if "clipjax_config" in metadata:
        config = configs.from_dict(stored.parse(metadata["clipjax_config"], f"{path}: its configuration", dict))
        return Read(_openai_names(tensors, config, path, source), ())
    return _read_openai_names(tensors, activation, path, source)


def _read_torch(path: Path, activation: str | None, digest: Digest) -> Read:
    file = torchfile.read(path)
    source = {"file": path.name, "sha256": digest(path)}
    if any(name.startswith("vision_model.") for name in file.tensors):
        return Read(huggingface.read(path.parent, source), ())
    if file.kind == "torchscript":
        used = activation or ("gelu" if _code_uses_gelu(file) else "quick_gelu")
        config = openai.implied_config(file.tensors, used, str(path))
        return Read(_openai_names(file.tensors, config, path, source | {"container": "torchscript"}), ())
    return _read_openai_names(file.tensors, activation, path, source)


def _read_openai_names(
    tensors: Mapping[str, np.ndarray], activation: str | None, path: Path, source: dict[str, Any]
) -> Read:
    """OpenAI's names: the configuration beside the file if there is one, else what OpenAI's format means."""
    beside = path.parent / open_clip.CONFIG_FILE
    if beside.is_file():
        config, notes = open_clip.read_config(beside), ()
        return Read(_openai_names(tensors, config, path, source | {"format": "open_clip"}), notes)
    config = openai.implied_config(tensors, activation or "quick_gelu", str(path))
    notes = ()
    if activation is None and source["sha256"] not in {r.sha256 for r in catalog.RELEASES}:
        notes = (
            f"{path.name} carries no configuration; read as OpenAI's format (quick_gelu, heads = width / 64). "
            f"If it is open_clip's own, put its {open_clip.CONFIG_FILE} beside it or say --activation=gelu",
        )
    return Read(_openai_names(tensors, config, path, source), notes)


def _openai_names(tensors: Mapping[str, np.ndarray], config: CLIP, path: Path, source: dict[str, Any]) -> Weights:
    release = next((r for r in catalog.RELEASES if r.sha256 == source["sha256"]), None)
    name = release.name if release else path.stem
    return Weights(openai.read_tensors(tensors, config, str(path)), config, name, {"format": "openai"} | source)


def _code_uses_gelu(file: torchfile.TorchFile) -> bool:
    """An archive traced from a model with torch's GELU calls it by name; OpenAI's multiplies by a sigmoid."""
    return "torch.gelu(" in file.code()


def _check_activation(config: CLIP, activation: str | None, path: Path) -> None:
    if activation is None:
        return
    towers = [config.text] + ([config.image] if isinstance(config.image, ViT) else [])
    if any(t.activation != activation for t in towers):
        raise InputError(
            f"{path}: its configuration says {config.text.activation}; --activation={activation} contradicts it"
        )
