"""A linear probe over two sealed runs has the numbers of one over their features, however these were cut."""

import json

import numpy as np
import pytest

from clipjax.analysis.run import read_run
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.probes import linear
from clipjax.runs import rerun
from clipjax.runs.shards import linear as over_units
from clipjax.runs.shards import seal
from clipjax.runs.shards.export import features_of
from clipjax.runs.shards.store import Store

C = 1.0


@pytest.fixture(scope="module")
def fitted(done, table, tmp_path_factory):
    """A sealed run of the labelled images, and the linear probe fitted to it and tested on it."""
    folder = tmp_path_factory.mktemp("fitted")
    store = done(folder / "units", *table, rows=7)
    over_units.run(store, store, folder / "run", over_units.Options(C=C))
    return store, folder / "run"


def test_the_numbers_of_the_features_at_once(fitted):
    store, out = fitted
    run = read_run(out)
    features = np.concatenate([features_of(store, unit["features_file"]) for unit in seal.sealed(store)])
    names = run.design.names
    labels = np.array([names.index(one) for one in run.predictions["label"]])
    weights, bias = linear.fit(features, labels, C, classes=len(names))
    wanted = linear.scores(features, weights, bias).argmax(1)
    assert run.predictions["prediction"].tolist() == [names[c] for c in wanted]
    (top1, *_) = [record for record in run.records if record.metric == "top1"]
    assert (top1.k, top1.n) == ((wanted == labels).sum(), 41)
    assert run.manifest.result.n_train == 41
    assert any(record.group == {"who": "F"} for record in run.records)
    assert run.predictions["image_sha256"].tolist() == read_run(store.place).predictions["image_sha256"].tolist()


def test_any_cut_gives_the_same_bytes(fitted, done, table, tmp_path):
    _, out = fitted
    for rows in (41, 13):
        store = done(tmp_path / f"units{rows}", *table, rows=rows)
        found = tmp_path / f"run{rows}"
        assert main(["shards", "linear", store.place, f"--test={store.place}", f"--C={C}", f"--out={found}"]) == 0
        assert (found / "metrics.json").read_bytes() == (out / "metrics.json").read_bytes()
        mine, theirs = (read_run(path).predictions for path in (found, out))
        assert all((mine[name] == theirs[name]).all() for name in theirs)


def test_a_report_of_it(fitted, tmp_path, capsys):
    _, out = fitted
    assert main(["report", str(out), f"--out={tmp_path / 'report'}"]) == 0
    assert "top1" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"was made by `clipjax shards linear`.*is not made again"):
        rerun.rerun(out, [], None)


def test_runs_that_do_not_go_together_are_refused(fitted, done, planned, table, tmp_path):
    store, _ = fitted
    with pytest.raises(InputError, match="is not sealed"):
        over_units.run(planned(tmp_path / "planned", *table), store, tmp_path / "run", over_units.Options())
    half = done(tmp_path / "half", *table, dtype="float16")
    with pytest.raises(InputError, match="dtype differ, so their features are not comparable"):
        over_units.run(half, store, tmp_path / "run", over_units.Options())
    other = done(tmp_path / "other", *(word.replace("cat,dog,fish", "cat,dog,fish,eel") for word in table))
    with pytest.raises(InputError, match="have other classes"):
        over_units.run(other, store, tmp_path / "run", over_units.Options())
    plan = json.loads(store.read("plan.json"))
    copy = Store(tmp_path / "unlabelled")
    copy.write("plan.json", json.dumps(plan | {"labelled": False}).encode())
    copy.write("shards.parquet", store.read("shards.parquet"))
    copy.write("manifest.json", store.read("manifest.json"))
    with pytest.raises(InputError, match="its images have no labels"):
        over_units.run(copy, store, tmp_path / "run", over_units.Options())
