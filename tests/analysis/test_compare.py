"""Runs are compared by what they hold: copies are the same images, and other annotations are refused by name."""

import csv
import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support import planted_runs

from clipjax import design
from clipjax.analysis import compare, findings, predictions
from clipjax.analysis.records import Record
from clipjax.analysis.run import read_run
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.testing import pictures, tiny_model

ASKED = """
name: mine
classes:
  - {name: dog, sets: [pet]}
  - {name: zebra, sets: [pet]}
  - {name: eel, sets: [food, fish]}
  - {name: newt, sets: [food]}
"""


class Study:
    """A model, 24 images, a table with groups of them, and runs over that table or over copies."""

    def __init__(self, root):
        self.root, self.runs = root, 0
        tiny_model(root / "tiny.safetensors")
        pictures(root / "photos", {"cat": 9, "dog": 8, "fish": 7})
        rng = np.random.default_rng(0)
        for path in self.files(root / "photos"):  # every image another, but for two that are the same
            Image.new("RGB", (40, 40), tuple(rng.integers(0, 255, 3).tolist())).save(path)
        first, *_, last = self.files(root / "photos")
        shutil.copy(first, last)
        (root / "mine.yaml").write_text(ASKED)
        names = [str(path.relative_to(root / "photos")) for path in self.files(root / "photos")]
        rows = [[name, "old" if i % 3 else "young", "AB"[i % 2], f"{i}"] for i, name in enumerate(names)]
        self.rows = [["file", "age", "side", "number"], *rows]

    @staticmethod
    def files(folder):
        return sorted(folder.rglob("*.jpg"))

    def table(self, name, rows=None, delimiter=","):
        path = self.root / name
        with open(path, "w", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows(rows or self.rows)
        return path

    def probe(self, table="people.csv", images="photos", asked="mine.yaml", groups="age,side", *extra):
        self.runs += 1
        out = self.root / f"run{self.runs}"
        asked = self.root / asked if asked.endswith(".yaml") else asked
        assert main([
            "probe", "rates", f"--config.data.csv={self.root / table}", f"--config.data.path={self.root / images}",
            f"--config.data.group_columns={groups}", f"--config.design={asked}", "--config.batch_size=8",
            f"--config.model={self.root / 'tiny.safetensors'}", f"--out={out}", *extra,
        ]) == 0  # fmt: skip
        return out


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPJAX_CACHE", str(root / "cache"))
        found = Study(root)
        found.table("people.csv")
        found.a = found.probe()
        found.b = found.probe(asked=f"{root / 'mine.yaml'}+frog")
        found.wanted = compared(found.a, found.b)
        assert any(r.only_a for r in found.wanted.records)
        yield found


def compared(a, b, **options):
    return compare.compare(read_run(a), read_run(b), **options)


def same(found, wanted):
    """Every record and every image that moved, by A's names."""
    assert found.records == wanted.records
    assert [row for rows in found.flips() for row in rows] == [row for rows in wanted.flips() for row in rows]
    assert found.moves == wanted.moves


def copied(study):
    shutil.copytree(study.root / "photos", study.root / "copied")
    return {"images": "copied"}


def touched(study):
    shutil.copytree(study.root / "photos", study.root / "touched")
    for path in Study.files(study.root / "touched"):
        os.utime(path, (1, 1))
    return {"images": "touched"}


def renamed_table(study):
    study.table("elsewhere.csv")
    return {"table": "elsewhere.csv"}


def other_format(study):
    study.table("people.tsv", delimiter="\t")
    return {"table": "people.tsv"}


def more_columns(study):
    study.table("more.csv", [[*row, "x"] for row in study.rows])
    return {"table": "more.csv"}


def renamed(study):
    """Other file names, which sort in the same order."""
    rows = [study.rows[0]]
    for i, row in enumerate(study.rows[1:]):
        path = study.root / "renamed" / f"{i:03}.jpg"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(study.root / "photos" / row[0], path)
        rows.append([path.name, *row[1:]])
    study.table("renamed.csv", rows)
    return {"table": "renamed.csv", "images": "renamed"}


def reordered(study):
    rows = [study.rows[0], *study.rows[:0:-1]]
    study.table("reordered.csv", rows)
    return {"table": "reordered.csv"}


COPIES = [copied, touched, renamed_table, other_format, more_columns, renamed, reordered]


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_the_same_images(study, copy):
    where = copy(study)
    b = study.probe(**where, asked=f"{study.root / 'mine.yaml'}+frog")
    same(compared(study.a, b), study.wanted)
    nothing = compared(study.a, study.probe(**where))
    assert nothing.same
    assert nothing.moved == 0
    assert all(r.only_a == r.only_b == r.difference == 0 for r in nothing.records)
    assert nothing.pairing.same_order == (copy is not reordered)


def pair(record, name):
    return getattr(record, f"{name}_a"), getattr(record, f"{name}_b")


def test_both_directions_mirror_each_other(study):
    back = compared(study.b, study.a)
    assert len(back.records) == len(study.wanted.records)
    key = lambda r: json.dumps([r.question, r.group], sort_keys=True)  # noqa: E731
    mirrored = {key(r): r for r in back.records}
    for r in study.wanted.records:
        m = mirrored[key(r)]
        for name in ("k", "value", "only"):
            assert pair(r, name) == pair(m, name)[::-1]
        assert (r.difference, r.low, r.high) == pytest.approx((-m.difference, -m.high, -m.low))
        assert (r.p, r.p_benjamini_hochberg) == pytest.approx((m.p, m.p_benjamini_hochberg))
    assert sorted((b, a, n) for a, b, n in back.moves) == sorted(study.wanted.moves)


def relabelled(study, name, value="young"):
    """One image of the table has another age, and images come in the same order."""
    rows = [list(row) for row in study.rows]
    assert rows[3][1] == "old"
    rows[3][1] = value
    study.table(name, rows)
    return study.probe(table=name, asked=f"{study.root / 'mine.yaml'}+frog")


@pytest.mark.parametrize(
    "value", ["ancient", *(pytest.param(value, marks=pytest.mark.exhaustive) for value in ("young", ""))]
)
def test_one_relabelled_image_is_refused_by_name(study, capsys, tmp_path, value):
    b = relabelled(study, f"relabelled-{value}.csv", value)
    line = f"column 'age' differs for 1 of 24 images (cat/0002.jpg: 'old' and '{value or 'nothing'}')"
    for runs, words in (((study.a, b), line), ((b, study.a), "column 'age' differs for 1 of 24 images (cat/0002.jpg")):
        assert main(["compare", *map(str, runs), f"--out={tmp_path / 'out'}"]) == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["compare", str(study.a), str(b), "--annotations=a", f"--out={tmp_path / 'out'}"]) == 0
    assert "those of A count for both (--annotations=a)" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert found["annotations"] == "a"
    assert found["records"] == [r.to_dict() for r in study.wanted.records]
    theirs = compared(study.a, b, annotations="b")
    mine = [r.group for r in theirs.records if r.columns == ("age",)]
    assert ({"age": "ancient"} in mine) == (value == "ancient")
    assert main(["compare", str(study.a), str(study.b), "--annotations=b", f"--out={tmp_path / 'equal'}"]) == 0
    assert json.loads((tmp_path / "equal" / "compare.json").read_text())["annotations"] == "equal"


