"""The captions probe: every layout from its file, planted preferences, and what is refused; from a command too."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.countbench_files import write

from clipjax.analysis.rates import Method
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.runs import caption_tables, captions
from clipjax.testing import pictures, tiny_model

SUGAR = {
    "0": {"filename": "a.jpg", "caption": "a man", "negative_caption": "a woman"},
    "1": {"filename": "a.jpg", "caption": "a dog runs", "negative_caption": "a dog sits"},
}
ARO = [
    {"image_path": "a.jpg", "true_caption": "x on y", "false_caption": "y on x", "relation_name": "on", "bbox_x": 3},
    {"image_path": "b.jpg", "true_caption": "x in y", "false_caption": "y in x", "relation_name": "in", "bbox_x": 4},
]
WINO = [{"id": 0, "image_0": "a.jpg", "image_1": "b.jpg", "caption_0": "old kissing young", "caption_1": "young ..."}]


def written(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_layouts_of_the_public_files(tmp_path):
    found = caption_tables.read(written(tmp_path, "replace_obj.json", SUGAR))
    assert found.captions == [("a man", "a woman"), ("a dog runs", "a dog sits")]
    assert found.images == [("a.jpg",), ("a.jpg",)]
    found = caption_tables.read(written(tmp_path, "visual_genome_relation.json", ARO))
    assert found.subset.tolist() == ["on", "in"]
    lines = "".join(json.dumps(row) + "\n" for row in WINO)
    found = caption_tables.read(written(tmp_path, "examples.jsonl", lines), "winoground")
    assert (found.images, found.captions) == ([("a.jpg", "b.jpg")], [("old kissing young", "young ...")])
    table = "file,his,her,their,gender,occupation\na.jpg,his x,her x,their x,feminine,nurse\n"
    found = caption_tables.read(written(tmp_path, "viso.csv", table), "visogender")
    assert (found.captions, found.truth.tolist()) == ([("his x", "her x", "their x")], ["feminine"])


def test_own_columns_and_several_wrong_captions(tmp_path):
    rows = [
        {"p": "a.jpg", "yes": "a", "no1": "b", "no2": "c", "sex": "F"},
        {"p": "b.jpg", "yes": "d", "no1": "e", "sex": ""},
    ]
    table = written(tmp_path, "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = caption_tables.read(table, "pairs", "yes", ("no1", "no2"), "p", by=("sex",))
    assert found.captions == [("a", "b", "c"), ("d", "e")]
    assert found.columns["sex"].tolist() == ["F", ""]
    lists = written(tmp_path, "l.jsonl", '{"file": "a.jpg", "caption": "a", "wrong": ["b", "c"]}\n')
    assert caption_tables.read(lists).captions == [("a", "b", "c")]


def test_a_planted_preference_by_group():
    """Images of group "A" prefer the right caption, those of "B" have none."""
    generator = np.random.default_rng(0)
    n = 200
    group = np.repeat(["A", "B"], n // 2).astype(object)
    asked = caption_tables.Instances(
        "pairs", [(f"{i}.jpg",) for i in range(n)], [("right", "wrong")] * n, {"g": group}
    )  # fmt: skip
    scores = [generator.normal(size=(1, 2)) + np.array([[3 * (g == "A"), 0]]) for g in group]
    records, right = captions.scored(asked, scores, Method())
    found = {(r.metric, *r.cell): r for r in [*records, *captions.of_groups(asked, right, [("g",)], Method())]}
    assert found["choice_accuracy", "A"].low > 0.9
    assert found["choice_accuracy", "B"].low < 0.5 < found["choice_accuracy", "B"].high
    gap = found["choice_accuracy_group_difference",]
    assert gap.low > 0.2
    assert gap.p < 0.001
    assert found["choice_accuracy_worst_group",].worst == "B"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A model, twelve images, and a table of 24 questions about them."""
    root = tmp_path_factory.mktemp("photos")
    tiny_model(root / "tiny.safetensors", layers=1)
    pictures(root / "photos", {"cat": 6, "dog": 6}, size=33)
    files = sorted(str(p.relative_to(root / "photos")) for p in (root / "photos").rglob("*.jpg"))
    with open(root / "t.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "caption", "wrong", "subset", "gender"])
        for i, name in enumerate([*files, *files]):
            writer.writerow([name, f"a cat number {i % 12}", f"number {i} a cat", "ab"[i % 2], "FM"[i % 3 > 0]])
    head, *lines = (root / "t.csv").read_text().splitlines()
    (root / "turned.csv").write_text("\n".join([head, *lines[12:], *lines[:12]]) + "\n")
    return root


def probe(photos, out, *more):
    keys = {
        "data.path": photos / "photos", "instances": photos / "t.csv", "model": photos / "tiny.safetensors",
        "cache_dir": "none",
    }  # fmt: skip
    return main([
        "probe", "captions", f"--out={out}", *[f"--config.{k}={v}" for k, v in keys.items()],
        *[one if one.startswith("--") else f"--config.{one}" for one in more],
    ])  # fmt: skip


def check_compared(found, *runs):
    """McNemar's counts are those of the same questions, over all and by group; the groups' numbers stand beside."""
    a, b = (pq.read_table(run / "predictions.parquet").to_pylist() for run in runs)
    assert [row["question_sha256"] for row in a] != [row["question_sha256"] for row in b]
    theirs = {row["question_sha256"]: row["label"] == row["prediction"] for row in b}
    both = [(row["gender"], row["label"] == row["prediction"], theirs[row["question_sha256"]]) for row in a]
    assert len(theirs) == 24
    assert all(mine == other for _, mine, other in both)  # the same questions, the same answers
    for group in ({}, {"gender": "F"}, {"gender": "M"}):
        mine = [pair for gender, *pair in both if group.get("gender", gender) == gender]
        record = next(r for r in found["records"] if r["group"] == group)
        assert (record["n"], record["only_a"], record["only_b"]) == (
            len(mine), mine.count([True, False]), mine.count([False, True]),
        )  # fmt: skip
    assert {r["metric"] for r in found["numbers"]} == {
        "choice_accuracy_worst_group", "choice_accuracy_group_difference",
    }  # fmt: skip


def test_from_a_command(photos, tmp_path, capsys):
    out, other = tmp_path / "run", tmp_path / "other"
    assert probe(photos, out, "by=gender", "subset=subset") == 0
    records = json.loads((out / "metrics.json").read_text())["records"]
    table = pq.read_table(out / "predictions.parquet").to_pydict()
    assert len(table["file"]) == 24
    assert records[0]["metric"] == "choice_accuracy"
    assert records[0]["k"] == sum(a == b for a, b in zip(table["label"], table["prediction"], strict=True))
    assert {r.get("subset") for r in records if r["metric"] == "choice_accuracy"} == {None, "a", "b"}
    assert any(r["metric"] == "choice_accuracy_worst_group" for r in records)
    assert json.loads((out / "manifest.json").read_text())["counts"]["seen"] == 12
    turned = f"instances={photos / 'turned.csv'}"  # the two questions about each image change places
    assert probe(photos, other, "by=gender", "subset=subset", turned) == 0
    capsys.readouterr()
    assert main(["compare", str(out), str(other), "--vary=design", f"--out={tmp_path / 'compared'}"]) == 0
    assert "top1" in capsys.readouterr().out
    check_compared(json.loads((tmp_path / "compared" / "compare.json").read_text()), out, other)
    assert main(["report", str(out), f"--out={tmp_path / 'r'}"]) == 0
    assert probe(photos, out, "by=gender", "subset=subset", "--fail-if=choice_accuracy < 1.1") == 3


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"file": "a", "caption": "x", "wrong": "x"}], "row 1: right and wrong caption are the same text, 'x'"),
        ([{"file": "a", "caption": "x", "wrong": []}], "row 1 has no wrong caption"),
        ([{"file": "a", "caption": "", "wrong": "y"}], "row 1 has no caption"),
        ([{"image": "a", "caption": "x"}], "no columns of images, right and wrong captions among image, caption"),
        ({"a": 1}, "is not an object of objects or a list of objects"),
    ],
)
def test_tables_that_are_refused(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        caption_tables.read(written(tmp_path, "t.json", rows))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["instances="], "captions needs the table of questions: --config.instances=FILE"),
        (["template=a photo"], "template 'a photo': write {} once"),
        (["by=age"], 'has no column "age"'),
        (["by=file"], "by=file: predictions.parquet has a column of that name; rename it"),
        (["right=caption"], "name both, the column of the right caption and those of the wrong ones"),
        (["data.limit=3"], "images that folder does not have"),
        (["layout=winoground"], 'has no column "image_0"'),
        (["data.group_columns=a"], "data.group_columns=a is not read by"),
    ],
)
def test_refusals(photos, tmp_path, capsys, more, message):
    assert probe(photos, tmp_path / "run", *more) == 1
    said = capsys.readouterr().err.strip()
    assert message.replace("folder", "photos") in said
    assert len(said.splitlines()) == 1


