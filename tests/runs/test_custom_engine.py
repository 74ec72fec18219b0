"""Models of a user's Python file: every probe, caches by what the file declares, kills, and files that are wrong."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import numpy_model
from support.probe_processes import encoded, finals, kill_at_random, run_on_two_hosts, run_with

import clipjax
from clipjax import image
from clipjax.analysis.run import read_run
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.explore.answers import Answers
from clipjax.explore.opened import open_run
from clipjax.runs import custom_checks
from clipjax.testing import pictures

FILE = Path(numpy_model.__file__)
BATCH = 4  # the checks of a file use one image and five
DESIGN = """
name: mine
templates: ["a photo of a {}."]
classes:
  - {name: cat, sets: [pet]}
  - {name: dog, sets: [pet]}
  - {name: thief, sets: [crime]}
"""
ATTRIBUTE = """
name: kinds
templates: ["a photo of a {}."]
classes:
  - {name: cat, kind: cat}
  - {name: dog, kind: dog}
"""
ASSOCIATION = """
tests:
  - name: kinds
    x: {images: {gender: F}}
    y: {images: {gender: M}}
    a: {texts: [a cat, a kitten]}
    b: {texts: [a dog, a puppy]}
"""


@pytest.fixture
def model(tmp_path):
    """The file in a folder of its own, as a user has it."""
    return shutil.copy(FILE, tmp_path / "my_model.py")


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """24 images with groups, labels and captions, and two designs."""
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_QUIET", "1")
    pictures(tmp_path / "photos", {"cat": 12, "dog": 12})
    files = [str(p.relative_to(tmp_path / "photos")) for p in sorted((tmp_path / "photos").rglob("*.jpg"))]
    with open(tmp_path / "people.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "gender", "kind", "split", "caption"])
        for i, name in enumerate(files):
            kind, part = name.split("/")[0], ("train", "test")[i % 3 == 0]
            writer.writerow([name, "FM"[i % 2], kind, part, f"a {kind} that is number {i} {'word ' * (i * 2)}"])
    (tmp_path / "mine.yaml").write_text(DESIGN)
    (tmp_path / "kinds.yaml").write_text(ATTRIBUTE)
    (tmp_path / "tests.yaml").write_text(ASSOCIATION)
    lines = [
        f"{name},a {name[:3]},a {'dog' if name[0] == 'c' else 'cat'},{'FM'[i % 2]}" for i, name in enumerate(files)
    ]
    (tmp_path / "questions.csv").write_text("\n".join(["file,caption,wrong,gender", *lines]) + "\n")
    return tmp_path


def probe(stage, model, config, *more, out="run"):
    words = [
        "probe", config, f"--config.model=py:{model}", "--config.data.source=csv", f"--config.data.path={stage}/photos",
        f"--config.data.csv={stage}/people.csv", f"--config.batch_size={BATCH}", f"--out={stage / out}", *more,
    ]  # fmt: skip
    return main(words)


def features(paths, seed=0):
    """What the file gives, without clipjax: raw image features [N, E]."""
    made = numpy_model.Numpy(f"seed={seed}")
    inputs = [made.preprocess(image.open_image(path)) for path in paths]
    return made.encode_image(**{name: np.stack([one[name] for one in inputs]) for name in inputs[0]})


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


PROBES = {
    "zeroshot": ["--config.data.label_column=kind", "--config.classes=cat,dog"],
    "rates": ["--config.design={stage}/mine.yaml", "--config.data.group_columns=gender"],
    "congress:csv": ["--config.design={stage}/mine.yaml", "--config.data.group_columns=gender",
                     "--config.thresholds=0.3"],
    "fairface_attributes:csv": ["--config.attributes=kind={stage}/kinds.yaml", "--config.classifier=zero-shot",
                                "--config.data.group_columns=gender,kind", "--config.binary=", "--config.groups="],
    "celeba:csv": ["--config.data.label_column=kind", "--config.sizes=2"],
    "retrieval": ["--config.data.caption_columns=caption"],
    "linear": ["--config.data.label_column=kind", "--config.C=1"],
    "fewshot": ["--config.data.label_column=kind", "--config.shots=(2,)", "--config.feature=proj"],
    "skew": ["--config.classes=cat,dog", "--config.k=(6,)", "--config.data.group_columns=gender"],
    "association": ["--config.tests={stage}/tests.yaml", "--config.data.group_columns=gender"],
    "captions": ["--config.instances={stage}/questions.csv", "--config.by=gender", "--config.data.csv=",
                 "--config.data.source=folder"],
    "zeroshot:csv": ["--config.data.label_column=kind", "--config.classes=cat,dog", "--config.calibration.bins=5",
                     "--config.calibration.fit=0.5", "--config.data.group_columns=gender"],
}  # fmt: skip


@pytest.mark.parametrize("config", PROBES)
def test_every_probe_goes_on_after_a_stop_and_is_made_again_from_its_manifest(
    stage, model, config, capsys, monkeypatch
):
    """`rerun` computes all of it again in one go, so what was stopped has the numbers of what was not."""
    more = [word.format(stage=stage) for word in PROBES[config]]
    with monkeypatch.context() as patch:
        patch.setenv("NUMPY_MODEL_STOPS_AFTER", "3")
        assert probe(stage, model, config, *more) == 130
    assert 0 < encoded(stage / "run") < 24
    assert probe(stage, model, config, *more) == 0
    assert 24 <= encoded(stage / "run") <= 24 + 2 * BATCH
    found = json.loads((stage / "run" / "metrics.json").read_text())["records"]
    assert found
    manifest = json.loads((stage / "run" / "manifest.json").read_text())
    assert manifest["model"]["name"] == "numpy model"
    assert manifest["model"]["config"] == {"embed_dim": 24, "device": "", "settings": {"numpy": "any"}}
    assert manifest["model"]["file"] == {"name": "my_model.py", "sha256": clipjax.load(f"py:{model}").source["sha256"]}
    assert main(["rerun", str(stage / "run")]) == 0
    assert "Same: " in capsys.readouterr().out
    assert main(["report", str(stage / "run")]) == 0
    assert "numpy model" in (stage / "run" / "report.html").read_text()


def test_probabilities_are_those_of_the_files_own_features(stage, model):
    assert probe(stage, model, "zeroshot", *PROBES["zeroshot"]) == 0
    table = pq.read_table(stage / "run" / "predictions.parquet").to_pydict()
    images = unit(features([stage / "photos" / name for name in table["file"]]))
    texts = unit(numpy_model.Numpy("").encode_text(["a photo of a cat.", "a photo of a dog."]))
    odds = np.exp(30 * images @ texts.T)
    np.testing.assert_allclose(table["probabilities"], odds / odds.sum(1, keepdims=True), rtol=1e-5)
    loaded = clipjax.load(f"py:{model}")
    opened = [image.open_image(stage / "photos" / name) for name in table["file"]]
    np.testing.assert_allclose(loaded.classify(opened, ["cat", "dog"]), table["probabilities"], rtol=1e-5)


def test_retrieval_counts_cut_captions_where_the_file_tells_lengths(stage, model):
    assert probe(stage, model, "retrieval", *PROBES["retrieval"]) == 0
    with open(stage / "people.csv", newline="") as file:
        long = sum(len(f"a photo of {row['caption']}".split()) > numpy_model.LIMIT for row in csv.DictReader(file))
    assert json.loads((stage / "run" / "manifest.json").read_text())["result"]["truncated"] == long > 0
    text = Path(model).read_text()
    Path(model).write_text(text.replace("def text_lengths", "def not_told"))
    assert probe(stage, model, "retrieval", *PROBES["retrieval"], out="untold") == 0
    assert "truncated" not in json.loads((stage / "untold" / "manifest.json").read_text())["result"]


@pytest.mark.exhaustive  # four processes that start JAX; `PROBES` are stopped in this one
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(world, tmp_path):
    more = [f"--config.model=py:{FILE}:slow=0.05", "--config.batch_size=4"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    run_with(world, whole, tmp_path / "a", 1, *more)
    assert kill_at_random(world, out, tmp_path / "b", 2, (5, 12), *more) == 2
    assert 0 < encoded(out) < 41
    run_with(world, out, tmp_path / "b", 1, *more)
    assert finals(out) == finals(whole)
    assert encoded(whole) == 41
    assert encoded(out) <= 41 + 2 * 8  # a kill loses the batch that is worked on and the one on its way


@pytest.mark.exhaustive  # two processes that start JAX
def test_several_hosts_share_the_images(world, tmp_path):
    """Each runs the file for its own rows; the answers are those of one host."""
    more = [f"--config.model=py:{FILE}", "--config.batch_size=4"]
    one, two = tmp_path / "one", tmp_path / "two"
    run_with(world, one, tmp_path / "a", 1, *more)
    run_on_two_hosts(world, two, tmp_path / "b", *more)
    assert finals(two) == finals(one)


def test_features_are_encoded_once_per_fingerprint(stage, model):
    def seen(out, named=model, *more):
        assert probe(stage, named, "zeroshot", *PROBES["zeroshot"], *more, out=out) == 0
        return encoded(stage / out)

    assert seen("a") == 24
    assert seen("b") == 0
    assert seen("c", f"{model}:seed=1") == 24  # other parameters
    assert seen("d", f"{model}:seed=0") == 24  # another argument
    text = Path(model).read_text()
    Path(model).write_text(text.replace('"any"', '"other"'))
    assert seen("e") == 24  # other settings, in another file
    Path(model).write_text(text)
    assert seen("f") == 0
    assert len({json.loads((stage / n / "manifest.json").read_text())["model"]["weights_sha256"] for n in "abcde"}) == 4


@pytest.mark.parametrize("name", ["NUMPY_MODEL_LIBRARY", "NUMPY_MODEL_DEVICE"])
def test_a_change_that_settings_or_device_declare_is_another_model(stage, model, monkeypatch, name):
    """The same file and parameters under another library, or elsewhere: features of its own."""
    assert probe(stage, model, "zeroshot", *PROBES["zeroshot"]) == 0
    monkeypatch.setenv(name, "other")
    monkeypatch.setenv("NUMPY_MODEL_CHANGED", "1")
    assert probe(stage, model, "zeroshot", *PROBES["zeroshot"], out="again") == 0
    assert encoded(stage / "again") == 24
    models = [json.loads((stage / n / "manifest.json").read_text())["model"] for n in ("run", "again")]
    assert models[0]["weights_sha256"] != models[1]["weights_sha256"]


def test_a_change_that_the_file_does_not_declare_stops_the_run(stage, model, monkeypatch, capsys):
    assert probe(stage, model, "zeroshot", *PROBES["zeroshot"]) == 0
    monkeypatch.setenv("NUMPY_MODEL_CHANGED", "1")
    assert probe(stage, model, "zeroshot", *PROBES["zeroshot"], out="again") == 0  # all known
    pictures(stage / "photos", {"cat": 12, "dog": 12}, seed=5)
    assert probe(stage, model, "zeroshot", *PROBES["zeroshot"], out="other") == 1
    error = capsys.readouterr().err
    assert "my_model.py: the image chelsea.jpg has other features than when this model was first used" in error
    assert not (stage / "other" / "metrics.json").exists()


WRONG = {
    "neighbours": "encode_image of five gives other features than of each alone",
    "padding": "encode_text of five gives other features than of each alone",
    "nan": "encode_image gives numbers that are not finite",
    "same": "encode_image gives the same features for five different images",
    "flat": "encode_image of 5 gives float32 [24]; give float32 [5, E]",
    "ints": "encode_image of 5 gives int64 [5, 24]; give float32 [5, E]",
    "preprocess": "preprocess failed (RuntimeError: no such resize)",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_is_one_line_before_the_first_batch(stage, model, wrong, capsys):
    assert probe(stage, f"{model}:wrong={wrong}", "zeroshot", *PROBES["zeroshot"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "my_model.py" in error
    assert WRONG[wrong] in error
    assert not (stage / "run" / "metrics.json").exists()


def test_an_image_that_preprocess_fails_on_is_skipped_with_its_reason(stage, model):
    text = Path(model).read_text()
    broken = text.replace("        small =", "        if image.width == 41:\n            1 / 0\n        small =")
    Path(model).write_text(broken)
    assert probe(stage, model, "zeroshot", *PROBES["zeroshot"], "--config.data.max_skipped=0.5") == 0
    counts = json.loads((stage / "run" / "manifest.json").read_text())["counts"]
    assert (counts["seen"], counts["skipped"]) == (20, 4)
    assert "my_model.py line" in counts["skipped_files"][0]["reason"]
    assert "ZeroDivisionError: division by zero" in counts["skipped_files"][0]["reason"]


@pytest.mark.parametrize(
    ("key", "named"),
    [("precision=bfloat16", "precision=bfloat16"), ("placement=fsdp", "placement=fsdp"), ("mapping=pmap", "mapping"),
     ("weights.activation=gelu", "weights.activation=gelu")],
)  # fmt: skip
def test_keys_of_jax_are_refused_in_one_line(stage, model, key, named, capsys):
    assert probe(stage, model, "zeroshot", *PROBES["zeroshot"], f"--config.{key}") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert named in error
    assert "would change nothing" in error


def test_changes_of_clipjax_own_crops_are_refused(stage, model, capsys):
    """They would change nothing, and the fingerprint of the images would say that they did."""
    assert probe(stage, model, "zeroshot", *PROBES["zeroshot"], "--config.data.perturb=grey") == 1
    assert "data.perturb changes the crops of clipjax, and" in capsys.readouterr().err
    assert not (stage / "run").exists()


def test_a_model_of_images_alone_is_for_fitted_probes(stage, model, capsys):
    text = Path(model).read_text()
    Path(model).write_text(text.replace("def encode_text", "def no_text").replace("    scale = 30.0\n", ""))
    assert probe(stage, model, "linear", *PROBES["linear"]) == 0
    assert probe(stage, model, "zeroshot", *PROBES["zeroshot"], out="texts") == 1
    assert "the model has no encode_text; only probes that ask no texts can use the model" in capsys.readouterr().err
    Path(model).write_text(text.replace("encode_image_pre", "earlier"))
    assert probe(stage, model, "linear", *PROBES["linear"], out="pre") == 1
    assert "has no encode_image_pre; there are no features before a projection: use --config.feature=proj" in (
        capsys.readouterr().err
    )
    assert probe(stage, model, "linear", *PROBES["linear"], "--config.feature=proj", out="proj") == 0


def test_the_explorer_opens_the_run_and_asks_new_prompts(stage, model):
    more = [word.format(stage=stage) for word in PROBES["rates"]]
    assert probe(stage, model, "rates", *more) == 0
    run = read_run(stage / "run")
    opened = open_run(run)
    answers = Answers(opened)
    asked = answers.ask(opened.design)
    np.testing.assert_allclose(answers.probabilities(asked), run.predictions["probabilities"], atol=1e-6)
    other = answers.ask(opened.design.add(["a small bird:pet"]))
    assert answers.probabilities(other).shape == (24, 4)
    with pytest.raises(InputError, match=r"has 3\d tokens, and this model reads 20"):
        answers.ask(opened.design.add(["word " * 30]))


def test_embed_writes_the_files_features_and_ingest_reads_them(stage, model):
    (stage / "texts.txt").write_text("a photo of a cat.\na photo of a dog.\na photo of a thief.\n")
    words = [f"--images={stage}/photos", f"--texts={stage}/texts.txt", f"--out={stage}/F.npz"]
    assert main(["embed", f"--model=py:{model}", *words]) == 0
    with np.load(stage / "F.npz") as found:
        np.testing.assert_allclose(found["image_features"], features(found["files"]), rtol=1e-5)
        assert found["logit_scale"] == np.float32(np.log(30))
    assert main(["classify", str(next((stage / "photos" / "cat").iterdir())), "--classes=cat,dog",
                 f"--model=py:{model}"]) == 0  # fmt: skip


def test_comparable_with_another_model_by_vary(stage, model):
    more = [word.format(stage=stage) for word in PROBES["rates"]]
    assert probe(stage, model, "rates", *more, out="a") == 0
    assert probe(stage, f"{model}:seed=3", "rates", *more, out="b") == 0
    assert main(["compare", str(stage / "a"), str(stage / "b")]) == 1
    words = ["compare", str(stage / "a"), str(stage / "b"), f"--out={stage / 'compared'}"]
    assert main([*words, "--vary=weights"]) == 0


def test_other_verbs_refuse_a_file_that_gives_features(stage, model, capsys):
    for words in (
        ["convert", f"py:{model}", str(stage / "out.safetensors")],
        ["plan", f"--model=py:{model}", "--topology=v5e:1x1"],
        ["finetune", "openai_vit_b32_csv", f"--config.model=py:{model}", f"--config.data.csv={stage}/people.csv",
         f"--config.data.path={stage}/photos", "--config.data.source=csv", "--config.data.caption_columns=caption",
         f"--out={stage}/tuned"],
    ):  # fmt: skip
        assert main(words) == 1
        assert "a Python file gives features, not weights" in capsys.readouterr().err
    assert main(["classify", "x.png", "--classes=a", f"--model={model}"]) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", "defines no function load()"),
        ("import nothing_of_that_name\n", "line 1: the file cannot be run (ModuleNotFoundError"),
        ("def load():\n    return 1 / 0\n", "line 2: load() failed (ZeroDivisionError: division by zero)"),
        ("def load():\n    return object()\n", "load() returns object, which has no name, preprocess, encode_image"),
    ],
)
def test_a_file_that_is_not_a_model(tmp_path, text, says):
    (tmp_path / "m.py").write_text(text)
    with pytest.raises(InputError) as error:
        clipjax.load(f"py:{tmp_path / 'm.py'}")
    assert says in str(error.value)


@pytest.mark.parametrize("address", ["py:nowhere.py", "py:model", "py:"])
def test_addresses_that_name_no_file(address):
    with pytest.raises(InputError, match=r"there is no file nowhere\.py|write py:FILE\.py"):
        clipjax.load(address)


def test_a_fingerprint_stands_for_weights_and_one_is_needed(tmp_path, monkeypatch):
    path = tmp_path / "m.py"
    path.write_text(FILE.read_text().replace("def weights", "def not_said"))
    with pytest.raises(InputError, match="does not say which parameters it has"):
        _ = clipjax.load(f"py:{path}").fingerprint
    path.write_text(path.read_text().replace("    scale = 30.0", "    scale = 30.0\n    fingerprint = 'one'"))
    one = clipjax.load(f"py:{path}").fingerprint
    assert one == clipjax.load(f"py:{path}").fingerprint
    path.write_text(path.read_text().replace("'one'", "'two'"))
    assert clipjax.load(f"py:{path}").fingerprint != one


def test_tolerance_widens_the_bounds_of_a_shorter_type(stage, model):
    loaded = clipjax.load(f"py:{model}:wrong=neighbours")
    with pytest.raises(InputError, match="of each alone"):
        custom_checks.image_features(loaded, "proj")
    loaded.definition.tolerance = 0.5
    custom_checks.image_features(loaded, "proj")
    assert os.path.basename(loaded.file) == "my_model.py"