def test_relabelled_and_reordered(study):
    """Two images with equal contents and other groups are not confused."""
    rows = [study.rows[0], *study.rows[:0:-1]]
    assert rows[1][1:3] != rows[-1][1:3]  # the first and the last are one image
    study.table("turned.csv", rows)
    assert not compared(study.a, study.probe(table="turned.csv")).pairing.same_order
    rows[5] = [rows[5][0], rows[5][1], "C", rows[5][3]]
    study.table("turned-relabelled.csv", rows)
    with pytest.raises(InputError, match=rf"column 'side' differs for 1 of 24 images \({rows[5][0]}: '.' and 'C'\)"):
        compared(study.a, study.probe(table="turned-relabelled.csv"))


def test_other_images_are_refused_with_their_names(study, capsys):
    shutil.copytree(study.root / "photos", study.root / "changed")
    Image.new("RGB", (40, 40), "red").save(study.root / "changed" / "dog" / "0003.jpg")
    other = study.probe(images="changed", asked=f"{study.root / 'mine.yaml'}+frog")
    fewer = study.table("fewer.csv", study.rows[:-2])
    for b, words in (
        (other, "1 of the 24 images of {a} are not in the other (dog/0003.jpg)"),
        (
            study.probe(table=fewer.name),
            "2 of the 24 images of {a} are not in the other (fish/0005.jpg, fish/0006.jpg)",
        ),
    ):
        for runs in ((study.a, b), (b, study.a)):
            assert main(["compare", *map(str, runs)]) == 1
            assert words.format(a=study.a) in capsys.readouterr().err


