"""`clipjax panel`: cells are runs, nothing is repeated, a failure is on the page, and what is set is read."""

import json
import shutil

import pytest

from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.runs import config as configs
from clipjax.runs import engine, panel_config
from clipjax.testing import tiny_model

CONFIG = """
from clipjax.runs.panel_config import panel_config


def get_config(arg=""):
    config = panel_config()
    config.models = "one={root}/one.safetensors, two={root}/two.safetensors"
    config.data_sets = {{"photos": {{"source": "folder", "path": "{photos}", "limit": 24}}}}
    config.probes = {{
        "plain": {{"config": "zeroshot", "show": "top1; mean_per_class"}},
        "grey": {{"config": "zeroshot", "data": {{"perturb": "grey"}}}},
        "broken": {{"config": "captions", "instances": "{root}/none.csv"}},
    }}
    config.every = {{"batch_size": 8}}
    config.robustness.reference, config.robustness.shifted = "plain/photos", "grey/photos"
    config.robustness.baselines = "one"
    return config
"""


@pytest.fixture(scope="module")
def place(world, tmp_path_factory):
    root = tmp_path_factory.mktemp("panel")
    shutil.copy(world / "tiny.safetensors", root / "one.safetensors")
    tiny_model(root / "two.safetensors", seed=1, layers=1)
    (root / "mine.py").write_text(CONFIG.format(root=root, photos=world / "photos"))
    return root


@pytest.fixture(scope="module")
def made(place):
    """The panel with one probe that fails; how often a model was loaded."""
    loads, load = [], engine.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPJAX_CACHE", str(place / "cache"))
        patch.setattr(engine, "load", lambda config: loads.append(config.model) or load(config))
        status = main(["panel", str(place / "mine.py"), f"--out={place / 'out'}"])
    return place / "out", status, loads


def test_a_failing_run_is_on_the_page_and_stops_no_other(made):
    out, status, _ = made
    assert status == 1
    found = json.loads((out / "metrics.json").read_text())
    assert {(one["probe"], one["model"]) for one in found["failed"]} == {("broken", "one"), ("broken", "two")}
    assert "none.csv" in found["failed"][0]["message"]
    page = (out / "report.html").read_text()
    assert "Runs that failed" in page
    assert "none.csv" in page
    assert {r["probe"] for r in found["records"]} == {"plain", "grey"}
    assert {r["metric"] for r in found["records"] if r["probe"] == "plain"} == {"top1", "mean_per_class"}
    assert {(r["probe"], r["model"]) for r in found["ranks"]} == {
        (p, m) for p in ("plain", "grey") for m in ("one", "two")
    }
    assert [r["metric"] for r in found["pairs"]] == ["paired_difference"] * 2
    for suffix in ("csv", "md", "tex"):
        assert (out / "tables" / f"accuracy.{suffix}").exists()


def test_each_model_is_loaded_once(made, place):
    assert made[2] == [f"{place}/one.safetensors", f"{place}/two.safetensors"]


def test_cells_are_runs(made, tmp_path):
    runs = made[0] / "runs"
    pair = [str(runs / f"plain-photos-{m}") for m in ("one", "two")]
    assert main(["report", *pair, f"--out={tmp_path / 'report'}"]) == 0
    assert main(["compare", *pair, "--vary=weights", f"--out={tmp_path / 'compare'}"]) == 0


