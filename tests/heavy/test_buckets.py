"""Runs in units in a bucket of a real S3 server, through s3fs, by the command line: the bytes are those of a disk.

python -m pytest -m heavy tests/heavy/test_buckets.py      (needs moto[server], s3fs and "aiobotocore[boto3]")
"""

import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clipjax.analysis.run import IMAGE
from clipjax.testing import pictures, tiny_model

pytestmark = [pytest.mark.heavy]

ROOT = Path(__file__).parents[2]
SERVER = "from moto.server import main; main()"
SAME = ("metrics.json", "predictions.parquet", "shards.parquet")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The environment of a server with one bucket, and the bucket's files."""
    pytest.importorskip("moto")
    s3fs = pytest.importorskip("s3fs")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    env = {
        "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    try:
        with pytest.MonkeyPatch.context() as patched:
            for name, value in env.items():
                patched.setenv(name, value)
            for _ in range(300):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            files = s3fs.S3FileSystem()
            files.mkdir("bucket")
            cache = tmp_path_factory.mktemp("cache")
            yield os.environ | env | {"CLIPJAX_CACHE": str(cache), "PYTHONPATH": str(ROOT), "CLIPJAX_QUIET": "1"}, files
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def data(bucket, tmp_path_factory):
    """The same 24 images as tar files, as a table with its images and as a folder: on a disk, and in the bucket."""
    root = tmp_path_factory.mktemp("data")
    tiny_model(root / "tiny.safetensors", layers=1)
    drawn = sorted(pictures(root / "photos", {"cat": 12, "dog": 12}).rglob("*.jpg"))
    lines = [f"{one.parent.name}/{one.name},{one.parent.name},{'FM'[i % 2]}" for i, one in enumerate(drawn)]
    (root / "photos" / "people.csv").write_text("\n".join(["file,animal,sex", *lines]) + "\n")
    for part in range(3):
        with tarfile.open(root / f"part-{part:03}.tar", "w") as tar:
            for i, one in enumerate(drawn[part::3]):
                tar.add(one, f"{i:03}.jpg")
                (root / "cls").write_text(one.parent.name)
                tar.add(root / "cls", f"{i:03}.cls")
    for one in (p for p in root.rglob("*") if p.suffix in (".jpg", ".csv", ".tar")):
        bucket[1].put_file(str(one), f"bucket/data/{one.relative_to(root).as_posix()}")
    return root


def clipjax(env, *words, status=0):
    done = subprocess.run([sys.executable, "-m", "clipjax.cli.main", *words], env=env, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def words_of(kind, place, root):
    given = {
        "tar": ("source=webdataset", f"path={place}/part-{{000..002}}.tar"),
        "table": ("source=csv", f"csv={place}/photos/people.csv", "group_columns=sex", "label_column=animal"),
        "folder": ("source=folder", f"path={place}/photos"),
    }[kind]
    return [
        "zeroshot", *(f"--config.data.{one}" for one in given), "--config.classes=cat,dog",
        f"--config.model={root}/tiny.safetensors", "--config.batch_size=4", *(["--unit-rows=7"] * (kind != "tar")),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["tar", "table", "folder"])
def test_a_run_in_a_bucket_over_a_bucket_has_the_bytes_of_one_on_a_disk(kind, bucket, data):
    env, files = bucket
    disk, remote = data / f"run-{kind}", f"s3://bucket/runs/{kind}"
    for place, run in ((data, disk), ("s3://bucket/data", remote)):
        clipjax(env, "shards", "plan", *words_of(kind, place, data), f"--out={run}")
        if kind == "tar":  # again, which changes nothing
            clipjax(env, "shards", "plan", *words_of(kind, place, data), f"--out={run}")
        assert "units are done" in clipjax(env, "shards", "work", str(run))
        assert "sealed" not in clipjax(env, "shards", "status", str(run))
        assert "24 images, 0 skipped" in clipjax(env, "shards", "seal", str(run))
        assert "every file" in clipjax(env, "shards", "verify", str(run))
    assert files.cat_file(f"bucket/runs/{kind}/metrics.json") == (disk / "metrics.json").read_bytes()
    ours = pq.read_table(io.BytesIO(files.cat_file(f"bucket/runs/{kind}/predictions.parquet")))
    theirs = pq.read_table(disk / "predictions.parquet")
    if kind != "tar":  # files of a bucket are known by the bucket's own sums, and not read twice
        ours, theirs = ours.drop_columns(IMAGE), theirs.drop_columns(IMAGE)
    assert ours.equals(theirs)
    features = [sorted(one.name for one in (disk / "features").iterdir())]
    features.append(sorted(name.rpartition("/")[2] for name in files.ls(f"bucket/runs/{kind}/features", detail=False)))
    assert features[0] == features[1], "names have the sums of the bytes"
    assert not [one for one in Path.cwd().iterdir() if one.name.startswith("s3")]


def test_two_workers_and_damage_in_a_bucket(bucket, data):
    """One of two is killed within its work; a damaged object is named, done again, and changes nothing else."""
    env, files = bucket
    run = "s3://bucket/runs/damage"
    clipjax(env, "shards", "plan", *words_of("tar", "s3://bucket/data", data), f"--out={run}")
    work = [sys.executable, "-m", "clipjax.cli.main", "shards", "work", run, "--workers=2"]
    killed = subprocess.Popen([*work, "--worker=0"], env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for _ in range(600):
        if files.exists("bucket/runs/damage/done/000000.json"):
            break
        files.invalidate_cache()
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    clipjax(env, *work[3:], "--worker=1")
    clipjax(env, "shards", "seal", run)
    before = {name: files.cat_file(f"bucket/runs/damage/{name}") for name in SAME}
    files.invalidate_cache()
    (name, *_) = files.ls("bucket/runs/damage/features", detail=False)
    files.pipe_file(name, b"x" + files.cat_file(name)[1:])
    assert "is damaged: its sha256 is another" in clipjax(env, "shards", "verify", run, "--repair", status=1)
    assert "did 1 units" in clipjax(env, "shards", "work", run)
    clipjax(env, "shards", "seal", run)
    files.invalidate_cache()
    assert {name: files.cat_file(f"bucket/runs/damage/{name}") for name in SAME} == before


def test_embed_and_probe(bucket, data):
    """`embed` writes a folder of a bucket; `probe` reads images of it, and refuses to write there."""
    env, files = bucket
    words = ["embed", f"--model={data}/tiny.safetensors", f"--images={data}/photos"]
    (data / "texts.txt").write_text("a cat\n")
    for out in (f"{data}/features/", "s3://bucket/features/"):
        clipjax(env, *words, f"--texts={data}/texts.txt", f"--out={out}")
    for folder in ("features", "rows"):
        ours = sorted(name.rpartition("/")[2] for name in files.ls(f"bucket/features/{folder}", detail=False))
        assert ours == sorted(one.name for one in (data / "features" / folder).iterdir())
    assert files.exists("bucket/features/texts.npz")
    assert "give a local path" in clipjax(env, *words, "--out=s3://bucket/f.npz", status=1)
    probe = ["probe", "zeroshot", "--config.data.path=s3://bucket/data/photos", "--config.batch_size=4"]
    probe.append(f"--config.model={data}/tiny.safetensors")
    clipjax(env, *probe, f"--out={data}/probe")
    assert (data / "probe" / "predictions.parquet").exists()
    assert "give a local path" in clipjax(env, *probe, "--out=s3://bucket/probe", status=1)