def test_columns_of_one_run_are_named_and_left_out(study, tmp_path, capsys):
    b = study.probe(asked=f"{study.root / 'mine.yaml'}+frog", groups="age")
    assert main(["compare", str(study.a), str(b), f"--out={tmp_path}"]) == 0
    assert "Only A has the column side: left out." in capsys.readouterr().out
    assert "Only A has the column side: left out." in (tmp_path / "report.html").read_text()
    found = json.loads((tmp_path / "compare.json").read_text())
    assert (found["columns_only_a"], found["columns_only_b"]) == (["side"], [])
    adjusted = ("tests", "asked", "testable", "p_benjamini_hochberg", "p_bonferroni")  # over fewer tests
    mine, all_of_them = (
        [{k: v for k, v in r.items() if k not in adjusted} for r in x]
        for x in (found["records"], [r.to_dict() for r in study.wanted.records])
    )
    assert mine == [r for r in all_of_them if "side" not in r["group"]]


def test_one_folder_twice_is_refused(study, capsys):
    assert main(["compare", str(study.a), f"{study.a}/."]) == 1
    assert "is named twice; there is nothing to compare" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--vary=weights", "--annotations=a"])
def test_a_flag_that_a_fine_tuning_run_does_not_read_is_refused(tmp_path, capsys, flag):
    (tmp_path / "config.json").write_text('{"verb": "finetune"}')
    assert main(["compare", str(tmp_path), flag, f"--out={tmp_path / 'c'}"]) == 1
    assert f"leave {flag.partition('=')[0]} out" in capsys.readouterr().err


def test_no_set_is_compared_where_only_one_design_has_it(study, tmp_path, capsys):
    """Sets that are disjoint and `no set` add up to every image of each group, before and after."""
    for found in (study.wanted, compared(study.b, study.a)):
        for group in ({}, {"age": "old"}, {"age": "young", "side": "A"}):
            mine = {r.question.name: r for r in found.records if r.group == group}
            assert set(mine) == {"pet", "food", "fish", "no set"}
            for side in "ab":
                assert sum(getattr(mine[name], f"k_{side}") for name in ("pet", "food", "no set")) == mine["pet"].n
    assert main(["compare", str(study.a), str(study.b), f"--out={tmp_path}"]) == 0
    line = "mine+frog: frog: in no set, counted as 'no set'; to put an added class into a set: +frog:pet"
    assert line in capsys.readouterr().out
    inside = study.probe(asked=f"{study.root / 'mine.yaml'}+frog:pet")
    assert main(["compare", str(study.a), str(inside), f"--out={tmp_path / 'inside'}"]) == 0
    assert "no set" not in capsys.readouterr().out


@pytest.fixture
def zeroshot(tmp_path):
    """Writes a planted zero-shot run: four images of two classes."""

    def make(name, classes, labels, answers):
        asked = design.of_classes(classes, name=name)
        path = planted_runs.write(tmp_path / name, asked, {"label": np.array(labels, object)}, np.array(answers))
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["config"]["probe"] = "zeroshot"
        (path / "manifest.json").write_text(json.dumps(manifest))
        (path / "SHA256SUMS").unlink()
        return path

    return make


