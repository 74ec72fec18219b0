"""Probe configs: where they are found, the keys they share, and overrides from the command line."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import json
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import ConfigDict, FrozenConfigDict, config_flags

import clipjax
from clipjax import loading, stored
from clipjax.errors import InputError, nearest, one_line
from clipjax.files import check_option
from clipjax.keys import Key, declared, defaults, flat, inside, key
from clipjax.runs import data as opening


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """What every probe reads: the images, the model, and how it computes."""

    probe: str = ""
    data: opening.ProbeData = inside(opening.ProbeData)
    model: str = key("emoji-clip", "whatever clipjax.load takes; several by commas")
    weights: loading.WeightsKeys = inside(loading.WeightsKeys)
    batch_size: int = key(32, "images per device; what is lost when a run is killed")
    precision: str = key("float32", "compute dtype: float32 or bfloat16")
    mapping: str = key("shard_map", "or pmap: the same per-device program under jax.pmap")
    placement: str = key("replicated", "or fsdp: parameters cut over the devices")
    cache_dir: str = key("", "where features are kept; empty: below CLIPJAX_CACHE, none: nowhere")
    seed: int = key(0, "of every random choice: resampled intervals, held-out parts, draws")


# Keys that several probes read.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classes(ProbeConfig):
    """Of a probe with a list of classes."""

    classes: str = key("", "a,b,c or a file with one a line; empty: the data set's own")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Templates(ProbeConfig):
    """Of a probe that asks texts."""

    templates: str = key("", "one, several separated by |, or a file; empty: the design's or the data set's own")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked(Classes, Templates):
    """Of a probe that asks a class design."""

    design: str = key("", "a class design: a shipped name, a .yaml file, either with +class, or schwemmer:mc_data.tsv")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WithProbabilities(ProbeConfig):
    """Of a probe that gives every class a probability."""

    probability: str = key(
        "",
        "softmax (over all classes) or sigmoid (of each by itself, of models with a logit bias); empty: softmax, but "
        "what the model was trained for where an image may have several classes",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Level(ProbeConfig):
    """Of a probe with intervals."""

    level: float = key(0.95, "of intervals")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intervals(Level):
    """Of a probe with intervals of shares."""

    method: str = key("clopper-pearson", "of intervals: clopper-pearson, wilson, jeffreys, bootstrap")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cells(ProbeConfig):
    """Of a probe that counts in cells."""

    bands: str = key("", "columns made of others: NEW=COLUMN: BAND=value|value; ...")
    min_n: int = key(20, "cells with fewer images, or questions about them, are marked")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counted(Intervals, Cells):
    """Of a probe that gives shares in cells."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groups(Cells):
    """Of a probe whose cells are groups."""

    groups: str = key("", "race,gender,race*gender; empty: everybody, each column, each pair")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grouped(Counted, Groups):
    """Of a probe that counts by group."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored(Grouped):
    """Of a probe that is right or wrong about every image."""

    group_weights: str = key("", "of an average over groups: COLUMN*COLUMN: VALUE*VALUE=0.7; VALUE*VALUE=0.3")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnTrainPart(ProbeConfig):
    """Of a probe with a training part."""

    data: opening.TrainPart = inside(opening.TrainPart)
    train_split: str = key("train", "the part to fit on, a split of data.path; or data.train_path")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tested(OnTrainPart, Classes):
    """And with a test part of its own, both labelled."""

    data: opening.TwoParts = inside(opening.TwoParts)
    test_split: str = key("test", "the part to score, where data.split does not name one")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validated(Tested):
    """And with a part that chooses."""

    data: opening.ThreeParts = inside(opening.ThreeParts)
    validation_split: str = key(
        "", "the part to choose on (C, or alpha and beta); empty: a seeded fifth of the training part"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted(OnTrainPart):
    """Of a probe that is fitted by regression."""

    feature: str = key("pre_proj", "before the projection, as in the CLIP paper; proj is encode_image's")
    C: float = key(0.0, "inverse regularisation, scikit-learn's; 0: the CLIP paper's sweep")
    max_iter: int = key(1000, "of L-BFGS")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FittedAndTested(Tested, Fitted):
    """Of a probe that is fitted to labelled images, and scored on a test part of its own."""


# Configs of the verbs that are not probes: the folder below `configs`, and the type of the keys.
KINDS = {"finetune": "finetune", "panel": "panels"}
TYPES = {
    "finetune": ("clipjax.runs.finetune_config", "FinetuneConfig"),
    "panel": ("clipjax.runs.panel_config", "PanelConfig"),
}


def keys_of(config: Mapping[str, Any]) -> dict[str, Key]:
    """Every key of a config's verb or probe, names with dots: {"data.path": Key, ...}."""
    own = declared(type_of(config))
    if "data.source" not in own:  # a panel, whose probes have data
        return own
    return {f"data.{name}": one for name, one in opening.every_key().items()} | own


