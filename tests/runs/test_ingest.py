"""Answers from elsewhere: a run that is exported and ingested again gives the same records, and bad tables one line."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from support import planted_runs

from clipjax import design
from clipjax.analysis import compare
from clipjax.analysis.run import IMAGE, read_run
from clipjax.cli.main import main
from clipjax.data import labels as labels_of
from clipjax.demo import people
from clipjax.errors import InputError
from clipjax.runs import answers, ingest

DESIGN = """
name: mine
templates: ["a photo of a {}."]
classes:
  - {name: man, sets: [person]}
  - {name: woman, sets: [person]}
  - {name: fox, sets: [animal]}
  - {name: thief, prompt: "a thief", sets: [crime]}
  - cat
  - dog
"""
CLASSES = ("man", "woman", "fox", "thief", "cat", "dog")
# A batch of another size rounds features otherwise: the last digits of a cosine, 1e-7, times the scale, 100, times
# p (1 - p), at most 1/4.
ROUNDED = 2.5e-6


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """60 images in a table with groups, a design, and a run of each probe over them."""
    root = tmp_path_factory.mktemp("ingest")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPJAX_CACHE", str(root / "cache"))
        patch.setenv("CLIPJAX_OFFLINE", "1")
        drawn = sorted(people.unpack(root / "people").parent.glob("*.png"))
        files = [f"{name}/{i:04}.png" for name in ("cat", "dog") for i in range(30)]
        for i, file in enumerate(files):  # neighbours in the list of drawings are alike
            (root / "photos" / file).parent.mkdir(parents=True, exist_ok=True)
            (root / "photos" / file).write_bytes(drawn[i * 7 % len(drawn)].read_bytes())
        rng = np.random.default_rng(0)
        rows = [(f, rng.choice(["White", "Black", ""]), "MF"[i % 2], f.split("/")[0]) for i, f in enumerate(files)]
        with open(root / "people.csv", "w", newline="") as file:
            csv.writer(file).writerows([("file", "race", "gender", "who"), *rows])
        (root / "mine.yaml").write_text(DESIGN)
        for probe in ("rates", "labels", "zeroshot"):
            own = ["--config.contrast=gender", "--config.thresholds=0.1,0.2"] if probe == "labels" else []
            assert not main([
                "probe", {"labels": "congress"}.get(probe, probe) + ":csv", f"--config.data.csv={root / 'people.csv'}",
                f"--config.data.path={root / 'photos'}", "--config.data.group_columns=race,gender",
                "--config.data.label_column=who", "--config.model=emoji-clip",
                f"--config.design={root / 'mine.yaml'}", f"--out={root / probe}", *own,
            ])  # fmt: skip
    assert len(set(exported(root, "rates")["prediction"])) > 1, "one answer for all shows no wrong row"
    return root


def write(columns: dict, path: Path) -> Path:
    """A table in the format of its suffix, by another program."""
    frame = pd.DataFrame(columns)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.to_dict("records")))  # pandas cuts digits
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def run(table: Path, out: Path, *more: str, asked: Path | str) -> int:
    return main(["ingest", f"--predictions={table}", f"--design={asked}", f"--out={out}", *more])


def records(path: Path) -> list:
    return json.loads((path / "metrics.json").read_text())["records"]


def exported(stage: Path, probe: str) -> dict:
    return pq.read_table(stage / probe / "predictions.parquet").to_pydict()


OPTIONS = {
    "rates": ["--label-column=label", "--probe=rates"],
    "labels": ["--probe=labels", "--contrast=gender", "--thresholds=0.1,0.2"],
    "zeroshot": ["--label-column=label"],
}


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("probe", OPTIONS)
def test_a_run_that_is_exported_and_ingested_gives_identical_records(stage, tmp_path, probe, suffix):
    table = write(exported(stage, probe), tmp_path / f"theirs{suffix}")
    out = tmp_path / "again"
    assert not run(table, out, "--group-columns=race,gender", *OPTIONS[probe], asked=stage / "mine.yaml")
    assert records(out) == records(stage / probe)
    assert json.loads((out / "metrics.json").read_text()) == json.loads((stage / probe / "metrics.json").read_text())
    before, after = (pq.read_table(path / "predictions.parquet") for path in (stage / probe, out))
    assert set(after.column_names) <= set(before.column_names)
    assert all(after[name].equals(before[name]) for name in after.column_names)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["computed_by"] == "ingest"
    assert [file["name"] for file in manifest["ingested"]] == [table.name]


def test_parquet_files_of_a_run_are_tables_of_answers_themselves(stage, tmp_path):
    table = stage / "rates" / "predictions.parquet"
    assert not run(table, tmp_path / "again", "--group-columns=race,gender", asked=stage / "mine.yaml")
    assert records(tmp_path / "again") == records(stage / "rates")


@pytest.mark.parametrize(
    ("probe", "suffix"), [("zeroshot", ".csv"), ("rates", ".parquet"), ("rates", ".jsonl"), ("rates", ".tsv")]
)
def test_rows_and_class_columns_in_any_order(stage, tmp_path, probe, suffix):
    found = exported(stage, probe)
    rng = np.random.default_rng(1)
    rows, classes = rng.permutation(60), rng.permutation(len(CLASSES))
    odds = np.array(found.pop("probabilities"), np.float32)
    columns = {CLASSES[c]: odds[rows, c] for c in classes}
    columns |= {name: np.array(values, object)[rows] for name, values in found.items() if name != "prediction"}
    table = write(columns, tmp_path / f"moved{suffix}")
    assert not run(table, tmp_path / "a", "--group-columns=race,gender", *OPTIONS[probe], asked=stage / "mine.yaml")
    assert records(tmp_path / "a") == records(stage / probe)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_predictions_alone(stage, tmp_path, suffix):
    """The same rates; accuracy without top-5, which one class cannot tell."""
    found = exported(stage, "zeroshot")
    table = write({k: found[k] for k in ("file", "race", "gender", "label", "prediction")}, tmp_path / f"p{suffix}")
    groups, asked = "--group-columns=race,gender", stage / "mine.yaml"
    assert not run(table, tmp_path / "rates", groups, "--probe=rates", asked=asked)
    assert records(tmp_path / "rates") == records(stage / "rates")
    assert not run(table, tmp_path / "top", groups, "--label-column=label", asked=asked)
    assert records(tmp_path / "top") == [r for r in records(stage / "zeroshot") if not r["metric"].startswith("top5")]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
def test_lists_of_labels_of_a_run_give_its_records(stage, tmp_path, suffix):
    """Every label from the lowest threshold on, with its probability: all that is counted is known."""
    found = exported(stage, "labels")
    listed = [
        [{"name": name, "score": score} for name, score in zip(CLASSES, row, strict=True) if score >= 0.1]
        for row in found["probabilities"]
    ]
    cells = [json.dumps([[one["name"], one["score"]] for one in row]) for row in listed] if suffix == ".csv" else listed
    columns = {name: found[name] for name in ("file", "race", "gender")} | {"labels": cells}
    table = write(columns, tmp_path / f"labels{suffix}")
    more = ["--group-columns=race,gender", "--contrast=gender", "--thresholds=0.1,0.2"]
    assert not run(table, tmp_path / "again", *more, asked=stage / "mine.yaml")
    said = [{k: v for k, v in r.items() if k != "probability"} for r in records(stage / "labels")]
    assert records(tmp_path / "again") == said  # a list does not say what its scores are


PLAIN = "file,sex,man,woman,fox,thief,cat,dog\na,F,.5,.5,0,0,0,0\né,M,0,0,0,0,.2,.8\n"
SAME = {
    "bom": PLAIN.encode("utf-8-sig"),
    "utf-16": PLAIN.encode("utf-16"),
    "semicolons": PLAIN.replace(",", ";").encode(),
    "windows": PLAIN.replace("\n", "\r\n").encode(),
    "lists": "file;sex;probabilities\na;F;[.5,.5,0,0,0,0]\né;M;0 0 0 0 .2 .8\n".encode(),
}
DAMAGED = {
    "decimal comma": (PLAIN.replace(",", ";").replace(".", "0,").encode(), ["row 0", "holds 0,5, not a number"]),
    "decimal comma in lists": (
        b"file;sex;probabilities\na;F;0,5 0,5 0 0 0 0\n", ["8 numbers for 6 classes", "with a decimal point"],
    ),
    "empty": (b"", ["is empty (0 bytes)"]),
    "header alone": (b"file,sex,prediction\n", ["has no rows"]),
    "short row": (b"file,sex,prediction\na,F,man\nb,M\n", ["line 3 has 2 fields, the header has 3"]),
    "latin-1": (PLAIN.encode("latin-1"), ["is not UTF-8", "iconv"]),
    "class twice": (PLAIN.replace("woman", "man").encode(), ["none for \"woman\""]),
    "column twice": (PLAIN.replace("file,", "man,").encode(), ["no column \"file\""]),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*SAME, *DAMAGED])
def test_a_table_is_read_as_its_author_meant_it_or_refused(tmp_path, capsys, kind):
    (tmp_path / "mine.yaml").write_text(DESIGN)
    table, asked = tmp_path / "t.csv", tmp_path / "mine.yaml"
    table.write_bytes(SAME[kind] if kind in SAME else DAMAGED[kind][0])
    status = run(table, tmp_path / "run", "--group-columns=sex", asked=asked)
    if kind in SAME:
        assert not status
        table.write_text(PLAIN, encoding="utf-8")
        assert not run(table, tmp_path / "plain", "--group-columns=sex", asked=asked)
        assert records(tmp_path / "run") == records(tmp_path / "plain")
    else:
        assert status == 1
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert all(part in last for part in [str(table), *DAMAGED[kind][1]]), last
        assert not (tmp_path / "run").exists()


def test_columns_that_no_image_has_both_of_have_no_pairs(tmp_path):
    (tmp_path / "mine.yaml").write_text(DESIGN)
    table = write(
        {"file": ["a", "b"], "sex": ["F", ""], "race": ["", "W"], "prediction": ["cat", "dog"]}, tmp_path / "t.csv"
    )
    assert not run(table, tmp_path / "run", "--group-columns=sex,race", asked=tmp_path / "mine.yaml")
    assert {len(r["group"]) for r in records(tmp_path / "run")} == {0, 1}


LISTS = [
    [{"file": "a", "sex": "F", "labels": ["cat", "dog"]}, {"file": "b", "sex": "M", "labels": []}],
    [{"file": "a", "sex": "F", "labels": [["cat", 0.9], ["dog", 0.7]]}, {"file": "b", "sex": "M", "labels": None}],
    [
        {"file": "a", "sex": "F", "labels": [{"name": "dog", "score": 0.7}, {"name": "cat", "score": 0.9}]},
        {"file": "b", "sex": "M", "labels": []},
    ],
    [{"file": "a", "sex": "F", "labels": "cat|dog"}, {"file": "b", "sex": "M", "labels": ""}],
    [{"file": "a", "sex": "F", "labels": '[["dog", 0.7], ["cat", 0.9]]'}, {"file": "b", "sex": "M", "labels": "[]"}],
]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
@pytest.mark.parametrize("rows", LISTS, ids=["names", "pairs", "objects", "text", "json"])
def test_lists_of_labels(tmp_path, rows, suffix):
    if suffix == ".jsonl":
        table = tmp_path / "t.jsonl"
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == ".csv":
        cells = [
            row | {"labels": row["labels"] if isinstance(row["labels"], str) else json.dumps(row["labels"] or [])}
            for row in rows
        ]
        table = write({k: [row[k] for row in cells] for k in cells[0]}, tmp_path / "t.csv")
    else:
        if any(isinstance(one, list) for one in rows[0]["labels"]):
            return  # parquet's lists are of one type: a pair of a text and a number is an object there
        table = write({k: [row[k] for row in rows] for k in rows[0]}, tmp_path / "t.parquet")
    (tmp_path / "mine.yaml").write_text(DESIGN)
    out = tmp_path / "run"
    assert not run(
        table, out, "--group-columns=sex", "--contrast=sex=F|M", "--thresholds=0.5,0.8", asked=tmp_path / "mine.yaml"
    )
    assert read_run(out).probe == "labels"
    given = {
        (r["label"], r["threshold"], r["group"]["sex"]): r["k"] for r in records(out) if r["metric"] == "label_rate"
    }
    scored = "0.9" in str(rows[0]["labels"])
    assert given["cat", 0.8, "F"] == given["cat", 0.5, "F"] == given["dog", 0.5, "F"] == 1
    assert given["dog", 0.8, "F"] == (0 if scored else 1)
    assert sum(given.values()) == (3 if scored else 4)
    assert "prediction" not in read_run(out).predictions


BAD = {
    "unknown class": ({"prediction": ["cat", "doog"]}, ["row 1 (b)", "'doog'", 'nearest: "dog"']),
    "empty prediction": ({"prediction": ["cat", ""]}, ["row 1 (b)", "no prediction"]),
    "class column": ({c: [0.5, 0.5] for c in (*CLASSES[:-1], "Dog")}, ['none for "dog"', 'nearest: "Dog"']),
    "sum": ({"probabilities": ["1 0 0 0 0 0", "0.5 0 0 0 0 0.4"]}, ["row 1 (b)", "sum to 0.9", "--probe=labels"]),
    "negative": ({"probabilities": ["1 0 0 0 0 0", "1.1 -0.1 0 0 0 0"]}, ["row 1 (b)", "between 0 and 1"]),
    "logit": ({"probabilities": ["1 0 0 0 0 0", "-3 1 0 0 0 0"]}, ["row 1 (b)", "'man' is -3", "softmax"]),
    "nan": ({"probabilities": ["1 0 0 0 0 0", "1 nan 0 0 0 0"]}, ["row 1 (b)", "'woman' is nan"]),
    "percent": ({"probabilities": ["90 10 0 0 0 0", "90 10 0 0 0 0"]}, ["row 0 (a)", "divide percentages by 100"]),
    "no number": ({"probabilities": ["1 0 0 0 0 0", "x 0 0 0 0 1"]}, ["row 1", "x, not a number"]),
    "length": ({"probabilities": ["1 0 0 0 0 0", "1 0 0"]}, ["row 1", "3 numbers for 6 classes"]),
    "contradiction": (
        {"prediction": ["man", "dog"], "probabilities": ["1 0 0 0 0 0"] * 2},
        ["row 1 (b)", "'dog' has probability 0", "'man' has 1"],
    ),
    "ids": ({"file": ["a", "a"], "prediction": ["cat", "dog"]}, ["a is named twice (rows 0 and 1)"]),
    "no id": ({"file": ["a", None], "prediction": ["cat", "dog"]}, ["row 1", "file name or id"]),
    "no groups": ({"sex": ["", ""], "prediction": ["cat", "dog"]}, ["column 'sex' has no value for any image"]),
    "no rows": ({"file": [], "sex": [], "prediction": []}, ["has no rows"]),
    "no answers": ({"answer": ["cat", "dog"]}, ["has no answers", "answer"]),
    "both": ({"labels": ["cat", "dog"], "prediction": ["cat", "dog"]}, ["--probe=labels"]),
    "label": ({"labels": ["cat", "cat|fix"]}, ["row 1 (b)", "'fix'", 'nearest: "fox"']),
    "label twice": ({"labels": ["cat", "cat|cat"]}, ["row 1 (b)", "given twice"]),
    "score": ({"labels": ["cat", '[["cat", 98.1]]']}, ["row 1 (b)", "98.1", "divide percentages"]),
    "no label": ({"labels": ["cat", '[["cat"]]']}, ["row 1 (b)", "is not a label"]),
    "contents": ({"prediction": ["cat", "dog"], IMAGE: ["0" * 16, "F" * 16]}, ["row 1 (b)", "16 hexadecimal digits"]),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_bad_tables_are_one_line(tmp_path, capsys, bad):
    columns, says = BAD[bad]
    columns = {"file": ["a", "b"], "sex": ["F", "M"]} | columns
    table = write(columns, tmp_path / "bad.csv")
    (tmp_path / "mine.yaml").write_text(DESIGN)
    status = run(table, tmp_path / "run", "--group-columns=sex", "--contrast=sex", asked=tmp_path / "mine.yaml")
    said = capsys.readouterr()
    assert (status, said.out) == (1, "")
    last = said.err.strip().splitlines()[-1]
    assert last.startswith(f"clipjax ingest: {table}"), last
    assert all(part in last for part in says), last
    assert not (tmp_path / "run" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--group-columns=gendre"], 'no column "gendre"; nearest: "gender"'),
        (["--id-column=name"], 'no column "name"'),
        (["--label-column=race"], "row 0 (cat/0000.png): the label"),
        (["--probe=zeroshot"], "--label-column=NAME"),
        (["--probe=labels", "--group-columns=gender", "--thresholds=5"], "thresholds='5'"),
        (["--probe=labels"], "no column 'gender'"),
        (["--method=guess"], "guess"),
    ],
)
def test_wrong_options_are_one_line(stage, tmp_path, capsys, more, says):
    found = exported(stage, "rates") | {"race": ["Blue"] * 60}
    table = write(found, tmp_path / "t.parquet")
    assert run(table, tmp_path / "run", *more, asked=stage / "mine.yaml") == 1
    assert says in capsys.readouterr().err.strip().splitlines()[-1]


def planted(root: Path, move: int) -> dict[str, tuple[Path, str, str]]:
    """Runs with the counts of Tables 2 and 3: the folder, the design, the columns."""
    return {
        "t2": (planted_runs.table2(root / "t2", move), "fairface-default", "race,gender"),
        "t3": (planted_runs.table3(root / "t3", child=False), "fairface-default", "age"),
        "t3child": (planted_runs.table3(root / "t3child", child=True), "fairface-child", "age"),
    }


@pytest.mark.parametrize("move", [0, 1])
def test_tables_2_and_3_of_the_paper_from_tables_of_predictions(tmp_path, move):
    """The published rates out of files, classes and groups alone; a single image that moves is seen."""
    cells: dict[str, list] = {}
    for name, (folder, asked, groups) in planted(tmp_path / "planted", move).items():
        found = pq.read_table(folder / "predictions.parquet").to_pandas()[["file", *groups.split(","), "prediction"]]
        found.to_csv(tmp_path / f"{name}.csv", index=False)
        out = tmp_path / name
        assert not run(tmp_path / f"{name}.csv", out, f"--group-columns={groups}", asked=asked)
        shares = [r for r in records(out) if not r["metric"].startswith("demographic_parity")]  # not of a planted run
        assert shares == records(folder)
        rates = {
            (r["set"] + ("+child" if "child" in name else ""), next(iter(r["group"].values()))): r["k"]
            for r in records(out)
            if r["metric"] == "rate" and "set" in r and len(r["group"]) == 1
        }
        where = "Table 2" if name == "t2" else "Table 3"
        mine = [key for key in planted_runs.numbers(where) if key[0].endswith("+child") == ("child" in name)]
        published = {key: planted_runs.numbers(where)[key]["k"][name == "t2"] for key in mine}
        cells.setdefault(where, []).extend(rates[key] == k for key, k in published.items())
    assert [len(same) for same in cells.values()] == [14, 18]
    assert all(cells["Table 3"])
    assert all(cells["Table 2"]) == (not move)


def test_functions_of_arrays(stage, tmp_path):
    found, asked = exported(stage, "zeroshot"), design.read_design(str(stage / "mine.yaml"))
    read = answers.of_arrays(
        found["file"], asked, probabilities=np.array(found["probabilities"], np.float32),
        groups={name: found[name] for name in ("race", "gender")}, truth=labels_of.read(found["label"], "labels"),
    )  # fmt: skip
    made = ingest.ingest(read, tmp_path / "arrays", ingest.Settings(model="theirs"))
    assert records(made.path) == records(stage / "zeroshot")
    assert read_run(made.path).label == "theirs, mine"
    with pytest.raises(InputError, match=r"float64 \[60, 5\]; give numbers \[60, 6\]"):
        answers.of_arrays(found["file"], asked, probabilities=np.ones((60, 5)) / 5)
    with pytest.raises(InputError, match="59 predictions for 60 images"):
        answers.of_arrays(found["file"], asked, prediction=["cat"] * 59)
    with pytest.raises(InputError, match="gives no answers"):
        answers.of_arrays(found["file"], asked)


@pytest.fixture
def ingested(stage, tmp_path):
    """The run of rates, ingested without contents."""

    def make(name: str, change=lambda columns: None, *more: str) -> Path:
        found = exported(stage, "rates")
        del found[IMAGE]
        change(found)
        table = write(found, tmp_path / f"{name}.parquet")
        assert not run(table, tmp_path / name, "--group-columns=race,gender", *more, asked=stage / "mine.yaml")
        return tmp_path / name

    return make


def test_what_works_on_ingested_runs(stage, ingested, tmp_path, capsys):
    path = ingested("theirs", lambda c: None, "--model=a service")
    assert not main(["report", str(path), str(stage / "rates"), f"--out={tmp_path / 'report'}"])
    page = (tmp_path / "report" / "report.html").read_text()
    assert "We evaluated a service on 60 images of theirs.parquet." in page
    assert "The answers were computed elsewhere and read from theirs.parquet (sha256" in page
    assert "a service, computed elsewhere" in (tmp_path / "report" / "model_card.md").read_text()
    capsys.readouterr()
    assert main(["rerun", str(path)]) == 1
    assert "computed elsewhere and ingested from theirs.parquet" in capsys.readouterr().err
    assert main(["explore", str(path)]) == 1
    assert "its answers were ingested, and another class design needs features" in capsys.readouterr().err
    more = ["--group-columns=race,gender", "--fail-if=rate[class=man] >= 0", f"--model={path}"]
    assert run(tmp_path / "theirs.parquet", tmp_path / "gated", *more, asked=stage / "mine.yaml") == 3
    assert "1 breached" in capsys.readouterr().err


def test_the_same_command_again_does_nothing_and_other_answers_are_refused(stage, ingested, capsys):
    path = ingested("theirs")
    before = (path / "manifest.json").stat().st_mtime_ns
    ingested("theirs")
    assert (path / "manifest.json").stat().st_mtime_ns == before
    capsys.readouterr()
    with pytest.raises(AssertionError):
        ingested("theirs", lambda c: c["prediction"].reverse() or c.pop("probabilities"))
    assert "holds a finished run with another config" in capsys.readouterr().err


def compared(a: Path, b: Path, *vary: str):
    return compare.compare(read_run(a), read_run(b), vary)


def test_comparison_with_a_probe_pairs_by_name_only_where_names_are_unambiguous(stage, ingested):
    def moved(columns):
        columns["file"] = [f"elsewhere/{name.replace('/', '-')}" for name in columns["file"]]

    def shuffled(columns):
        rows = np.random.default_rng(2).permutation(60)
        for name, values in columns.items():
            columns[name] = [values[row] for row in rows]

    found = compared(ingested("same", shuffled), stage / "rates", "weights")
    assert found.pairing.by_name
    assert not found.moved
    assert all(r.only_a == r.only_b == 0 for r in found.records)
    with pytest.raises(InputError, match=r"model.name: .*--vary=weights|--vary=design,weights lets the weights differ"):
        compared(ingested("named"), stage / "rates", "design")
    with pytest.raises(InputError, match=r"only be paired by file name, and 30 names are several images of .*rates"):
        compared(ingested("moved", moved), stage / "rates", "weights")
    with pytest.raises(InputError, match=r"other images: 1 of the 60 images"):
        compared(ingested("fewer", lambda c: c["file"].__setitem__(0, "another.jpg")), stage / "rates", "weights")


def test_comparison_by_contents_where_a_table_says_them(stage, tmp_path):
    found = exported(stage, "rates")
    found["file"] = [f"image {i}" for i in range(60)]
    table = write(found, tmp_path / "t.parquet")
    assert not run(table, tmp_path / "known", "--group-columns=race,gender", asked=stage / "mine.yaml")
    pairing = compared(tmp_path / "known", stage / "rates", "weights").pairing
    assert not pairing.by_name
    assert pairing.same_order


@pytest.fixture(scope="module")
def embedded(stage, tmp_path_factory):
    """Features of the images and of the design's prompts as `clipjax embed` writes them, and the arrays."""
    folder = tmp_path_factory.mktemp("embedded")
    asked = design.read_design(str(stage / "mine.yaml"))
    (folder / "prompts.txt").write_text("".join(f"{text}\n" for prompts in asked.prompts() for text in prompts))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(stage / "photos")
        files = list(csv.DictReader((stage / "people.csv").read_text().splitlines()))
        (folder / "files.txt").write_text("".join(f"{stage / 'photos' / row['file']}\n" for row in files))
        assert not main([
            "embed", "--model=emoji-clip", f"--images={folder / 'files.txt'}",
            f"--texts={folder / 'prompts.txt'}", f"--out={folder / 'F.npz'}",
        ])  # fmt: skip
    with np.load(folder / "F.npz") as found:
        arrays = {name: found[name] for name in found.files}
    arrays["files"] = np.array([str(Path(name).relative_to(stage / "photos")) for name in arrays["files"]])
    return arrays