def test_labels_of_renamed_classes_are_the_same_labels(zeroshot):
    """The renaming is the design's: each run is right or wrong by its own names, about images with a label."""
    a = zeroshot("a", ["cat", "dog"], ["cat", "dog", "dog", ""], [0, 0, 1, 1])
    b = zeroshot("b", ["kitten", "dog"], ["kitten", "dog", "dog", ""], [0, 1, 1, 1])
    found = compared(a, b)
    r = found.records[0]
    assert (r.k_a, r.k_b, r.only_a, r.only_b, r.n) == (2, 3, 0, 1, 3)
    c = zeroshot("c", ["kitten", "dog"], ["dog", "dog", "dog", ""], [0, 1, 1, 1])
    with pytest.raises(InputError, match="column 'label' differs for 1 of 4 images"):
        compared(a, c)
    taken = compared(a, c, annotations="a").records[0]
    assert (taken.k_a, taken.k_b) == (2, 3)
    swapped = zeroshot("d", ["cat", "dog"], ["dog", "cat", "cat", ""], [0, 1, 1, 1])
    with pytest.raises(InputError, match="column 'label' differs for 3 of 4 images"):
        compared(a, swapped)


def test_images_with_several_labels_are_compared_by_their_ranking(zeroshot):
    runs = [read_run(zeroshot(name, ["cat", "dog"], ["cat", "cat|dog"], [0, 1])) for name in "ab"]
    ranked = [run.with_columns({}, records=[Record(metric="map_11pt", n=2, value=0.5)]) for run in runs]
    found = compare.compare(*ranked, vary=["weights"])
    assert found.records == []
    assert [one.name for one in found.numbers] == ["map_11pt"]
    with pytest.raises(InputError, match="several labels"):
        compare.compare(runs[0], ranked[1], vary=["weights"])


def test_runs_of_other_images_or_annotations_are_matched_whatever_the_blocks(study, monkeypatch):
    """In blocks only runs with the same images in the same order, annotated alike, are compared."""
    shuffled = study.table("shuffled.csv", [study.rows[0], *study.rows[:0:-1]])
    other = [[*row[:1], "old", *row[2:]] if i == 1 else row for i, row in enumerate(study.rows)]
    study.table("other.csv", other)
    moved = study.probe(shuffled.name, asked=f"{study.root / 'mine.yaml'}+frog")
    differing = study.probe("other.csv")
    monkeypatch.setattr(predictions, "ROWS", 4)
    found = compared(study.a, moved)
    assert not found.pairing.same_order
    same(found, study.wanted)
    with pytest.raises(InputError, match="annotate the same images differently: column 'age' differs for 1 of 24"):
        compared(study.a, differing)
    same(compared(study.a, study.b, annotations="b"), study.wanted)


def test_retrieval_is_compared_by_the_ranks_of_captions(tmp_path):
    """Whether an image's caption is among the 1 and the 5 nearest, image by image; the finding names which."""
    records = [Record(metric=f"recall@{k}", n=30, value=0.5, direction="image_to_text") for k in (1, 5)]
    before, after = (
        SimpleNamespace(path=tmp_path, records=records, predictions={"caption_rank": ranks})
        for ranks in (np.arange(30) + 1, np.maximum(np.arange(30) - 11, 1))
    )
    asked = [compare._recalled(run) for run in (before, after)]
    assert [(name, int(yes.sum())) for (_, name), yes in asked[0].items()] == [("recall@1", 1), ("recall@5", 5)]
    found = compare.records_of(list(asked[0]), compare.tallies(*asked, {}, [()], {}), 0.95, 20)
    assert [(r.question.name, r.only_a, r.only_b) for r in found] == [("recall@1", 0, 12), ("recall@5", 0, 12)]
    said = [f.statement for f in findings.of_comparison(found)]
    assert said[0].startswith(
        "Under A, the answer is right (recall@1) for 3.3% of all images (1 of 30), under B for 43"
    )
    del before.predictions["caption_rank"]
    with pytest.raises(InputError, match="no column caption_rank; run the probe again"):
        compare._recalled(before)
