"""Units that are input files: each is opened by itself, and together they are the data set."""

import contextlib
import io
import json
import shutil
import tarfile
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from clipjax.data.labels import Labels
from clipjax.errors import InputError
from clipjax.runs import config as configs
from clipjax.runs import runner
from clipjax.runs.shards import plan, seal, units, work
from clipjax.runs.shards.work import Worker

from .conftest import files, sealed_again

CLASSES = ("cat", "dog", "fish")
NUMBERED = "--config.data.class_names=0=cat,1=dog,2=fish"


@pytest.fixture(scope="module")
def packed(world, tmp_path_factory):
    """packed(kind, starts): the world's images in files that begin at these rows; the overrides that read them."""
    images = sorted((world / "photos").rglob("*.jpg"))
    order = np.random.default_rng(0).permutation(len(images))
    rows = [(images[i].read_bytes(), images[i].parent.name, "FM"[i % 2]) for i in order]

    def write(kind, starts, numbers=False):
        folder = tmp_path_factory.mktemp(kind)
        for part, (start, stop) in enumerate(zip(starts, [*starts[1:], len(rows)], strict=True)):
            write = {"webdataset": _tar, "parquet": _parquet}[kind]
            label = (lambda name: str(CLASSES.index(name))) if numbers else str
            write(
                folder,
                part,
                [(f"{i:03}", data, label(who), sex) for i, (data, who, sex) in enumerate(rows)][start:stop],
            )
        name = {"webdataset": f"part-{{000..{len(starts) - 1:03}}}.tar", "parquet": "part-*.parquet"}[kind]
        return (
            f"--config.data.source={kind}", f"--config.data.path={folder}/{name}", "--config.classes=cat,dog,fish",
            "--config.data.group_columns=sex",
        )  # fmt: skip

    return write


