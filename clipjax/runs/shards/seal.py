"""From units to a run: what is complete, what is damaged, and the files that say what all images together are.

`seal` reads markers and counts, never features, and makes an ordinary run folder: metrics.json, tables, manifest.json,
predictions.parquet. The bytes depend on the plan and the images alone, whoever did what, in which order and how often.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipjax import skipping
from clipjax.analysis.manifest import Counts, Data, Manifest, SkippedFile
from clipjax.analysis.run import SUMS
from clipjax.analysis.tallies import Tally, added
from clipjax.errors import InputError, some
from clipjax.runs import config as configs
from clipjax.runs.folder import RunFolder, program
from clipjax.runs.shards import plan as plans
from clipjax.runs.shards import units, work
from clipjax.runs.shards.plan import Plan
from clipjax.runs.shards.store import Store
from clipjax.runs.shards.units import Marker

SHARDS = "shards.parquet"
KINDS = ("features", "rows", "predictions", "stats", "skipped")
RUN_ROWS, RUN_BYTES = 1 << 20, 1 << 28  # of a row group of predictions.parquet, as pyarrow has it; of probabilities
NAMED = 1000  # skipped images that the manifest names; all are in skipped/*.parquet


@dataclasses.dataclass(frozen=True)
class Status:
    """How far a run is. failed: units that failed too often; sealed: whether `seal` has been."""

    units: int
    done: int
    failed: list[int]
    trying: list[int]
    sealed: bool


def status(store: Store) -> Status:
    """Counts markers from listings; reads no data."""
    plan = plans.read(store)
    complete, tried = units.done(store), work.attempts(store)
    failed = sorted(unit for unit, times in tried.items() if unit not in complete and times >= work.TRIES)
    trying = sorted(unit for unit in tried if unit not in complete and unit not in failed)
    return Status(plan.units, len(complete), failed, trying, store.has("manifest.json"))


def seal(store: Store, allow_missing: int = 0, predictions: bool = True) -> Manifest:
    """Adds the units up and writes the run's own files; removes what workers wrote and no marker names.

    Raises:
        InputError: more than `allow_missing` units are missing, a file is missing or has another size, units are of
            another plan or of different arithmetic, or more images were skipped than data.max_skipped allows.
    """
    plan = plans.read(store)
    if plan.probe == "":
        raise InputError(f"{store.place}: holds features alone; the command that made it seals it: clipjax embed")
    markers = complete(store, plan, allow_missing)
    missing = plan.units - len(markers)
    total, skipped = sum(m.rows for m in markers), sum(m.skipped for m in markers)
    names = list(named(store, markers))
    listed = [(0, one.file, one.reason) for one in names]
    config = configs.typed(plan.config)
    share = config.data.max_skipped
    if not total or skipped > skipping.allowed(total + skipped, share):
        lost = listed + [(0, "", "")] * (skipped - len(listed))
        skipping.check(lost, total + skipped, share, plan.data, "--config.data.max_skipped (in a new plan)")
    module = configs.probe_module(plan.probe)
    asked = plan.design.design()
    assert asked is not None
    tallied = _tallied(store, markers)
    records = module.total(config, asked, tallied, plan.metric, plan.probability)
    shards = shards_of(markers)
    with tempfile.TemporaryDirectory(prefix="clipjax-seal-") as temporary:
        out = RunFolder(Path(temporary) / "run", plan.config)
        try:
            columns = plan.group_columns
            if predictions:
                columns = _predictions(store, plan, markers, out.path / "predictions.parquet")
                out.note("predictions.parquet")
            out.write_records(records)
            manifest = Manifest(
                command=f"clipjax shards {plan.probe}", config=plan.config, **program(), precision=plan.precision,
                arithmetic=" and ".join(sorted({m.arithmetic for m in markers})), model=plan.model, design=plan.design,
                data=Data(plan.data, _fingerprint(store, plan, markers), total + skipped,
                          [name for name in columns if name in plan.group_columns]),
                counts=Counts(total, skipped, names),
                result=module.outcome(config, plan.probability, tallied),
                mesh={"units": plan.units, "missing": missing, "dtype": plan.dtype,
                      "shards_sha256": hashlib.sha256(shards).hexdigest()},
            )  # fmt: skip
            out.write_json("manifest.json", manifest.to_dict())
        finally:
            out.close()
        close(store, markers)
        if not predictions:
            store.remove("predictions.parquet")  # of an earlier seal, perhaps of other units
        _move(out.path, store)
    return manifest


def verify(store: Store, quick: bool = False, repair: bool = False) -> list[str]:
    """What is wrong with the units' files, a line each; `quick` compares sizes, otherwise every byte is read.

    repair: the markers of units with a damaged file are removed, so that `work` does these units again.
    """
    plan, found = plans.read(store), []
    for unit in sorted(units.done(store)):
        problems, bad = [], []
        try:
            marker = units.read_marker(store, unit)
        except InputError as error:
            problems = [str(error)]
        else:
            bad = [(file, state) for file in marker.files.values() if (state := _state(store, file, quick))]
            problems = [f"{store.path(file.name)} {state}" for file, state in bad]
            if marker.identity != plan.identity:
                problems.append(f"{store.path(units.marker_name(unit))} is of another plan")
        if problems and repair:
            store.remove(units.marker_name(unit))
            for file, _ in bad:
                store.remove(file.name)
        found += problems
    return found


def sealed(store: Store) -> list[dict[str, Any]]:
    """The rows of shards.parquet. InputError where the run is not sealed."""
    if not store.has(SHARDS):
        raise InputError(f"{store.place}: is not sealed; do so: clipjax shards seal {store.place}")
    return pq.read_table(io.BytesIO(store.read(SHARDS))).to_pylist()


def close(store: Store, markers: list[Marker]) -> None:
    """Removes the files that no marker names, and writes the list of the others."""
    _tidy(store, markers)
    store.write(SHARDS, shards_of(markers))


def complete(store: Store, plan: Plan, allow_missing: int = 0) -> list[Marker]:
    """Every unit's marker, in order; see `seal`."""
    there = sorted(units.done(store))
    missing = sorted(set(range(plan.units)) - set(there))
    if len(missing) > allow_missing:
        failed = status(store).failed
        why = f" ({len(failed)} failed: {work.reasons(store, failed)})" if failed else ""
        raise InputError(
            f"{store.place}: {len(missing)} of {plan.units} units are missing ({some(list(map(str, missing)))}){why}; "
            f"finish them: clipjax shards work {store.place}, or do without: --allow-missing={len(missing)}"
        )
    if not there:
        raise InputError(f"{store.place}: no unit is done; do them: clipjax shards work {store.place}")
    markers = [units.read_marker(store, unit) for unit in there]
    if foreign := [m.unit for m in markers if m.identity != plan.identity or m.unit >= plan.units]:
        raise InputError(
            f"{store.place}: unit {foreign[0]} was done for another plan; have such units done again: clipjax shards "
            f"verify {store.place} --repair, clipjax shards work {store.place}"
        )
    kinds = sorted({m.arithmetic for m in markers})
    if len(kinds) > 1 and not plan.mixed:
        counts = ", ".join(f"{sum(m.arithmetic == kind for m in markers)} by {kind}" for kind in kinds)
        raise InputError(
            f"{store.place}: units were computed with different arithmetic ({counts}), about 1e-3 apart; use one kind "
            "of device, or make the plan with --mixed"
        )
    _check_files(store, markers)
    return markers


