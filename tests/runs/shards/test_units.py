"""A run in units has the numbers of a run at once, however it is cut, done, interrupted and damaged."""

import json
import random
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from support.amount import EXHAUSTIVE, amount

from clipjax.analysis import compare
from clipjax.analysis.run import read_run
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.runs import runner
from clipjax.runs.shards import again, plan, seal, units, work
from clipjax.runs.shards.store import Store
from clipjax.runs.shards.work import Worker

from .conftest import files, listed, results

PROJECT = "--config.project.prompts"
OWN = {
    "zeroshot": (),
    "rates": ("--config.classes=",),
    "congress": ("--config.contrast=age=10-19|0-9", "--config.thresholds=0.3257,0.3328,0.3414"),
}


def own(probe, pets):
    return (pets, *OWN[probe]) if probe == "rates" else OWN[probe]


@pytest.mark.parametrize("probe", [*OWN])
def test_units_give_the_files_of_a_run_at_once(asked, done, table, pets, engines, tmp_path, probe):
    """Labels: the groups in another order than sorted, and images that are in neither."""
    design = (f"{PROJECT}=a drawing|an animal",) if probe == "zeroshot" else own(probe, pets)
    small = runner.run(asked(*table, *design, probe=probe), tmp_path / "small", engines).runs[0]
    store = done(tmp_path / "run", *table, *design, probe=probe, probabilities=True)
    for name in ("metrics.json", "predictions.parquet", "tables/metrics.csv"):
        assert store.read(name) == (tmp_path / "small" / name).read_bytes(), name
    manifest = json.loads(store.read("manifest.json"))
    assert manifest["data"]["fingerprint"] == small.manifest.data.fingerprint
    assert manifest["data"]["group_columns"] == ["age", "who"]
    assert manifest["result"] == json.loads((tmp_path / "small" / "manifest.json").read_text())["result"]
    found = read_run(store.place)  # a run as every other
    assert found.manifest.counts.seen == 41
    if probe == "congress":
        assert any(0 < r.k < r.n for r in found.records if r.metric == "label_rate"), (
            "thresholds that tell labels apart"
        )


