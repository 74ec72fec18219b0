"""Numbers of finished probe runs for TensorBoard and Weights & Biases, with the writers of fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clipjax.analysis.records import Record
from clipjax.errors import InputError
from clipjax.runs.config import digest
from clipjax.train import writers

if TYPE_CHECKING:
    from clipjax.runs.runner import Run

TARGETS = "tensorboard, or wandb:PROJECT"
HOLDS = ("tensorboard", "wandb")  # folders in a run's folder


def check(targets: Sequence[str]) -> None:
    """InputError for a target that does not exist or is not installed, before any work."""
    for target in targets:
        kind, colon, project = target.partition(":")
        if kind not in HOLDS or bool(colon) != (kind == "wandb") or (kind == "wandb" and not project):
            raise InputError(f"--log={target}: choose {TARGETS}")
        writers.check_installed(kind)


def publish(runs: Sequence[Run], targets: Sequence[str]) -> None:
    """Writes every number that has a value under its label, once, at step 0: a probe has no steps."""
    for run in runs:
        values = {f"{run.manifest.config['probe']}/{label(r)}": r.value for r in run.records if r.value is not None}
        path = run.path.absolute()
        for target in targets:
            kind, _, project = target.partition(":")
            if kind == "tensorboard":
                writers.write_once(values, tensorboard=path / "tensorboard")
            else:
                writers.write_once(values, wandb=_wandb_options(run, project))


def _wandb_options(run: Run, project: str) -> dict[str, Any]:
    """One id per run folder, so that the same command writes the same run; names instead of this machine's paths."""
    path, manifest = run.path.absolute(), run.manifest
    about = {
        "probe": manifest.config["probe"], "model": manifest.model.name, "data": manifest.data.name,
        "weights_sha256": manifest.model.weights_sha256, "fingerprint": manifest.data.fingerprint,
        "design": manifest.design.name, "design_sha256": manifest.design.sha256,
    }  # fmt: skip
    return {"project": project, "name": path.name, "id": digest(str(path))[:16], "dir": str(path), "config": about}


def label(record: Record) -> str:
    """A record's name on one line: rate[race=Black set=crime]."""
    about = {"set": record.set, "class": record.class_, "label": record.label, "direction": record.direction}
    named = (record.group or {}) | {name: value for name, value in about.items() if value is not None}
    return record.metric + (f"[{' '.join(f'{name}={value}' for name, value in named.items())}]" if named else "")
