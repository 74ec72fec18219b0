"""`clipjax new study`: what it writes runs as it stands, on the drawings and on a table of one's own."""

import csv
import shlex
from pathlib import Path

import pytest

from clipjax import design
from clipjax.cli.main import main
from clipjax.demo import people
from clipjax.runs import config


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_OFFLINE", "1")
    return tmp_path


def commands(script: Path) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in script.read_text().splitlines() if line.startswith("clipjax ")]


def test_a_study_runs_as_it_stands(here, monkeypatch, capsys):
    assert main(["new", "study", "a study: odd"]) == 0
    assert "Run it: sh " in capsys.readouterr().out
    folder = here / "a study: odd"
    assert {p.name for p in folder.iterdir()} == {
        "README.md",
        "config.py",
        "design.yaml",
        "design-b.yaml",
        "run.sh",
        "images",
    }
    table = folder / "images" / "people.csv"
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 290
    with table.open("w", newline="", encoding="utf-8") as file:  # a tenth is enough to see that it runs
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows[::10])
    lines = (folder / "run.sh").read_text().splitlines()
    assert lines[3] == 'cd "$(dirname "$0")"'
    monkeypatch.chdir(folder)
    for words in commands(folder / "run.sh"):
        assert main(words) == 0, capsys.readouterr().err
    assert (folder / "comparison" / "report.html").exists()
    assert (folder / "runs" / "a" / "report.html").exists()
    b, a = design.read_design("design-b.yaml"), design.read_design("design.yaml")
    assert (b.names, b.name, a.name) == ((*a.names, "child"), "a study: odd-b", "a study: odd")


def test_a_table_of_ones_own(here, capsys):
    table = people.unpack(here / "photos")
    assert main(["new", "study", "deep/er/mine", f"--csv={table}", "--group-columns=age,gender"]) == 1
    assert "cannot write there" in capsys.readouterr().err
    assert main(["new", "study", "mine", f"--csv={table}", "--group-columns=age,gender"]) == 0
    found = config.load("mine/config.py", [])
    assert (found.data.csv, found.data.group_columns, found.model) == ("../photos/people.csv", "age,gender", "ViT-B/32")
    assert "drawings of people" not in Path("mine/README.md").read_text()
    assert not Path("mine/images").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["there"], "exists and is not an empty folder"),
        (["x", "--csv=photos/people.csv"], "belong together"),
        (["x", "--group-columns=age"], "belong together"),
        (["x", "--csv=photos/people.csv", "--group-columns=age,town"], 'no column "town"'),
        (["x", "--csv=none.csv", "--group-columns=age"], "none.csv"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(here, capsys, words, says):
    people.unpack(here / "photos")
    (here / "there").mkdir()
    (here / "there" / "x").touch()
    assert main(["new", "study", *words]) == 1
    assert says in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (here / "x").exists()