def _tar(folder, part, rows):
    with tarfile.open(folder / f"part-{part:03}.tar", "w") as tar:
        for key, data, label, sex in rows:
            for name, content in (("jpg", data), ("cls", label.encode()), ("json", json.dumps({"sex": sex}).encode())):
                info = tarfile.TarInfo(f"{key}.{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def _parquet(folder, part, rows):
    keys, data, labels, sexes = zip(*rows, strict=True)
    images = [{"bytes": one, "path": f"{key}.jpg"} for key, one in zip(keys, data, strict=True)]
    table = pa.table({"image": images, "label": list(labels), "sex": list(sexes)})
    pq.write_table(table, folder / f"part-{part:03}.parquet", row_group_size=4)


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_files_as_units_give_the_numbers_of_all_files_at_once(kind, packed, asked, planned, engines, tmp_path):
    """Also where a file has one image only, lacks a class or a group, and where two files are one unit."""
    words = packed(kind, [0, 1, 3, 20])
    small = runner.run(asked(*words), tmp_path / "small", engines).runs[0]
    for group, count in ((1, 4), (3, 2)):
        store = planned(tmp_path / f"run{group}", *words, group=group, probabilities=True)
        assert plan.read(store).units == count
        for index in (1, 0):
            work.work(store, Worker(index, 2), engines, most=2 if index else None)
        manifest = seal.seal(store)
        for name in ("metrics.json", "predictions.parquet"):
            assert store.read(name) == (tmp_path / "small" / name).read_bytes(), name
        assert manifest.data.fingerprint == small.manifest.data.fingerprint
        rows = pa.concat_tables([pq.read_table(f"{store.place}/{u['rows_file']}") for u in seal.sealed(store)])
        uids, keys = rows["uid"].to_pylist(), rows["key"].to_pylist()
        assert len(set(uids)) == 41
        assert keys == pq.read_table(f"{store.place}/predictions.parquet")["file"].to_pylist()


def test_a_file_may_lack_one_of_the_two_groups_that_are_compared(packed, asked, planned, engines, tmp_path):
    words = (*packed("webdataset", [0, 5, 6, 20]), "--config.contrast=sex=M|F", "--config.thresholds=0.3328,0.3414")
    runner.run(asked(*words, probe="congress"), tmp_path / "small", engines)
    store = planned(tmp_path / "run", *words, probe="congress", probabilities=True)
    work.work(store, Worker(0, 1), engines)
    assert seal.status(store).done == 4
    seal.seal(store)
    for name in ("metrics.json", "predictions.parquet"):
        assert store.read(name) == (tmp_path / "small" / name).read_bytes(), name


def test_files_of_one_name_have_different_uids(packed, planned, engines, tmp_path):
    """The same images as train/part-000.tar and test/part-000.tar."""
    words = packed("webdataset", [0])
    (path,) = [word.partition("=")[2] for word in words if "data.path" in word]
    data = path.replace("{000..000}", "000")
    for folder in ("train", "test"):
        (tmp_path / folder).mkdir()
        shutil.copy(data, tmp_path / folder)
    both = "::".join(f"{tmp_path}/{folder}/part-000.tar" for folder in ("train", "test"))
    store = planned(tmp_path / "run", *words, f"--config.data.path={both}")
    work.work(store, Worker(0, 1), engines)
    uids = [
        uid for name in store.names("rows") for uid in pq.read_table(tmp_path / f"run/rows/{name}")["uid"].to_pylist()
    ]
    assert len(uids) == len({*uids}) == 82


def test_a_file_of_a_bucket_that_has_changed_is_refused(monkeypatch, tmp_path):
    (tmp_path / "part-000.tar").write_bytes(b"123456")
    monkeypatch.setattr(units, "as_path", lambda path: tmp_path / path.rpartition("/")[2])
    with units.fetched(plan.Input(0, "gs://bucket/part-000.tar", bytes=6)) as path, open(path, "rb") as file:
        assert file.read() == b"123456"
    with pytest.raises(InputError, match="has 6 bytes, and had 7 when the plan was made"):
        units.fetched(plan.Input(0, "gs://bucket/part-000.tar", bytes=7)).__enter__()


def test_a_table_a_design_or_a_model_that_has_changed_is_refused(world, table, planned, engines, tmp_path, monkeypatch):
    """Where every worker opens all rows: of images that are not files of their own. The names of the images are the
    same in all of these."""
    monkeypatch.setattr(plan.images, "are_files", lambda source: False)
    store, _ = _own_files(table, planned, tmp_path)
    for name, old, new, message in (
        ("people.csv", ",cat,", ",dog,", "other images, labels or groups than when the plan was made"),
        ("people.csv", ",F\n", ",M\n", "other images, labels or groups than when the plan was made"),
        ("pets.txt", "cat\ndog", "dog\ncat", "the classes or prompts have changed"),
    ):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=message):
            work.work(store, Worker(0, 1), engines)
        (tmp_path / name).write_text(text)
    made = plan.read(store)
    for key, value in (("preprocess", [32, [0, 0, 0], [1, 1, 1]]), ("logit_scale", 1.0), ("weights", "0" * 64)):
        job = work.Job(store, replace(made, encoding=made.encoding | {key: value}), engines)
        with pytest.raises(InputError, match=rf"tiny.safetensors: {key} differ here from the plan's"):
            job.ready()
    assert work.work(store, Worker(0, 1), engines) == 6


def _own_files(table, planned, folder, name="run"):
    """A plan whose table and list of classes lie in this folder; its overrides."""
    (folder / "people.csv").write_text(Path(table[1].partition("=")[2]).read_text())
    (folder / "pets.txt").write_text("cat\ndog\nfish\n")
    own = (*table, f"--config.data.csv={folder}/people.csv", f"--config.classes={folder}/pets.txt")
    return planned(folder / name, *own), own


def test_workers_do_not_read_the_users_table_again(table, planned, done, engines, tmp_path):
    """What is changed or removed after the plan changes nothing; a table of the plan that is changed is refused."""
    store, own = _own_files(table, planned, tmp_path)
    whole = done(tmp_path / "whole", *own)
    for name in ("people.csv", "pets.txt"):
        (tmp_path / name).unlink()
    path = Path(store.place) / plan.images.name(plan.read_inputs(store, plan.read(store))[3][0], 6)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"dog", b"cat"))
    assert work.work(store, Worker(0, 1), engines) == 5
    assert "is not what the plan wrote; make a new plan" in work.failure(store, 3)
    path.write_bytes(data)
    sealed_again(store, engines)
    assert {name: data for name, data in files(store).items() if "failed" not in name} == files(whole)


