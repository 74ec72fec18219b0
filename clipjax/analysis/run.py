"""A finished run folder, read back."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipjax import stored
from clipjax.analysis.manifest import Manifest, Outcome, Settings
from clipjax.analysis.records import Metrics, Record, missing
from clipjax.design import Design
from clipjax.errors import InputError, brief, one_line
from clipjax.files import lines

SUMS = "SHA256SUMS"  # of the files of a run, as sha256sum writes and checks them
REMEDY = "run the probe again"
IMAGE = "image_sha256"  # of predictions.parquet: the first 16 hexadecimal digits of the sha256 of an image's contents
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

    @functools.cached_property
    def design(self) -> Design | None:
        """The class design, where the probe has one."""
        try:
            return self.manifest.design.design()
        except InputError as error:
            raise InputError(f"{self.path}: {error}; {REMEDY}") from error

    @functools.cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """Columns of predictions.parquet; lists become [N, C]."""
        path = self.path / "predictions.parquet"
        try:
            table = pq.read_table(path)
            found = {name: _array(table[name]) for name in table.column_names}
            if "file" not in found:
                raise ValueError("it has no column 'file'")
        except (OSError, pa.ArrowException, ValueError, KeyError) as error:
            raise InputError(f"{path}: cannot be read ({one_line(error)}); {REMEDY}") from error
        return found

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Group columns [N], those that the manifest names."""
        named = self.manifest.data.group_columns
        return {name: values for name, values in self.predictions.items() if name in named}

    def of_rows(self, rows: np.ndarray) -> Run:
        """The run with its predictions in another order."""
        return self.with_columns({name: values[rows] for name, values in self.predictions.items()})

    def with_columns(self, columns: Mapping[str, np.ndarray]) -> Run:
        """The run with these columns of its predictions instead of its own."""
        found = dataclasses.replace(self)
        vars(found)["predictions"] = self.predictions | dict(columns)  # instead of what cached_property would read
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
                f"{self.path}: prediction {one_line(error, 80)} is no class of its own design; {REMEDY}"
            ) from error

    @property
    def label(self) -> str:
        """Short name for legends: the model and, where there is one, the design."""
        design, model = self.manifest.design.name, self.manifest.model.name
        return f"{model}, {design}" if design else model


def read_run(path: str | Path) -> Run:
    """The run in a folder; InputError where it is none, or not finished."""
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such run; a run is the folder that `clipjax probe ... --out=RUN` made")
    if not (path / "manifest.json").exists():
        inside = sorted(p.parent.name for p in path.glob("*/manifest.json"))
        hint = f"it holds the runs {', '.join(inside[:4])}" if inside else "the same probe command again finishes it"
        raise InputError(f"{path}: holds no finished run (no manifest.json); {hint}")
    verify(path)
    manifest = read_manifest(path)
    settings = stored.check(manifest.config, Settings, f"{path / 'manifest.json'}: config", REMEDY)
    if not re.fullmatch(r"[a-z]\w*", settings.probe, re.ASCII):  # a part of a module's name
        raise InputError(f"{path}: there is no probe {brief(settings.probe)!r}; {REMEDY}")
    _check_outcome(path, settings.probe, manifest.result)
    return Run(path, manifest, settings, read_records(path, settings.probe))


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


def _check_outcome(path: Path, probe: str, found: Outcome) -> None:
    """InputError where the manifest lacks what a report of this kind of run reads."""
    needed = {"labels": ("contrast", "sides", "thresholds"), "identities": ("notice",)}.get(probe, ())
    if absent := [name for name in needed if getattr(found, name) is None]:
        raise InputError(f"{path / 'manifest.json'}: result has no {absent[0]!r}; {REMEDY}")


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


@contextlib.contextmanager
def reading(runs: Sequence[Run]) -> Iterator[None]:
    """Runs whose numbers are not those of their kind, from another version or another hand, in one line."""
    for run in runs:
        verify(run.path)
    try:
        yield
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        where = f"{Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last else "?"
        names = " and ".join(str(run.path) for run in runs)
        raise InputError(
            f"{names}: not what this version writes for {runs[0].probe} ({type(error).__name__} at {where}: "
            f"{one_line(error, 80)}); {REMEDY}, and report it if that does not help"
        ) from error


def _array(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        rows = column.combine_chunks()
        values = rows.flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(rows), -1)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array(column.to_pylist(), object)
    return column.to_numpy()
