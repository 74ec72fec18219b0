"""The loop: next batch, update, look at the numbers, save; and the three ways it ends.

It ends when all steps are done, when SIGTERM or Ctrl-C asks (after a checkpoint), or when a loss or gradient is no
longer finite (before one). A run that goes on from a checkpoint makes the same updates, bit for bit on the same
devices, as one that was never stopped: the state holds everything, and the feed is a function of its position.
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
from typing import Any

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from clipjax import skipping
from clipjax.errors import InputError, Stopped, some
from clipjax.progress import Progress, say
from clipjax.train.checkpoints import Checkpoints
from clipjax.train.feed import Batch, Feed
from clipjax.train.writers import Writer

State = dict[str, Any]
Hook = Callable[[int, State], Mapping[str, float]]  # (step, state) -> numbers, which may decide what is best


@dataclasses.dataclass(frozen=True)
class Options:
    """When things happen, in steps; 0 is never. `profile` = (first, how many) steps under JAX's profiler."""

    steps: int
    log_every: int = 10
    save_every: int = 1000
    profile: tuple[int, int] = (0, 0)
    max_replaced: float = 0.01


@dataclasses.dataclass
class _Tally:
    """What happened since the last log line."""

    began: float
    batches: int = 0
    truncated: int = 0
    replaced: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def add(self, batch: Batch) -> None:
        self.batches += 1
        self.truncated += batch.truncated
        self.replaced += batch.replaced


class Loop:
    """One run of `update` over `feed` from `state` to the last step; `out` is for what goes wrong and profiles."""

    def __init__(
        self, update: Callable, state: State, feed: Feed, mesh: Mesh, checkpoints: Checkpoints, writer: Writer,
        options: Options, out: Path, hooks: Sequence[tuple[int, Hook]] = (),
    ):  # fmt: skip
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
        self._best: dict[str, float] = {}
        self._said: set[str] = set()

    def run(self) -> State:
        """The state after the last step. Raises Stopped after a signal, InputError where numbers or data fail."""
        is_main_process = jax.process_index() == 0
        progress = Progress(
            "train", self.options.steps, "steps", start=self.step, quiet=None if is_main_process else True
        )
        with _signals() as stop, progress:
            tally = _Tally(time.monotonic())
            while self.step < self.options.steps:
                tally.add(self._one_step())
                self._check_finite(self._lag)
                progress.update()
                stopping = self._should_stop(stop)
                saving = stopping or self._due(self.options.save_every)
                if saving or self._due(self.options.log_every):
                    tally = self._log(tally)
                if due := [hook for every, hook in self.hooks if self._due(every)]:
                    self._probe(due)
                if saving:
                    self._save()
                if stopping:
                    self.checkpoints.wait()
                    raise Stopped(
                        f"stopped at step {self.step} of {self.options.steps}; the same command goes on from there"
                    )
        self.checkpoints.wait()
        return self.state

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
            "images_per_second": round(rate, 2), "epoch": round(self.step / self.feed.epoch_batches, 4),
            "truncated": tally.truncated, "replaced": len(tally.replaced),
            "replaced_files": sorted({file for file, _ in tally.replaced}),
        }  # fmt: skip
        self.writer.write("train", self.step, numbers)
        return _Tally(time.monotonic())

    def _probe(self, hooks: list[Hook]) -> None:
        self._check_finite(0)
        for hook in hooks:
            numbers = dict(hook(self.step, self.state))
            self._best |= numbers
            self.writer.write("probe", self.step, numbers)

    def _save(self) -> None:
        self._check_finite(0)
        self.checkpoints.save(self.step, self.state, self.feed.get_state(), self._last | self._best)

    def _due(self, every: int) -> bool:
        return every > 0 and (self.step % every == 0 or self.step == self.options.steps)

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