def type_of(config: Mapping[str, Any]) -> type:
    """The dataclass of a config's verb or probe."""
    if config.get("verb") in TYPES:
        module, name = TYPES[config["verb"]]
        return getattr(importlib.import_module(module), name)
    return probe_module(str(config.get("probe"))).Config


def typed(config: Mapping[str, Any]) -> Any:
    """The config as JSON types (`plain`) -> as the type that its verb or probe declares (`type_of`).

    Raises:
        InputError: a value is of another type than the key's default.
    """
    values = dict(config)
    if "data" in config:
        values["data"] = config["data"] | {"given": config["data"]}
    return stored.check(values, type_of(config), "config", "correct it")


def probe_config(probe: str) -> ConfigDict:
    """The keys that a probe reads, with their defaults; a config file changes what it needs."""
    return ConfigDict({"probe": probe} | defaults(keys_of({"probe": probe})))


def listing(config: ConfigDict) -> list[dict[str, Any]]:
    """Every key of a config: name, default (of this config), type, meaning, and for data.* the sources that read it."""
    known, rows = keys_of(config.to_dict()), []
    if config.get("verb") == "panel":  # its probes and data sets have keys of their own
        known |= importlib.import_module("clipjax.runs.panel_config").inner_keys(config)
    for name, value in flat(plain(config)).items():
        if name in ("probe", "verb"):
            continue
        one = known.get(name) or known.get(name.partition(".")[0])  # what lies in `architecture`, `probes` is its own
        row = {"name": name, "default": value, "type": type(value).__name__, "meaning": one.meaning if one else ""}
        if name.startswith("data.") and name[5:] not in opening.GENERAL:
            row["sources"] = opening.readers_of(name[5:])
        rows.append(row)
    return rows


def listed(config: ConfigDict) -> str:
    """`listing` as lines for a terminal."""
    lines = []
    for row in listing(config):
        default = row["default"] if row["default"] not in ("", {}) else "empty"
        sources = f" [{', '.join(row['sources'])}]" if row.get("sources") else ""
        lines.append(f"--config.{row['name']}={default}  ({row['type']})\n    {row['meaning']}{sources}")
    return "\n".join(lines)


def print_keys(config: ConfigDict, how: str | None, out: str | None) -> bool:
    """Prints `listing` as text or JSON where it is asked for (--keys); else --out is needed."""
    if how is None:
        if not out:
            print("name the run's folder: --out=RUN (or --keys, to list every key)", file=sys.stderr)
            raise SystemExit(2)  # as argparse ends where a flag is missing
        return False
    print(json.dumps(listing(config), indent=1, ensure_ascii=False) if how == "json" else listed(config))
    return True


def find(name: str, kind: str = "probes") -> Path:
    """A config by path or shipped name (`zeroshot` is configs/probes/zeroshot.py), from clone and wheel alike."""
    path = Path(name)
    if path.suffix == ".py":
        if path.is_file():
            return path
        raise InputError(f"{name}: no such config file; shipped ones are {', '.join(shipped(kind))}")
    if name in shipped(kind):
        return shipped(kind)[name]
    hint = nearest(name, shipped(kind)) or f"; shipped ones are {', '.join(shipped(kind))}"
    raise InputError(f"unknown config {name!r}{hint}")


def shipped(kind: str = "probes") -> dict[str, Path]:
    """Name -> file of every config of a kind ("probes", "finetune", "panels") that comes with clipjax."""
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
    before = _parsed(path.name, config_flags.DEFINE_config_file, [source])
    _check_names(before, overrides, path.stem)
    known = flat(before.to_dict())
    new = [word for word in overrides if _name(word) not in known]  # of a group that a config fills: probes.NAME
    config = _parsed(path.name, config_flags.DEFINE_config_file, [source, *(w for w in overrides if w not in new)])
    for word in new:
        _add(config, word)
    given = [_name(word) for word in overrides]
    for one, other in (("classes", "design"), ("design", "classes")):  # two ways to say what is asked: the user's
        if one in given and other not in given and other in config:
            config[other] = ""
    for name, value in flat(plain(config)).items():  # what a config file sets is checked as the command line is
        if isinstance(value, str):
            check_option(name, value, f"config.{name}")
    return config


def _name(word: str) -> str:
    """The key of `--config.key=value`."""
    return word.removeprefix("--config.").partition("=")[0]


def _add(config: ConfigDict, word: str) -> None:
    """Sets a key that the config does not have yet, with the groups that it lies in; a number is a number."""
    *groups, last = _name(word).split(".")
    value = word.partition("=")[2]
    with config.unlocked():
        place = config
        for group in groups:
            if group not in place:
                place[group] = ConfigDict()
            place = place[group]
        place[last] = int(value) if value.isdecimal() else value


