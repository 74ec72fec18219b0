"""The native weights file: one self-describing .safetensors, OpenAI's tensor names in JAX layouts.

The header's metadata holds the format version, the model's name, the full configuration and where the weights
came from. Nothing about a model is guessed at load time (design section 5): a file without this metadata is not
a native file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from clipjax.errors import InputError
from clipjax.models import clip
from clipjax.models import config as configs
from clipjax.models.config import CLIP

FORMAT = "clipjax"
FORMAT_VERSION = "1"


@dataclasses.dataclass(frozen=True)
class Weights:
    """A model at rest: flat parameters in JAX layouts, configuration, name, and the chain of sources.

    `source` says where the parameters came from, e.g. {"file": "ViT-B-32.pt", "sha256": ..., "format": "openai"}.
    """

    flat: Mapping[str, np.ndarray]
    config: CLIP
    name: str
    source: Mapping[str, Any]


def save(path: str | os.PathLike, weights: Weights) -> None:
    """Writes the native file; it appears whole or not at all."""
    clip.check(weights.config, weights.flat, str(path))
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": weights.name,
        "config": json.dumps(configs.to_dict(weights.config)),
        "source": json.dumps(dict(weights.source)),
    }
    save_tensors(path, weights.flat, metadata)


def save_tensors(path: str | os.PathLike, flat: Mapping[str, Any], metadata: dict[str, str]) -> None:
    """A .safetensors of any layout, atomically, in sorted order: equal tensors give equal bytes."""
    tensors = {k: np.ascontiguousarray(flat[k]).reshape(np.shape(flat[k])) for k in sorted(flat)}
    write_atomically(path, lambda tmp: safetensors.numpy.save_file(tensors, tmp, metadata=metadata))


def load(path: str | os.PathLike) -> Weights:
    """Reads a native file; tensors stay as stored. Refuses any file that does not describe itself."""
    with open_tensors(path) as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise InputError(
                f"{path}: not a clipjax weights file; turn it into one with: clipjax convert {path} OUT.safetensors"
            )
        if metadata.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"{path}: format version {metadata.get('format_version')}; this clipjax reads version "
                f"{FORMAT_VERSION}: update clipjax"
            )
        flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    try:
        config = configs.from_dict(json.loads(metadata["config"]))
        name, source = metadata["model"], json.loads(metadata["source"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: damaged header ({error!r}); convert the weights again") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    clip.check(config, flat, str(path))
    return Weights(flat, config, name, source)


@contextlib.contextmanager
def open_tensors(path: str | os.PathLike) -> Iterator[Any]:
    """An open .safetensors (memory-mapped), with its library's errors told in one line."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except safetensors.SafetensorError as error:
        raise InputError(
            f"{path}: not a readable .safetensors file ({error}); it may be truncated: fetch it again"
        ) from error


def sha256(path: str | os.PathLike) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: str | os.PathLike, write: Callable[[Path], Any]) -> None:
    """Calls `write(temporary)` in the target's folder, then renames: the target appears whole or not at all."""
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise InputError(f"{path}: cannot write there ({error.strerror})") from error
    os.close(handle)
    try:
        write(Path(name))
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's 0600 would hide the file from the user's group
        os.replace(name, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
