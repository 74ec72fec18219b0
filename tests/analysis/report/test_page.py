"""The page and its PDF: what they hold for others, and what they leave at home."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import planted_runs

from clipjax import design
from clipjax.analysis.report import pdf
from clipjax.analysis.report.page import without_paths
from clipjax.analysis.run import read_run
from clipjax.cli.main import main
from clipjax.errors import InputError


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    rng = np.random.default_rng(0)
    columns = {
        "age": rng.choice(np.array(["older", "child", "adult", ""], object), 300),
        "zone": rng.choice(np.array(["y", "x"], object), 300),
    }
    classes = [design.DesignClass(name, sets=("s",) if i % 2 else ()) for i, name in enumerate("abcdefgh")]
    asked = design.Design("mine", tuple(classes))
    root = tmp_path_factory.mktemp("page")
    answers = rng.integers(0, 6, 300)  # nobody is given g or h
    moved = np.where(columns["age"] == "child", 7, answers)
    return [planted_runs.write(root / name, asked, columns, a) for name, a in (("a", answers), ("b", moved))]


def changed(run: Path, folder: Path, **manifest) -> Path:
    """A copy of a run with other parts in its manifest."""
    shutil.copytree(run, folder)
    found = json.loads((folder / "manifest.json").read_text())
    for key, value in manifest.items():
        found[key] = found[key] | value
    (folder / "manifest.json").write_text(json.dumps(found))
    (folder / "SHA256SUMS").unlink()
    return folder


def test_no_path_of_this_machine_is_in_a_report(planted, tmp_path):
    data = {"source": "csv", "csv": "C:\\Users\\someone\\t.csv", "path": "../someone/else", "split": ""}
    config = {"model": "/home/someone/w/vit.safetensors", "cache_dir": "~/someone/cache", "data": data}
    run = changed(planted[0], tmp_path / "run", config=config, design={"source": "/home/someone/mine.yaml+child:s"})
    assert main(["report", str(run)]) == 0
    for file in run.rglob("*"):
        if file.suffix in (".html", ".md", ".csv", ".tex", ".svg") and file.is_file():
            assert "someone" not in file.read_text(encoding="utf-8"), file
    page = (run / "report.html").read_text()
    assert all(name in page for name in ("vit.safetensors", "t.csv", "mine.yaml+child:s"))


@pytest.mark.parametrize(
    "value", ["ViT-B/32", "a photo of a {}/{}", "data/people.csv", "hf://org/name", "/", "", 3, None]
)
def test_what_is_not_a_path_of_a_machine_stays(value):
    assert without_paths({"k": [value]}) == {"k": [value]}


def test_a_run_in_the_current_folder_has_a_name(planted, monkeypatch, capsys, tmp_path):
    shutil.copytree(planted[0], tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    assert main(["report", "."]) == 0
    assert "clipjax rerun mine" in Path("report.html").read_text()


def test_sections_come_as_a_reader_needs_them(planted):
    main(["report", str(planted[0])])
    titles = re.findall(r"<h2>([^<]+)</h2>", (planted[0] / "report.html").read_text())
    wanted = ["What was found", "Methods", "Everybody", "By age", "Differences between groups",
              "Which class they are given", "Caveats of this report", "How to repeat it", "What was asked",
              "Manifests"]  # fmt: skip
    assert [title for title in titles if title in wanted] == wanted


def test_caveats_are_those_of_this_run(planted, tmp_path):
    counts = {"seen": 300, "skipped": 1, "skipped_files": [{"file": "x.jpg", "reason": "truncated"}]}
    changed(planted[0], tmp_path / "lost", counts=counts)
    for run, lost in ((planted[0], False), (tmp_path / "lost", True)):
        main(["report", str(run)])
        page = (run / "report.html").read_text()
        assert ("1 images could not be read and are not counted: x.jpg (truncated)" in page) == lost
        assert "in no set, counted as &#x27;no set&#x27;" in page
        without = (read_run(run).columns["age"] == "").sum()
        assert f"{without} images have no age" in page
        assert "emoji" not in page


def test_classes_that_are_not_drawn_are_named(planted):
    main(["report", str(planted[0])])
    page = (planted[0] / "report.html").read_text()
    assert "No image was given g, h." in page
    assert "child (n = " in page


def test_groups_are_shown_in_their_order(planted, tmp_path):
    main(["report", str(planted[0])])
    rows = re.findall(
        r"^\| (child|adult|older) ", (planted[0] / "tables" / "rates_by_age.md").read_text(), re.MULTILINE
    )
    assert rows == ["child", "adult", "older"]
    main(["compare", *map(str, planted), f"--out={tmp_path}"])
    rows = re.findall(r"^\| (child|adult|older) ", (tmp_path / "tables" / "flips_by_age.md").read_text(), re.MULTILINE)
    assert rows == ["child", "adult", "older"]
    run = changed(planted[0], tmp_path / "banded", config={"bands": "zone=age: y=older; x=child"})
    main(["report", str(run)])
    rows = re.findall(r"^\| ([xy]) ", (run / "tables" / "rates_by_zone.md").read_text(), re.MULTILINE)
    assert rows == ["y", "x"]


def test_every_figure_says_what_it_asks_and_what_it_answers(planted, tmp_path):
    main(["report", str(planted[0])])
    main(["compare", *map(str, planted), f"--out={tmp_path}"])
    for page in (planted[0], tmp_path):
        captions = re.findall(r"<figcaption>(.*?)</figcaption>", (page / "report.html").read_text())
        assert len(captions) > 3
        for said in captions:
            question, _, answer = said.partition("? ")
            assert len(answer) > 15, said
            assert len(question) < 90, said
        assert 'alt=""' not in (page / "report.html").read_text()


def test_flows_are_drawn_for_the_groups_that_moved(planted, tmp_path):
    main(["compare", *map(str, planted), f"--out={tmp_path}"])
    assert (tmp_path / "figures" / "flips_age_child.svg").exists()
    assert not (tmp_path / "figures" / "flips_age_adult.svg").exists()
    page = (tmp_path / "report.html").read_text()
    n = int((read_run(planted[0]).columns["age"] == "child").sum())
    assert f"Of {n} images with age child, those that moved" in page
    for words in ("Methods", "McNemar&#x27;s exact test of the images whose answer changed", "clipjax rerun a"):
        assert words in page


def test_probabilities_have_the_names_of_their_classes(tmp_path):
    """Whoever reads the parquet file alone can name its columns of probabilities."""
    from clipjax.runs.folder import RunFolder

    folder = RunFolder(tmp_path / "run", {})
    table = {"file": np.array(["a", "b"], object), "probabilities": np.array([[0.5, 0.5], [1, 0]], np.float32)}
    folder.write_table("predictions.parquet", table, ["猫", "dog"])
    folder.close()
    metadata = pq.read_schema(tmp_path / "run" / "predictions.parquet").metadata
    assert json.loads(metadata[b"classes"]) == ["猫", "dog"]


def test_a_browser_that_is_not_there_is_one_line(planted, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["report", str(planted[0]), "--format=pdf", f"--out={tmp_path / 'out'}"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no Chromium or Chrome on PATH" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("script", ["exit 3", "exit 0", 'echo "cannot start" >&2; exit 1'])
def test_a_browser_that_fails_leaves_no_pdf(tmp_path, script):
    program = tmp_path / "chromium"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with pytest.raises(InputError, match="cannot print"):
        pdf.write(tmp_path / "report.html", tmp_path / "report.pdf", str(program))
    assert [p.name for p in tmp_path.iterdir()] == ["chromium"]