def test_a_killed_panel_gives_the_same_page_and_repeats_nothing_that_is_finished(made, place, monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPJAX_CACHE", str(place / "cache"))
    out = tmp_path / "out"
    shutil.copytree(made[0], out)
    for name in ("report.html", "metrics.json", "runs/grey-photos-two/manifest.json"):
        (out / name).unlink()
    before = (out / "runs" / "plain-photos-two" / "manifest.json").stat().st_mtime_ns
    assert main(["panel", str(place / "mine.py"), f"--out={out}"]) == 1
    assert (out / "runs" / "plain-photos-two" / "manifest.json").stat().st_mtime_ns == before
    for name in ("report.html", "metrics.json", "figures/accuracy.svg"):
        assert (out / name).read_bytes() == (made[0] / name).read_bytes(), name


def cells(place, **changes):
    config = configs.load(str(place / "mine.py"), [], "panels").unlock()
    for name, value in changes.items():
        setattr(config, name, value)
    return panel_config.cells(panel_config.typed(config), place)


PHOTOS = {"photos": {"source": "folder", "path": "x"}}


@pytest.mark.parametrize(("changes", "said"), [
    ({"probes": {}}, "names no probes"),
    ({"probes": {"a b": {"config": "zeroshot"}}}, "'a b' is not a name"),
    ({"probes": {"a": {}}}, "probes.a, data_sets.photos: needs config"),
    ({"probes": {"a": {"config": "zeroshots"}}}, 'nearest: "zeroshot"'),
    ({"probes": {"a": {"config": "zeroshot", "min_m": 3}}}, 'no key \'min_m\'; nearest: "min_n"'),
    ({"probes": {"a": {"config": "zeroshot", "k": (3,)}}}, "which is read by skew"),
    ({"probes": {"a": {"config": "zeroshot", "min_n": "many"}}}, "min_n"),
    ({"probes": {"a": {"config": "zeroshot", "model": "x"}}}, "models of a panel are named by --config.models"),
    ({"probes": {"a": {"config": "zeroshot", "data_sets": "birds"}}}, 'no data set "birds"'),
    ({"probes": {"a": {"config": "zeroshot", "show": "top1[x"}}}, "is not METRIC[key=value, ...]"),
    ({"data_sets": {"photos": {"source": "folder", "csv": "x.csv"}}}, "data.csv=x.csv is not read by the source"),
    ({"data_sets": {"photos": {"source": "folder,csv", "path": "x"}}}, "names several"),
    ({"models": ""}, "names no models"),
    ({"models": "a=x.pt, a=y.pt"}, "the name 'a' comes twice"),
    ({"models": "a=x.pt, b=x.pt"}, "the model 'x.pt' comes twice"),
    ({"level": 2.0}, "level 2.0"),
    ({"data_sets": {"photos": {"source": "folder"}, "birds": {}}, "probes": {"a": {"config": "zeroshot", "data_sets":
      "photos"}}}, "data_sets.birds: no probe is asked of it"),
    ({"robustness": {"reference": "", "shifted": "", "baselines": "", "axis": "probit"}}, "robustness.axis needs"),
    ({"robustness": {"reference": "plain/photos", "shifted": "plain/photos"}}, "both 'plain/photos'; name two columns"),
    ({"probes": {"plain": {"config": "zeroshot"}}}, 'the panel has no column PROBE/DATA_SET "grey/photos"'),
])  # fmt: skip
def test_what_is_set_wrong_is_refused_before_anything_is_computed(place, changes, said):
    with pytest.raises(InputError) as error:
        cells(place, **changes)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_cells_come_model_by_model_and_every_key_is_in_them(place):
    found = cells(place, every={"batch_size": 5, "data": {"limit": 7}})
    assert [cell.model for cell in found] == ["one"] * 3 + ["two"] * 3
    assert {(cell.config.batch_size, cell.config.data.limit) for cell in found} == {(5, 24)}
    assert {cell.config.data.perturb for cell in found if cell.probe == "grey"} == {"grey"}


def test_a_folder_of_something_else_is_refused(place, tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("")
    assert main(["panel", str(place / "mine.py"), f"--out={tmp_path}"]) == 1
    assert "not a panel (letter.txt)" in capsys.readouterr().err


@pytest.mark.parametrize(("line", "said"), [
    ("x,60,eighty", "row 1 (x, 60, eighty)"), ("x,60,0", "above 0 and below 100"), ("x,60,70\nx,50,60", "row 2"),
    ("two,60,70", "two is also a model of the panel"),
])  # fmt: skip
def test_baselines_of_a_table_are_checked(place, tmp_path, capsys, line, said):
    (tmp_path / "b.csv").write_text(f"model,reference,shifted\n{line}\n")
    command = ["panel", str(place / "mine.py"), f"--config.robustness.table={tmp_path / 'b.csv'}"]
    assert main([*command, f"--out={tmp_path / 'out'}"]) == 1
    assert said in capsys.readouterr().err
