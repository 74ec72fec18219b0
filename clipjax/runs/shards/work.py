"""A worker: units one after the other, its own block first, then those that others have not done. It waits for nobody.

What others do is only seen in the markers. Two workers that do the same unit cost time and nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import random
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from clipjax.data.source import absolute, common_folder, relative
from clipjax.errors import InputError, Stopped, brief, some
from clipjax.progress import say
from clipjax.runs import config as configs
from clipjax.runs.engine import Engines
from clipjax.runs.features import Features
from clipjax.runs.interface import Engine
from clipjax.runs.shards import images, units
from clipjax.runs.shards import plan as plans
from clipjax.runs.shards.plan import Input, Plan
from clipjax.runs.shards.store import Store

TRIES = 3  # of a unit that fails, over all workers
IN_A_ROW = 5  # different units that fail one after the other: a broken machine would make all of them fail
PLAINLY_BROKEN = 0.5  # of a unit's images: more that cannot be read are a broken file, not broken images
GRACE = 20.0  # seconds that a unit is given to end after SIGTERM; Kubernetes kills after 30


@dataclasses.dataclass(frozen=True)
class Worker:
    """Which of how many workers this is, from 0."""

    index: int
    count: int

    @property
    def name(self) -> str:
        """Of markers and notes."""
        return f"{self.index} of {self.count}, {socket.gethostname()}:{os.getpid()}"

    def order(self, n: int) -> list[int]:
        """All units: the own block, then the others in an order of this worker's own."""
        own = plans.of_units(n, self.index, self.count)
        others = [unit for unit in range(n) if unit not in own]
        random.Random(self.index).shuffle(others)
        return [*own, *others]


def of_environment(environment: Mapping[str, str], index: int | None = None, count: int | None = None) -> Worker:
    """The worker that the options, a Slurm array or an indexed Kubernetes Job say; without any, the only one.

    In a Slurm array whose jobs have several tasks each task is a worker. Raises InputError where one number is missing
    or out of range.
    """
    slurm = {name: _number(environment, f"SLURM_{name}") for name in SLURM}
    if index is None and slurm["ARRAY_TASK_ID"] is not None:
        step, tasks = slurm["ARRAY_TASK_STEP"] or 1, slurm["NTASKS"] or 1
        index = (slurm["ARRAY_TASK_ID"] - (slurm["ARRAY_TASK_MIN"] or 0)) // step * tasks + (slurm["PROCID"] or 0)
        if count is None and slurm["ARRAY_TASK_COUNT"] is not None:
            count = slurm["ARRAY_TASK_COUNT"] * tasks
    if index is None:
        index = _number(environment, "JOB_COMPLETION_INDEX")
    if index is None and count is None:
        return Worker(0, 1)
    if index is None or count is None:
        missing = "--workers=W (the completions of the Job, the size of the array)" if count is None else "--worker=I"
        raise InputError(f"this is one of several workers, and {missing} is not given; workers count from 0")
    if not 0 <= index < count:
        raise InputError(f"--worker={index}: {count} workers are numbered 0 to {count - 1}")
    return Worker(index, count)


SLURM = ("ARRAY_TASK_ID", "ARRAY_TASK_MIN", "ARRAY_TASK_STEP", "ARRAY_TASK_COUNT", "NTASKS", "PROCID")


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    if text and not text.isdecimal():
        raise InputError(f"{name}={text} is not a whole number; correct or unset it")
    return int(text) if text else None


