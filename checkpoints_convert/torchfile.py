"""PyTorch files without torch: `read` a TorchScript archive, a state dict or a trainer's checkpoint; `write` one.

Nothing in a file is executed, ever: see `clipjax/pickles.py`. Tensors are views of the mapped file, so reading one
tensor of a large checkpoint touches that tensor's pages, and optimiser state beside the weights none at all.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from checkpoints_convert.torchfile_pickle import Module, Tensor, Unsupported, loads
from checkpoints_convert.torchfile_read import Archive
from checkpoints_convert.torchfile_write import write
from clipjax import signatures
from clipjax.errors import InputError, located, some
from clipjax.pickles import Opaque, shown

__all__ = ["CONFIG_ENTRY", "Names", "TorchFile", "read", "write"]

CONFIG_ENTRY = "clipjax_config.json"  # beside the tensors of a file that clipjax wrote; torch passes it over

# Mappings and modules may share parts, so few bytes can describe an unlimited number of names; checkpoints stay far
# below these bounds.
_MAX_PLACES = 100_000
_MAX_DEPTH = 64
_MAX_NAME = 1_000

# The mappings around a tensor and its name in the innermost one: ("state_dict", "module.visual.proj").
Names = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TorchFile:
    """What a torch file holds.

    tensors: name -> array, dtype as stored, read-only views of the mapped file wherever torch's own tensor is one
        plain run of memory. In a TorchScript archive: parameters, buffers and tensor attributes alike.
    kind: "torchscript" (torch.jit.save) or "state_dict" (torch.save).
    config: the entry CONFIG_ENTRY, if there is one.
    """

    path: Path
    tensors: dict[str, np.ndarray]
    kind: Literal["torchscript", "state_dict"]
    config: bytes | None

    def code(self) -> str:
        """The source that a TorchScript archive carries, read on each call; empty for a state dict."""
        if self.kind == "state_dict":
            return ""
        with located(self.path), Archive(self.path) as archive:
            return archive.code()


def _all(names: Iterable[Names]) -> dict[Names, str]:
    return {name: ".".join(name) for name in names}


def read(path: str | os.PathLike[str], choose: Callable[[Iterable[Names]], Mapping[Names, str]] = _all) -> TorchFile:
    """The tensors of a `.pt` file, also where they lie in mappings within mappings, as trainers leave them.

    `choose` gets the names of all of them and says which to read, and under which names; the storages of the others
    may even be missing. Raises InputError, naming the file, for a file that is not one, is damaged, or asks for
    programs. The CRC of the tensors' bytes is not checked, as that would read them all: a caller that knows the file's
    sha256 should compare it first.
    """
    path = Path(path)
    _check_kind(path)
    with located(path), Archive(path) as archive:
        root = loads(archive.pickle())
        if archive.is_torchscript and not isinstance(root, Module):
            raise InputError(f"is a TorchScript archive of a {type(root).__name__}, not of a model")
        places, others = _tensors(root)
        if not places:
            raise InputError(_nothing(root, others, path))
        chosen = choose(places)
        tensors = {name: archive.array(name, places[names]) for names, name in chosen.items()}
        kind = "torchscript" if archive.is_torchscript else "state_dict"
        return TorchFile(path, tensors, kind, archive.extra(CONFIG_ENTRY))


def _check_kind(path: Path) -> None:
    what = signatures.check(path, "weights")
    if what.startswith("torch file"):
        again = f"torch.save(torch.load({str(path)!r}, weights_only=False), {str(path)!r})"
        raise InputError(f"{path}: is a {what}; save it again in Python, if you trust it: {again}")
    if what == "pickle":
        raise InputError(f"{path}: is a bare pickle, not a torch file; use torch.save(model.state_dict(), path)")
    if what != "zip archive":
        raise InputError(f"{path}: is {f'a {what}' if what else 'no zip archive'}, so not a torch file (.pt)")


def _tensors(root: Any) -> tuple[dict[Names, Tensor | Unsupported], dict[str, str]]:
    """Tensors by name through mappings and modules; and other objects, by class, with how Python comes to them.

    A module's attributes are joined by dots, as `ScriptModule.state_dict` does; a mapping's key begins a new part.
    """
    places: dict[Names, Tensor | Unsupported] = {}
    others: dict[str, str] = {}
    visited = 0

    def walk(value: Any, names: Names, depth: int) -> None:
        nonlocal visited
        visited += 1
        if visited > _MAX_PLACES or depth > _MAX_DEPTH or sum(map(len, names)) > _MAX_NAME:
            raise InputError("its modules or mappings are nested without end: not a checkpoint")
        if isinstance(value, Module):
            for key, inner in (value.state or {}).items():
                if not isinstance(key, str):
                    raise InputError(f"has a module attribute named {key!r}, which is not text")
                if isinstance(inner, Module | Tensor | Unsupported):
                    walk(inner, (*names[:-1], f"{names[-1]}.{key}") if names else (key,), depth + 1)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, Module | Tensor | Unsupported | dict):
                    walk(inner, (*names, str(key)), depth + 1)
                elif isinstance(inner, Opaque):
                    others[inner.what] = "".join(f"[{shown(name)!r}]" for name in (*names, str(key)))
        elif isinstance(value, Tensor | Unsupported):
            places[names] = value

    if isinstance(root, Module | dict):
        walk(root, (), 0)
    elif isinstance(root, Opaque):
        others[root.what] = ""
    return places, others


# Whose objects are bookkeeping, so that the remedy names the object that may be the model.
_BOOKKEEPING = ("numpy", "argparse", "collections", "builtins", "__builtin__", "copyreg", "copy_reg", "pathlib")


def _nothing(root: Any, others: Mapping[str, str], path: Path) -> str:
    if others:
        model = next((what for what in others if what.split(".")[0] not in _BOOKKEEPING), next(iter(others)))
        return (
            f"asks for {some(list(others))}, which is not part of a weights file; nothing was executed. If you made "
            "the file, save model.state_dict() instead, in Python: torch.save(torch.load("
            f"{shown(str(path))!r}, weights_only=False){others[model]}.state_dict(), NEW)"
        )
    if isinstance(root, dict | Module):
        return "holds no tensors by name; save model.state_dict()"
    return f"holds a {type(root).__name__}, not tensors by name; save model.state_dict() instead"
