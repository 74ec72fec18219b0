"""The other probes as runs, and data sets by name, from the command line to the numbers."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from support.probe_processes import argv, encoded

import clipjax
from clipjax import image
from clipjax.cli.main import main
from clipjax.testing import pictures, tiny_model


@pytest.fixture(scope="module")
def two_parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("two_parts")
    tiny_model(root / "tiny.safetensors", layers=1)
    pictures(root / "photos" / "train", {"a": 30, "b": 30, "c": 30})
    pictures(root / "photos" / "test", {"a": 15, "b": 15, "c": 15}, seed=1)
    return root


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_QUIET", "1")


def records(out):
    return json.loads((out / "metrics.json").read_text())["records"]


def test_linear_probe_is_scikit_learns_on_the_same_features(two_parts, tmp_path):
    out = tmp_path / "run"
    more = ["--config.C=0.316", "--config.feature=proj", "--config.calibration.bins=5"]
    assert main(argv(two_parts, out, *more, config="linear")) == 0
    table = pq.read_table(out / "predictions.parquet").to_pydict()
    model = clipjax.load(two_parts / "tiny.safetensors")

    def features(part):
        files = sorted((two_parts / "photos" / part).rglob("*.jpg"))
        pixels = model.preprocess([image.open_image(f) for f in files])
        return np.asarray(model.encode_image(pixels)), [f.parent.name for f in files]

    x, y = features("train")
    test_x, test_y = features("test")
    reference = LogisticRegression(C=0.316, max_iter=10_000, tol=1e-10).fit(x.astype(np.float64), y)
    assert table["label"] == test_y
    assert table["prediction"] == list(reference.predict(test_x.astype(np.float64)))
    top1 = next(r for r in records(out) if r["metric"] == "top1")
    assert top1["k"] == sum(a == b for a, b in zip(table["prediction"], test_y, strict=True))
    probabilities = reference.predict_proba(test_x.astype(np.float64))
    losses = {r["metric"]: r["value"] for r in records(out) if r["metric"] in ("nll", "brier")}
    assert losses["nll"] == pytest.approx(log_loss(test_y, probabilities), rel=1e-3)  # the fit's float32
    truth = np.array(test_y)[:, None] == reference.classes_
    assert losses["brier"] == pytest.approx(((probabilities - truth) ** 2).sum(1).mean(), rel=1e-3)
    assert encoded(out) == 135


def test_confidences_need_training_images_of_every_class(two_parts, tmp_path, capsys):
    shutil.copytree(two_parts / "photos" / "train", tmp_path / "train")
    shutil.rmtree(tmp_path / "train" / "c")
    more = ["--config.calibration.bins=5", "--config.classes=a,b,c", f"--config.data.train_path={tmp_path / 'train'}",
            f"--config.data.test_path={two_parts / 'photos' / 'test'}"]  # fmt: skip
    assert main(argv(two_parts, tmp_path / "run", *more, config="linear")) == 1
    assert "no training image is of class c, so its log loss is infinite" in capsys.readouterr().err


def test_the_sweep_is_in_the_manifest_and_pre_proj_is_the_default(two_parts, tmp_path):
    out = tmp_path / "run"
    assert main(argv(two_parts, out, config="linear")) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["result"]["feature"] == "pre_proj"
    assert manifest["result"]["C"] in [record["C"] for record in manifest["result"]["path"]]
    assert manifest["counts"]["seen"] == 135
    assert records(out)[0]["value"] > 0.5  # three colours: chance is a third


def test_fewshot_gives_mean_and_spread_per_number_of_shots(two_parts, tmp_path):
    out = tmp_path / "run"
    assert main(argv(two_parts, out, "--config.shots=(1, 4)", config="fewshot")) == 0
    found = records(out)
    assert [r["shots"] for r in found] == [1, 4]
    assert all(r["spread"] >= 0 and len(r["values"]) == 3 and r["n"] == 45 for r in found)
    assert found[1]["value"] > 1 / 3
    table = pq.read_table(out / "predictions.parquet")
    right = np.array(table["right_by_draw"].to_pylist())
    assert right.mean(0).tolist() == [value for r in found for value in r["values"]]
    assert main(argv(two_parts, tmp_path / "b", "--config.shots=(1, 4)", "--config.C=9.0", config="fewshot")) == 0
    assert main(["compare", str(out), str(tmp_path / "b"), f"--out={tmp_path / 'compared'}"]) == 0
    numbers = json.loads((tmp_path / "compared" / "compare.json").read_text())["numbers"]
    assert [(n["metric"], n["shots"], n["n"]) for n in numbers] == [("top1", 1, 45), ("top1", 4, 45)]
    assert all(n["low"] <= n["value"] <= n["high"] for n in numbers)


def test_neighbours_are_those_of_the_features(two_parts, tmp_path, capsys):
    out, more = tmp_path / "run", ("--config.C=0.316", "--config.feature=proj", "--config.neighbours=1,5")
    assert main(argv(two_parts, out, *more, config="linear")) == 0
    assert "same_attribute_precision@5" in capsys.readouterr().out
    found = [r for r in records(out) if r["metric"] == "same_attribute_precision_at_k"]
    assert [(r["k"], r["n"], r["null_mean"]) for r in found] == [
        (1, 45, pytest.approx(1 / 3)),
        (5, 45, pytest.approx(1 / 3)),
    ]
    model = clipjax.load(two_parts / "tiny.safetensors")
    unit, names = {}, {}
    for part in ("train", "test"):
        files = sorted((two_parts / "photos" / part).rglob("*.jpg"))
        values = np.asarray(model.encode_image(model.preprocess([image.open_image(f) for f in files])))
        unit[part] = values / np.linalg.norm(values, axis=1, keepdims=True)
        names[part] = np.array([f.parent.name for f in files])
    best = np.argsort(-unit["test"] @ unit["train"].T, axis=1)[:, :5]
    share = (names["train"][best] == names["test"][:, None]).mean(1)
    assert found[1]["value"] == pytest.approx(share.mean(), abs=0.01)  # nearly equal cosines may change places
    assert main(argv(two_parts, tmp_path / "b", *more[:2], "--config.neighbours=91", config="linear")) == 1
    assert "K=91 of 90 database images; choose K from 1 to 90" in capsys.readouterr().err


def test_an_image_may_not_find_itself(two_parts, tmp_path, capsys):
    root = tmp_path / "photos"
    shutil.copytree(two_parts / "photos", root)
    shutil.copy(next((root / "train" / "a").iterdir()), root / "test" / "a" / "again.jpg")
    more = (f"--config.data.path={root}", "--config.neighbours=(1,)")
    assert main(argv(two_parts, tmp_path / "run", *more, config="linear")) == 1
    assert "the training and the test part share 1 images, and an image would find itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("groups=a", "groups is not read without groups; name columns: --config.data.group_columns=a,b"),
        ("bands=a=b: c=d", "bands is not read without groups"),
        ("group_weights=a: b=1", "no key 'group_weights', which is read by linear, zeroshot"),
        ("method=wilson", "no key 'method', which is read by"),
    ],
)
def test_keys_that_fewshot_does_not_read(two_parts, tmp_path, capsys, more, message):
    assert main(argv(two_parts, tmp_path / "run", f"--config.{more}", config="fewshot")) == 1
    assert message in capsys.readouterr().err


def test_a_linear_probe_needs_two_different_parts(two_parts, tmp_path, capsys):
    more = ["--config.train_split=test"]
    assert main(argv(two_parts, tmp_path / "run", *more, config="linear")) == 1
    assert "every test image is in the train part" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_retrieval_equals_a_loop_over_the_features(two_parts, tmp_path):
    files = sorted((two_parts / "photos" / "test").rglob("*.jpg"))[:12]
    with open(tmp_path / "t.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "one", "two"])
        writer.writerows([f, f"picture {i}", f"thing number {i}, seen"] for i, f in enumerate(files))
    long = tmp_path / "long.csv"
    long.write_text(f"file,one\n{files[0]},short\n{files[1]},{'word ' * 90}\n")
    more = ["--config.data.source=csv", f"--config.data.csv={long}", "--config.data.caption_columns=one"]
    assert main([w for w in argv(two_parts, tmp_path / "cut", *more, config="retrieval") if "data.path" not in w]) == 0
    assert json.loads((tmp_path / "cut" / "manifest.json").read_text())["result"]["truncated"] == 1
    out = tmp_path / "run"
    more = ["--config.data.source=csv", f"--config.data.csv={tmp_path}/t.csv", "--config.data.caption_columns=one,two"]
    assert main([w for w in argv(two_parts, out, *more, config="retrieval") if "data.path" not in w]) == 0
    model = clipjax.load(two_parts / "tiny.safetensors")
    images = np.asarray(model.encode_image(model.preprocess([image.open_image(f) for f in files])))
    texts = [f"a photo of {c}" for i in range(12) for c in (f"picture {i}", f"thing number {i}, seen")]
    captions = np.asarray(model.encode_text(clipjax.tokenize(texts)))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, captions)]
    scores = unit[0] @ unit[1].T
    for k in (1, 5, 10):
        to_text = np.mean([any(j // 2 == i for j in np.argsort(-row)[:k]) for i, row in enumerate(scores)])
        to_image = np.mean([j // 2 in np.argsort(-column)[:k] for j, column in enumerate(scores.T)])
        found = {r["direction"]: r["value"] for r in records(out) if r["metric"] == f"recall@{k}"}
        assert found == pytest.approx({"image_to_text": to_text, "text_to_image": to_image})
    ranks = [1 + min(np.argsort(-row).tolist().index(j) for j in (2 * i, 2 * i + 1)) for i, row in enumerate(scores)]
    assert pq.read_table(out / "predictions.parquet")["caption_rank"].to_pylist() == ranks


def test_a_named_data_set_brings_its_classes_templates_and_published_numbers(two_parts, tmp_path, capsys):
    """Country211's own layout; random weights under a released architecture's name would be needed for its numbers."""
    root = pictures(tmp_path / "country211" / "test", {"AD": 2, "AE": 2, "FR": 3}).parent
    out = tmp_path / "run"
    assert main(argv(two_parts, out, f"--config.data.path={root}", config="zeroshot:country211")) == 0
    design = json.loads((out / "manifest.json").read_text())["design"]
    assert [c["name"] for c in design["classes"][:2]] == ["Andorra", "United Arab Emirates"]
    assert design["templates"][0] == "a photo i took in {}."
    table = pq.read_table(out / "predictions.parquet").to_pydict()
    assert table["label"] == ["Andorra"] * 2 + ["United Arab Emirates"] * 2 + ["France"] * 3
    assert {r["metric"] for r in records(out)} == {"top1", "top5", "mean_per_class"}
    assert main(argv(two_parts, tmp_path / "o", "--config.data.options=fold=3", config="zeroshot:country211")) == 1
    assert "takes none" in capsys.readouterr().err


def test_published_numbers_stand_beside_ours_with_their_mark():
    from clipjax.analysis.records import Record
    from clipjax.runs import config, runner, summary

    resolved = config.load("zeroshot:food101", ["--config.model=ViT-B/32"])
    published = runner._published(resolved)
    assert set(published) == {"paper_zero_shot", "open_clip_zero_shot"}
    record = Record(metric="top1", value=0.5, low=0.4, high=0.6, n=100, method="clopper-pearson")
    text = summary.records_table([record], published)
    assert "84.40%" in text
    assert "read in the source" in text
    assert Path(config.find("zeroshot")).name == "zeroshot.py"


def test_tip_adapter_beside_the_zero_shot_probe_of_the_same_images(two_parts, tmp_path):
    more = ["--config.shots=(1, 4)", "--config.templates=a {}"]
    few, zero = tmp_path / "few", tmp_path / "zero"
    assert main(argv(two_parts, few, *more, "--config.training.epochs=2", config="tip_adapter")) == 0
    path = [f"--config.data.path={two_parts}/photos/test", "--config.templates=a {}"]
    assert main([*(w for w in argv(two_parts, zero) if "data.path" not in w), *path]) == 0
    found = records(few)
    assert [(r["metric"], r["shots"]) for r in found] == [
        (metric, k) for k in (1, 4) for metric in ("top1", "top1_gain_over_zero_shot")
    ] + [("top1", 0)]
    assert all(len(r["values"]) == len(r["alphas"]) == len(r["betas"]) == len(r["losses"]) == 3 for r in found[:4])
    assert found[-1]["k"] == records(zero)[0]["k"]
    manifest = json.loads((few / "manifest.json").read_text())
    assert manifest["result"]["n_validation"] == 18  # a fifth of 90
    assert manifest["design"]["templates"] == ["a {}"]
    assert main(["report", str(few)]) == 0
    assert "top1_gain_over_zero_shot" in (few / "report.html").read_text()


@pytest.mark.parametrize(("word", "message"), [
    ("training.learning_rate=0.1", "training.learning_rate=0.1 is read where keys are learned: set training.epochs"),
    ("training.epochs=-1", "epochs are 0 or more"),
    ("draws=1", "draws=1, shots=(1, 2, 4, 8, 16): a spread needs two draws"),
    ("shots=(4,4)", "shots are different numbers above 0"),
    ("C=1", "no key 'C', which is read by"),
])  # fmt: skip
def test_tip_adapter_refuses_what_it_does_not_read(two_parts, tmp_path, capsys, word, message):
    assert main(argv(two_parts, tmp_path / "run", f"--config.{word}", config="tip_adapter")) == 1
    assert message in capsys.readouterr().err


def test_coop_learns_vectors_before_the_names_of_classes(two_parts, tmp_path, capsys):
    few = ["--config.shots=(1, 2)", "--config.context.epochs=2", "--config.context.tokens=3"]
    assert main(argv(two_parts, tmp_path / "run", *few, config="coop")) == 0
    found = records(tmp_path / "run")
    assert [r["shots"] for r in found] == [1, 1, 2, 2, 0]
    assert all(len(r["losses"]) == 3 for r in found[:4])
    assert main(["report", str(tmp_path / "run")]) == 0
    assert main(argv(two_parts, tmp_path / "none", "--config.context.tokens=0", config="coop")) == 1
    assert "context.tokens=0" in capsys.readouterr().err