def of_features(stage, tmp_path, arrays, *more: str, table: Path | None = None, out: str = "run") -> int:
    np.savez(tmp_path / "F.npz", **arrays)
    return main([
        "ingest", f"--features={tmp_path / 'F.npz'}", f"--table={table or stage / 'people.csv'}",
        f"--design={stage / 'mine.yaml'}", "--group-columns=race,gender", f"--out={tmp_path / out}", *more,
    ])  # fmt: skip


@pytest.mark.parametrize("probe", ["rates", "labels", "zeroshot"])
def test_features_give_the_records_of_the_probe(stage, embedded, tmp_path, probe):
    own = {"rates": ["--label-column=who", "--probe=rates"], "zeroshot": ["--label-column=who"]}
    more = own.get(probe) or OPTIONS["labels"]
    assert not of_features(stage, tmp_path, embedded, *more)
    assert records(tmp_path / "run") == records(stage / probe)
    mine, theirs = (
        np.array(pq.read_table(p / "predictions.parquet")["probabilities"].to_pylist())
        for p in (tmp_path / "run", stage / probe)
    )
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=ROUNDED)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert [file["name"] for file in manifest["ingested"]] == ["F.npz", "people.csv"]
    assert (
        manifest["model"]["logit_scale"]
        == json.loads((stage / probe / "manifest.json").read_text())["model"]["logit_scale"]
    )


