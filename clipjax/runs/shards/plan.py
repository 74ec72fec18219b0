"""What a sharded run computes, written once: its config, model, class weights, and the units that the images make.

A unit is some whole input files (tar, parquet), which only the worker that does it opens, or consecutive rows of any
other source. Of rows whose images are files the plan writes a table for each unit; every worker opens other sources.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import os
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ml_collections import ConfigDict
from msgspec import Struct

from clipjax import stored
from clipjax.analysis import manifest as manifests
from clipjax.classes import read_naming
from clipjax.data.labels import is_numbers
from clipjax.errors import InputError, some
from clipjax.probes import zeroshot
from clipjax.runs import config as configs
from clipjax.runs import data as opening
from clipjax.runs import projected
from clipjax.runs.engine import Engines
from clipjax.runs.features import Features
from clipjax.runs.interface import Engine
from clipjax.runs.shards import images
from clipjax.runs.shards.store import NEW_PLAN, Store

PLAN, INPUTS, WEIGHTS, CONFIG = "plan.json", "inputs.parquet", "class_weights.npy", "config.json"
FORMAT, VERSION = "clipjax-shards", 2
ROWS = 10_000  # of a unit, where units are rows
DTYPES = {"float32": "<f4", "float16": "<f2"}


class Plan(Struct, kw_only=True, frozen=True):
    """plan.json. `inputs`: whether units are input files or rows of one source. rows_sha256: of names, labels and
    groups of these rows, where units have no tables of them. `labelled`: whether images have labels. sides: the two
    groups that are compared, where any are. `encoding`: what features depend on beside the images
    and the kind of device. class_weights_sha256: of class_weights.npy. changed: what is done to every crop.
    """

    format: str
    version: int
    config: dict[str, Any]
    units: int
    inputs: Literal["files", "rows"]
    dtype: Literal["float32", "float16"]
    probabilities: bool
    mixed: bool
    data: str
    rows_sha256: str
    labelled: bool
    inputs_sha256: str
    changed: str
    metric: str
    group_columns: list[str]
    sides: list[str]
    design: manifests.AskedDesign
    probability: Literal["softmax", "sigmoid"]
    model: manifests.Model
    encoding: dict[str, Any]
    precision: str
    class_weights_sha256: str

    @property
    def probe(self) -> str:
        """The probe that is run."""
        return self.config["probe"]

    @property
    def identity(self) -> str:
        """What every unit of this plan carries."""
        return configs.digest(msgspec.to_builtins(self))[:32]

    def name(self, kind: str, unit: int, sha256: str, suffix: str) -> str:
        """The name of a file of a unit: features/features-000012-of-000100-1a2b3c4d.npy."""
        folder = f"{kind}/{self.design.sha256[:8]}" if kind in ("predictions", "stats") else kind
        return f"{folder}/{kind}-{unit:06d}-of-{self.units:06d}-{sha256[:8]}.{suffix}"


class Input(Struct, frozen=True):
    """A part of the input: rows [start, stop) of the source, or a whole file (`stop` is None: its rows are not counted
    in advance), of so many bytes. table: the sha256 of these rows' own table (`images`); "" where there is none."""

    unit: int
    path: str
    start: int = 0
    stop: int | None = None
    bytes: int | None = None
    table: str = ""


@dataclasses.dataclass(frozen=True)
class Options:
    """How a run is cut and what is kept of it."""

    rows: int = ROWS
    group: int = 1
    dtype: Literal["float32", "float16"] = "float32"
    probabilities: bool = False
    mixed: bool = False