@dataclasses.dataclass
class Job:
    """A plan, its model and what units need of both; the model is loaded when the first unit is worked on."""

    store: Store
    plan: Plan
    engines: Engines
    _source: Any = None

    def __post_init__(self) -> None:
        self.inputs = plans.read_inputs(self.store, self.plan)
        files = [one.path for unit in self.inputs for one in unit if one.stop is None]
        self.root = common_folder(absolute(files)) if files else ""
        self.tabled = bool(self.inputs[0][0].table)
        self.module = configs.probe_module(self.plan.probe)
        self.weights = plans.read_weights(self.store, self.plan)
        config: dict[str, Any] = {**self.plan.config, "cache_dir": "none"}
        share = max(PLAINLY_BROKEN, config["data"]["max_skipped"])
        self.config = {**config, "data": {**config["data"], "max_skipped": share}}
        self._features: Features | None = None

    @property
    def engine(self) -> Engine:
        """The model. InputError where it is not the plan's."""
        return self.features.engine

    @property
    def features(self) -> Features:
        """The encoders, without a cache: units are their own."""
        if self._features is None:
            asked = configs.typed(self.config)
            engine = self.engines.get(asked)
            here, there = plans.encoding_of(engine), self.plan.encoding
            if changed := sorted(name for name in {*here, *there} if here.get(name) != there.get(name)):
                raise InputError(
                    f"{self.plan.config['model']}: {some(changed)} differ here from the plan's, and with them the "
                    "features or probabilities; use the model and the packages of the plan, or make a new plan"
                )
            self._features = Features(engine, asked, quiet=True)
        return self._features

    def ready(self) -> None:
        """Loads the model and opens the data set; what is wrong with these is not a unit's failure."""
        _ = self.features
        if self.plan.inputs == "rows" and not self.tabled:
            self._whole()

    def compute(self, unit: int) -> units.Part:
        """Everything of one unit."""
        return units.joined([self._input(one) for one in self.inputs[unit]])

    def _input(self, one: Input) -> units.Part:
        if self.tabled:
            asked = configs.typed(self.config)
            task = self.module.of_rows(asked, images.read(self.store, self.plan, one, asked))
            return units.of_images(self.plan, one, task, asked, self.features, self.weights, self.module)
        if self.plan.inputs == "rows":
            task, asked = self._whole()
            task = self.module.select(task, np.arange(one.start, one.stop or 0))
            return units.of_images(self.plan, one, task, asked, self.features, self.weights, self.module)
        with units.fetched(one) as local:
            asked = configs.typed(plans.of_file(self.config, local))
            with contextlib.redirect_stderr(io.StringIO()):  # notes, which the plan has given
                task = getattr(self.module, "part", self.module.prepare)(asked)
            self._check(task)
            (path,) = absolute([one.path])
            named = replace(one, path=relative(path, self.root))  # wherever the folder of all files lies
            return units.of_images(self.plan, named, task, asked, self.features, self.weights, self.module)

    def _whole(self) -> tuple[Any, Any]:
        """The task of all rows, of which units are cut. InputError where it has other images than the plan."""
        if self._source is None:
            asked = configs.typed(self.config)
            task = self.module.prepare(asked)
            self._check(task)
            if plans.rows_digest(task) != self.plan.rows_sha256:
                raise InputError(
                    f"{task.source.name}: has other images, labels or groups than when the plan was made; make a new "
                    "plan"
                )
            self._source = task, asked
        return self._source

    def _check(self, task: Any) -> None:
        """InputError where images are not asked or counted as the plan says: its numbers could not be added."""
        plan, name = self.plan, task.source.name
        if task.design.sha256 != plan.design.sha256:
            raise InputError(f"{name}: the classes or prompts have changed since the plan was made; make a new plan")
        if (groups := plans.groups_of(task)) != plan.group_columns:
            raise InputError(
                f"{name}: has the group columns {some(groups) or 'none'}, and the plan "
                f"{some(plan.group_columns) or 'none'}; name those that all files have: "
                "--config.data.group_columns (in a new plan)"
            )
        if (task.labels is not None) != plan.labelled:
            word = ("labels", "no image with a label")
            raise InputError(
                f"{name}: has {word[plan.labelled]}, where the plan has {word[not plan.labelled]}; put labels into "
                "every file or into none, and make a new plan"
            )