@pytest.mark.parametrize("probe", [*OWN])
@given(rows=st.integers(1, 45), workers=st.integers(1, 8), random=st.randoms(use_true_random=False))
@example(rows=9, workers=3, random=random.Random(0))
@settings(
    max_examples=60, phases=list(Phase) if EXHAUSTIVE else [Phase.explicit],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_any_cut_any_workers_any_order(
    probe, rows, workers, random, table, pets, planned, done, engines, tmp_path_factory
):
    """Metamorphic: counts and predictions of one unit and one worker, byte for byte; of the same cut, every file."""
    folder = tmp_path_factory.mktemp("cut")
    words, options = (*table, *own(probe, pets)), {"probe": probe, "probabilities": probe == "congress"}
    whole = done(folder / "whole", *words, rows=1000, **options)
    store = planned(folder / "cut", *words, rows=rows, **options)
    left = plan.read(store).units
    while left:
        most = random.randint(1, 5)
        left -= work.work(store, Worker(random.randrange(workers), workers), engines, most=most)
    seal.seal(store)
    same = ("metrics.json", "predictions.parquet", "tables/metrics.csv")
    assert results(store, same) == results(whole, same)
    alone = done(folder / "alone", *words, rows=rows, **options)
    mine, theirs = files(store), files(alone)
    assert mine == theirs


def test_workers_that_race_for_every_unit_change_nothing(done, planned, engines, tmp_path):
    """Three threads in the same order: each does most units, and one marker of each counts."""
    store, barrier = planned(tmp_path / "run"), threading.Barrier(3)
    create = store.create

    def together(name, data):
        if name.startswith("done/"):
            barrier.wait(5)
        return create(name, data)

    counts, stores = [], [Store(store.place) for _ in range(3)]
    for one in stores:
        one.create = together
    job = [threading.Thread(target=lambda s=s: counts.append(_each(s, engines))) for s in stores]
    for thread in job:
        thread.start()
    for thread in job:
        thread.join()
    assert sorted(map(sum, zip(*counts, strict=True))) == [1] * 6, "one marker of each unit counts"
    seal.seal(store)
    assert files(store) == files(done(tmp_path / "alone"))


def _each(store, engines):
    job = work.Job(store, plan.read(store), engines)
    return [work._one(job, unit, Worker(0, 1)) for unit in range(job.plan.units)]


class Killed(BaseException):
    """As SIGKILL: nothing is tidied up."""


@pytest.mark.parametrize("stage", ["work", "seal"])
def test_a_kill_at_any_change_of_a_file_loses_nothing(stage, planned, done, engines, tmp_path, monkeypatch):
    """The process ends before the k-th change of the store, for every k; the same command goes on."""
    expected = files(done(tmp_path / "alone", rows=20))
    changes = ("write", "copy", "create", "remove")
    own = {name: getattr(Store, name) for name in changes}
    for k in range(1, 200, amount(1, 4)):
        store = planned(tmp_path / f"run{k}", rows=20)
        if stage == "seal":
            work.work(store, Worker(0, 1), engines)
        left = k
        with monkeypatch.context() as patched:
            for name in changes:

                def change(self, *args, name=name):
                    nonlocal left
                    left -= 1
                    if not left:
                        raise Killed
                    return own[name](self, *args)

                patched.setattr(Store, name, change)
            try:
                _run(stage, store, engines)
                break
            except Killed:
                pass
        work.work(store, Worker(1, 2), engines)
        seal.seal(store)
        assert files(store) == expected, f"killed before change {k}"
    assert k > 6, "the stage has changes"


def _run(stage, store, engines):
    return work.work(store, Worker(0, 1), engines) if stage == "work" else seal.seal(store)


def test_a_zombie_does_not_change_a_sealed_run(done, engines, tmp_path):
    """A worker that was stopped within a unit, and goes on after the run was sealed."""
    store = done(tmp_path / "run")
    before = files(store)
    job = work.Job(store, plan.read(store), engines)
    part = job.compute(2)
    other = part.features + np.float32(1)  # as a worker whose device computes something else
    zombie = units.Part(**{name: getattr(part, name) for name in part.__struct_fields__} | {"features": other})
    assert not units.write(store, job.plan, 2, zombie, "other", "zombie", 0.0)
    assert files(store) == before
    store.write(job.plan.name("features", 2, "0" * 64, "npy"), b"of a worker that was killed before it could remove it")
    seal.seal(store)
    assert files(store) == before


@pytest.mark.parametrize("kind", ["features", "rows", "predictions", "stats"])
def test_a_damaged_file_is_named_and_its_unit_alone_is_done_again(kind, done, engines, tmp_path, monkeypatch):
    store = done(tmp_path / "run")
    before = files(store)
    name = units.read_marker(store, 3).files[kind].name
    data = bytearray(store.read(name))
    for at in range(0, len(data), max(1, len(data) // amount(200, 2))):
        data[at] ^= 1
        (Path(store.place) / name).write_bytes(data)
        (problem,) = seal.verify(store)
        assert problem == f"{store.path(name)} is damaged: its sha256 is another"
        data[at] ^= 1
    (Path(store.place) / name).write_bytes(data[:-1])
    with pytest.raises(InputError, match=r"is damaged: it has \d+ of \d+ bytes; find all such units"):
        seal.seal(store)
    assert len(seal.verify(store, quick=True, repair=True)) == 1
    assert seal.status(store).done == 5
    assert work.work(store, Worker(0, 1), engines) == 1
    assert seal.verify(store) == []
    seal.seal(store)
    assert files(store) == before


def test_a_unit_without_a_readable_image_has_a_marker_alone(world, planned, engines, tmp_path):
    """The first unit is of broken images only; three failures are for good, and `seal` says so."""
    photos = tmp_path / "photos"
    for i in range(3):
        (photos / "a").mkdir(parents=True, exist_ok=True)
        (photos / "a" / f"{i}.jpg").write_bytes(b"nothing")
    for i, one in enumerate(sorted((world / "photos").rglob("*.jpg"))[:6]):
        (photos / "b").mkdir(exist_ok=True)
        (photos / "b" / f"{i}.jpg").write_bytes(one.read_bytes())
    store = planned(tmp_path / "run", f"--config.data.path={photos}", rows=3)
    assert work.work(store, Worker(0, 1), engines) == 2
    found = seal.status(store)
    assert (found.units, found.done, found.failed) == (3, 2, [0])
    assert "none of 3 images can be read" in work.failure(store, 0)
    with pytest.raises(InputError, match=r"1 of 3 units are missing \(0\) \(1 failed: unit 0: .*--allow-missing=1"):
        seal.seal(store)
    assert seal.seal(store, allow_missing=1).mesh["missing"] == 1
    allowed = planned(tmp_path / "all", f"--config.data.path={photos}", "--config.data.max_skipped=1", rows=3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("clipjax.skipping.check", lambda *a: None)  # all images of a unit; `seal` looks at all units
        assert work.work(allowed, Worker(0, 1), engines) == 3
    assert set(units.read_marker(allowed, 0).files) == {"stats", "skipped"}
    manifest = seal.seal(allowed)
    assert (manifest.counts.seen, manifest.counts.skipped) == (6, 3)
    assert seal.sealed(allowed)[1]["first_row"] == 0


def test_a_broken_machine_stops_after_a_few_units(planned, engines, tmp_path, monkeypatch):
    store = planned(tmp_path / "run", rows=3)

    def broken(*args):
        raise InputError("the compiled model gives other features")

    monkeypatch.setattr(units, "of_images", broken)
    with pytest.raises(InputError, match=r"5 units in a row failed here.*the compiled model gives"):
        work.work(store, Worker(0, 1), engines)
    monkeypatch.undo()
    work.work(store, Worker(0, 1), engines)
    assert seal.seal(store).counts.seen == 41


def test_a_run_that_was_sealed_without_predictions_is_read_from_its_units(table, planned, engines, tmp_path, capsys):
    """With its report, for which labels need no probabilities; to compare images these are needed."""
    words = (*table, *OWN["congress"])
    store = planned(tmp_path / "run", *words, probe="congress")
    work.work(store, Worker(0, 1), engines)
    sealed = seal.seal(store)
    whole = read_run(store.place).predictions
    assert seal.seal(store, predictions=False).data == sealed.data
    assert not store.has("predictions.parquet")
    found = read_run(store.place)
    assert all((found.predictions[name] == whole[name]).all() for name in whole)
    assert main(["report", str(tmp_path / "run"), f"--out={tmp_path / 'report'}"]) == 0
    assert (tmp_path / "report" / "figures" / "thresholds.svg").exists()
    with pytest.raises(InputError, match="predictions have no probabilities; run it again with these"):
        compare.questions(found)
    name = units.read_marker(store, 3).files["predictions"].name
    (Path(store.place) / name).write_bytes(store.read(name)[:-1] + b"?")
    with pytest.raises(InputError, match=r"predictions-000003.*is not what was sealed; find all such units"):
        _ = read_run(store.place).predictions


def test_what_a_worker_is_writing_is_left(done, planned, engines, tmp_path):
    """Files of a unit without a marker stay, also where its number begins with that of a complete one."""
    store = done(tmp_path / "run")
    name = "features/features-0000017-of-0000006-12345678.npy"
    store.write(name, b"of unit 17, which is being done")
    seal.seal(store)
    assert store.has(name)


def test_the_same_plan_again_is_left_and_another_is_refused(planned, done, tmp_path):
    store = done(tmp_path / "run")
    before = files(store)
    planned(tmp_path / "run")
    assert files(store) == before
    for words, options in ((["--config.seed=1"], {}), ([], {"rows": 8}), ([], {"dtype": "float16"})):
        with pytest.raises(InputError, match="holds another plan; choose another --out"):
            planned(tmp_path / "run", *words, **options)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(InputError, match=r"is not empty and holds no plan \(notes\.txt\)"):
        planned(tmp_path / "full")


def test_units_of_other_devices_or_another_plan_are_refused(done, tmp_path):
    store = done(tmp_path / "run")
    name = Path(store.place) / units.marker_name(1)
    marker = json.loads(name.read_text())
    name.write_text(json.dumps(marker | {"arithmetic": "TPU v5e"}))
    with pytest.raises(InputError, match=r"different arithmetic \(1 by TPU v5e, 5 by cpu\).*--mixed"):
        seal.seal(store)
    name.write_text(json.dumps(marker | {"identity": "0" * 32}))
    with pytest.raises(InputError, match="unit 1 was done for another plan"):
        seal.seal(store)


def test_float16_is_what_every_number_is_of(done, engines, tmp_path):
    store = done(tmp_path / "run", dtype="float16", probabilities=True)
    made = plan.read(store)
    features = [np.load(Path(store.place) / "features" / name) for name in listed(store, "features")]
    assert {one.dtype for one in features} == {np.dtype("<f2")}
    job = work.Job(store, made, engines)
    again = job.features.probabilities(np.concatenate(features).astype(np.float32), job.weights, made.probability)
    told = pq.read_table(Path(store.place) / "predictions.parquet")["probabilities"].to_pylist()
    assert np.array_equal(np.array(told, np.float32), again)
    with pytest.raises(InputError, match="larger than float16 holds"):
        units.rounded(np.array([[1e5]], np.float32), "float16", "x")


def test_the_same_files_in_a_bucket(done, engines, tmp_path):
    disk, bucket = done(tmp_path / "run"), done("memory://bucket/run")
    assert results(bucket) == results(disk)
    assert seal.verify(bucket) == []
    assert not bucket.create("plan.json", b"")
    assert bucket.names("features") == listed(disk, "features")


@pytest.mark.parametrize(
    ("environment", "options", "worker"),
    [
        ({}, (None, None), (0, 1)),
        ({}, (3, 8), (3, 8)),
        (
            {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "1"},
            (None, None), (6, 8),
        ),
        (
            {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "0",
             "SLURM_ARRAY_TASK_STEP": "2", "SLURM_NTASKS": "4", "SLURM_PROCID": "1"},
            (None, None), (9, 12),
        ),
        ({"JOB_COMPLETION_INDEX": "5"}, (None, 16), (5, 16)),
    ],
)  # fmt: skip
def test_which_worker_this_is(environment, options, worker):
    assert work.of_environment(environment, *options) == Worker(*worker)


def test_a_worker_that_is_not_known_is_refused():
    for environment, options, words in (
        ({"JOB_COMPLETION_INDEX": "5"}, (None, None), "--workers=W"),
        ({}, (None, 3), "--worker=I"),
        ({}, (3, 3), "3 workers are numbered 0 to 2"),
        ({"SLURM_ARRAY_TASK_ID": "x"}, (None, None), "SLURM_ARRAY_TASK_ID=x is not a whole number"),
    ):
        with pytest.raises(InputError, match=words):
            work.of_environment(environment, *options)


@given(st.integers(1, 3000), st.integers(1, 200))
@settings(max_examples=amount(100, 20))
def test_every_unit_is_in_one_block_and_in_every_workers_order(n, workers):
    blocks = [plan.of_units(n, i, workers) for i in range(workers)]
    assert [unit for block in blocks for unit in block] == list(range(n))
    order = Worker(workers - 1, workers).order(n)
    assert sorted(order) == list(range(n))
    assert order[: len(blocks[-1])] == list(blocks[-1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("work", "--dtype=float16"), "--dtype is read by plan, not by work; leave it out"),
        (("seal", "--grace=5"), "--grace is read by work, not by seal"),
        (("plan", "--out=x", "--workers=4"), "--workers is read by work, not by plan"),
        (("status", "--out=x"), "--out is read by plan, export, linear and count, not by status"),
        (("verify", "--allow-missing=0"), "--allow-missing is read by seal, not by verify"),
        (("export",), "clipjax shards export needs --out=FOLDER"),
        (("work", "--config.seed=1"), "--config.seed=1 is read by `clipjax shards plan`"),
    ],
)
def test_an_option_of_another_action_is_refused(words, message, capsys):
    action, *options = words
    assert main(["shards", action, "run", *options]) == 1
    assert message in capsys.readouterr().err


def test_the_size_of_units_of_the_other_kind_is_refused(planned, tmp_path):
    with pytest.raises(InputError, match="--group=2: units are rows, not files; use --unit-rows"):
        planned(tmp_path / "run", group=2)


def test_units_computed_again_have_the_same_files(done, planned, engines, tmp_path, capsys):
    store = done(tmp_path / "run")
    assert again.again(store, 2, engines) == []
    assert main(["rerun", str(tmp_path / "run")]) == 1
    assert "is a run in units; compute some of these again: clipjax shards verify" in capsys.readouterr().err
    for unit in range(6):
        marker = Path(store.place) / units.marker_name(unit)
        text = marker.read_text().replace(units.read_marker(store, unit).files["features"].sha256, "0" * 64)
        marker.write_text(text)
    assert again.again(store, 1, engines)[0].endswith("features is another")
    with pytest.raises(InputError, match="6 units are done, and --recompute=0 is 1 or more of these"):
        again.again(store, 0, engines)


def test_a_run_without_some_units_says_so_wherever_it_is_read(table, planned, done, pets, engines, tmp_path, capsys):
    """In the words of seal, the report and a comparison; and conditions hold the numbers of the others."""
    words = (*table, *own("rates", pets))
    store = planned(tmp_path / "run", *words, probe="rates")
    work.work(store, Worker(0, 1), engines, most=4)
    condition = "--fail-if=rate[set=pet] >= 0 @ value"
    assert main(["shards", "seal", store.place, "--allow-missing=2", condition]) == 3
    shown = capsys.readouterr()
    said = "2 of 6 units of work are missing: their images are not counted."
    assert said in shown.out
    assert "1 breached" in shown.err
    assert main(["report", store.place, f"--out={tmp_path / 'report'}"]) == 0
    assert said in capsys.readouterr().out
    assert (tmp_path / "report" / "report.html").read_text().count(said) >= 3, "findings, caveats and methods"
    other = planned(tmp_path / "other", *words, "--config.templates=the {}", probe="rates")
    work.work(other, Worker(0, 1), engines, most=4)
    seal.seal(other, allow_missing=2)
    assert main(["compare", store.place, other.place, f"--out={tmp_path / 'compared'}"]) == 0
    assert f"A: {said}" in capsys.readouterr().out
