"""Probe configs: where they are found, the keys they share, and overrides from the command line."""

from __future__ import annotations

import ast
import contextlib
import difflib
import functools
import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, FrozenConfigDict, config_flags

import clipjax
from clipjax.errors import InputError, one_line


def probe_config(probe: str) -> ConfigDict:
    """The keys that mean the same in every probe; a config file changes and adds what it needs."""
    return ConfigDict(
        {
            "probe": probe,
            "model": "emoji-clip",  # whatever clipjax.load takes; several, separated by commas
            "data": {
                "source": "folder",  # folder, csv, tfds, webdataset, parquet, prepared, a named set; several by commas
                "path": "",
                "csv": "",
                "image_column": "file",
                "label_column": "",
                "caption_columns": "",  # lists are texts, a,b,c: ml_collections cannot read spaces in tuples
                "group_columns": "",
                "split": "",
                "options": "",  # of a named data set: protocol=all, fold=3, ... (clipjax datasets NAME)
                "limit": 0,  # only the first rows; 0 is all
                "max_skipped": 0.01,  # stop when more than this share of the pictures cannot be read
            },
            "classes": "",  # a,b,c or a file with one a line; empty: the data set's own
            "templates": "",  # one, several separated by |, or a file; empty: the data set's own
            "batch_size": 32,  # pictures per device; what is lost when a run is killed
            "precision": "float32",  # compute dtype: float32 or bfloat16
            "mapping": "shard_map",  # or pmap: the same per-device program under jax.pmap
            "placement": "replicated",  # or fsdp: parameters cut over the devices
            "cache_dir": "",  # features; empty: below CLIPJAX_CACHE, "none": keep nothing
            "seed": 0,
        }
    )


def design_config(probe: str) -> ConfigDict:
    """`probe_config` with what probes of class designs share."""
    config = probe_config(probe)
    config.design = ""  # a shipped name, a .yaml file, either with +class, or schwemmer:mc_data.tsv
    config.bands = ""  # NEW=COLUMN: BAND=value|value; ...
    config.groups = ""  # race,gender,race*gender; empty: everybody, each column, each pair
    config.method = "clopper-pearson"  # or wilson, jeffreys, bootstrap
    config.level = 0.95
    config.min_n = 20  # cells with fewer pictures are marked
    config.sweep = ConfigDict(
        {
            "add": "",  # classes added one by one (or in subsets)
            "drop": "",
            "templates": "",  # each alone, separated by |
            "subsets": 1,
            "most": 5000,
        }
    )
    return config


def find(name: str, kind: str = "probes") -> Path:
    """A config by path or shipped name (`zeroshot` is configs/probes/zeroshot.py), from clone and wheel alike."""
    path = Path(name)
    if path.suffix == ".py":
        if path.is_file():
            return path
        raise InputError(f"{name}: no such config file; shipped ones are {', '.join(shipped(kind))}")
    if name in shipped(kind):
        return shipped(kind)[name]
    near = difflib.get_close_matches(name, shipped(kind), n=1)
    hint = f"did you mean {near[0]}?" if near else f"shipped ones are {', '.join(shipped(kind))}"
    raise InputError(f"unknown config {name!r}; {hint}")


def shipped(kind: str = "probes") -> dict[str, Path]:
    """Name -> file of every config of a kind ("probes", "finetune") that comes with clipjax."""
    package = Path(clipjax.__file__).parent
    for folder in (package / "configs", package.parent / "configs"):  # a wheel, a clone
        if (folder / kind).is_dir():
            return {p.stem: p for p in sorted((folder / kind).glob("*.py")) if not p.name.startswith("_")}
    return {}


def load(name: str, overrides: Sequence[str], kind: str = "probes") -> ConfigDict:
    """CONFIG[:arg] and `--config.key=value` flags -> the resolved config."""
    name, _, arg = name.partition(":")
    path = find(name, kind)
    source = f"--config={path}" + (f":{arg}" if arg else "")
    return _parsed(path.name, config_flags.DEFINE_config_file, [source, *overrides])


def resume(values: dict[str, Any], overrides: Sequence[str], where: Path) -> ConfigDict:
    """The resolved config of an earlier run (its manifest's) with `--config.key=value` flags over it."""
    define = functools.partial(config_flags.DEFINE_config_dict, config=ConfigDict(values))
    return _parsed(str(where), define, overrides)


def _parsed(label: str, define: Callable[..., Any], words: Sequence[str]) -> ConfigDict:
    """ml_collections reads overrides from sys.argv while it parses: they are put there for as long as that takes."""
    argv = ["clipjax", *words]
    values = flags.FlagValues()
    before, sys.argv = sys.argv, argv
    try:
        define("config", flag_values=values, lock_config=True)
        rest = values(argv)[1:]
        config = values.config
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{label}: {one_line(error, 1000)}") from error
    finally:
        sys.argv = before
    if rest:
        raise InputError(f"{rest[0]!r} is no override; write --config.key=value")
    return config


def words(value: Any, separator: str = ",") -> tuple[str, ...]:
    """A text as clean words; "race,gender", "('race', 'gender')" and a real tuple are the same."""
    if isinstance(value, str) and value[:1] in "([" and value[-1:] in ")]":
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
    if isinstance(value, str):
        value = value.split(separator)
    return tuple(str(w).strip() for w in value if str(w).strip())


def plain(config: ConfigDict | FrozenConfigDict) -> dict[str, Any]:
    """The config as JSON types, keys sorted."""
    return json.loads(json.dumps(config.to_dict(), sort_keys=True, default=list))


def digest(value: Any) -> str:
    """Hex sha256 of JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def probe_module(probe: str):
    """The run of a probe: the file name is the registration."""
    try:
        return importlib.import_module(f"clipjax.runs.{probe}")
    except ModuleNotFoundError as error:
        raise InputError(f"unknown probe {probe!r} in the config") from error
