"""Training state on disk: Orbax v1 behind the few methods that the loop needs.

A checkpoint holds the whole state (parameters, moments, average, step), the state of the data iterator, and what the
state does not say of itself (`about`), which makes it a model for `checkpoints_convert.training_state`. It is written
in the background and appears whole or not at all; what a killed save leaves is not a checkpoint and is ignored.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from clipjax.errors import InputError, one_line

# Orbax reports every failure twice: as an exception, which becomes one line here, and as pages of log of its threads.
logging.getLogger("absl").setLevel(logging.CRITICAL)
STEP = "step"  # among the numbers of a checkpoint
UNFINISHED = "*.orbax-checkpoint-tmp"


class Checkpoints:
    """The checkpoints of one run: the last `keep`, and the best by `metric` ("-fixed/loss": the lowest) where given.

    Only checkpoints of steps at which the metric was measured are ranked. about: JSON, written into each.
    """

    def __init__(self, folder: Path, keep: int = 3, metric: str = "", about: Mapping[str, Any] | None = None):
        if keep < 1:
            raise InputError(f"checkpoints.keep={keep}: at least the last one")
        self.folder, self.metric, self._about = folder, metric, dict(about or {})
        if jax.process_index() == 0:
            for left in folder.glob(UNFINISHED):  # by a killed save; a run folder is held by one run at a time
                shutil.rmtree(left, ignore_errors=True)
        policies = ocp.training.preservation_policies
        always: Any = ocp.training.save_decision_policies.FixedIntervalPolicy(1)  # the loop decides
        preserve: Any = policies.LatestN(keep)
        if metric:
            best = policies.BestN(get_metric_fn=self._rank, n=1, keep_checkpoints_without_metrics=False)
            preserve = policies.AnyPreservationPolicy([preserve, best])
        with _in_one_line(folder):
            self._orbax = ocp.training.Checkpointer(
                str(folder.absolute()), save_decision_policy=always, preservation_policy=preserve
            )

    def _rank(self, metrics: Any) -> Any:
        """What Orbax sorts by: of equal values the earliest step is the best."""
        value = rank(self.metric, metrics or {})
        return (-np.inf, 0) if value is None else (value, -metrics[STEP])

    @property
    def best(self) -> int | None:
        """The step that `metric` ranks first, the earliest of equal ones; None where none was measured."""
        found = [self._rank(one.metrics) for one in self._orbax.checkpoints] if self.metric else []
        value, step = max(found, default=(-np.inf, 0))
        return -step if value > -np.inf else None

    @property
    def latest(self) -> int | None:
        """Step of the newest whole checkpoint."""
        checkpoint = self._orbax.latest
        return None if checkpoint is None else checkpoint.step

    @property
    def steps(self) -> list[int]:
        """Steps of every whole checkpoint."""
        return sorted(checkpoint.step for checkpoint in self._orbax.checkpoints)

    def save(self, step: int, state: Any, data: dict[str, int], metrics: dict[str, float] | None = None) -> None:
        """Starts to write; returns when the state may change again. Errors of the previous save are raised here."""
        with _in_one_line(self.folder):
            self.wait()
            numbers: Any = {k: float(v) for k, v in (metrics or {}).items()} | {STEP: step}
            parts = {"state": state, "data": data}
            self._orbax.save_checkpointables_async(
                step, parts, force=True, metrics=numbers, custom_metadata=self._about
            )

    def wait(self) -> None:
        """Returns when nothing is being written. Raises InputError if writing failed."""
        with _in_one_line(self.folder):
            self._orbax.wait()

    def restore(self, step: int, like: Any, shardings: Any) -> tuple[Any, dict[str, int]]:
        """(state, data) of that step; state is laid out as `shardings`, whatever devices it was saved from."""
        abstract = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), like, shardings)
        with _in_one_line(self.folder):
            parts = self._orbax.load_checkpointables(step, {"state": abstract, "data": None})
            return parts["state"], parts["data"]

    def close(self) -> None:
        """Waits for what is being written."""
        with _in_one_line(self.folder):
            self._orbax.close()


def rank(metric: str, metrics: Mapping[str, Any]) -> float | None:
    """What `metric` makes of these numbers: higher is better ("-NAME" is negated); None where it was not measured."""
    value = metrics.get(metric.removeprefix("-"))
    if value is None or not np.isfinite(value):
        return None
    return -float(value) if metric.startswith("-") else float(value)


@contextlib.contextmanager
def _in_one_line(folder: Path) -> Iterator[None]:
    """A full disk, or a damaged checkpoint, in one line."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(
            f"{folder}: a checkpoint cannot be written or read ({one_line(error)}); earlier ones are whole: make room, "
            "then run the same command again"
        ) from error
