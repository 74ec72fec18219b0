"""A finished run folder, read back."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import functools
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clipjax import stored
from clipjax.analysis import findings, order, rates
from clipjax.analysis import predictions as stored_predictions
from clipjax.analysis.manifest import Manifest, Settings
from clipjax.analysis.records import Finding, Metrics, Record, missing
from clipjax.analysis.tallies import Tally, added
from clipjax.design import Design
from clipjax.errors import InputError, brief, converted, one_line, some
from clipjax.files import lines

SUMS = "SHA256SUMS"  # of the files of a run, as sha256sum writes and checks them
LOG = "log.jsonl"  # one JSON object per line
COMPLETE = "complete"  # stage of its last event
REMEDY = "run the probe again"
INGESTED_FEATURES = "features.npz"  # of a run of `clipjax ingest --features`
IMAGE = "image_sha256"  # of predictions.parquet: the first 16 hexadecimal digits of the sha256 of an image's contents
QUESTION = "question_sha256"  # of `captions`: the same of the images and captions of a question
FLIPS = "wording_flips"  # of a sweep over wordings: the share of pairs of wordings that answer the image differently
RIGHT_OF = "right_"  # of `captions:winoground`: right_text, right_image: whether these scores have the question right
RIGHT_BY_DRAW = "right_by_draw"  # of few labelled images: whether each draw has the image right, by shots, then seed
RIGHT_ZERO_SHOT = "right_zero_shot"  # and whether it is without labelled images
FEW_IMAGES = ("fewshot", "tip_adapter", "coop")  # probes that draw a few labelled images several times
CAPTION_RANK = "caption_rank"  # of `retrieval`: of an image's best own caption among all, from 1
NEEDED = {"rates": {"prediction"}, "labels": set[str]()}  # columns of predictions.parquet, by probe with a design
CLASSIFIERS = ("zero-shot", "linear")  # of the probe `attributes`


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What `clipjax probe` left: manifest, records, and predictions as columns [N]."""

    path: Path
    manifest: Manifest
    settings: Settings
    records: list[Record]

    @property
    def probe(self) -> str:
        """The kind of run: rates, labels, zeroshot, ..."""
        return self.settings.probe

    @property
    def folder(self) -> str:
        """What the run's folder is called, also where the path is "."."""
        return self.path.resolve().name

    @functools.cached_property
    def date(self) -> str:
        """The day (UTC) on which the run was completed, as its log says; "" where it says nothing."""
        try:
            events = [json.loads(line) for line in (self.path / LOG).read_bytes().splitlines()]
            times = [event["time"] for event in events if event["stage"] == COMPLETE]
            return datetime.datetime.fromtimestamp(times[-1], datetime.UTC).date().isoformat()
        except (OSError, ValueError, KeyError, IndexError, TypeError, OverflowError):  # the log is not part of a result
            return ""

    def places(self, column: str) -> dict[str, int]:
        """Value of a group column -> its place in tables: as the bands or the design list the values, else by
        `clipjax.analysis.order`."""
        known = rates.band_names(str(self.manifest.config.get("bands", ""))).get(column, [])
        if not known and self.design is not None:
            known = [value for value in dict.fromkeys(self.design.attribute(column)) if value is not None]
        return order.places(self.values[column], known)

    @functools.cached_property
    def design(self) -> Design | None:
        """The class design, where the probe has one."""
        try:
            return self.manifest.design.design()
        except InputError as error:
            raise InputError(f"{self.path}: {error}; {REMEDY}") from error

    @functools.cached_property
    def findings(self) -> list[Finding]:
        """What the records show between groups."""
        return findings.of_records(self.records)

    @functools.cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """Columns of predictions.parquet; lists become [N, C]."""
        (found,) = _read(self, None, sys.maxsize)
        return found

    @functools.cached_property
    def names(self) -> list[str]:
        """The columns of predictions.parquet, without reading them."""
        if "predictions" in vars(self):
            return list(self.predictions)
        with _readable(self):
            return stored_predictions.names(self.path)

    @functools.cached_property
    def rows(self) -> int:
        """How many images have a prediction."""
        if "predictions" in vars(self):
            return len(next(iter(self.predictions.values())))
        with _readable(self):
            return stored_predictions.count(self.path)

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[Run]:
        """The run with some of its rows, then with the next ones, and these columns of them: as large as it is, one
        block is in memory, beside what has been read already."""
        rows = stored_predictions.ROWS
        if "predictions" in vars(self):
            for start in range(0, max(self.rows, 1), rows):
                yield self._holding({name: values[start : start + rows] for name, values in self.predictions.items()})
            return
        for found in _read(self, columns, rows):
            yield self._holding(found)

    @property
    def group_columns(self) -> list[str]:
        """The names of `columns`."""
        return [name for name in self.names if name in self.manifest.data.group_columns]

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Group columns [N], those that the manifest names."""
        return {name: self.predictions[name] for name in self.group_columns}

    @functools.cached_property
    def values(self) -> dict[str, dict[str, int]]:
        """Group column -> its values as texts, and how many images have each; "" in no group."""
        found: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in self.group_columns}
        for block in self.blocks(self.group_columns) if found else ():
            for name, counted in found.items():
                counted.update(block.predictions[name].tolist())
        return {name: {str(value): n for value, n in counted.items()} for name, counted in found.items()}

    def of_rows(self, rows: np.ndarray) -> Run:
        """The run with these rows of its predictions, in this order."""
        return self.with_columns({name: values[rows] for name, values in self.predictions.items()})

    def picked(self, rows: np.ndarray) -> Run:
        """`of_rows` of sorted rows, without the probabilities of all classes: read in blocks."""
        parts, start = [], 0
        for block in self.blocks([name for name in self.names if name != "probabilities"]):
            inside = rows[(rows >= start) & (rows < start + block.rows)]
            parts.append(block.of_rows(inside - start).predictions)
            start += block.rows
        return self._holding({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

    def with_columns(self, columns: Mapping[str, np.ndarray], **changes: Any) -> Run:
        """The run with these columns of its predictions instead of its own, and other fields where they are given."""
        return dataclasses.replace(self, **changes)._holding(self.predictions | dict(columns))

    def _holding(self, predictions: dict[str, np.ndarray]) -> Run:
        found = dataclasses.replace(self)
        vars(found)["predictions"] = predictions  # instead of what cached_property would read
        return found

    @property
    def answers(self) -> np.ndarray:
        """The predicted class of every image as an index of the design's classes [N]."""
        assert self.design is not None
        place = {name: c for c, name in enumerate(self.design.names)}
        try:
            return np.array([place[name] for name in self.predictions["prediction"]], np.int64)
        except KeyError as error:
            raise InputError(
                f"{self.path}: prediction {one_line(error, 80)} is not a class of its own design; {REMEDY}"
            ) from error

    def answered(self, grouping: tuple[str, ...]) -> Tally:
        """How many images of each group were given each class of the design, [C]."""
        assert self.design is not None
        if grouping not in self._answered:
            blocks, classes = self.blocks([*grouping, "prediction"]), len(self.design.names)
            parts = (rates.tallies(one.answers, one.columns, [grouping], classes)[0] for one in blocks)
            self._answered[grouping] = added(parts)
        return self._answered[grouping]

    @functools.cached_property
    def _answered(self) -> dict[tuple[str, ...], Tally]:
        return {}

    @property
    def label(self) -> str:
        """Short name for legends: the model and, where there is one, the design."""
        design, model = self.manifest.design.name, self.manifest.model.name
        return f"{model}, {design}" if design else model


