"""What runs leave behind: feature logs, cached arrays, run folders."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path

import numpy as np

from clipjax.errors import InputError
from support.hostile import mutators as m
from support.hostile.target import put_all, refusal, written
from support.rates import rate_records


def log_seeds() -> list[bytes]:
    from clipjax.cache import FeatureCache

    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(Path(folder), 4, {"weights": "a"})
        cache.append(np.array([1, 0]), np.ones((2, 4), np.float32), [(2, "b.jpg", "damaged")])
        cache.append(np.array([3]), np.ones((1, 4), np.float32), [])
        cache.close()
        return [(Path(folder) / "0000.log").read_bytes()]


def log(folder: Path, data: bytes) -> None:
    from clipjax.cache import FeatureCache

    (folder / "0000.log").write_bytes(data)
    (folder / "about.json").write_bytes(data[:50])
    with FeatureCache(folder, 4, {}) as cache:
        cache.append(np.array([7]), np.ones((1, 4), np.float32), [])
        found = cache.read()
        assert 7 in found.rows
        assert len(found.rows) == len(found.values) == len(set(found.rows.tolist()))
        assert all(
            isinstance(row, int) and isinstance(file, str) and isinstance(why, str) for row, file, why in found.skipped
        )


def array_seeds() -> list[bytes]:
    return [written(lambda path: np.savez(path, value=np.arange(6.0).reshape(2, 3)), "k.npz")]


def array(folder: Path, data: bytes) -> None:
    from clipjax.cache import cached_array

    (folder / "k.npz").write_bytes(data)
    cached_array(folder, "k", lambda: np.zeros((2, 3)))


def finished_run(folder: Path, probe: str, name: str = "people-roles", groups: int = 2) -> dict[str, bytes]:
    """A small finished run of a class design in folder/run, through the folder that `clipjax probe` writes."""
    from clipjax import design
    from clipjax.analysis import rates
    from clipjax.analysis.records import Record
    from clipjax.runs.folder import RunFolder

    asked = design.read_design(name)
    answers = np.arange(40) % len(asked.names)
    columns = {
        "age": np.array(["3-9", "10-19"] * 20, object),
        "race": np.array(["Black"] * 15 + ["White"] * 25, object),
    }
    columns = {key: columns[key] for key in ("age", "race")[:groups]}
    names = np.array(asked.names, object)
    table = {
        "file": np.array([f"{i}.jpg" for i in range(40)], object),
        "image_sha256": np.array([f"{i:016x}" for i in range(40)], object), **columns,
        **({} if probe == "rates" else {"label": names[::-1][answers]}), "prediction": names[answers],
        "probability": np.full(40, 0.5, np.float32), "probabilities": np.full((40, len(names)), 1 / len(names),
        np.float32),
    }  # fmt: skip
    record = Record(
        metric="top1", k=20, n=40, value=0.5, low=0.4, high=0.6, level=0.95, method="clopper-pearson"
    )  # fmt: skip
    records = (
        rate_records(answers, asked, columns, rates.groupings("", list(columns))) if probe == "rates" else [record]
    )
    config = {"probe": probe, "min_n": 20, "data": {"source": "folder", "split": "", "options": "", "limit": 0}}
    out = RunFolder(folder / "run", config)
    out.write_table("predictions.parquet", table, asked.names)
    out.write_records(records)
    image = {"image_size": 224, "kind": "vit"}
    out.write_json("manifest.json", {
        "config": config, "precision": "float32", "design": asked.manifest(),
        "result": {"groups": ["age"]},
        "model": {"name": "m", "weights_sha256": "a" * 64, "logit_scale": 100.0, "source": {},
        "config": {"image": image, "mean": [0.5] * 3, "std": [0.3] * 3}},
        "data": {"name": "d", "fingerprint": "f" * 64, "n": 40, "group_columns": list(columns)},
        "counts": {"seen": 40, "skipped": 0,
        "skipped_files": []}, "versions": {},
    })  # fmt: skip
    out.close()
    return {
        name: (folder / "run" / name).read_bytes()
        for name in ("manifest.json", "metrics.json", "predictions.parquet", "config.json")
    }


@functools.cache
def good_runs() -> dict[str, dict[str, bytes]]:
    out = {}
    for probe in ("rates", "zeroshot"):
        with tempfile.TemporaryDirectory() as folder:
            out[probe] = finished_run(Path(folder), probe)
    return out


def run_seeds() -> list[bytes]:
    seeds = [m.packed(**files) for files in good_runs().values()]
    with tempfile.TemporaryDirectory() as folder:  # matplotlib makes folders of its own the first time
        refusal(report, Path(folder), seeds[0])
    return seeds


def report(folder: Path, data: bytes) -> None:
    """Everything that `clipjax report` and `compare` say, but the drawing of it."""
    from clipjax.analysis import compare, report
    from clipjax.analysis.report import card, page
    from clipjax.analysis.run import read_run
    from clipjax.runs.folder import finished, read_config

    for name in ("a", "b"):
        (folder / name).mkdir()
    put_all(folder / "a", data)
    for name, content in good_runs()["rates"].items():
        (folder / "b" / name).write_bytes(content)
    refusal(read_config, folder / "a")
    refusal(finished, folder / "a", {})
    run, good = read_run(folder / "a"), read_run(folder / "b")
    refused = None
    for runs in ([run], [run, good]):
        try:
            found = report.sections(runs)
            card.text(runs, found)
            page.html(runs, [dataclasses.replace(section, drawings={}) for section in found])
            for table in (table for section in found for table in section.tables):
                _ = table.csv(), table.markdown(), table.latex(), table.html()
        except InputError as error:
            refused = error
    try:
        good.manifest.design.sha256 = "other"
        compare.compare(run, good)
    except InputError as error:
        refused = refused or error
    if refused:
        raise refused


RUN_FILES = m.one_of(
    manifest_json=m.some_json, metrics_json=m.some_json, config_json=m.some_json, predictions_parquet=m.some_bytes
)
