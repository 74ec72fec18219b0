"""PyTorch files without torch: `read` a TorchScript archive, a state dict or a trainer's checkpoint; `write` one.

Nothing in a file is executed, ever: see `torchfile_pickle`. Tensors are views of the mapped file, so reading one
tensor of a large checkpoint touches that tensor's pages, and optimiser state beside the weights none at all.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from checkpoints_convert.torchfile_pickle import Module, Tensor, Unsupported, loads, shown
from checkpoints_convert.torchfile_read import Archive
from checkpoints_convert.torchfile_write import write
from clipjax.errors import InputError

__all__ = ["TorchFile", "read", "write"]

_STATE_DICT_KEYS = ("state_dict", "model", "model_state_dict")
_WRAPPER_PREFIXES = ("module.", "_orig_mod.")  # DistributedDataParallel, torch.compile
_MODULE_SWITCHES = ("training", "_is_full_backward_hook")  # on every TorchScript module, about none in particular

# Modules may share parts, so few bytes can describe endless names; no CLIP model comes near these bounds.
_MAX_MODULES = 100_000
_MAX_DEPTH = 64
_MAX_NAME = 1_000


@dataclass(frozen=True, eq=False)
class TorchFile:
    """What a torch file holds.

    tensors: dotted name -> array, dtype as stored, read-only views of the mapped file wherever torch's own tensor
        is one plain run of memory. In a TorchScript archive: parameters, buffers and tensor attributes alike.
    kind: "torchscript" (torch.jit.save) or "state_dict" (torch.save).
    extras: the plain numbers, strings and Nones beside the tensors: `epoch`, `name`, a module's scalar attributes.
    """

    path: Path
    tensors: dict[str, np.ndarray]
    kind: Literal["torchscript", "state_dict"]
    extras: dict[str, object]

    def code(self) -> str:
        """The source that a TorchScript archive carries, read on each call; empty for a state dict."""
        if self.kind == "state_dict":
            return ""
        try:
            with Archive(self.path) as archive:
                return archive.code()
        except InputError as problem:
            raise InputError(f"{self.path}: {problem}") from None


def read(path: str | os.PathLike[str]) -> TorchFile:
    """Everything in a `.pt` file that is a tensor or a plain value.

    A trainer's checkpoint gives the one mapping of tensors among its entries `state_dict`, `model` and
    `model_state_dict`; `module.` and `_orig_mod.` in front of all names are dropped. Raises InputError, naming
    the file, for whatever is no such file, is damaged, or asks for code. The CRC of the tensors' bytes is not
    checked, as that would read them all: whoever knows the file's sha256 should compare it first.
    """
    path = Path(path)
    try:
        with Archive(path) as archive:
            root = loads(archive.pickle())
            if archive.is_torchscript:
                found, extras = _from_modules(root)
            else:
                found, extras = _from_mappings(root)
                found = _without_wrappers(found)
            tensors = {name: archive.array(name, tensor) for name, tensor in found.items()}
            scalars = {name: _plain(archive, name, value) for name, value in extras.items()}
            return TorchFile(path, tensors, "torchscript" if archive.is_torchscript else "state_dict", scalars)
    except InputError as problem:
        raise InputError(f"{path}: {problem}") from None


_Found = dict[str, Tensor | Unsupported]


def _from_modules(root: Any) -> tuple[_Found, dict[str, Any]]:
    """Dotted names through the tree of modules, as `ScriptModule.state_dict` gives them."""
    if not isinstance(root, Module):
        raise InputError(f"is a TorchScript archive of a {type(root).__name__}, not of a model")
    found: _Found = {}
    extras: dict[str, Any] = {}
    visited = 0

    def walk(module: Module, prefix: str, depth: int) -> None:
        nonlocal visited
        visited += 1
        if visited > _MAX_MODULES or depth > _MAX_DEPTH or len(prefix) > _MAX_NAME:
            raise InputError("its modules are nested without end: not a model")
        for name, value in (module.state or {}).items():
            if not isinstance(name, str):
                raise InputError(f"has a module attribute named {name!r}, which is no text")
            if isinstance(value, Module):
                walk(value, f"{prefix}{name}.", depth + 1)
            elif isinstance(value, Tensor | Unsupported):
                found[prefix + name] = value
            elif name not in _MODULE_SWITCHES and _is_plain(value):
                extras[prefix + name] = value

    walk(root, "", 0)
    if not found:
        raise InputError("is a TorchScript archive without a single tensor")
    return found, extras


def _from_mappings(root: Any) -> tuple[_Found, dict[str, Any]]:
    """A state dict as it is, or the one that a trainer put beside its epoch and its optimiser."""
    if not isinstance(root, dict):
        raise InputError(f"holds a {type(root).__name__}, not tensors by name; save model.state_dict() instead")
    own = {name: value for name, value in root.items() if isinstance(value, Tensor | Unsupported)}
    plain = {str(name): value for name, value in root.items() if _is_plain(value)}
    nested = {str(name): value for name, value in root.items() if isinstance(value, dict) and _tensors(value)}
    known = [name for name in _STATE_DICT_KEYS if name in nested]

    if own and not nested:
        return _named(own), plain
    measures = {str(name): value for name, value in own.items() if _is_single(value)}  # `best_acc`, `step`
    if len(known) == 1 and len(measures) == len(own):
        return _named(_tensors(nested[known[0]])), plain | measures
    if not own and not nested:
        raise InputError("holds no tensors by name; save model.state_dict()")
    places = [f"{len(own)} at the top"] if own else []
    places += [f"{len(_tensors(mapping))} under '{shown(name)}'" for name, mapping in nested.items()]
    raise InputError(
        f"does not say which tensors are the weights ({', '.join(places[:8])});"
        " save the ones you mean with torch.save(checkpoint[NAME], path)"
    )


def _tensors(mapping: dict[Any, Any]) -> dict[Any, Tensor | Unsupported]:
    return {name: value for name, value in mapping.items() if isinstance(value, Tensor | Unsupported)}


def _named(found: dict[Any, Tensor | Unsupported]) -> _Found:
    for name in found:
        if not isinstance(name, str) or len(name) > _MAX_NAME:
            raise InputError(f"has a tensor named {shown(str(name))}, which is no parameter's name")
    return found


def _without_wrappers(found: _Found) -> _Found:
    while prefix := next((p for p in _WRAPPER_PREFIXES if all(n.startswith(p) and n != p for n in found)), None):
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _is_single(value: Tensor | Unsupported) -> bool:
    return isinstance(value, Tensor) and math.prod(value.size) == 1


def _plain(archive: Archive, name: str, value: Any) -> object:
    return archive.array(name, value).item() if isinstance(value, Tensor) else value