def resume(values: dict[str, Any], overrides: Sequence[str], where: Path) -> ConfigDict:
    """The resolved config of an earlier run (its manifest's) with `--config.key=value` flags over it."""
    _check_names(ConfigDict(values), overrides, str(where))
    define = functools.partial(config_flags.DEFINE_config_dict, config=ConfigDict(values))
    return _parsed(str(where), define, overrides)


def _check_names(config: ConfigDict, overrides: Sequence[str], where: str) -> None:
    """InputError for an override of a key that the config does not have, with the nearest key or who has it."""
    known = flat(config.to_dict())
    free = [name for name, value in known.items() if isinstance(value, Mapping)]  # filled by config files: probes.NAME
    for word in overrides:
        name, equals, _ = word.removeprefix("--config.").partition("=")
        if not word.startswith("--config.") or not equals:
            raise InputError(f"{word!r} is not an override; write --config.key=value")
        if name in known or any(name == one or name.startswith(f"{one}.") for one in free):
            continue
        if any(one.startswith(f"{name}.") for one in known):
            inside = ", ".join(one for one in known if one.startswith(f"{name}."))
            raise InputError(f"{word}: {name} has keys of its own: {inside}")
        raise InputError(f"{word}: {where} has no key {name!r}{_readers(name) or _hint(name, known)}; --keys lists all")


# What other libraries call a key.
ALIASES = {
    "lr": "optimizer.learning_rate", "learning_rate": "optimizer.learning_rate", "wd": "optimizer.weight_decay",
    "beta1": "optimizer.b1", "beta2": "optimizer.b2", "grad_clip_norm": "optimizer.clip_norm", "accum_freq": "parts",
    "accumulation_steps": "parts", "grad_checkpointing": "remat", "train_data": "data.csv", "val_data":
    "data.validation_path", "csv": "data.csv", "path": "data.path", "save_frequency": "checkpoints.every", "workers":
    "threads", "num_epochs": "epochs", "lora": "tune", "freeze": "optimizer.freeze", "image_size": "resize.image_size",
    "force_image_size": "resize.image_size", "context_length": "resize.context",
    "force_context_length": "resize.context", "train_data_upsampling_factors": "data.mixture",
}  # fmt: skip


def _hint(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown key: what it is called here, or the nearest name."""
    if (meant := ALIASES.get(name.rpartition(".")[2], "")) in known:
        return f"; it is called {meant}"
    if within := [one for one in known if one.rpartition(".")[2] == name.rpartition(".")[2]]:
        return f"; it is called {' or '.join(within)}"
    return nearest(name, known)


def _readers(name: str) -> str:
    """The end of a message: which probes read a key that this one does not."""
    readers = [probe for probe in probe_names() if name in declared(probe_module(probe).Config)]
    return f", which is read by {', '.join(readers)}" if readers else ""


def refuse_unread(config: ConfigDict) -> None:
    """InputError for a `data.` key that is set and that the source reads for other probes than this one."""
    for name in getattr(probe_module(config.probe), "UNREAD", ()):
        if config.data.get(name):
            readers = [p for p in probe_names() if name not in getattr(probe_module(p), "UNREAD", ())]
            raise InputError(
                f"data.{name}={config.data[name]} is not read by the probe {config.probe}; it is read by "
                f"{', '.join(readers)} and by fine-tuning: leave it out"
            )


def _parsed(label: str, define: Callable[..., Any], words: Sequence[str]) -> ConfigDict:
    """ml_collections reads overrides from sys.argv while it parses: they are put there for as long as that takes."""
    argv = ["clipjax", *words]
    values = flags.FlagValues()
    before, sys.argv = sys.argv, argv
    try:
        define("config", flag_values=values, lock_config=True)
        values(argv)
        return values.config
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{label}: {one_line(error, 1000)}") from error
    finally:
        sys.argv = before


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


def probe_names() -> tuple[str, ...]:
    """Every probe: the modules of `clipjax.runs` that have `Config`, `prepare` and `run`."""
    package = importlib.import_module("clipjax.runs")
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if _probe(m.name) is not None))


def probe_module(probe: str) -> ModuleType:
    """The run of a probe: the file name is the registration."""
    if (module := _probe(probe)) is None:
        raise InputError(f"unknown probe {probe!r} in the config{nearest(probe, probe_names())}")
    return module


def _probe(name: str) -> ModuleType | None:
    if not name.isidentifier() or importlib.util.find_spec(f"clipjax.runs.{name}") is None:
        return None
    module = importlib.import_module(f"clipjax.runs.{name}")
    return module if all(hasattr(module, part) for part in ("Config", "prepare", "run")) else None