def test_features_in_any_order_and_without_images_that_could_not_be_read(stage, embedded, tmp_path):
    rng = np.random.default_rng(3)
    rows, texts = rng.permutation(60), rng.permutation(len(embedded["texts"]))
    moved = embedded | {name: embedded[name][rows] for name in ("files", "image_features")}
    moved |= {name: embedded[name][texts] for name in ("texts", "text_features")}
    assert not of_features(stage, tmp_path, moved, "--label-column=who", "--probe=rates")
    assert records(tmp_path / "run") == records(stage / "rates")
    mine, theirs = (pq.read_table(p / "predictions.parquet") for p in (tmp_path / "run", stage / "rates"))
    assert mine["file"] == theirs["file"]
    odds = (np.array(table["probabilities"].to_pylist()) for table in (mine, theirs))
    np.testing.assert_allclose(*odds, rtol=0, atol=ROUNDED)
    lost = moved | {name: moved[name][1:] for name in ("files", "image_features")}
    lost |= {"skipped": moved["files"][:1], "skipped_reasons": np.array(["cut off"])}
    assert not of_features(stage, tmp_path, lost, out="lost")
    manifest = json.loads((tmp_path / "lost" / "manifest.json").read_text())
    assert manifest["counts"] == {
        "seen": 59,
        "skipped": 1,
        "skipped_files": [{"file": str(moved["files"][0]), "reason": "cut off"}],
    }
    assert manifest["data"]["n"] == 60