def test_counts_from_a_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CLIPJAX_QUIET", "1")
    tiny_model(tmp_path / "tiny.safetensors", layers=1)
    write(tmp_path / "countbench" / "a.parquet")
    words = [
        "probe", "captions:countbench", f"--config.data.path={tmp_path / 'countbench'}", "--config.cache_dir=none",
        f"--config.model={tmp_path / 'tiny.safetensors'}",
    ]  # fmt: skip
    assert main([*words, "--config.by=number", f"--out={tmp_path / 'run'}"]) == 0
    records = json.loads((tmp_path / "run" / "metrics.json").read_text())["records"]
    assert (records[0]["metric"], records[0]["n"], records[0]["chance"]) == ("choice_accuracy", 3, pytest.approx(1 / 9))
    assert {r.get("subset") for r in records} >= {"three", "five", "ten"}
    assert [r["group"] for r in records if r["metric"] == "choice_accuracy" and r.get("group")] != []
    for more, message in (
        ("instances=q.csv", "instances is not read with layout=countbench"),
        ("by=race", 'layout=countbench: by has no column "race"'),
        ("data.source=folder", "layout=countbench needs captions and numbers"),
    ):
        capsys.readouterr()
        pictures(tmp_path / "countbench", {"two": 1, "three": 1})
        assert main([*words, f"--config.{more}", f"--out={tmp_path / 'no'}"]) == 1
        assert message in capsys.readouterr().err