def _check_files(store: Store, markers: list[Marker]) -> None:
    for marker in markers:
        for file in marker.files.values():
            if state := _state(store, file, quick=True):
                raise InputError(
                    f"{store.path(file.name)} {state}; find all such units and have them done again: clipjax shards "
                    f"verify {store.place} --repair, clipjax shards work {store.place}"
                )


def _state(store: Store, file: units.File, quick: bool) -> str:
    """What is wrong with a file: "is missing", "is damaged ..."; "" where nothing is."""
    size = store.size(file.name)
    if size is None:
        return "is missing"
    if size != file.bytes:
        return f"is damaged: it has {size} of {file.bytes} bytes"
    if quick:
        return ""
    digest = hashlib.sha256()
    with store.open(file.name) as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return "" if digest.hexdigest() == file.sha256 else "is damaged: its sha256 is another"


def _tallied(store: Store, markers: list[Marker]) -> list[Tally]:
    """The counts of all units, added as they are read."""
    total: list[Tally] = []
    for marker in markers:
        name = marker.files["stats"].name
        part = [Tally.from_json(one) for one in json.loads(store.read(name))["tallies"]]
        if part:
            total = [added(pair) for pair in zip(total, part, strict=True)] if total else part
    return total


def named(store: Store, markers: list[Marker]) -> Iterator[SkippedFile]:
    """The first NAMED images that were skipped."""
    left = NAMED
    for marker in markers:
        if left and "skipped" in marker.files:
            rows = pq.read_table(io.BytesIO(store.read(marker.files["skipped"].name))).to_pylist()[:left]
            left -= len(rows)
            yield from (SkippedFile(row["key"], row["reason"]) for row in rows)


