"""The loop: next batch, update, look at the numbers, save; and the four ways it ends.

It ends when all steps are done, when the best number has not improved for long enough, when SIGTERM or Ctrl-C asks
(after a checkpoint), or when a loss or gradient is no longer finite (before one). A run that goes on from a checkpoint
makes the same updates, bit for bit on the same devices, as one that was never stopped: the state holds everything, and
the feed is a function of its position.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from clipjax import skipping
from clipjax.errors import InputError, Stopped, nearest, some
from clipjax.progress import Progress, say
from clipjax.train.checkpoints import Checkpoints, rank
from clipjax.train.feed import Batch, Feed
from clipjax.train.writers import Writer

State = dict[str, Any]


class Hook(NamedTuple):
    """A measurement before the first step, at every so many steps (0: none on the way) and after the last.

    Numbers are called NAME/...; `measure(step, state)` returns them. stage: what the log calls them.
    """

    name: str
    every: int
    measure: Callable[[int, State], Mapping[str, float]]
    stage: str = "probe"


@dataclasses.dataclass(frozen=True)
class Options:
    """When things happen, in steps; 0 is never. `profile` = (first, how many) steps under JAX's profiler.

    patience: measurements of the checkpoints' metric without improvement after which training ends; 0: never.
    begun: the step and the epoch at which the data of this run began (`clipjax.runs.begun`), 0 for most.
    """

    steps: int
    log_every: int = 10
    save_every: int = 1000
    profile: tuple[int, int] = (0, 0)
    max_replaced: float = 0.01
    patience: int = 0
    begun: tuple[int, float] = (0, 0.0)


@dataclasses.dataclass
class _Tally:
    """What happened since the last log line."""

    began: float
    batches: int = 0
    truncated: int = 0
    replaced: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    tables: Any = 0  # int [tables], once there is a batch

    def add(self, batch: Batch) -> None:
        self.batches += 1
        self.truncated += batch.truncated
        self.replaced += batch.replaced
        self.tables = self.tables + batch.tables


class Loop:
    """One run of `update` over `feed` from `state` to the last step; `out` is for what goes wrong and profiles."""

    def __init__(
        self, update: Callable, state: State, feed: Feed, mesh: Mesh, checkpoints: Checkpoints, writer: Writer,
        options: Options, out: Path, hooks: Sequence[Hook] = (), measured: Sequence[Mapping[str, Any]] = (),
    ):  # fmt: skip
        """measured: the numbers of earlier measurements of this run, in order, from its log."""
        self.update, self.state, self.feed, self.mesh = update, state, feed, mesh
        self.checkpoints, self.writer, self.options, self.out = checkpoints, writer, options, out
        self.hooks = tuple(hooks)
        self.step = int(state["step"])
        self._rows = NamedSharding(mesh, P(mesh.axis_names))
        self._pending: deque[tuple[int, list[str], Any]] = deque()
        # Looking at a step's loss waits for it. One step late, the next is already under way; virtual devices on a
        # CPU are not given two at once (jaxlib 0.10 can lock up).
        self._lag = 0 if mesh.devices.flat[0].platform == "cpu" else 1
        self._last: dict[str, float] = {}
        self._ranks: list[float] = []  # of every measurement of the checkpoints' metric
        self._said: set[str] = set()
        for numbers in measured:
            self._improved(numbers)

    def run(self) -> State:
        """The state after the last step. Raises Stopped after a signal, InputError where numbers or data fail."""
        is_main_process = jax.process_index() == 0
        progress = Progress(
            "train", self.options.steps, "steps", start=self.step, quiet=None if is_main_process else True
        )
        with _signals() as stop, progress:
            if self.step == 0:
                numbers, improved = self._measure(self.hooks)
                if improved:  # what the first weights are is what training has to beat
                    self._save(numbers)
            tally = _Tally(time.monotonic())
            while self.step < self.options.steps and not self.ended_early:
                tally.add(self._one_step())
                self._check_finite(self._lag)
                progress.detail = self._detail(tally)
                progress.update()
                stopping = self._should_stop(stop)
                # A step at which something is measured is one that may be the best: measured first, then saved.
                paused = time.monotonic()
                numbers, improved = self._measure([hook for hook in self.hooks if self._due(hook.every)])
                if self.ended_early:
                    others = [hook for hook in self.hooks if not self._due(hook.every)]
                    numbers |= self._measure(others)[0]
                tally.began += time.monotonic() - paused  # which is not training
                saving = stopping or improved or self.ended_early or self._due(self.options.save_every)
                if saving or self.step == 1 or self._due(self.options.log_every):
                    tally = self._log(tally)
                if saving:
                    self._save(numbers)
                if stopping:
                    self.checkpoints.wait()
                    raise Stopped(
                        f"stopped at step {self.step} of {self.options.steps}; the same command goes on from there"
                    )
        self.checkpoints.wait()
        return self.state

    @property
    def ended_early(self) -> bool:
        """Whether the last `patience` measurements were no better than one before them."""
        since = len(self._ranks) - self._ranks.index(max(self._ranks)) - 1 if self._ranks else 0
        return 0 < self.options.patience <= since

    def _detail(self, tally: _Tally) -> str:
        """Loss, learning rate and speed, as far as they are known, for the progress line."""
        if not self._last:
            return ""
        rate = tally.batches * self.feed.local * jax.process_count() / max(time.monotonic() - tally.began, 1e-9)
        return f"loss {self._last['loss']:.4f}  rate {self._last['learning_rate']:.2g}  {rate:.3g} images/s"

    def _one_step(self) -> Batch:
        first, count = self.options.profile
        profiled = first <= self.step < first + count
        if profiled and self.step == first:
            jax.profiler.start_trace(str(self.out / "profile"))
        with jax.profiler.StepTraceAnnotation("train", step_num=self.step):
            batch = next(self.feed)
            arrays = jax.tree.map(lambda x: jax.make_array_from_process_local_data(self._rows, x), batch.arrays)
            self.state, metrics = self.update(self.state, arrays)
        self.step += 1
        self._pending.append((self.step, batch.files, metrics))
        if profiled and self.step in (first + count, self.options.steps):
            jax.block_until_ready(self.state)
            jax.profiler.stop_trace()
        return batch

    def _check_finite(self, lag: int) -> None:
        """Looks at all but the last `lag` steps. A loss or gradient that is not finite ends the run, unsaved."""
        while len(self._pending) > lag:
            step, files, metrics = self._pending.popleft()
            self._last = {name: float(value) for name, value in jax.device_get(metrics).items()}
            if all(math.isfinite(self._last[name]) for name in ("loss", "gradient_norm")):
                continue
            path = self.out / "failed" / f"step-{step:08d}-host-{jax.process_index()}.txt"
            with contextlib.suppress(OSError):  # the message is worth more than the list
                path.parent.mkdir(exist_ok=True)
                path.write_text("\n".join(files) + "\n", encoding="utf-8")
            self.checkpoints.wait()
            last = self.checkpoints.latest
            good = "there is no checkpoint yet" if last is None else f"{self.checkpoints.folder / str(last)} is good"
            raise InputError(
                f"step {step}: loss {self._last['loss']}, gradient norm {self._last['gradient_norm']}; nothing of it "
                f"is kept, {good}; its batch was {some(files, 3)} (all in {path}): look at those files, or lower the "
                "learning rate"
            )

    def _log(self, tally: _Tally) -> _Tally:
        self._check_finite(0)
        seen = tally.batches * self.feed.local
        lost = [(0, file, reason) for file, reason in tally.replaced]
        skipping.check(lost, seen, self.options.max_replaced, "the last batches", "--config.data.max_skipped")
        for file, reason in tally.replaced:
            if file not in self._said:
                self._said.add(file)
                say(f"note: {file} is replaced by the next image ({reason})")
        rate = seen * jax.process_count() / max(time.monotonic() - tally.began, 1e-9)
        numbers = self._last | {
            "images_per_second": round(rate, 2), "epoch": self.epoch,
            "truncated": tally.truncated, "replaced": len(tally.replaced),
            "replaced_files": sorted({file for file, _ in tally.replaced}),
        }  # fmt: skip
        if len(names := self.feed.data.tables) > 1:
            drawn = np.asarray(multihost_utils.process_allgather(tally.tables)).reshape(-1, len(names)).sum(0)
            numbers["tables"] = dict(zip([table.name for table in names], drawn.tolist(), strict=True))
        self.writer.write("train", self.step, numbers)
        return _Tally(time.monotonic())

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        step, epoch = self.options.begun
        return round(epoch + (self.step - step) / self.feed.epoch_batches, 4)

    def _measure(self, hooks: Sequence[Hook]) -> tuple[dict[str, float], bool]:
        """The numbers of these measurements of the present step, and whether the checkpoints' metric has improved."""
        if not hooks:
            return {}, False
        self._check_finite(0)
        found: dict[str, float] = {}
        for hook in hooks:
            numbers = dict(hook.measure(self.step, self.state))
            found |= numbers
            self.writer.write(hook.stage, self.step, numbers)
        metric = self.checkpoints.metric.removeprefix("-")
        if metric.partition("/")[0] in [hook.name for hook in hooks] and metric not in found:
            raise InputError(
                f"checkpoints.best={self.checkpoints.metric}: {metric} is not measured{nearest(metric, found)}; "
                f"what is: {some(sorted(found), 12)}"
            )
        return found, self._improved(found)

    def _improved(self, numbers: Mapping[str, Any]) -> bool:
        value = rank(self.checkpoints.metric, numbers) if self.checkpoints.metric else None
        if value is None:
            return False
        best = max(self._ranks, default=-math.inf)
        self._ranks.append(value)
        return value > best

    def _save(self, numbers: dict[str, float]) -> None:
        self._check_finite(0)
        self.checkpoints.save(self.step, self.state, self.feed.get_state(), numbers)

    def _due(self, every: int) -> bool:
        return self.step == self.options.steps or (every > 0 and self.step % every == 0)

    def _should_stop(self, stop: threading.Event) -> bool:
        """Whether to stop now. Several hosts stop at the same step: JAX's preemption service picks it."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(self.step)
        return stop.is_set()


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that SIGTERM or the first Ctrl-C sets; the second Ctrl-C interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread() or jax.process_count() > 1:
        yield stop  # elsewhere signals are the caller's, and on several hosts JAX's own
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        say("stopping after this step, with a checkpoint")

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
