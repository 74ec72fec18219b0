"""A panel: every probe of every model on its data sets, as ordinary runs below one folder, and one page about them."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from collections.abc import Container, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from clipjax import parallel
from clipjax.analysis import panel, training
from clipjax.analysis.panel import Entry, Failed, Shift
from clipjax.analysis.report import panel as report
from clipjax.analysis.run import read_run
from clipjax.data import tables
from clipjax.errors import InputError, some
from clipjax.files import local_path, write_text
from clipjax.progress import say
from clipjax.runs import panel_config, runner
from clipjax.runs.config import plain, words
from clipjax.runs.engine import Engines
from clipjax.runs.panel_config import Cell, Robustness

CONFIG = "config.json"  # what the page was made for, beside it
RUNS = "runs"


@dataclasses.dataclass(frozen=True)
class Done:
    """The findings and first tables of the page as text, how many runs there are, and those that failed."""

    text: str
    runs: int
    failed: list[Failed]

    @property
    def failure(self) -> str:
        """One line about the runs that failed; "" where none did."""
        if not self.failed:
            return ""
        names: dict[str, list[str]] = {}
        for one in self.failed:
            names.setdefault(one.message, []).append(one.name)
        listed = some([f"{some(of, 2)}: {message}" for message, of in names.items()], 3)
        return f"{len(self.failed)} of {self.runs} runs failed; the page has the others, and says so: {listed}"


def run(config: ConfigDict, out: Path, named: str = "CONFIG") -> Done:
    """Runs what is not finished yet, and writes the page. A run that fails is on the page and stops no other.

    named: what the config is called, for the command on the page.
    """
    asked = panel_config.typed(config)
    cells = panel_config.cells(asked, out / RUNS)
    shift = _shift(asked.robustness, panel_config.models(asked.models))
    if parallel.is_main_process():
        _claim(out, plain(config))
    entries, failed = _cells(cells)
    if not parallel.is_main_process():
        return Done("", len(cells), failed)
    if not entries:
        raise InputError(f"all {len(cells)} runs of the panel failed; the first, {failed[0].name}: {failed[0].message}")
    found = panel.measure(entries, failed, asked.level, asked.seed, shift, asked.margin)
    models = panel_config.models(asked.models)
    trained = {name: run for name in found.models if (run := training.of_model(models[name])) is not None}
    shown = report.write(found, out, f"clipjax panel {shlex.quote(named)} --out={shlex.quote(out.name)}", trained)
    return Done(report.text(shown), len(cells), failed)


def _cells(cells: list[Cell]) -> tuple[list[Entry], list[Failed]]:
    """Runs every cell. A model is loaded, hashed and compiled once for those that follow each other."""
    engines, entries, failed = Engines(), [], []
    for i, cell in enumerate(cells):
        if parallel.is_main_process():
            say(f"run {i + 1} of {len(cells)}: {cell.probe} on {cell.data_set}, {cell.model}")
        try:
            (made,) = runner.run(cell.config, cell.path, engines).runs
            if parallel.is_main_process():
                found = read_run(cell.path)
                entry = Entry(cell.model, cell.data_set, cell.probe, found, made.published, cell.show)
                _ = entry.shown  # a selector that matches nothing is this run's failure
                entries.append(entry)
        except InputError as error:
            say(f"failed: {error}")
            failed.append(Failed(cell.model, cell.data_set, cell.probe, str(error)))
    engines.forget()
    return entries, failed


def _claim(out: Path, config: Mapping[str, object]) -> None:
    """InputError where the folder is a run, or cannot be written."""
    if (out / "manifest.json").exists():
        raise InputError(f"{out}: is a run; choose another --out for the panel")
    try:
        out.mkdir(parents=True, exist_ok=True)
        others = sorted(p.name for p in out.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    if others and CONFIG not in others:
        raise InputError(f"{out}: is not empty and not a panel ({others[0]}); choose another --out")
    write_text(out / CONFIG, json.dumps(config, indent=1, sort_keys=True, ensure_ascii=False) + os.linesep)


def _shift(keys: Robustness, models: Container[str]) -> Shift | None:
    """What effective robustness is asked of; None where it is not. models: the names of those of the panel."""
    if not keys.reference:
        return None
    reference, shifted = ((probe, data_set) for probe, _, data_set in (
        one.partition("/") for one in (keys.reference, keys.shifted)
    ))  # fmt: skip
    further = _baselines(keys.table) if keys.table else {}
    if own := [name for name in further if name in models]:
        raise InputError(
            f"{keys.table}: {own[0]} is also a model of the panel; rename the row, or drop it and name the model in "
            "robustness.baselines"
        )
    return Shift(reference, shifted, words(keys.baselines), panel_config.axis_of(keys), further)


def _baselines(path: str) -> dict[str, tuple[float, float]]:
    """A table with model, reference and shifted (percent) -> {model: both accuracies as shares}."""
    found = tables.read(local_path(path, "--config.robustness.table"), ("model", "reference", "shifted"))
    rows = zip(*(found[name].values.tolist() for name in ("model", "reference", "shifted")), strict=True)
    out: dict[str, tuple[float, float]] = {}
    for i, (model, *numbers) in enumerate(rows):
        try:
            x, y = (float(str(one)) / 100 for one in numbers)
        except ValueError:
            x = y = -1.0
        if not (0 < x < 1 and 0 < y < 1) or not model or model in out:
            raise InputError(
                f"{path}: row {i + 1} ({model}, {numbers[0]}, {numbers[1]}): needed are a model, once, and two "
                "accuracies in percent, above 0 and below 100"
            )
        out[str(model)] = x, y
    return out