def _fingerprint(store: Store, plan: Plan, markers: list[Marker]) -> str:
    """The fingerprint of the images in their order, as `Source.fingerprint` has it."""
    total = hashlib.sha256(b"images")
    for marker in markers:
        places: list[tuple[np.ndarray, np.ndarray]] = []
        for kind in ("rows", "skipped"):
            if kind in marker.files:
                with store.open(marker.files[kind].name) as file:
                    table = pq.read_table(file, columns=["row", "sha256"])
                digests = np.frombuffer(b"".join(table["sha256"].to_pylist()), np.uint8).reshape(-1, units.DIGEST)
                places.append((table["row"].to_numpy(), digests))
        if places:
            row, digests = (np.concatenate(column) for column in zip(*places, strict=True))
            total.update(digests[np.argsort(row)].tobytes())
    total.update(plan.changed.encode())
    return total.hexdigest()


def shards_of(markers: list[Marker]) -> bytes:
    """shards.parquet: a row per unit: first_row, rows, skipped, and name and sha256 of each file."""
    first, rows = 0, []
    for marker in markers:
        row: dict[str, Any] = {"unit": marker.unit, "first_row": first, "rows": marker.rows, "skipped": marker.skipped}
        for kind in KINDS:
            file = marker.files.get(kind)
            row |= {f"{kind}_file": file and file.name, f"{kind}_sha256": file and file.sha256}
        rows.append(row)
        first += marker.rows
    numbers = ("unit", "first_row", "rows", "skipped")
    schema = pa.schema([(name, pa.int64() if name in numbers else pa.string()) for name in rows[0]])
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), out, compression="zstd")
    return out.getvalue()


def _predictions(store: Store, plan: Plan, markers: list[Marker], path: Path) -> list[str]:
    """All units' predictions as one file, as `clipjax probe` writes it; returns its columns."""
    writer: pq.ParquetWriter | None = None
    held, names = [], []

    def flush(most: int = 0) -> None:
        nonlocal writer, held
        table = pa.concat_tables(held).combine_chunks()
        if writer is None:
            writer = pq.ParquetWriter(path, table.schema, compression="zstd")
        rows = most or len(table)
        writer.write_table(table.slice(0, rows))
        held = [table.slice(rows)] if rows < len(table) else []

    most = RUN_ROWS if not plan.probabilities else max(1, RUN_BYTES // (4 * len(plan.design.classes)))
    for marker in markers:
        if "predictions" in marker.files:
            with store.open(marker.files["predictions"].name) as file:
                held.append(_as_run(pq.read_table(file), plan))
            names = held[-1].column_names
        while sum(map(len, held)) >= most:
            flush(most)
    if held:
        flush()
    if writer is not None:
        writer.close()
    return names


def _as_run(table: pa.Table, plan: Plan) -> pa.Table:
    """Probabilities as lists of any length, and the classes that they are of, as in every run."""
    if "probabilities" not in table.column_names:
        return table
    at, names = table.column_names.index("probabilities"), [one.name for one in plan.design.classes]
    table = table.set_column(at, "probabilities", table.column(at).cast(pa.list_(pa.float32())))
    return table.replace_schema_metadata({"classes": json.dumps(names, ensure_ascii=False)})


def _tidy(store: Store, markers: list[Marker]) -> None:
    """Removes the files of units that no marker names: of workers that lost a race, or were killed before theirs."""
    kept = {file.name for marker in markers for file in marker.files.values()}
    complete = {marker.unit for marker in markers}
    folders = {name.rpartition("/")[0] for name in kept}
    for folder in sorted(folders):
        for name in store.names(folder):
            unit = (*name.split("-", 2), "")[1]
            if f"{folder}/{name}" not in kept and unit.isdecimal() and int(unit) in complete:
                store.remove(f"{folder}/{name}")


def _move(folder: Path, store: Store) -> None:
    """The run's own files into the store, the manifest last."""
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    )
    last = [name for name in (SUMS, "manifest.json") if name in names]
    for name in [*(name for name in names if name not in last), *last]:
        store.copy(name, folder / name)
