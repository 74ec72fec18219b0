"""Another class design asked of a sealed run of `rates`: all its images, from the stored features of its units.

No image is encoded. The result is a run that `clipjax compare` sets beside the first, and that has the numbers of
`clipjax probe rates` with that design.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipjax import stored
from clipjax.analysis import rates
from clipjax.analysis.manifest import AskedDesign, Manifest
from clipjax.analysis.tallies import Tally, added
from clipjax.design import Design, read_design
from clipjax.errors import InputError
from clipjax.runs import config as configs
from clipjax.runs import rates as probe
from clipjax.runs.engine import Engines
from clipjax.runs.folder import RunFolder, program
from clipjax.runs.shards import export, seal, work
from clipjax.runs.shards import plan as plans
from clipjax.runs.shards.store import Store
from clipjax.runs.zeroshot import answers

COMMAND = "clipjax shards count"


def count(store: Store, named: str, out: Path, engines: Engines | None = None) -> Manifest:
    """Asks the design of this name or file, and writes the run. InputError for runs of other probes."""
    plan = plans.read(store)
    if plan.probe != "rates":
        raise InputError(f"{store.place}: is a run of {plan.probe or 'features alone'}; designs are counted for rates")
    units = [unit for unit in seal.sealed(store) if unit["rows"]]
    about = stored.parse(store.read("manifest.json"), store.path("manifest.json"), Manifest, "seal the run again")
    design = read_design(named)
    config = plan.config | {"design": named, "classes": "", "templates": "", "units": store.place}
    asked, job = configs.typed(plan.config), work.Job(store, plan, engines or Engines())
    weights = job.features.class_weights(design)
    folder = RunFolder(out, config)
    writer: pq.ParquetWriter | None = None
    tallied: list[Tally] = []
    try:
        for unit in units:
            with store.open(unit["predictions_file"]) as file:
                table = pq.read_table(file)
            table, part = _asked(about, design, table, job, weights, export.features_of(store, unit["features_file"]))
            tallied = [added(pair) for pair in zip(tallied, part, strict=True)] if tallied else part
            if writer is None:
                writer = pq.ParquetWriter(folder.path / "predictions.parquet", table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()
        folder.note("predictions.parquet")
        folder.write_records(probe.total(asked, design, tallied))
        manifest = Manifest(
            command=COMMAND, config=config, **program(), precision=about.precision, arithmetic=about.arithmetic,
            model=about.model, design=AskedDesign.of(design), data=about.data, counts=about.counts,
            result=probe.outcome(asked, plan.probability, tallied), mesh=about.mesh,
        )  # fmt: skip
        folder.write_json("manifest.json", manifest.to_dict())
    finally:
        folder.close()
    return manifest


def _asked(
    about: Manifest, design: Design, table: pa.Table, job: work.Job, weights: np.ndarray, features: np.ndarray
) -> tuple[pa.Table, list[Tally]]:
    """A unit's predictions under the design, and their counts by group."""
    found = answers(design, job.features.probabilities(np.asarray(features, np.float32), weights, job.plan.probability))
    columns = {name: np.array(table[name].to_pylist(), object) for name in about.data.group_columns}
    grouped = [tuple(part for part in text.split("*") if part) for text in about.result.groups or [""]]
    place = {name: i for i, name in enumerate(design.names)}
    best = np.array([place[name] for name in found["prediction"]], np.int64)
    kept = {"prediction": pa.array(found["prediction"].tolist(), pa.string()), "probability": found["probability"]}
    for name, values in kept.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    if "probabilities" in table.column_names:
        table = table.drop_columns(["probabilities"])
    return table, rates.tallies(best, columns, grouped, len(design.names))