def work(
    store: Store, worker: Worker, engines: Engines | None = None, grace: float = GRACE, most: int | None = None
) -> int:
    """Does units until all have a marker or have failed too often, or `most` are done; returns how many it did.

    A unit that fails is left for later, and after TRIES failures for good. SIGTERM ends the worker after the unit, if
    that takes no longer than `grace` seconds, else at once: that unit is then done by another.
    """
    plan = plans.read(store)
    if plan.probe == "":
        raise InputError(f"{store.place}: is written by `clipjax embed`; the same command continues it")
    job = Job(store, plan, engines or Engines())
    finished, broken = 0, set[int]()
    with _terminated(grace) as stopping:
        for _ in range(TRIES):
            complete, failed = units.done(store), attempts(store)
            todo = [u for u in worker.order(job.plan.units) if u not in complete and failed.get(u, 0) < TRIES]
            for unit in todo:
                if finished == most:
                    return finished
                if stopping():
                    raise Stopped(f"stopped after {finished} units; the same command goes on")
                if store.has(units.marker_name(unit)):
                    continue
                job.ready()
                made = _one(job, unit, worker)
                finished += bool(made)
                broken = broken | {unit} if made is None else set()
                if len(broken) == IN_A_ROW:
                    raise InputError(
                        f"{IN_A_ROW} units in a row failed here, so this worker stops: {reasons(store, sorted(broken))}"
                    )
            if not todo:
                break
    return finished


def _one(job: Job, unit: int, worker: Worker) -> bool | None:
    """Whether this worker's marker counts; None where the unit failed."""
    began = time.time()
    try:
        part = job.compute(unit)
    except (InputError, OSError) as error:
        _fail(job.store, unit, str(error), worker)
        return None
    except Exception:
        _fail(job.store, unit, traceback.format_exc(), worker)
        raise
    ours = units.write(job.store, job.plan, unit, part, job.engine.circumstances["arithmetic"], worker.name, began)
    lost = f", {len(part.skipped)} skipped" if part.skipped else ""
    again = "" if ours else "; another worker was first"
    say(f"unit {unit} of {job.plan.units}: {len(part.rows)} images{lost} in {time.time() - began:.1f} s{again}")
    return ours


def attempts(store: Store) -> dict[int, int]:
    """How often each unit has failed, of those that have."""
    found: dict[int, int] = {}
    for name in store.names("failed"):
        unit = int(name.partition("-")[0])
        found[unit] = found.get(unit, 0) + 1
    return found


def failure(store: Store, unit: int) -> str:
    """Why a unit failed the last time."""
    names = [name for name in store.names("failed") if name.startswith(f"{unit:06d}-")]
    return str(json.loads(store.read(f"failed/{names[-1]}"))["reason"]) if names else ""


def _fail(store: Store, unit: int, reason: str, worker: Worker) -> None:
    text = json.dumps({"unit": unit, "reason": reason, "worker": worker.name, "time": round(time.time(), 3)})
    for attempt in range(TRIES):
        if store.create(f"failed/{unit:06d}-{attempt}.json", text.encode()):
            break
    say(f"unit {unit} failed: {brief(reason.splitlines()[-1], 300)}")


@contextlib.contextmanager
def _terminated(grace: float) -> Iterator[Callable[[], bool]]:
    """While inside, SIGTERM is remembered, and raised as Stopped after `grace` seconds. No change in other threads."""
    asked = False

    def remember(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, max(grace, 0.001))

    def end(number: int, frame: object) -> None:
        raise Stopped("stopped within a unit, which is done again; the same command goes on")

    try:
        before = signal.signal(signal.SIGTERM, remember)
    except ValueError:
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, before)


def reasons(store: Store, failed: Sequence[int], most: int = 3) -> str:
    """What failed units say, for a message."""
    return "; ".join(f"unit {unit}: {brief(failure(store, unit).splitlines()[-1], 200)}" for unit in failed[:most])
