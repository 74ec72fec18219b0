"""The linear probe over two sealed runs: fitted to the stored features of one, tested on those of the other.

No image is encoded and no host holds all features: the fit makes passes over the units, the test reads one after the
other (`clipjax.probes.linear_passes`). The result is a run, as `clipjax probe linear` makes one.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipjax.analysis.manifest import Counts, Data, Manifest, Outcome
from clipjax.analysis.run import IMAGE
from clipjax.analysis.tallies import Tally, added
from clipjax.data.labels import Labels
from clipjax.errors import InputError, some
from clipjax.probes import linear, linear_passes, products
from clipjax.probes.linear_passes import Rows
from clipjax.runs import config as configs
from clipjax.runs import groups, scoring
from clipjax.runs.folder import RunFolder, program
from clipjax.runs.shards import export, seal, units
from clipjax.runs.shards import plan as plans
from clipjax.runs.shards.store import Store

FRACTION = 0.2  # of the training images, on which C is chosen
CHANGED = ("encoding", "precision", "dtype", "changed")  # of plans: what features depend on


@dataclasses.dataclass(frozen=True)
class Options:
    """C: inverse regularisation, scikit-learn's; 0: the CLIP paper's sweep. seed: of the images it is chosen on."""

    C: float = 0.0
    max_iter: int = 1000
    seed: int = 0


class Sealed:
    """A sealed run of a probe with labels: its plan and units. InputError where it is not one."""

    def __init__(self, store: Store):
        self.store, self.plan = store, plans.read(store)
        self.units = [unit for unit in seal.sealed(store) if unit["rows"]]
        self.manifest = json.loads(store.read("manifest.json")) if self.plan.probe else {}
        self.names = tuple(one.name for one in self.plan.design.classes)
        if not self.plan.labelled:
            raise InputError(f"{store.place}: its images have no labels; a linear probe is fitted to labels")
        asked = self.plan.design.design()
        assert asked is not None
        self.design = asked

    def parts(self, columns: list[str]) -> Iterator[tuple[np.ndarray, pa.Table, np.ndarray]]:
        """Of every unit the features as stored, these columns of its rows, and labels, int [M] (-1: without one)."""
        place = {name: i for i, name in enumerate(self.names)} | {"": -1}
        for unit in self.units:
            rows = pq.read_table(io.BytesIO(self.store.read(unit["rows_file"])), columns=["label", *columns])
            texts = rows["label"].to_pylist()
            if unknown := sorted({*texts} - place.keys()):
                raise InputError(
                    f"{self.store.place}: the label {unknown[0]!r} is not one class; images with several labels are "
                    "fitted by clipjax probe linear"
                )
            labels = np.fromiter(map(place.__getitem__, texts), np.int64, len(texts))
            yield export.features_of(self.store, unit["features_file"]), rows, labels

    def rows(self) -> Iterator[Rows]:
        """The same for a fit."""
        for features, table, labels in self.parts(["sha256"]):
            digests = np.frombuffer(b"".join(table["sha256"].to_pylist()), np.uint8).reshape(-1, units.DIGEST)
            yield Rows(features, labels, digests)

    @property
    def config(self) -> Any:
        """The keys of its probe."""
        return configs.typed(self.plan.config)


def run(train: Store, test: Store, out: Path, options: Options) -> Manifest:
    """Fits, tests, and writes the run. InputError where the two runs' features or classes are not the same."""
    fitted_on, tested_on = Sealed(train), Sealed(test)
    _check(fitted_on, tested_on)
    linear.check(options.C or 1.0, options.max_iter)
    config = tested_on.plan.config | {
        "probe": "linear", "train": train.place, "test": test.place, "feature": "proj", "C": options.C,
        "max_iter": options.max_iter, "seed": options.seed,
    }  # fmt: skip
    fraction = 0.0 if options.C else FRACTION
    passes = linear_passes.Passes(fitted_on.rows, len(fitted_on.names), fraction, options.seed)
    path = None
    if options.C:
        found = passes.solve(options.C, options.max_iter)
    else:
        found, path = passes.sweep(options.max_iter)
    folder = RunFolder(out, config)
    try:
        tallied, tested, grouped = _test(tested_on, found, folder.path / "predictions.parquet")
        folder.note("predictions.parquet")
        method = groups.method_of(tested_on.config)
        folder.write_records(scoring.totals(tallied, tested_on.plan.metric, method, {}, tested_on.design))
        n_train, about = int(passes.counts.sum()), tested_on.manifest
        manifest = Manifest(
            command="clipjax shards linear", config=config, **program(), precision=tested_on.plan.precision,
            arithmetic=about["arithmetic"], model=tested_on.plan.model, design=tested_on.plan.design,
            data=Data(tested_on.plan.data, about["data"]["fingerprint"], about["data"]["n"], grouped),
            counts=Counts(n_train + tested, 0, []),
            result=Outcome(
                feature="proj", C=found.C, path=path, n_train=n_train, train=fitted_on.manifest["data"]["fingerprint"]
            ),
            mesh={name: about["mesh"][name] for name in ("units", "missing", "dtype")},
        )  # fmt: skip
        folder.write_json("manifest.json", manifest.to_dict())
    finally:
        folder.close()
    return manifest


def _check(train: Sealed, test: Sealed) -> None:
    a, b = train.plan, test.plan
    differing = [name for name in CHANGED if getattr(a, name) != getattr(b, name)]
    differing += ["model"] * (a.model.weights_sha256 != b.model.weights_sha256)
    differing += ["arithmetic"] * (train.manifest["arithmetic"] != test.manifest["arithmetic"])
    if differing:
        raise InputError(
            f"{train.store.place} and {test.store.place}: {some(differing)} differ, so their features are not "
            "comparable; make one of them again"
        )
    if train.names != test.names:
        raise InputError(f"{train.store.place} and {test.store.place}: have other classes; plan both with one list")


def _test(test: Sealed, found: linear.Fit, path: Path) -> tuple[list[Tally], int, list[str]]:
    """Predictions of every unit, and their counts added; how many images, and the group columns."""
    compare, names = products.products(found.weights), np.array(test.names, object)
    config, tallied, n = test.config, [], 0
    grouped = list(test.manifest["data"]["group_columns"])
    writer: pq.ParquetWriter | None = None
    try:
        for features, rows, labels in test.parts(["key", "sha256", *grouped]):
            scores = linear.finite(compare(features) + found.bias)
            columns = {name: np.array(rows[name].to_pylist(), object) for name in grouped}
            part = scoring.tallies(scores, Labels(test.names, labels), columns, None, config.groups, test.design)
            tallied = [added(pair) for pair in zip(tallied, part, strict=True)] if tallied else part
            table = pa.table({
                "file": rows["key"], IMAGE: [one[:8].hex() for one in rows["sha256"].to_pylist()],
                "label": rows["label"], **{name: rows[name] for name in grouped},
                "prediction": pa.array(names[scores.argmax(1)].tolist(), pa.string()),
            })  # fmt: skip
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
            n += len(labels)
    finally:
        if writer is not None:
            writer.close()
    if not tallied or not tallied[0].counts:
        raise InputError(f"{test.store.place}: none of the images has a label")
    return tallied, n, grouped
