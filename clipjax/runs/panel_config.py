"""The keys of a panel's config, and the cells that they are: every probe of every model on its data sets."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from clipjax import stored
from clipjax.analysis import effective_robustness, gate, panel
from clipjax.analysis.intervals import check_level
from clipjax.errors import InputError, located, require
from clipjax.keys import Key, defaults, flat, inside, key
from clipjax.runs import config as configs
from clipjax.runs import data as opening
from clipjax.runs.runner import short_names

NAME = re.compile(r"[A-Za-z0-9][\w-]*", re.ASCII)  # of a probe or a data set: a part of file names and of flags
NAMED = re.compile(r"([\w.-]+)=(.+)", re.ASCII)
# Keys of a panel's probe that are not the probe's.
MEANINGS = {
    "config": "the probe's config, by name or path",
    "data_sets": "which data sets it is asked of, by commas; all where it is not set",
    "show": "the numbers on the page, as METRIC[key=value], separated by ; the main ones where it is not set",
}


@dataclasses.dataclass(frozen=True)
class Robustness:
    """Effective robustness of the models: which accuracies, and the models that the line goes through."""

    reference: str = key("", "PROBE/DATA_SET: its first accuracy on the page is in distribution; empty: not measured")
    shifted: str = key("", "PROBE/DATA_SET: its first accuracy on the page is under the shift")
    baselines: str = key("", "models of the panel that the line goes through, by commas")
    table: str = key("", "a csv of further baselines with the columns model, reference, shifted, in percent")
    axis: str = key("logit", "accuracies are transformed by logit, probit, or not: linear")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PanelConfig:
    """What a panel reads."""

    verb: str = "panel"
    models: str = key("emoji-clip", "what clipjax.load takes, several by commas; NAME=MODEL calls a model NAME")
    data_sets: dict[str, dict[str, Any]] = key(
        {}, 'NAME = {"source": "csv", "csv": "people.csv"}: the keys data.* of the probes'
    )
    probes: dict[str, dict[str, Any]] = key(
        {},
        'NAME = {"config": "zeroshot", "classes": "a,b"}: a probe\'s config and its keys; also "data_sets" (those it '
        'is asked of) and "show" (the numbers on the page: "rate[set=crime]; ndkl[over=race]")',
    )
    every: dict[str, Any] = key({}, 'keys of every probe: {"batch_size": 64, "seed": 1}')
    level: float = key(0.95, "of the intervals of ranks, differences and correlations")
    margin: float = key(
        panel.MARGIN, "models count as equal where the interval allows no larger difference, as a share"
    )
    seed: int = key(0, "of the resampled images")
    robustness: Robustness = inside(Robustness)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One probe of one model on one data set. `show`: selectors of the numbers on the page; () for the main ones."""

    model: str
    data_set: str
    probe: str
    config: ConfigDict
    path: Path
    show: tuple[str, ...]


def panel_config() -> ConfigDict:
    """Every key with its default."""
    return ConfigDict({"verb": "panel"} | defaults(configs.keys_of({"verb": "panel"})))


def inner_keys(config: ConfigDict) -> dict[str, Key]:
    """The keys that are set in `every`, the data sets and the probes of a config, as the probes declare them."""
    known = {f"data_sets.{name}.{one}": spec for name in config.data_sets for one, spec in opening.every_key().items()}
    for name, given in config.probes.items():
        mine = configs.keys_of(configs.load(str(given.get("config", "")), []).to_dict())
        known |= {f"probes.{name}.{one}": spec for one, spec in mine.items()}
        known |= {f"every.{one}": spec for one, spec in mine.items()}
        known |= {f"probes.{name}.{one}": Key("", meaning) for one, meaning in MEANINGS.items()}
    return known


def typed(config: ConfigDict) -> PanelConfig:
    """The config as its type. InputError for a value of another type, or a name that is not one."""
    asked: PanelConfig = stored.check(configs.plain(config), PanelConfig, "config", "correct it")
    check_level(asked.level)
    if not 0 <= asked.margin < 1:
        raise InputError(f"margin={asked.margin:g}: a share from 0, below 1; 0.01 is one point of percent")
    for what, named in (("probes", asked.probes), ("data_sets", asked.data_sets)):
        if not named:
            raise InputError(f"the panel names no {what}; see `clipjax panel people --keys`")
        if wrong := [name for name in named if not NAME.fullmatch(name)]:
            raise InputError(f"{what}: {wrong[0]!r} is not a name; use letters, digits, _ and -")
    return asked


