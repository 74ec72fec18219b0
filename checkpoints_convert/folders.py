"""A path of any kind -> the one file that holds the weights, and the folder of its configuration."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from checkpoints_convert import huggingface, open_clip
from clipjax.errors import InputError, some

INDEX = ".index.json"  # the end of the name of a list of shards
# In the peers' own order of preference.
HUGGINGFACE = ("model.safetensors", f"model.safetensors{INDEX}", "pytorch_model.bin", f"pytorch_model.bin{INDEX}")
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".npz")
# What trainers and hubs keep beside the weights.
_OTHERS = re.compile(
    r"(training_args|optimizer|scheduler|scaler|rng_state|random_states|adapter_model).*|.*-\d{5}-of-\d{5}\.\w+"
)
_SHARD = re.compile(r"(.*)-\d{5}-of-\d{5}(\.\w+)")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where weights lie: `file` may be the index of shards; `name` is the model's, unless its bytes are a release's."""

    file: Path
    folder: Path
    name: str
    notes: tuple[str, ...] = ()
    is_folder: bool = False


def find(path: Path) -> Place:
    """The file that is read for a path, never another one than a path names. InputError that lists what is there."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        return _in_folder(path, path.resolve().name)
    if shard := _SHARD.fullmatch(path.name):
        index = path.with_name(f"{shard[1]}{shard[2]}{INDEX}")
        if index.is_file():
            raise InputError(f"{path}: is one shard of a model; name the list of all of them: {index}")
    return Place(path, path.parent, path.name.removesuffix(INDEX).removesuffix(path.suffix))


def _in_folder(folder: Path, name: str) -> Place:
    if (folder / "snapshots").is_dir():
        return _in_folder(_snapshot(folder), name.removeprefix("models--").replace("--", "/"))
    has = {"open_clip": (folder / open_clip.CONFIG_FILE).is_file(), "hf": (folder / huggingface.CONFIG_FILE).is_file()}
    if not any(has.values()):
        if (folder / "0_CLIPModel").is_dir():  # sentence-transformers
            return _in_folder(folder / "0_CLIPModel", name)
        raise InputError(f"{folder}: {_without_configuration(folder)}")
    own = (*(open_clip.WEIGHT_FILES if has["open_clip"] else ()), *(HUGGINGFACE if has["hf"] else ()))
    others = _others(folder)
    if file := next((folder / one for one in own if (folder / one).is_file()), None):
        odd = [one for one in others if one.rpartition(".")[2] not in ("msgpack",) and not _is_variant(one)]
        note = (f"{folder}: read {file.name}; for {some(odd)} name that file",) if odd else ()
        return Place(file, folder, name, note, True)
    if len(others) == 1:
        return Place(folder / others[0], folder, name, (), True)
    if others:
        raise InputError(f"{folder}: holds {some(others)}; name the file to read, e.g. {folder / others[0]}")
    raise InputError(f"{folder}: has a configuration and no weights that clipjax reads ({', '.join(own)})")


def _others(folder: Path) -> list[str]:
    """Files that may be weights and have no standard name, an index in place of its shards."""
    known = {*HUGGINGFACE, *open_clip.WEIGHT_FILES}
    names = sorted(p.name for p in folder.iterdir() if p.is_file())
    return [
        n for n in names
        if n.removesuffix(INDEX).endswith(_SUFFIXES) and n not in known and not _OTHERS.fullmatch(n)
    ]  # fmt: skip


def _is_variant(name: str) -> bool:
    """`model.fp16.safetensors` and the like: the same weights in another form."""
    return bool(re.fullmatch(r"(model|pytorch_model|flax_model|tf_model)\..*", name))


def _snapshot(folder: Path) -> Path:
    """The hub's own cache: refs/main names the snapshot."""
    reference = folder / "refs" / "main"
    snapshots = sorted(p for p in (folder / "snapshots").iterdir() if p.is_dir())
    if reference.is_file():
        named = folder / "snapshots" / reference.read_text(encoding="utf-8", errors="replace").strip()
        if named in snapshots:
            return named
    if len(snapshots) == 1:
        return snapshots[0]
    if not snapshots:
        raise InputError(f"{folder}: its snapshots are not here; download the model again")
    names = some([str(p) for p in snapshots])
    raise InputError(f"{folder}: refs/main names none of its snapshots; name one: {names}")


def _without_configuration(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return "holds an adapter (PEFT), not a model; merge it first, in Python: peft_model.merge_and_unload()"
    if models := sorted(p.name for p in folder.iterdir() if p.name.startswith("models--") and p.is_dir()):
        return f"is a hub's cache of several models; name one: {folder / models[0]}"
    what = f"neither {huggingface.CONFIG_FILE} (Hugging Face) nor {open_clip.CONFIG_FILE} (open_clip) in this folder"
    others = [n for n in (*HUGGINGFACE, *open_clip.WEIGHT_FILES) if (folder / n).is_file()] + _others(folder)
    return f"{what}; to read a file of it name that file: {folder / others[0]}" if others else what
