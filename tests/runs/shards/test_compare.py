"""Two sealed runs are compared as two runs of `clipjax probe`, whatever units they were cut into."""

import functools
from pathlib import Path

import pytest

from clipjax.analysis import predictions
from clipjax.analysis.compare import compare
from clipjax.analysis.run import read_run
from clipjax.cli.main import main
from clipjax.runs import runner
from clipjax.runs.shards import seal
from clipjax.runs.shards.store import Store

# The small model gives all images one class, whatever the wording: another design has that class in another set.
TEMPLATE = "--config.templates=the {}"


@pytest.fixture(scope="module")
def moved(pets, tmp_path_factory):
    """The design with the dog in the other set."""
    path = tmp_path_factory.mktemp("moved") / "moved.yaml"
    path.write_text(
        Path(pets.partition("=")[2]).read_text().replace("name: dog, sets: [pet]", "name: dog, sets: [water]")
    )
    return f"--config.design={path}"


OWN = {"rates": ("--config.classes=",), "congress": ("--config.contrast=who", "--config.thresholds=0.33")}


@pytest.mark.parametrize(
    "probe", ["rates", pytest.param("zeroshot", marks=pytest.mark.exhaustive), "congress"],
)  # fmt: skip
def test_sealed_runs_compare_as_runs_at_once(probe, asked, done, table, pets, moved, engines, tmp_path, monkeypatch):
    words = (*table, *OWN.get(probe, ()))
    designs = (pets, moved) if probe == "rates" else (None, TEMPLATE)
    for name, more, rows in (("a", designs[:1], 7), ("b", designs[1:], 20)):
        more = [word for word in more if word]
        runner.run(asked(*words, *more, probe=probe), tmp_path / "once" / name, engines)
        done(tmp_path / "units" / name, *words, *more, probe=probe, rows=rows, probabilities=probe == "congress")
    once, units = (compare(*(read_run(tmp_path / way / name) for name in "ab")) for way in ("once", "units"))
    same(units, once)
    assert probe == "zeroshot" or any(record.only_a + record.only_b for record in units.records), "something changes"
    for name in "ab":  # the tables of the units instead of one of all images
        seal.seal(Store(tmp_path / "units" / name), predictions=False)
    for rows in (5, 1, 13):
        monkeypatch.setattr(predictions, "ROWS", rows)
        for way in ("units", "once"):
            runs = [read_run(tmp_path / way / name) for name in "ab"]
            same(compare(*runs), once)
            assert not any("predictions" in vars(run) for run in runs), "one block of each run is in memory"


def same(found, wanted):
    assert found.records == wanted.records
    assert found.findings == wanted.findings
    assert found.agreement == wanted.agreement
    assert (found.moves, found.moved, found.images) == (wanted.moves, wanted.moved, wanted.images)
    assert [row for rows in found.flips() for row in rows] == [row for rows in wanted.flips() for row in rows]


@pytest.mark.exhaustive
def test_the_files_of_a_comparison_are_equal(asked, done, table, pets, moved, engines, tmp_path, monkeypatch, capsys):
    words, said = (*table, "--config.classes="), []
    for way in ("once", "units"):
        (tmp_path / way).mkdir()
        monkeypatch.chdir(tmp_path / way)
        for name, more in (("a", pets), ("b", moved)):
            if way == "once":
                runner.run(asked(*words, more, probe="rates"), tmp_path / way / name, engines)
            else:
                done(tmp_path / way / name, *words, more, probe="rates")
                monkeypatch.setattr(predictions, "ROWS", 6)
        assert main(["compare", "a", "b", "--out=found"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    for name in ("compare.json", "flips.csv"):
        assert (tmp_path / "once/found" / name).read_bytes() == (tmp_path / "units/found" / name).read_bytes(), name


def in_blocks(tables, run, columns=None, rows=None):
    assert rows == predictions.ROWS, f"{run} is read at once"
    return tables(run, columns, rows)


@pytest.mark.exhaustive
@pytest.mark.parametrize("probe", ["rates", "zeroshot", "congress"])
def test_reports_are_read_in_blocks(probe, asked, done, table, pets, engines, tmp_path, monkeypatch, capsys):
    """A run in units that was sealed without predictions has the page of the run at once, from blocks of a few rows."""
    words = (*table, *OWN.get(probe, ()), *([pets] if probe == "rates" else []))
    runner.run(asked(*words, probe=probe), tmp_path / "once" / "run", engines)
    store = done(tmp_path / "units" / "run", *words, probe=probe)
    seal.seal(store, predictions=False)
    pages = []
    for way, rows in (("once", 1000), ("units", 6)):
        monkeypatch.setattr(predictions, "ROWS", rows)
        monkeypatch.setattr(predictions, "tables", functools.partial(in_blocks, predictions.tables))
        out = tmp_path / way / "report"
        assert main(["report", str(tmp_path / way / "run"), f"--out={out}"]) == 0
        files = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        pages.append({name: data for name, data in files.items() if name.parent.name in ("tables", "figures")})
    assert pages[0] == pages[1]
    assert pages[0]
