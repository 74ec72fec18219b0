"""A file of weights -> a `Checkpoint`: tensors with torch's names and layouts, by what its bytes are, not its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np

from checkpoints_convert import big_vision, choice, flaxfile, torchfile
from checkpoints_convert.folders import INDEX, Place
from clipjax import signatures, stored
from clipjax.errors import InputError, brief, located, some
from clipjax.models import weights

Choose = Callable[[Iterable[choice.Names]], Mapping[choice.Names, str]]

OPTIMIZERS = ("optimizer", "optimizer_states", "optimizer_state_dict")  # keys of trainers' checkpoints


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A model as another library stored it.

    place: where it lies.
    tensors: name -> array in torch's layout, views of the mapped file where they can be.
    container: "safetensors", "state_dict", "torchscript", "msgpack", "npz" or "shards".
    files: whose bytes those are: the file itself, or the index and its shards.
    config: clipjax's own configuration in JSON, where clipjax wrote the file.
    activation: what a TorchScript archive's code computes.
    notes: for the user, a line each.
    """

    place: Place
    tensors: Mapping[str, np.ndarray]
    container: str
    files: tuple[Path, ...]
    config: str | bytes | None = None
    activation: str | None = None
    notes: tuple[str, ...] = ()


def is_native(path: Path) -> bool:
    """Whether this is a weights file in clipjax's own format, which says all of itself."""
    if path.is_dir() or path.name.endswith(INDEX) or signatures.kind(signatures.head(path)) != "safetensors file":
        return False
    with weights.open_tensors(path) as file:
        return (file.metadata() or {}).get("format") == weights.FORMAT


def open_checkpoint(place: Place, state_dict: str | None = None) -> Checkpoint:
    """The model's tensors in a file, or in the shards that an index lists; `state_dict` as in `choice.choose`."""
    notes = list(place.notes)

    def choose(names: Iterable[choice.Names]) -> dict[choice.Names, str]:
        names = list(names)
        with located(place.file):
            chosen, note = choice.choose(names, state_dict)
        if any(name[0] in OPTIMIZERS for name in names):
            notes.append(f"{place.file.name}: the state of its optimizer is not read; training begins with new moments")
        notes.extend(() if note is None else [f"{place.file.name}: {note}"])
        return chosen

    is_index = place.file.name.endswith(INDEX)
    checkpoint = _of_shards(place, choose) if is_index else _of_file(place, place.file, choose)
    return dataclasses.replace(checkpoint, notes=tuple(notes))


def _of_file(place: Place, path: Path, choose: Choose) -> Checkpoint:
    kind = signatures.check(path, "weights")
    if kind == "safetensors file":
        with weights.open_tensors(path) as file:
            chosen = choose([(name,) for name in file.keys()])  # noqa: SIM118 (not a dict)
            tensors = {new: file.get_tensor(old[0]) for old, new in chosen.items()}
            own = (file.metadata() or {}).get(weights.CONFIG_KEY)
            return Checkpoint(place, tensors, "safetensors", (path,), own)
    if kind == "zip archive" and big_vision.is_npz(path):
        return Checkpoint(place, big_vision.read(path), "npz", (path,))
    if kind == "msgpack":
        return Checkpoint(place, _chosen(flaxfile.read(path), choose), kind, (path,))
    if kind in ("HDF5 file", "GGUF file"):
        raise InputError(f"{path}: is a {kind}, which is not read; take the model's .safetensors or .bin file")
    if path.suffix == ".safetensors" and not kind:
        raise InputError(f"{path}: not a readable .safetensors file; it may be truncated: fetch it again")
    file = torchfile.read(path, choose)
    code = file.code()
    # OpenAI's QuickGELU multiplies by a sigmoid; torch's GELU is called by name. One of them alone is an answer.
    called = [name for name, call in (("quick_gelu", "torch.sigmoid("), ("gelu", "torch.gelu(")) if call in code]
    activation = called[0] if len(called) == 1 else None
    return Checkpoint(place, file.tensors, file.kind, (path,), file.config, activation)


class _Index(TypedDict):
    weight_map: dict[str, str]


def _of_shards(place: Place, choose: Choose) -> Checkpoint:
    index = place.file
    listed = stored.read(index, _Index)["weight_map"]
    shards = sorted(set(listed.values()))
    if odd := [s for s in shards if Path(s).name != s or not s.isprintable() or s.endswith(INDEX)]:
        raise InputError(f"{index}: names a file outside its folder: {brief(odd[0])}")
    if missing := [s for s in shards if not (index.parent / s).is_file()]:
        raise InputError(f"{index}: lists {some(missing)}, not in this folder; fetch the missing files")
    tensors: dict[str, np.ndarray] = {}
    for shard in shards:
        path = index.parent / shard
        held = _of_file(place, path, lambda names: {name: ".".join(name) for name in names}).tensors
        wanted = {name for name, file in listed.items() if file == shard}
        if wrong := sorted(wanted ^ held.keys()):
            raise InputError(f"{path}: {index.name} lists other tensors for it ({some(wrong)})")
        tensors |= held
    files = (index, *(index.parent / shard for shard in shards))
    return Checkpoint(place, _chosen(tensors, choose), "shards", files)


def _chosen(tensors: Mapping[str, np.ndarray], choose: Choose) -> dict[str, np.ndarray]:
    return {new: tensors[old[0]] for old, new in choose([(name,) for name in tensors]).items()}
