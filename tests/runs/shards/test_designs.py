"""Other class designs over the stored features of a sealed run: in the explorer, and of all images."""

from pathlib import Path

import numpy as np
import pytest
from support.explored import Page

from clipjax.analysis import predictions
from clipjax.analysis.run import read_run
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.explore import sealed
from clipjax.explore.opened import open_run
from clipjax.runs import runner
from clipjax.runs.shards import count


@pytest.fixture(scope="module")
def words(table, pets):
    return *table, "--config.classes=", pets


@pytest.fixture(scope="module")
def run(done, words, tmp_path_factory):
    return done(tmp_path_factory.mktemp("sealed") / "run", *words, probe="rates")


def test_the_explorer_opens_a_sealed_run(run):
    opened = open_run(read_run(run.place))
    assert (len(opened.unit), opened.note) == (41, "")
    page = Page(opened)
    told = page.ask("start")
    assert (told["images"], told["differ"]) == (41, 0), "its own design has the answers of its predictions"
    assert page.ask("rates", design=told["design"])["lead"].endswith("41 images.")
    page.ask("images", on=True)
    assert page.client.get("/images/40").content[:2] == b"\xff\xd8"


def test_a_sample_does_not_depend_on_units_and_says_so(run, done, words, tmp_path, monkeypatch):
    monkeypatch.setattr(sealed, "MOST", 10)
    monkeypatch.setattr(predictions, "ROWS", 6)
    other = done(tmp_path / "run", *words, probe="rates", rows=20)
    mine, theirs = (open_run(read_run(store.place)) for store in (run, other))
    assert mine.run.predictions["file"].tolist() == theirs.run.predictions["file"].tolist()
    assert (mine.unit == theirs.unit).all()
    assert (mine.rows == theirs.rows).all()
    whole = read_run(run.place).predictions
    smallest = np.sort(np.argsort(whole["image_sha256"].astype(str), kind="stable")[:10])
    assert mine.run.predictions["file"].tolist() == whole["file"][smallest].tolist()
    told = Page(mine).ask("start")
    assert (told["images"], told["differ"]) == (10, 0)
    assert told["caveats"][0].startswith("This page counts a sample: 10 of the run's 41 images")


def test_another_design_over_all_images(run, asked, words, engines, tmp_path, capsys):
    """The numbers of a probe with that design, and a comparison with the first."""
    design = tmp_path / "moved.yaml"
    text = Path(words[-1].partition("=")[2]).read_text()
    design.write_text(text.replace("name: dog, sets: [pet]", "name: dog, sets: [water]").replace("fish", "eel"))
    runner.run(asked(*words[:-1], f"--config.design={design}", probe="rates"), tmp_path / "once", engines)
    count.count(run, str(design), tmp_path / "counted", engines)
    for name in ("metrics.json", "tables/metrics.csv"):
        assert (tmp_path / "counted" / name).read_bytes() == (tmp_path / "once" / name).read_bytes()
    found, wanted = (read_run(tmp_path / name) for name in ("counted", "once"))
    for name in ("file", "prediction", "probability", "age"):
        assert (found.predictions[name] == wanted.predictions[name]).all()
    assert found.manifest.result == wanted.manifest.result
    assert main(["compare", run.place, str(tmp_path / "counted"), f"--out={tmp_path / 'compared'}"]) == 0
    assert "images got another class" in capsys.readouterr().out


def test_what_is_not_counted_by_designs_is_refused(done, table, tmp_path, capsys):
    store = done(tmp_path / "run", *table)
    with pytest.raises(InputError, match="is a run of zeroshot; designs are counted for rates"):
        count.count(store, "people-roles", tmp_path / "out")
    assert main(["shards", "count", store.place, f"--out={tmp_path / 'out'}"]) == 1
    assert "needs --design=DESIGN" in capsys.readouterr().err
    assert main(["shards", "count", store.place, "--design=people-roles", "--out=gs://bucket/out"]) == 1
    assert "--out=gs://bucket/out: gs:// addresses are not" in capsys.readouterr().err