def _without(name):
    return lambda a: a.pop(name)


BAD_FEATURES = {
    "no texts": (_without("texts"), 'has no array "texts"'),
    "prompt": (lambda a: a["texts"].__setitem__(0, "a photo of a men."), "1 of the design's 6 prompts are not among"),
    "file not in F": (lambda a: a["files"].__setitem__(0, "x"), "row 0: 'cat/0000.png' is not among the 60 files"),
    "file not in table": (
        lambda a: a.update(
            files=np.append(a["files"], "x"), image_features=np.vstack([a["image_features"], a["image_features"][:1]])
        ),
        "1 of its 61 files have no row in",
    ),
    "twice": (lambda a: a["files"].__setitem__(0, a["files"][1]), "files has cat/0001.png twice"),
    "rows": (lambda a: a.update(files=a["files"][1:]), "60 image features and 59 names; give one per row"),
    "width": (lambda a: a.update(text_features=a["text_features"][:, 1:]), "of different widths"),
    "scale": (lambda a: a.update(scale=np.float32(-1)), "scale=-1 is not the factor of a cosine"),
    "raw scale": (
        lambda a: a.update(logit_scale=np.float32(100)) or a.pop("scale"),
        "as a logarithm a scale of 2.688e+43, as a scale itself 100; say which is meant: --scale=",
    ),
    "raw scale below 10": (
        lambda a: a.update(logit_scale=np.float32(10)) or a.pop("scale"),
        "as a logarithm a scale of 2.203e+04, as a scale itself 10; say which is meant: --scale=22026.5 or --scale=10",
    ),
    "no scale": (lambda a: a.pop("scale") is a.pop("logit_scale"), "has neither scale nor logit_scale; give --scale"),
    "not texts": (lambda a: a.update(files=np.arange(60)), "files is int64 [60], not texts"),
    "nan": (lambda a: a["image_features"].__setitem__((0, 0), np.nan), "F.npz: "),
}


