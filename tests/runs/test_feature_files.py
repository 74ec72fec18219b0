"""Features of any model as files and arrays: the same answers from every form, softmax or sigmoid, scale said."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.explored import Page

from clipjax import design
from clipjax.analysis.run import read_run
from clipjax.cli.main import main
from clipjax.data import labels as labels_of
from clipjax.errors import InputError
from clipjax.explore.opened import open_run
from clipjax.runs import given_features, ingest

N, E, SCALE, BIAS = 40, 12, 20.0, -3.0
CLASSES = ("cat", "dog", "thief")
DESIGN = """
name: mine
templates: ["a photo of a {}.", "a {}"]
classes:
  - {name: cat, sets: [pet]}
  - {name: dog, sets: [pet]}
  - {name: thief, sets: [crime]}
"""
PROMPTS = [template.format(name) for name in CLASSES for template in ("a photo of a {}.", "a {}")]


class Stage:
    """Random features of 40 images and 6 prompts, a table and a design, in every form."""

    def __init__(self, root: Path):
        rng = np.random.default_rng(0)
        self.root = root
        self.files = [f"{i}.png" for i in range(N)]
        self.images = rng.normal(size=(N, E)).astype(np.float32)
        self.prompts = rng.normal(size=(6, E)).astype(np.float32)
        self.gender = ["FM"[i % 2] for i in range(N)]
        self.who = ["cat" if i % 3 else "dog" for i in range(N)]
        pd.DataFrame({"file": self.files, "gender": self.gender, "who": self.who}).to_csv(root / "t.csv", index=False)
        (root / "mine.yaml").write_text(DESIGN)
        (root / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
        np.save(root / "images.npy", self.images)
        np.save(root / "texts.npy", self.prompts)
        np.savez(root / "F.npz", image_features=self.images, files=self.files, text_features=self.prompts,
                 texts=PROMPTS, scale=np.float32(SCALE), logit_bias=np.float32(BIAS))  # fmt: skip
        order = rng.permutation(N)
        self.parquet("images.parquet", "file", [self.files[i] for i in order], self.images[order])
        self.parquet("texts.parquet", "text", PROMPTS[::-1], self.prompts[::-1])

    def parquet(self, name, key, names, values, fixed=False):
        kind = pa.list_(pa.float32(), values.shape[1]) if fixed else pa.list_(pa.float32())
        pq.write_table(pa.table({key: names, "features": pa.array(values.tolist(), kind)}), self.root / name)

    def run(self, *more, out="run", features="F.npz"):
        return main([
            "ingest", f"--features={self.root / features}", f"--table={self.root / 't.csv'}",
            f"--design={self.root / 'mine.yaml'}", "--group-columns=gender", f"--out={self.root / out}", *more,
        ])  # fmt: skip

    def probabilities(self, out="run"):
        return np.array(pq.read_table(self.root / out / "predictions.parquet")["probabilities"].to_pylist())

    def records(self, out="run"):
        return json.loads((self.root / out / "metrics.json").read_text())["records"]

    def manifest(self, out="run"):
        return json.loads((self.root / out / "manifest.json").read_text())

    @property
    def cosines(self):
        """In float64, from the definition."""
        unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (self.images, self.prompts.astype(np.float64))]
        mean = unit[1].reshape(3, 2, E).mean(1)
        return unit[0] @ (mean / np.linalg.norm(mean, axis=1, keepdims=True)).T


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


FORMS = {
    "images.parquet": ["--text-features={}/texts.parquet", "--scale=20"],
    "fixed.parquet": ["--text-features={}/texts.npy", "--texts={}/prompts.txt", "--scale=20"],
    "images.npy": ["--text-features={}/texts.npy", "--texts={}/prompts.txt", "--scale=20"],
    "F.npz": [],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_records(stage, form):
    stage.parquet("fixed.parquet", "file", stage.files, stage.images, fixed=True)
    odds = np.exp(SCALE * stage.cosines)
    odds /= odds.sum(1, keepdims=True)
    assert not stage.run(*[word.format(stage.root) for word in FORMS[form]], features=form)
    np.testing.assert_allclose(stage.probabilities(), odds, rtol=1e-5)
    assert not stage.run(out="whole")
    assert stage.records() == stage.records("whole")
    assert stage.manifest()["model"]["logit_scale"] == SCALE
    assert stage.manifest()["result"]["probability"] == "softmax"
    assert form in [file["name"] for file in stage.manifest()["ingested"]]


def test_a_logit_bias_gives_each_label_a_probability_by_itself(stage):
    """The sigmoid of scale * cosine + bias; softmax on demand, and for one answer per image."""
    options = ["--probe=labels", "--contrast=gender", "--thresholds=0.1"]
    each = 1 / (1 + np.exp(-(SCALE * stage.cosines + BIAS)))
    assert not stage.run(*options)
    np.testing.assert_allclose(stage.probabilities(), each, rtol=1e-5)
    assert {r["probability"] for r in stage.records()} == {"sigmoid"}
    assert stage.manifest()["result"]["probability"] == "sigmoid"
    assert stage.manifest()["model"]["logit_bias"] == BIAS
    female = np.array(stage.gender) == "F"
    found = {r["label"]: r["k"] for r in stage.records() if r["metric"] == "label_rate" and r["group"]["gender"] == "F"}
    assert found == {name: int((each[female, c] >= 0.1).sum()) for c, name in enumerate(CLASSES)}
    assert not stage.run(*options, "--probability=softmax", out="soft")
    assert {r["probability"] for r in stage.records("soft")} == {"softmax"}
    np.testing.assert_allclose(stage.probabilities("soft").sum(1), 1, rtol=1e-5)
    assert not stage.run("--probability=sigmoid", out="rates")
    np.testing.assert_allclose(stage.probabilities("rates"), each, rtol=1e-5)
    assert not stage.run(out="whole")
    assert stage.records("rates") == stage.records("whole")  # the likeliest class is the same


def test_sigmoid_probabilities_that_were_exported_are_ingested_as_such(stage):
    options = ["--probe=labels", "--contrast=gender", "--thresholds=0.1"]
    assert not stage.run(*options)
    table = pq.read_table(stage.root / "run" / "predictions.parquet")
    pq.write_table(table, stage.root / "theirs.parquet")
    words = [f"--predictions={stage.root / 'theirs.parquet'}", f"--design={stage.root / 'mine.yaml'}", *options]
    assert not main(["ingest", *words, "--group-columns=gender", "--probability=sigmoid", f"--out={stage.root / 'b'}"])
    assert stage.records("b") == stage.records()
    assert not main(["ingest", *words, "--group-columns=gender", f"--out={stage.root / 'c'}"])
    assert all("probability" not in r for r in stage.records("c"))  # they do not sum to 1


def test_functions_of_arrays(stage):
    asked, truth = design.read_design(str(stage.root / "mine.yaml")), labels_of.read(np.array(stage.who, object), "t")
    own, groups = (stage.files, stage.images, PROMPTS, stage.prompts, asked), {"gender": stage.gender}
    made = ingest.ingest(given_features.of_arrays(*own, scale=SCALE, groups=groups, truth=truth), stage.root / "arrays")
    assert not stage.run("--label-column=who")
    assert stage.records("arrays") == stage.records()
    assert made.manifest.config["probe"] == "zeroshot"
    with pytest.raises(InputError, match=r"features: probability=sigmoid: the model has no logit bias"):
        given_features.of_arrays(*own, scale=SCALE, probability="sigmoid")
    with pytest.raises(InputError, match=r"image features are float32 \[40\]; give floats"):
        given_features.of_arrays(stage.files, stage.images[:, 0], *own[2:], scale=SCALE)


def test_a_logarithm_is_said_and_an_explicit_scale_decides(stage, capsys):
    with np.load(stage.root / "F.npz") as found:
        arrays = {name: found[name] for name in found.files if name != "scale"}
    np.savez(stage.root / "log.npz", **arrays, logit_scale=np.float32(np.log(SCALE)))
    assert not stage.run(features="log.npz", out="log")
    assert "logit_scale 2.99573 is a logarithm: the cosine is multiplied by 20" in capsys.readouterr().err
    assert stage.manifest("log")["model"]["logit_scale"] == pytest.approx(SCALE)
    np.savez(stage.root / "raw.npz", **arrays, logit_scale=np.float32(10))
    assert stage.run(features="raw.npz", out="raw") == 1
    assert not stage.run("--scale=10", features="raw.npz", out="raw")
    assert stage.manifest("raw")["model"]["logit_scale"] == 10


WRONG = {
    "no texts": (["--scale=20"], "images.parquet", "name those of the prompts: --text-features=FILE"),
    "no scale": (["--text-features={}/texts.parquet"], "images.parquet", "give --scale=100, or 1"),
    "scale": (["--text-features={}/texts.parquet", "--scale=0"], "images.parquet", "--scale=0 is not the factor"),
    "no lines": (["--text-features={}/texts.npy", "--scale=20"], "images.npy", "one per line: --texts=FILE"),
    "lines": (["--text-features={}/texts.npy", "--texts={}/t.csv", "--scale=20"], "images.npy", "6 text features and"),
    "both": (["--text-features={}/texts.npy"], "F.npz", "leave --text-features out"),
    "two texts": (
        ["--text-features={}/texts.parquet", "--texts={}/prompts.txt", "--scale=20"], "images.npy", "leave --texts out",
    ),
    "rows": (["--text-features={}/texts.parquet", "--scale=20"], "fewer.npy", "has 39 rows and"),
    "lengths": (["--text-features={}/texts.parquet", "--scale=20"], "ragged.parquet", "are not of one length"),
    "column": (["--text-features={}/images.parquet", "--scale=20"], "images.parquet", 'has no column "text"'),
    "kind": (["--text-features={}/texts.parquet", "--scale=20"], "numbers.parquet", "store a list of floats per row"),
    "npy": (["--text-features={}/texts.parquet", "--scale=20"], "bad.npy", "cannot be read as features"),
    "sigmoid": (
        ["--text-features={}/texts.parquet", "--scale=20", "--probability=sigmoid"], "images.npy", "has no logit bias",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_files_are_one_line(stage, capsys, wrong):
    np.save(stage.root / "fewer.npy", stage.images[:39])
    ragged = {"file": stage.files, "features": [row[: 12 - (i == 3)] for i, row in enumerate(stage.images.tolist())]}
    pq.write_table(pa.table(ragged), stage.root / "ragged.parquet")
    pq.write_table(pa.table({"file": stage.files, "features": np.ones(N)}), stage.root / "numbers.parquet")
    (stage.root / "bad.npy").write_bytes(b"not an array")
    more, features, says = WRONG[wrong]
    assert stage.run(*[word.format(stage.root) for word in more], features=features) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert says in last, last
    assert not (stage.root / "run").exists()


def test_options_of_features_are_refused_beside_predictions(stage, capsys):
    words = [f"--predictions={stage.root / 't.csv'}", f"--design={stage.root / 'mine.yaml'}", f"--out={stage.root}/x"]
    assert main(["ingest", *words, "--scale=20"]) == 1
    assert "--scale is about --features; leave it out" in capsys.readouterr().err
    with open(stage.root / "p.csv", "w", newline="") as file:
        csv.writer(file).writerows([["file", "prediction"], ["a", "cat"]])
    words[0] = f"--predictions={stage.root / 'p.csv'}"
    assert main(["ingest", *words, "--probability=softmax"]) == 1
    assert "has no probabilities, which probability=softmax is about" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["images.npy", "images.parquet"])
def test_the_explorer_asks_other_designs_of_the_texts_that_came_with_the_features(stage, form):
    """Another name, set or subset of the prompts is answered as `ingest` would; a new prompt is one line."""
    assert not stage.run(*[word.format(stage.root) for word in FORMS[form]], features=form)
    page = Page(open_run(read_run(stage.root / "run")))
    found = page.ask("start")
    assert (found["images"], found["differ"], found["design"]["name"]) == (N, 0, "mine")
    fewer = found["design"] | {"name": "fewer", "classes": found["design"]["classes"][:2]}
    view = page.ask("rates", baseline=found["design"], design=fewer, grouping=["gender"], question=["set", "pet"])
    (stage.root / "mine.yaml").write_text(
        DESIGN.replace("  - {name: thief, sets: [crime]}\n", "").replace("mine", "fewer")
    )
    assert not stage.run(*[word.format(stage.root) for word in FORMS[form]], features=form, out="fewer")
    rates = {r["group"]["gender"]: r["k"] for r in stage.records("fewer")
             if r["metric"] == "rate" and r.get("set") == "pet" and "gender" in r["group"]}  # fmt: skip
    assert {row["group"]["gender"]: row["now"]["k"] for row in view["rows"] if row["group"]} == rates
    assert "moved" in view
    more = found["design"] | {"classes": [*found["design"]["classes"], {"name": "fox"}]}
    line = page.refused("rates", baseline=found["design"], design=more, grouping=["gender"], question=["set", "pet"])
    assert "2 of the design's 8 prompts are not among its 6 texts" in line
    assert "the answers of t.csv were ingested" in page.refused("images", on=True)
    assert "computed elsewhere" in page.ask("report", design=fewer, trail=[found["design"], fewer])["text"]


def test_features_of_other_images_are_not_explored(stage):
    assert not stage.run()
    with np.load(stage.root / "run" / "features.npz") as found:
        arrays = dict(found)
    np.savez(stage.root / "run" / "features.npz", **arrays | {"files": arrays["files"][::-1]})
    with pytest.raises(InputError, match="has features of other images than predictions"):
        open_run(read_run(stage.root / "run"))