def make(config: ConfigDict, store: Store, options: Options, engines: Engines | None = None) -> Plan:
    """Checks everything, encodes the prompts, and writes the plan. The same call again changes nothing.

    Raises:
        InputError: as a probe, or where the probe's numbers cannot be added up from units, or the place holds another
            plan.
    """
    resolved = configs.plain(config)
    module = configs.probe_module(resolved["probe"])
    if not hasattr(module, "check_units"):
        able = [name for name in configs.probe_names() if hasattr(configs.probe_module(name), "check_units")]
        raise InputError(
            f"the probe {resolved['probe']} needs all images at once and is not run in units; {some(able)} are: "
            "use `clipjax probe`"
        )
    if len(configs.words(resolved["model"])) > 1 or len(configs.words(resolved["data"]["source"])) > 1:
        raise InputError("one plan is of one model and one data set; make a plan for each")
    configs.refuse_unread(config)
    if options.rows < 1 or options.group < 1:
        raise InputError(f"--unit-rows={options.rows} and --group={options.group} are at least 1")
    files = input_files(resolved)
    tables: dict[str, bytes] = {}
    if files and options.rows != ROWS:
        raise InputError(f"--unit-rows={options.rows}: units are whole files of {files[0]} and others; leave it out")
    if not files and options.group != 1:
        raise InputError(f"--group={options.group}: units are rows, not files; use --unit-rows")
    first = of_file(resolved, files[0]) if files else resolved
    asked = configs.typed(first)
    task = module.prepare(asked)
    module.check_units(asked, task)
    if files:
        _check_one_by_one(asked, task)
        inputs = [Input(i // options.group, path, bytes=_size(path)) for i, path in enumerate(files)]
    else:
        n = len(task.source)
        starts = range(0, n, options.rows)
        inputs = [Input(i, task.source.name, s, min(s + options.rows, n)) for i, s in enumerate(starts)]
        if images.are_files(task.source):
            inputs, tables = _tabled(task, inputs)
    engine = (engines or Engines()).get(asked)
    engine.check_source(task.source)
    features = Features(engine, asked)
    projects = isinstance(asked, projected.Projected)
    texts = projected.texts(asked.project, features, asked.seed) if projects else features.texts
    weights = npy(zeroshot.class_weights(texts, [task.design])[0])
    table = table_of(inputs)
    change = task.source.change
    made = Plan(
        format=FORMAT, version=VERSION, config=resolved, units=inputs[-1].unit + 1,
        inputs="files" if files else "rows", dtype=options.dtype, probabilities=options.probabilities,
        mixed=options.mixed, data=task.source.name, changed="" if change is None else repr(change.key),
        rows_sha256="" if inputs[0].table or files else rows_digest(task), labelled=task.labels is not None,
        inputs_sha256=configs.digest([msgspec.to_builtins(one) for one in inputs]),
        metric=getattr(task, "metric", "top1"), group_columns=groups_of(task),
        sides=list(getattr(getattr(task, "contrast", None), "sides", ())),
        design=manifests.AskedDesign.of(task.design), model=engine.about, encoding=encoding_of(engine),
        precision=asked.precision,
        probability=features.probability(asked.probability, getattr(module, "SEVERAL", False)),
        class_weights_sha256=configs.digest(weights.hex()),
    )  # fmt: skip
    write(store, made, {**tables, INPUTS: table, WEIGHTS: weights})
    return made


def _tabled(task: Any, inputs: list[Input]) -> tuple[list[Input], dict[str, bytes]]:
    """Inputs with the sums of their tables, and the tables: some bytes for an image, of which the list has hundreds."""
    groups, files = dict(_grouped(task)), {}
    for i, one in enumerate(inputs):
        data = images.table(task, groups, one.start, one.stop or 0)
        inputs[i] = msgspec.structs.replace(one, table=hashlib.sha256(data).hexdigest())
        files[images.name(inputs[i], len(inputs))] = data
    return inputs, files


def write(store: Store, made: Plan, files: Mapping[str, bytes]) -> None:
    """The plan last: where it is, everything is. InputError where there is another one."""
    text = msgspec.json.format(msgspec.json.encode(made, order="sorted"), indent=1) + b"\n"
    there = store.names("")
    if PLAN in there or store.has(PLAN):
        if read(store).identity != made.identity:
            raise InputError(f"{store.place}: holds another plan; choose another --out, or remove it")
        return
    if others := sorted({*there} - {*files, CONFIG, images.FOLDER}):  # a bucket lists folders too
        raise InputError(f"{store.place}: is not empty and holds no plan ({others[0]}); choose another --out")
    for name, data in files.items():
        store.write(name, data)
    store.write(CONFIG, msgspec.json.format(msgspec.json.encode(made.config, order="sorted"), indent=1) + b"\n")
    if not store.create(PLAN, text) and read(store).identity != made.identity:
        raise InputError(f"{store.place}: another plan was written there meanwhile; choose another --out")


def read(store: Store) -> Plan:
    """The plan of a sharded run. InputError where the place holds none."""
    if not store.has(PLAN):
        raise InputError(f"{store.place}: holds no {PLAN}; make one: clipjax shards plan CONFIG --out={store.place}")
    found = stored.parse(store.read(PLAN), store.path(PLAN), dict[str, Any], NEW_PLAN)
    if (found.get("format"), found.get("version")) != (FORMAT, VERSION):
        raise InputError(f"{store.path(PLAN)} is not of {FORMAT} version {VERSION}; {NEW_PLAN}")
    return stored.check(found, Plan, store.path(PLAN), NEW_PLAN)


def read_inputs(store: Store, plan: Plan) -> list[list[Input]]:
    """The inputs of each unit. InputError where they are not the plan's."""
    rows = pq.read_table(io.BytesIO(store.read(INPUTS))).to_pylist()
    inputs = [Input(**row) for row in rows]
    if configs.digest([msgspec.to_builtins(one) for one in inputs]) != plan.inputs_sha256:
        raise InputError(f"{store.path(INPUTS)} is not what the plan wrote; {NEW_PLAN}")
    units: list[list[Input]] = [[] for _ in range(plan.units)]
    for one in inputs:
        units[one.unit].append(one)
    return units


def read_weights(store: Store, plan: Plan) -> np.ndarray:
    """Class weights [C, E]. InputError where they are not the plan's."""
    data = store.read(WEIGHTS)
    if configs.digest(data.hex()) != plan.class_weights_sha256:
        raise InputError(f"{store.path(WEIGHTS)} is not what the plan wrote; {NEW_PLAN}")
    return np.load(io.BytesIO(data), allow_pickle=False)


def input_files(config: Mapping[str, Any]) -> list[str]:
    """The files that are units by themselves; none for a source that is cut by rows."""
    data = configs.typed(config).data
    module = opening.kind(data.source)
    if module is None or not hasattr(module, "inputs"):
        return []
    if data.limit:
        raise InputError(f"data.limit={data.limit}: units are whole files; name fewer of them in data.path instead")
    keys = module.Keys(**{name: data.given[name] for name in opening.keys_of(data.source) if name in data.given})
    return [os.fspath(path) for path in module.inputs(keys)]


def of_file(config: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The config of one input file."""
    return {**config, "data": {**config["data"], "path": path, "split": ""}}


def _check_one_by_one(asked: Any, task: Any) -> None:
    """InputError for what depends on all images, where each file is opened by itself."""
    data = task.source
    if not asked.classes and not asked.design:
        raise InputError(
            f"{data.name}: its classes are only known when all files have been read; give --config.classes=FILE or "
            "--config.design=FILE"
        )
    if (contrast := getattr(asked, "contrast", "")) and "=" not in contrast:
        raise InputError(
            f"contrast={contrast}: its two values are only known when all files have been read; name them: "
            f"--config.contrast={contrast}=A|B"
        )
    if asked.bands:
        raise InputError("bands depend on all images; write them into the table as a column, and leave bands out")
    labels, named = data.labels, asked.data.given.get("class_names", "")
    if labels is None or not is_numbers(labels.ids):
        return
    # A file of a bucket is copied for its worker, without the classnames.txt beside it.
    beside = not named and "://" in asked.data.given.get("path", "")
    if labels.ids == labels.names or beside or (named and read_naming(named).listed):
        raise InputError(
            f"{data.name}: labels are numbers, of which a file may lack some; say which is which: "
            "--config.data.class_names=FILE with a line NUMBER=NAME for each"
        )


def encoding_of(engine: Engine) -> dict[str, Any]:
    """What an engine's features and probabilities depend on beside the images and the kind of device."""
    key = {name: value for name, value in engine.image_key("", "proj").items() if name not in ("arithmetic", "data")}
    about = msgspec.to_builtins(engine.about)
    found = key | {name: about.get(name) for name in ("logit_scale", "logit_bias")}
    return msgspec.json.decode(msgspec.json.encode(found))  # as plan.json gives it back


def groups_of(task: Any) -> list[str]:
    """The columns that the images of a task are grouped by."""
    return list(dict.fromkeys([*task.source.columns, *_grouped(task)]))


def _grouped(task: Any) -> Mapping[str, np.ndarray]:
    return task.columns if hasattr(task, "columns") else task.groups


def rows_digest(task: Any) -> str:
    """Of everything that a table says of the images of a task: names, labels, groups."""
    found: dict[str, Any] = {"files": configs.digest(task.source.files.tolist())}
    for name, values in {**task.source.columns, **_grouped(task)}.items():
        found[f"column {name}"] = configs.digest(np.asarray(values).tolist())
    if (labels := task.labels) is not None:
        marks = labels.index if labels.index is not None else labels.present
        found["labels"] = [list(labels.names), hashlib.sha256(marks.tobytes()).hexdigest()]
    return configs.digest(found)


def _size(path: str) -> int | None:
    folder, _, name = path.rpartition("/")
    return Store(folder or ".").size(name)


def npy(array: np.ndarray) -> bytes:
    """A file of numpy's."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def table_of(inputs: list[Input]) -> bytes:
    """inputs.parquet."""
    out = io.BytesIO()
    schema = pa.schema(
        [
            ("unit", pa.int64()),
            ("path", pa.string()),
            ("start", pa.int64()),
            ("stop", pa.int64()),
            ("bytes", pa.int64()),
            ("table", pa.string()),
        ]
    )
    pq.write_table(pa.Table.from_pylist([msgspec.to_builtins(one) for one in inputs], schema), out, compression="zstd")
    return out.getvalue()


def of_units(units: int, worker: int, workers: int) -> range:
    """The own block of one of several workers."""
    return range(math.floor(units * worker / workers), math.floor(units * (worker + 1) / workers))