def test_a_unit_knows_what_a_run_at_once_knows_of_its_rows(world, asked, done, engines, tmp_path):
    """Rows without a file, with a missing one, with accents and backslashes, of a split and with a limit."""
    (tmp_path / "é").mkdir()
    images = sorted((world / "photos").rglob("*.jpg"))[:9]
    names = []
    for i, one in enumerate(images):
        shutil.copy(one, tmp_path / "é" / f"{i}.jpg")
        names.append(("e\u0301/" if i % 2 else "é\\") + f"{i}.jpg")
    lines = [
        f"{name},{'ab'[i % 2]},cat,test"
        for i, name in enumerate([*names[:2], "", *names[2:6], "none.jpg", *names[6:], "unread.jpg"])
    ]
    text = "\n".join(["file,who,animal,split", f"{names[0][:-5]}x.jpg,a,cat,train", *lines]) + "\n"
    (tmp_path / "people.csv").write_text(text)
    words = (
        "--config.data.source=csv", f"--config.data.csv={tmp_path}/people.csv", "--config.data.split=test",
        "--config.data.group_columns=who", "--config.data.label_column=animal", "--config.classes=cat,dog",
        "--config.data.limit=11", "--config.data.max_skipped=0.5", "--config.data.perturb=grey",
    )  # fmt: skip
    small = runner.run(asked(*words), tmp_path / "small", engines).runs[0].manifest
    store = done(tmp_path / "run", *words, rows=4, probabilities=True)
    for name in ("metrics.json", "predictions.parquet"):
        assert store.read(name) == (tmp_path / "small" / name).read_bytes(), name
    manifest = json.loads(store.read("manifest.json"))
    assert small.counts.skipped == 2
    assert manifest["counts"]["skipped_files"] == [
        {"file": s.file, "reason": s.reason} for s in small.counts.skipped_files
    ]
    assert manifest["data"]["fingerprint"] == small.data.fingerprint


def test_a_file_without_labels_among_files_with_labels_is_named(packed, planned, engines, tmp_path):
    words = packed("webdataset", [0, 20])
    path = Path(next(word for word in words if "data.path" in word).partition("=")[2].replace("{000..001}", "001"))
    with tarfile.open(path) as tar:
        kept = [(one, tar.extractfile(one).read()) for one in tar if not one.name.endswith(".cls")]
    with tarfile.open(path, "w") as tar:
        for one, data in kept:
            tar.addfile(one, io.BytesIO(data))
    store = planned(tmp_path / "run", *words)
    assert work.work(store, Worker(0, 1), engines) == 1
    assert "has no image with a label, where the plan has labels" in work.failure(store, 1)


def test_a_broken_input_file_is_one_unit_and_comes_back(packed, planned, engines, tmp_path):
    words = packed("webdataset", [0, 14, 28])
    folder = next(word for word in words if "data.path" in word).partition("=")[2].rpartition("/")[0]
    store = planned(tmp_path / "run", *words)
    path = tmp_path.parent / folder / "part-001.tar"
    data = path.read_bytes()
    path.write_bytes(data[:-20_000])
    work.work(store, Worker(0, 1), engines)
    assert seal.status(store).failed == [1]
    assert "part-001.tar: has" in work.failure(store, 1)
    path.write_bytes(data)
    sealed_again(store, engines)
    again = planned(tmp_path / "again", *words)
    work.work(again, Worker(0, 1), engines)
    seal.seal(again)
    assert files(again) == files(store)
    assert units.done(again) == {0, 1, 2}