def read_run(path: str | Path, as_written: bool = True) -> Run:
    """The run in a folder; InputError where it is none, or not finished, or not (`as_written`) what the run wrote."""
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such run; a run is the folder that `clipjax probe ... --out=RUN` made")
    if not (path / "manifest.json").exists():
        inside = sorted(
            p.parent.relative_to(path).as_posix()
            for pattern in ("*/manifest.json", "runs/*/manifest.json")  # of several models, of a panel
            for p in path.glob(pattern)
        )
        hint = f"it holds the runs {some(inside, 4)}" if inside else "the same probe command again finishes it"
        raise InputError(f"{path}: holds no finished run (no manifest.json); {hint}")
    _check_kind(path)
    if as_written:
        verify(path)
    manifest = read_manifest(path)
    settings = stored.check(manifest.config, Settings, f"{path / 'manifest.json'}: config", REMEDY)
    if not re.fullmatch(r"[a-z]\w*", settings.probe, re.ASCII):  # a part of a module's name
        raise InputError(f"{path}: there is no probe {brief(settings.probe)!r}; {REMEDY}")
    _check_manifest(path / "manifest.json", settings.probe, manifest)
    return Run(path, manifest, settings, read_records(path, settings.probe))


def _check_kind(path: Path) -> None:
    """InputError for a run of `clipjax finetune`, whose probes are the runs that hold records."""
    config = path / "config.json"
    if not config.exists() or stored.read(config, dict[str, Any], REMEDY).get("verb") != "finetune":
        return
    steps = sorted(p.parent for p in path.glob("probes/*/step-*/manifest.json"))
    last = list({step.parent: step for step in steps}.values())
    remedy = f"a run to put beside others is one of its probes: {' '.join(map(str, last))}" if last else "by itself"
    raise InputError(f"{path}: is a fine-tuning run, whose page is clipjax report {path}; {remedy}")