def models(text: str) -> dict[str, str]:
    """ "tuned=runs/tuned/model.safetensors, ViT-B/32" -> {name: what clipjax.load takes}, in this order."""
    listed = configs.words(text)
    if not listed:
        raise InputError("the panel names no models: --config.models=ViT-B/32,RN50")
    named = [(match[1], match[2]) if (match := NAMED.fullmatch(one)) else ("", one) for one in listed]
    short = short_names([model for _, model in named])
    found = [(name or short[model], model) for name, model in named]
    for i, part in enumerate(("name", "model")):
        taken = [one[i] for one in found]
        if twice := [one for one in taken if taken.count(one) > 1]:
            raise InputError(f"models: the {part} {twice[0]!r} comes twice; keep one, or write NAME=MODEL")
    return dict(found)


def cells(asked: PanelConfig, out: Path) -> list[Cell]:
    """Every cell with its resolved config, model by model, so that a model is loaded once.

    InputError for what no run of the probe would accept, before anything is computed.
    """
    found = []
    columns = [(probe, data_set) for probe in asked.probes for data_set in _data_sets(asked, probe)]
    if unread := [name for name in asked.data_sets if name not in {data_set for _, data_set in columns}]:
        raise InputError(f"data_sets.{unread[0]}: no probe is asked of it; name it in data_sets of one, or drop it")
    resolved = {}
    for probe, data_set in columns:
        with located(f"probes.{probe}, data_sets.{data_set}"):
            resolved[probe, data_set] = _resolved(asked, probe, data_set)
    for name, model in models(asked.models).items():
        for probe, data_set in columns:
            one = resolved[probe, data_set].copy_and_resolve_references()
            one.model = model
            folder = out / "-".join((probe, data_set, file_name(name)))
            found.append(Cell(name, data_set, probe, one, folder, _shown(asked.probes[probe], probe)))
    paths = [cell.path for cell in found]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise InputError(f"two runs of the panel would lie in {twice[0]}; rename a model, a probe or a data set")
    _check_robustness(asked, columns, list(models(asked.models)))
    return found


def axis_of(keys: Robustness) -> effective_robustness.Axis:
    """How accuracies are transformed."""
    axes: dict[str, effective_robustness.Axis] = {"logit": "logit", "probit": "probit", "linear": "linear"}
    require(keys.axis, axes, "robustness.axis", "transformation")
    return axes[keys.axis]


def file_name(name: str) -> str:
    """A model's name as a part of a folder's."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-.") or "model"


def _data_sets(asked: PanelConfig, probe: str) -> Sequence[str]:
    named = configs.words(asked.probes[probe].get("data_sets", ""))
    for name in named:
        require(name, asked.data_sets, f"probes.{probe}.data_sets: the panel", "data set")
    return named or list(asked.data_sets)


def _shown(given: Mapping[str, Any], probe: str) -> tuple[str, ...]:
    shown = configs.words(given.get("show", ""), ";")
    for one in shown:
        with located(f"probes.{probe}.show"):
            gate.selector(one)
    return shown


def _resolved(asked: PanelConfig, probe: str, data_set: str) -> ConfigDict:
    """The config of a probe on a data set: the probe's own file, `every`, the data set's keys, the probe's keys."""
    given = dict(asked.probes[probe])
    if not isinstance(given.get("config"), str):
        raise InputError("needs config, the name or the file of a probe's config")
    mine = {name: value for name, value in given.items() if name not in MEANINGS}
    keys = flat(asked.every) | flat(asked.data_sets[data_set], "data.") | flat(mine)
    if own := [name for name in keys if name in ("model", "probe")]:
        raise InputError(f"{own[0]} is not a key here; models of a panel are named by --config.models")
    overrides = [f"--config.{name}={tuple(v) if isinstance(v, list) else v}" for name, v in keys.items()]
    config = configs.load(given["config"], overrides)
    if "," in config.data.source:
        raise InputError(f"data.source={config.data.source} names several; give each a name among the data sets")
    configs.refuse_unread(config)
    opening.check_keys(configs.typed(configs.plain(config)).data)
    return config


def _check_robustness(asked: PanelConfig, columns: Sequence[tuple[str, str]], named: Sequence[str]) -> None:
    keys = asked.robustness
    if not keys.reference and not keys.shifted:
        usual = Robustness()
        if given := [f.name for f in dataclasses.fields(keys) if getattr(keys, f.name) != getattr(usual, f.name)]:
            raise InputError(
                f"robustness.{given[0]} needs robustness.reference and robustness.shifted, as PROBE/DATA_SET"
            )
        return
    known = ["/".join(column) for column in columns]
    for name in ("reference", "shifted"):
        require(getattr(keys, name), known, f"robustness.{name}: the panel", "column PROBE/DATA_SET")
    if keys.reference == keys.shifted:
        raise InputError(f"robustness.reference and robustness.shifted are both {keys.shifted!r}; name two columns")
    axis_of(keys)
    for name in configs.words(keys.baselines):
        require(name, named, "robustness.baselines: the panel", "model")
