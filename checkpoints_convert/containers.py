"""A file of weights -> tensors with torch's names and layouts, by what its bytes are and not by what it is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np

from checkpoints_convert import choice, flaxfile, torchfile
from clipjax import signatures, stored
from clipjax.errors import InputError, brief, some
from clipjax.models import weights

Pick = Callable[[Iterable[choice.Names]], Mapping[choice.Names, str]]
INDEX = ".index.json"  # the end of the name of a list of shards


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file holds.

    tensors: name -> array in torch's layout, views of the mapped file where they can be.
    files: whose bytes those are: the file itself, or the index and its shards.
    container: "safetensors", "state_dict", "torchscript", "msgpack" or "shards".
    config: clipjax's own configuration in JSON, where clipjax wrote the file.
    activation: what a TorchScript archive's code computes.
    """

    tensors: dict[str, np.ndarray]
    files: tuple[Path, ...]
    container: str
    config: str | bytes | None = None
    activation: str | None = None
    notes: tuple[str, ...] = ()


def is_native(path: Path) -> bool:
    """Whether this is a weights file in clipjax's own format, which says all of itself."""
    if path.is_dir() or path.name.endswith(INDEX) or signatures.kind(signatures.head(path)) != "safetensors file":
        return False
    with weights.open_tensors(path) as file:
        return (file.metadata() or {}).get("format") == weights.FORMAT


def read(path: Path, state_dict: str | None = None) -> Contents:
    """The model's tensors in a file, or in the shards that an index lists; `state_dict` as in `choice.choose`."""
    notes: list[str] = []

    def pick(names: Iterable[choice.Names]) -> dict[choice.Names, str]:
        try:
            chosen, note = choice.choose(names, state_dict)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        notes.extend(() if note is None else [f"{path.name}: {note}"])
        return chosen

    contents = _read_shards(path, pick) if path.name.endswith(INDEX) else _read_file(path, pick)
    return dataclasses.replace(contents, notes=tuple(notes))


def _read_file(path: Path, pick: Pick) -> Contents:
    what = signatures.check(path, "weights")
    if what == "safetensors file":
        with weights.open_tensors(path) as file:
            chosen = pick([(name,) for name in file.keys()])  # noqa: SIM118 (not a dict)
            tensors = {new: file.get_tensor(old[0]) for old, new in chosen.items()}
            return Contents(tensors, (path,), "safetensors", (file.metadata() or {}).get(weights.CONFIG_KEY))
    if what == "msgpack":
        tensors = flaxfile.read(path)
        return Contents({new: tensors[old[0]] for old, new in pick([(n,) for n in tensors]).items()}, (path,), what)
    if what in ("HDF5 file", "GGUF file"):
        raise InputError(f"{path}: is a {what}, which is not read; take the model's .safetensors or .bin file")
    if path.suffix == ".safetensors" and not what:
        raise InputError(f"{path}: not a readable .safetensors file; it may be truncated: fetch it again")
    file = torchfile.read(path, pick)
    code = file.code()
    # OpenAI's QuickGELU multiplies by a sigmoid; torch's GELU is called by name. One of them alone is an answer.
    said = [name for name, call in (("quick_gelu", "torch.sigmoid("), ("gelu", "torch.gelu(")) if call in code]
    return Contents(file.tensors, (path,), file.kind, file.config, said[0] if len(said) == 1 else None)


class _Index(TypedDict):
    weight_map: dict[str, str]


def _read_shards(index: Path, pick: Pick) -> Contents:
    listed = stored.read(index, _Index)["weight_map"]
    shards = sorted(set(listed.values()))
    if odd := [s for s in shards if Path(s).name != s or not s.isprintable() or s.endswith(INDEX)]:
        raise InputError(f"{index}: names a file outside its folder: {brief(odd[0])}")
    if missing := [s for s in shards if not (index.parent / s).is_file()]:
        raise InputError(f"{index}: lists {some(missing)}, not in this folder; fetch the missing files")
    tensors: dict[str, np.ndarray] = {}
    for shard in shards:
        held = _read_file(index.parent / shard, lambda names: {name: ".".join(name) for name in names}).tensors
        wanted = {name for name, place in listed.items() if place == shard}
        if wrong := sorted(wanted ^ held.keys()):
            raise InputError(f"{index.parent / shard}: {index.name} lists other tensors for it ({some(wrong)})")
        tensors |= held
    chosen = pick([(name,) for name in tensors])
    files = (index, *(index.parent / shard for shard in shards))
    return Contents({new: tensors[old[0]] for old, new in chosen.items()}, files, "shards")
