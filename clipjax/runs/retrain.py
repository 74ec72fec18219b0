"""A finished fine-tuning run made again from its manifest, and whether it gives the same weights."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipjax.analysis.training import TrainingRun, read_training
from clipjax.errors import InputError, some
from clipjax.models import weights
from clipjax.runs import config as configs
from clipjax.runs import finetune
from clipjax.runs.finetune_result import RESULT
from clipjax.runs.folder import differences

CIRCUMSTANCES = ("versions", "git_revision", "device", "mesh", "data", "from")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """numbers: what differs in the weights and the measured losses; circumstances: what may be the reason."""

    tensors: int
    measured: int
    numbers: list[str]
    circumstances: list[str]

    @property
    def same(self) -> bool:
        """Every parameter and every measured number is equal to the last bit."""
        return not self.numbers

    def text(self) -> str:
        """The verdict first, then what differs."""
        lines = [f"Same: {self.tensors} tensors and {self.measured} measured numbers, to the last bit."]
        if not self.same:
            lines = [f"Not the same: {len(self.numbers)} tensors and measured numbers differ.", *self.numbers[:20]]
        if self.circumstances:
            lines += ["Circumstances that differ:", *(f"  {line}" for line in self.circumstances)]
        return "\n".join(lines)


def rerun(path: Path, overrides: Sequence[str], out: Path | None) -> Comparison:
    """Trains what `path`'s manifest describes again, in `out` or in a folder that goes away, and compares.

    Raises InputError where the run is not finished, or one command does not make it: it went on with changes.
    """
    before = read_training(path)
    if not before.finished:
        raise InputError(f"{path}: is not finished; the same finetune command goes on with it")
    if changes := before.manifest.get("changes"):
        raise InputError(
            f"{path}: went on with changes after step {changes[0]['step']} ({some(changes[0]['changed'], 3)}): no one "
            "config makes it again; run the parts one after the other, with --accept-changes"
        )
    config = configs.resume(before.config, overrides, path / "manifest.json")
    if out is not None:
        finetune.run(config, out)
        return _compare(before, read_training(out))
    with tempfile.TemporaryDirectory(prefix="clipjax-rerun-") as folder:
        finetune.run(config, Path(folder) / "run")
        return _compare(before, read_training(Path(folder) / "run"))


def _compare(before: TrainingRun, after: TrainingRun) -> Comparison:
    a, b = (weights.load(run.path / RESULT).flat for run in (before, after))
    numbers = [f"{name}: only in one of the runs" for name in sorted(a.keys() ^ b.keys())]
    for name in sorted(a.keys() & b.keys()):
        if not np.array_equal(x := a[name], y := b[name]):
            numbers.append(
                f"{name}: by up to {np.abs(np.asarray(x, np.float64) - np.asarray(y, np.float64)).max():.3g}"
            )
    measured, again = _measured(before), _measured(after)
    numbers += [f"measured {line}" for line in differences(measured, again)]
    said: list[dict[str, Any]] = [{name: run.manifest.get(name) for name in CIRCUMSTANCES} for run in (before, after)]
    return Comparison(len(a), len(measured), numbers, differences(said[0], said[1]))


def _measured(run: TrainingRun) -> dict[str, float]:
    return {f"{name} at step {step}": value for name in run.measured for step, value in run.curve(name)}