def read_manifest(path: Path) -> Manifest:
    """manifest.json of a run folder."""
    return stored.read(path / "manifest.json", Manifest, REMEDY)


def read_records(path: Path, probe: str) -> list[Record]:
    """The records of a run folder; InputError where one lacks what a run of `probe` writes."""
    file = path / "metrics.json"
    found = stored.read(file, Metrics, REMEDY).records
    for i, record in enumerate(found):
        if name := missing(probe, record):
            raise InputError(f"{file}: records[{i}] ({brief(record.metric)}) has no {name!r}; {REMEDY}")
    return found


def prediction_column(attribute: str, classifier: str) -> str:
    """The column of predictions.parquet that holds what one of `CLASSIFIERS` answers about an attribute."""
    return f"prediction_{attribute}_{classifier.replace('-', '_')}"


def _check_manifest(file: Path, probe: str, found: Manifest) -> None:
    """InputError where the manifest lacks what a report of this kind of run reads."""
    needed = {"labels": ("contrast", "sides", "thresholds", "curve"), "identities": ("notice",)}.get(probe, ())
    if absent := [name for name in needed if getattr(found.result, name) is None]:
        raise InputError(f"{file}: result has no {absent[0]!r}; {REMEDY}")
    if probe in NEEDED and not found.design.classes:
        raise InputError(f"{file}: design has no classes; {REMEDY}")
    if probe == "labels" and found.result.contrast not in found.data.group_columns:
        raise InputError(f"{file}: result.contrast is not a column of data.group_columns; {REMEDY}")


def verify(path: Path) -> None:
    """InputError where a file of the run is no longer what the run wrote."""
    if found := changed(path):
        raise InputError(
            f"{path}: {found[0]} is not what the run wrote ({SUMS} has another sha256); {REMEDY}, or remove {SUMS} to "
            "take it as it is"
        )


def changed(path: Path) -> list[str]:
    """Files of a run that are missing or not what was written; none for a run without SHA256SUMS."""
    try:
        listed = lines((path / SUMS).read_text(encoding="ascii", errors="replace"))
    except FileNotFoundError:
        return []
    found = []
    for line in listed:
        match = re.fullmatch(r"([0-9a-f]{64})  ([\w.]+)", line)
        if not match:
            return [SUMS]
        try:
            with open(path / match[2], "rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == match[1]
        except OSError:
            same = False
        found += [] if same else [match[2]]
    return found


def _read(run: Run, columns: Sequence[str] | None, rows: int) -> Iterator[dict[str, np.ndarray]]:
    """Columns of predictions.parquet, so many rows at a time."""
    with _readable(run):
        _check_names(run)
        for table in stored_predictions.tables(run.path, columns, rows):
            found = stored_predictions.arrays(table)
            _check_columns(run, found)
            yield found


def _readable(run: Run) -> contextlib.AbstractContextManager[None]:
    problem = f"{run.path / stored_predictions.FILE}: cannot be read"
    return converted(problem, REMEDY, OSError, pa.ArrowException, ValueError)


def _check_names(run: Run) -> None:
    """ValueError where predictions lack a column that their kind of run writes."""
    needed = {"file", *run.manifest.data.group_columns} | NEEDED.get(run.probe, set())
    if absent := sorted(needed - set(stored_predictions.names(run.path))):
        raise ValueError(f"it has no column {absent[0]!r}")


def _check_columns(run: Run, found: Mapping[str, np.ndarray]) -> None:
    """ValueError where a column is not what their kind of run writes."""
    for name in {"file", IMAGE, "label", "prediction"} & found.keys():
        if found[name].dtype != object:
            raise ValueError(f"its column {name!r} is not text")
    classes = len(run.manifest.design.classes)
    if "probabilities" in found and found["probabilities"].shape[1:] != (classes,):
        raise ValueError(f"its column 'probabilities' is not a list of {classes} numbers in each row")