@pytest.mark.parametrize("bad", BAD_FEATURES)
def test_bad_features_are_one_line(stage, embedded, tmp_path, capsys, bad):
    arrays = {name: values.copy() for name, values in embedded.items()}
    change, says = BAD_FEATURES[bad]
    change(arrays)
    assert of_features(stage, tmp_path, arrays) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("clipjax ingest: ")
    assert says in last, last
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no features"])
def test_what_is_no_features_file(stage, tmp_path, capsys, content):
    (tmp_path / "F.npz").write_bytes(content)
    given = [f"--features={tmp_path / 'F.npz'}", f"--design={stage / 'mine.yaml'}", f"--out={tmp_path / 'run'}"]
    assert main(["ingest", f"--table={stage / 'people.csv'}", *given]) == 1
    assert "cannot be read as features" in capsys.readouterr().err
    np.save(tmp_path / "one.npy", np.ones(3))
    given[0] = f"--features={tmp_path / 'one.npy'}"
    assert main(["ingest", f"--table={stage / 'people.csv'}", *given]) == 1
    assert "name those of the prompts: --text-features=FILE" in capsys.readouterr().err
    assert main(["ingest", *given]) == 1
    assert "give --predictions=TABLE, or --features=F.npz and --table=TABLE" in capsys.readouterr().err