def test_a_worker_reads_its_units_rows_alone(world, planned, engines, tmp_path):
    """Whatever the number of rows; `plan` takes what docs/pods.md says for each of them."""
    image, planning, working = next((world / "photos").rglob("*.jpg")), [], []
    for n in (2000, 6000):
        table = tmp_path / f"{n}.csv"
        names = [image.as_posix(), *(f"{i:05}/people-{i * 7919 % 100_000:05}-{i:07}.jpg" for i in range(n - 1))]
        lines = (f"{one},cat,{i % 9}0-{i % 9}9,F" for i, one in enumerate(names))
        table.write_text("\n".join(["file,animal,age,who", *lines]))
        words = (
            "--config.data.source=csv", f"--config.data.csv={table}", "--config.data.label_column=animal",
            "--config.data.group_columns=age,who", "--config.classes=cat,dog",
        )  # fmt: skip
        config = configs.plain(configs.load("zeroshot", list(words)))
        task, peak = _traced(lambda config=config: configs.probe_module("zeroshot").prepare(configs.typed(config)))
        planning.append(peak)
        store = planned(tmp_path / f"run{n}", *words, rows=500)
        table.unlink()
        job = work.Job(store, plan.read(store), engines)
        asked = configs.typed(job.config)
        (one,) = job.inputs[3]
        found, peak = _traced(
            lambda job=job, one=one, asked=asked: job.module.of_rows(
                asked, plan.images.read(job.store, job.plan, one, asked)
            )
        )
        working.append(peak)
        assert found.source.files.tolist() == task.source.files[1500:2000].tolist()
    assert (planning[1] - planning[0]) / 4000 < 400
    assert working[1] < 1.05 * working[0]


def _traced(act):
    """What a call gives, and the most memory that it took."""
    tracemalloc.start()
    try:
        return act(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_depends_on_all_files_is_refused_before_any_work(packed, planned, tmp_path):
    words = packed("webdataset", [0, 20], numbers=True)
    without = [word for word in words if "classes" not in word]
    for overrides, message in (
        (without, r"only known when all files have been read; give --config\.classes=FILE"),
        (words, r"labels are numbers, of which a file may lack some.*--config\.data\.class_names=FILE"),
        ([*words, "--config.data.class_names=cat,dog,fish"], "a line NUMBER=NAME for each"),
        ([*words, "--config.data.limit=5"], r"data\.limit=5: units are whole files"),
        ([*words, NUMBERED, "--config.bands=b=sex: x=F; y=M"], "bands depend on all"),
        ([*words, "--config.sweep.templates=a {}.|an {}."], "leave sweep out, or make a plan for each wording"),
    ):
        with pytest.raises(InputError, match=message):
            planned(tmp_path / "run", *overrides)
        assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=r"its two values are only known.*--config\.contrast=sex=A"):
        planned(tmp_path / "run", *words, "--config.contrast=sex", probe="congress")
    with pytest.raises(InputError, match=r"--unit-rows=7: units are whole files of .*part-000\.tar"):
        planned(tmp_path / "run", *words, NUMBERED, rows=7)
    with pytest.raises(InputError, match="the probe retrieval needs all images at once and is not run in units"):
        planned(tmp_path / "run", probe="retrieval")


@pytest.mark.parametrize(("path", "refused"), [("gs://bucket/part-000.tar", True), ("part-000.tar", False)])
def test_names_beside_files_of_a_bucket_are_refused(path, refused):
    """`classnames.txt`, which is not copied with a file: its labels would be numbers again."""
    labels = Labels(CLASSES, np.zeros(3, np.int64), ids=("0", "1", "2"))
    task = types.SimpleNamespace(source=types.SimpleNamespace(name="part", labels=labels))
    data = types.SimpleNamespace(given={"path": path})
    asked = types.SimpleNamespace(data=data, classes="cat,dog,fish", design="", bands="")
    with pytest.raises(InputError, match="labels are numbers") if refused else contextlib.nullcontext():
        plan._check_one_by_one(asked, task)


def test_numbers_as_labels_are_named_one_by_one(packed, asked, planned, engines, tmp_path):
    words = (*packed("webdataset", [0, 2, 20], numbers=True), NUMBERED)
    runner.run(asked(*words), tmp_path / "small", engines)
    store = planned(tmp_path / "run", *words)
    work.work(store, Worker(0, 1), engines)
    seal.seal(store)
    assert store.read("metrics.json") == (tmp_path / "small" / "metrics.json").read_bytes()
