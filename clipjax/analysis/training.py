"""A run of `clipjax finetune`, finished or not, read back: its config, its events, and the probes that it ran."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from clipjax import stored
from clipjax.analysis.run import LOG, Run, read_run
from clipjax.errors import InputError

REMEDY = "run clipjax finetune again"
MEASURED = ("evaluation", "probe")  # stages of events with numbers of the model, not of one batch
ABOUT = ("time", "stage", "step")  # of an event: what is not a number of the model


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """`manifest` is empty while the run is not finished; `events` are those of its log, in order."""

    path: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def finished(self) -> bool:
        """Whether its result is there."""
        return bool(self.manifest)

    @property
    def name(self) -> str:
        """What it is called: its folder."""
        return self.path.resolve().name

    @property
    def steps(self) -> int:
        """The last step that its log knows."""
        return max((event["step"] for event in self.events if "step" in event), default=0)

    def curve(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of a number, wherever it was written; what was not finite is left out."""
        stages = MEASURED if "/" in name else ("train",)
        found = [(e["step"], e.get(name)) for e in self.events if e.get("stage") in stages]
        return [(step, float(value)) for step, value in found if isinstance(value, int | float)]

    @property
    def measured(self) -> list[str]:
        """Names of the model's numbers, fixed/loss and those of probes."""
        events = [e for e in self.events if e.get("stage") in MEASURED]
        return list(dict.fromkeys(name for event in events for name in event if name not in ABOUT))

    @functools.cached_property
    def probes(self) -> dict[str, list[tuple[int, Run]]]:
        """Probe -> (step, its run) of every step that it was run at, in order."""
        found: dict[str, list[tuple[int, Run]]] = {}
        for manifest in sorted(self.path.glob("probes/*/step-*/manifest.json")):
            folder = manifest.parent
            step = int(folder.name.removeprefix("step-"))
            found.setdefault(folder.parent.name, []).append((step, read_run(folder)))
        return found


def is_training(path: Path) -> bool:
    """Whether this folder is a run of `clipjax finetune`."""
    config = path / "config.json"
    return config.is_file() and stored.read(config, dict[str, Any], REMEDY).get("verb") == "finetune"


def read_training(path: Path) -> TrainingRun:
    """InputError if the folder is not a run of `clipjax finetune`, or the run has not made a step yet."""
    if not is_training(path):
        raise InputError(f"{path}: is not a run of clipjax finetune")
    config = stored.read(path / "config.json", dict[str, Any], REMEDY)
    manifest = path / "manifest.json"
    said = stored.read(manifest, dict[str, Any], REMEDY) if manifest.exists() else {}
    events = list(stored.events(path / LOG))
    if not any(event.get("stage") == "train" for event in events):
        raise InputError(f"{path}: has not made a step yet, so a report would be empty")
    return TrainingRun(path, config, said, events)


def of_model(model: str) -> TrainingRun | None:
    """The run that made a model: of its folder, or of a file in it. None for any other model."""
    path = Path(model)
    folder = path if path.is_dir() else path.parent
    return read_training(folder) if path.exists() and is_training(folder) else None
