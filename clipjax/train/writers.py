"""Where the numbers of a training run go: JSON lines always, TensorBoard and Weights & Biases where asked for."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipjax import stored
from clipjax.errors import InputError
from clipjax.files import write_text


class Writer:
    """Appends events to `log` (None: another host writes). Events after `step`, of an interrupted run, are dropped.

    tensorboard: a folder, or None; wandb: {"project": ..., "name": ..., "id": ..., "dir": ...}, or None.
    Raises InputError where the extra that is asked for is not installed.
    """

    def __init__(
        self, log: Path | None, step: int, tensorboard: Path | None = None, wandb: Mapping[str, Any] | None = None
    ):
        self._log = log
        self._board: Any = None
        self._wandb: Any = None
        if log is None:
            return
        _drop_after(log, step)
        if tensorboard is not None:
            self._board = _tensorboard(tensorboard, step)
        if wandb is not None:
            self._wandb = _wandb(wandb)

    def write(self, stage: str, step: int, values: Mapping[str, Any]) -> None:
        """One event; numbers that are not finite become null, as JSON has no word for them."""
        if self._log is None:
            return
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        event = {"time": round(time.time(), 3), "stage": stage, "step": step, **plain}
        with open(self._log, "ab", buffering=0) as file:  # one write per event: a kill leaves no half line
            file.write(json.dumps(event, allow_nan=False).encode() + b"\n")
        numbers = {f"{stage}/{k}": v for k, v in plain.items() if isinstance(v, int | float)}
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

    def close(self) -> None:
        """Flushes what buffers."""
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def write_once(
    numbers: Mapping[str, float], tensorboard: Path | None = None, wandb: Mapping[str, Any] | None = None
) -> None:
    """Numbers of something without steps, at step 0; what an earlier call left in the folder is replaced."""
    if tensorboard is not None:
        for old in tensorboard.glob("events.out.tfevents.*"):
            old.unlink()
        board = _tensorboard(tensorboard, -1)
        for name, value in numbers.items():
            board.add_scalar(name, value, 0)
        board.close()
    if wandb is not None:
        run = _wandb(wandb)
        run.log(dict(numbers), step=0)
        run.finish()


def check_installed(kind: str) -> None:
    """InputError where `tensorboard` or `wandb` cannot be written for want of its extra."""
    {"tensorboard": _summary_writer, "wandb": _wandb_module}[kind]()


def _drop_after(log: Path, step: int) -> None:
    earlier = [event for event in stored.events(log) if event.get("step", 0) <= step]
    text = "".join(json.dumps(event, allow_nan=False) + "\n" for event in earlier)
    write_text(log, text)


def _tensorboard(folder: Path, step: int) -> Any:
    return _summary_writer()(str(folder), purge_step=step + 1)


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter  # TensorBoard's own writer brings TensorFlow's stubs along
    except ImportError as error:
        raise InputError("tensorboard needs tensorboardX: pip install 'clipjax[tensorboard]'") from error
    return SummaryWriter


def _wandb(options: Mapping[str, Any]) -> Any:
    return _wandb_module().init(resume="allow", **options)


def _wandb_module() -> Any:
    try:
        import wandb  # pyrefly: ignore[missing-import]  an extra that the tests do without
    except ImportError as error:
        raise InputError("wandb needs its extra: pip install 'clipjax[wandb]'") from error
    return wandb
