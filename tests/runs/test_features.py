"""Which images a host reads and encodes, where a run has several."""

import types

import pyarrow as pa
import pyarrow.parquet as pq

from clipjax.data.kinds import parquet
from clipjax.runs import config, features
from clipjax.runs.engine import Engines


def test_each_host_reads_its_own_row_groups_alone(world, tmp_path, monkeypatch):
    """Of four hosts, to hash and to encode; together they have every image once, in their order."""
    images = sorted((world / "photos").rglob("*.jpg"))[:16]
    for part in range(2):
        rows = [{"bytes": one.read_bytes(), "path": one.name} for one in images[part * 8 : part * 8 + 8]]
        pq.write_table(pa.table({"image": rows}), tmp_path / f"part-{part}.parquet", row_group_size=2)
    read, original = [], pq.ParquetFile.read_row_group

    def noted(self, i, **options):
        read.append(i)
        return original(self, i, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_QUIET", "1")
    words = [f"--config.model={world}/tiny.safetensors", "--config.batch_size=2", "--config.cache_dir=none"]
    asked = config.typed(config.plain(config.load("zeroshot", [*words, "--config.classes=cat,dog"])))
    engine, found = Engines().get(asked), []
    for host in range(4):
        monkeypatch.setattr(
            features, "jax", types.SimpleNamespace(process_count=lambda: 4, process_index=lambda host=host: host)
        )
        read.clear()
        source = parquet.open_files(tmp_path / "part-*.parquet")
        found += features.Features(engine, asked, quiet=True).images(source).rows.tolist()
        assert sorted({*read}) == ([0, 1] if host % 2 == 0 else [2, 3]), host
    assert found == list(range(16))
