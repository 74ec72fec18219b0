"""The files of a sharded run, opened by the tools that people have: no conversion, one row per image in each."""

import io
import types
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from clipjax.plan import cost
from clipjax.runs.shards import export, plan, seal, units
from clipjax.runs.shards.store import Store

from .conftest import listed


@pytest.fixture(scope="module")
def run(done, world, pets, tmp_path_factory):
    where = ["--config.data.source=folder", f"--config.data.path={world}/photos"]
    return done(tmp_path_factory.mktemp("readers") / "run", pets, *where, probe="rates", probabilities=True)


def folder(run, kind):
    return Path(run.place) / kind


def test_numpy_maps_the_vectors_and_pyarrow_and_pandas_read_the_tables(run):
    pandas = pytest.importorskip("pandas")
    first = 0
    for unit in seal.sealed(run):
        vectors = np.load(Path(run.place) / unit["features_file"], mmap_mode="r")
        assert isinstance(vectors, np.memmap)
        assert (vectors.ndim, vectors.dtype, vectors.flags.c_contiguous) == (2, np.dtype("<f4"), True)
        rows = pq.read_table(Path(run.place) / unit["rows_file"])
        assert rows.column_names[:4] == ["uid", "key", "row", "sha256"]
        assert len(vectors) == len(rows) == unit["rows"]
        assert unit["first_row"] == first
        answers = pandas.read_parquet(Path(run.place) / unit["predictions_file"])
        assert answers["file"].tolist() == rows["key"].to_pylist()
        assert np.stack(answers["probabilities"].tolist()).dtype == np.float32
        first += unit["rows"]
    assert first == 41


def test_a_reader_of_a_folder_has_the_rows_in_order(run):
    """embedding_reader and autofaiss read all .npy of a folder in the order of their names, and parquet beside them."""
    vectors = np.concatenate([np.load(folder(run, "features") / name) for name in listed(run, "features")])
    keys = [key for name in listed(run, "rows") for key in pq.read_table(folder(run, "rows") / name)["key"].to_pylist()]
    whole = pq.read_table(folder(run, "predictions.parquet"))
    assert keys == whole["file"].to_pylist()
    assert len(vectors) == len(keys)


def test_duckdb_counts_over_all_units(run):
    duckdb = pytest.importorskip("duckdb")
    files = folder(run, "predictions") / "*" / "*.parquet"
    found = duckdb.sql(
        f"SELECT prediction, count(*) AS n, max(probability) AS p, avg(list_sum(probabilities)) AS total "
        f"FROM '{files}' GROUP BY prediction ORDER BY prediction"
    ).fetchall()
    whole = pq.read_table(folder(run, "predictions.parquet")).to_pydict()
    counts = {name: whole["prediction"].count(name) for name in set(whole["prediction"])}
    assert {name: n for name, n, _, _ in found} == counts
    assert all(total == pytest.approx(1, abs=1e-5) for *_, total in found)
    rows = duckdb.sql(f"SELECT count(DISTINCT uid) FROM '{folder(run, 'rows')}/*.parquet'").fetchall()
    assert rows == [(41,)]


def test_polars_scans_all_units(run):
    polars = pytest.importorskip("polars")
    found = polars.scan_parquet(str(folder(run, "predictions") / "*" / "*.parquet")).select(polars.len()).collect()
    assert found.item() == 41
    (first, *_) = seal.sealed(run)
    told = polars.read_parquet(Path(run.place) / first["predictions_file"])["probabilities"].to_numpy()
    assert told.shape == (first["rows"], len(plan.read(run).design.classes))


def test_exported_vectors_are_lists_of_one_length_beside_their_keys(run, tmp_path):
    assert export.export(run, Store(tmp_path / "tables")).endswith("features of 41 images")
    (first, *_) = seal.sealed(run)
    name = Path(first["features_file"]).with_suffix(".parquet").name
    table = pq.read_table(io.BytesIO((tmp_path / "tables" / name).read_bytes()))
    assert table.column_names == ["uid", "key", "features"]
    vectors = np.load(Path(run.place) / first["features_file"])
    assert np.array_equal(np.array(table["features"].to_pylist(), np.float32), vectors)
    polars = pytest.importorskip("polars")
    assert np.array_equal(polars.read_parquet(tmp_path / "tables" / name)["features"].to_numpy(), vectors)


def test_the_bytes_of_a_row_are_those_that_plan_counts_with():
    """`clipjax plan --images`: of names as WebDataset has them, one group column and 1,000 classes."""
    n, rng = 10_000, np.random.default_rng(0)
    keys = np.array([f"part-00012.tar/{i:09}.jpg" for i in rng.permutation(n)], object)
    answers = np.array([f"class {i}" for i in rng.integers(0, 1000, n)], object)
    columns = {
        "file": keys, "gender": rng.choice(np.array(["F", "M"], object), n), "prediction": answers,
        "probability": rng.random(n, np.float32),
    }  # fmt: skip
    part = units.Part(
        keys, np.arange(n), [rng.bytes(16) for _ in keys], rng.integers(0, 256, (n, 32), np.uint8),
        np.zeros((n, 1), np.float32), columns, [], [],
    )  # fmt: skip
    asked = types.SimpleNamespace(probabilities=False)
    written = sum(len(units.parquet(table)) for table in (units._rows(part), units._predictions(asked, part)))
    assert written / n == pytest.approx(cost.ROW, rel=0.15)
