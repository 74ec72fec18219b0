"""Models trained with a sigmoid loss and a tokenizer of their own: SigLIP in small, from the file to records."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.small_siglip import BIAS, SCALE, siglip

import clipjax
from clipjax import image, loading
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.models import weights
from clipjax.runs import config as configs
from clipjax.runs import finetune_config
from clipjax.testing import pictures

pytest.importorskip("tokenizers")
GOLDEN = Path(__file__).parents[1] / "golden" / "tokenizers"
DESIGN = "templates: ['a photo of a {}.']\nclasses: [cat, dog, thief]\n"


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A SigLIP of one block with random weights and its tokenizer, and 12 images."""
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_QUIET", "1")
    siglip(tmp_path / "siglip.safetensors")
    shutil.copy(GOLDEN / "siglip" / "tokenizer.json", tmp_path / "tokenizer.json")
    pictures(tmp_path / "photos", {"cat": 6, "dog": 6})
    with open(tmp_path / "people.csv", "w", newline="") as file:
        rows = [(str(p.relative_to(tmp_path)), "FM"[i % 2]) for i, p in enumerate(sorted(tmp_path.rglob("*.jpg")))]
        csv.writer(file).writerows([("file", "gender"), *rows])
    (tmp_path / "mine.yaml").write_text(DESIGN)
    return tmp_path


def probe(stage, config, *more, out="run"):
    return main([
        "probe", config, f"--config.model={stage}/siglip.safetensors", "--config.data.source=csv",
        f"--config.data.csv={stage}/people.csv", f"--config.design={stage}/mine.yaml", "--config.batch_size=4",
        "--config.data.group_columns=gender", f"--out={stage / out}", *more,
    ])  # fmt: skip


def read(stage, out="run"):
    records = json.loads((stage / out / "metrics.json").read_text())["records"]
    table = pq.read_table(stage / out / "predictions.parquet").to_pydict()
    return records, json.loads((stage / out / "manifest.json").read_text()), table


def cosines(stage, files):
    model = clipjax.load(stage / "siglip.safetensors")
    images = model.features_of_images([image.open_image(stage / file) for file in files])
    texts = model.features_of_texts([f"a photo of a {name}." for name in ("cat", "dog", "thief")])
    images, texts = images.astype(np.float64), texts.astype(np.float64)
    return images @ texts.T / np.linalg.norm(images, axis=1)[:, None] / np.linalg.norm(texts, axis=1)


def test_labels_get_a_probability_each_and_a_design_one_answer(stage):
    assert probe(stage, "congress:csv", "--config.thresholds=0.1") == 0
    records, manifest, table = read(stage)
    logits = SCALE * cosines(stage, table["file"])
    np.testing.assert_allclose(table["probabilities"], 1 / (1 + np.exp(-(logits + BIAS))), rtol=1e-4, atol=1e-9)
    assert {record["probability"] for record in records} == {"sigmoid"}
    assert manifest["result"]["probability"] == "sigmoid"
    assert (manifest["model"]["logit_bias"], manifest["model"]["logit_scale"]) == (BIAS, pytest.approx(SCALE))
    assert manifest["model"]["config"]["tokens"]["file_sha256"] == clipjax.files.sha256(stage / "tokenizer.json")
    assert main(["report", str(stage / "run")]) == 0
    assert "a probability of its own, the sigmoid" in (stage / "run" / "report.html").read_text()
    assert probe(stage, "rates", out="rates") == 0
    _, manifest, rates = read(stage, "rates")
    odds = np.exp(logits)
    np.testing.assert_allclose(rates["probabilities"], odds / odds.sum(1, keepdims=True), rtol=1e-4, atol=1e-9)
    assert manifest["result"]["probability"] == "softmax"
    assert probe(stage, "rates", "--config.probability=sigmoid", out="each") == 0
    assert read(stage, "each")[2]["probabilities"] == pytest.approx(np.array(table["probabilities"]))
    assert read(stage, "each")[0] == read(stage, "rates")[0]
    assert main(["compare", str(stage / "each"), str(stage / "rates")]) == 1  # not the same kind


def test_classify_gives_what_the_model_was_trained_for(stage, capsys):
    model = clipjax.load(stage / "siglip.safetensors")
    photos = sorted((stage / "photos" / "cat").iterdir())[:2]
    expected = 1 / (1 + np.exp(-(SCALE * cosines(stage, photos)[:, :2] + BIAS)))
    opened = [image.open_image(photo) for photo in photos]
    np.testing.assert_allclose(model.classify(opened, ["cat", "dog"]), expected, rtol=1e-4, atol=1e-9)
    assert model.classify(opened, ["cat", "dog"], probability="softmax").sum(1) == pytest.approx(1)
    words = ["classify", str(photos[0]), "--classes=cat,dog", f"--model={stage}/siglip.safetensors", "--json"]
    assert main(words) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["probability"] == "sigmoid"
    assert {one["class"]: one["probability"] for one in answer["top"]} == pytest.approx(
        dict(zip(("cat", "dog"), expected[0], strict=True)), rel=1e-4
    )
    assert main([*words, "--probability=softmax"]) == 0
    assert sum(one["probability"] for one in json.loads(capsys.readouterr().out)[0]["top"]) == pytest.approx(1)
    emoji = clipjax.load("emoji-clip")
    with pytest.raises(InputError, match="the model has no logit bias"):
        emoji.classify(opened, ["cat", "dog"], probability="sigmoid")


def test_a_wrong_key_is_one_line_before_the_model_is_loaded(stage, capsys):
    assert probe(stage, "rates", "--config.probability=softmin") == 1
    assert "probability='softmin': choose softmax or sigmoid" in capsys.readouterr().err
    words = ["--config.probability=sigmoid", "--config.model=emoji-clip"]
    assert probe(stage, "rates", *words, out="emoji") == 1
    assert "was not trained with a sigmoid loss" in capsys.readouterr().err


def test_weights_without_their_tokenizer_or_with_another_are_one_line(stage, capsys):
    (stage / "tokenizer.json").rename(stage / "elsewhere.json")
    assert probe(stage, "rates") == 1
    assert "put the model's tokenizer.json there" in capsys.readouterr().err
    pixels = clipjax.load(stage / "siglip.safetensors").preprocess(image.open_image(next(stage.rglob("*.jpg"))))
    assert clipjax.load(stage / "siglip.safetensors").encode_image(pixels).shape == (1, 32)  # images need none
    (stage / "elsewhere.json").rename(stage / "tokenizer.json")
    clipjax.load(stage / "siglip.safetensors").save(stage / "stored.safetensors")
    assert (stage / "stored.tokenizer.json").read_bytes() == (stage / "tokenizer.json").read_bytes()
    shutil.copy(GOLDEN / "metaclip2" / "tokenizer.json", stage / "stored.tokenizer.json")
    with pytest.raises(InputError, match=r"stored\.tokenizer\.json: is another tokenizer"):
        clipjax.load(stage / "stored.safetensors")


def test_a_conversion_takes_the_tokenizer_along_and_knows_it(stage, capsys):
    (stage / "there").mkdir()
    assert main(["convert", str(stage / "siglip.safetensors"), str(stage / "there" / "x.safetensors")]) == 0
    copy = stage / "there" / "x.tokenizer.json"
    assert copy.read_bytes() == (stage / "tokenizer.json").read_bytes()
    shutil.copy(GOLDEN / "metaclip2" / "tokenizer.json", copy)
    with pytest.raises(InputError, match=r"x\.tokenizer\.json: is another tokenizer"):
        clipjax.load(stage / "there" / "x.safetensors")
    copy.unlink()
    assert main(["models", str(stage / "there" / "x.safetensors")]) == 0
    assert "tokenizer.json beside the weights" in capsys.readouterr().out


def test_texts_are_never_cut_and_too_long_ones_refused(stage):
    """Padding is attended to, so each text is encoded at the whole length, alone and beside others."""
    model = clipjax.load(stage / "siglip.safetensors")
    tokens = model.tokenize(["dog", "a photo of the wild dog"])
    assert tokens.shape == (2, 64)
    alone = model.features_of_texts(["dog"])
    np.testing.assert_allclose(model.features_of_texts(["dog", "a photo of the wild dog"])[:1], alone, rtol=1e-4)
    with pytest.raises(InputError, match=r"texts\[0\] .* more than the context length 64"):
        model.features_of_texts(["word " * 100])
    assert model.features_of_texts(["word " * 100], truncate=True).shape == (1, 32)


def finetune(stage, *more, out="tuned"):
    return main([
        "finetune", "openai_vit_b32_csv", f"--config.model={stage}/siglip.safetensors", "--config.data.source=folder",
        f"--config.data.path={stage}/photos", "--config.loss=sigmoid", "--config.steps=3", "--config.batch_size=4",
        "--config.devices=1", "--config.threads=2", "--config.optimizer.warmup=0", "--config.checkpoints.every=1",
        "--config.tune=lora", "--config.lora.rank=2", "--config.lora.on=mlp+projections", "--config.lora.dropout=0.3",
        "--config.optimizer.learning_rate=1e-2", f"--out={stage / out}", *more,
    ])  # fmt: skip


def test_a_loss_or_a_way_of_tuning_that_leaves_something_out_is_said(stage):
    begin = weights.load(stage / "siglip.safetensors")

    def notes(**changed):
        config = configs.load("openai_vit_b32_csv", [f"--config.{k}={v}" for k, v in changed.items()], "finetune")
        return finetune_config.notes(configs.typed(configs.plain(config)), begin)

    assert notes(loss="sigmoid") == notes(loss="sigmoid", tune="lora") == []
    (said,) = notes()
    assert said.startswith("tiny siglip was trained with a sigmoid loss; loss=softmax leaves its bias as it is")
    assert notes(loss="sigmoid", tune="projections") == [
        "tune=projections trains nothing of the image encoder of tiny siglip"
    ]


def test_it_is_fine_tuned_with_its_own_tokens_and_bias_and_goes_on_bit_for_bit(stage, capsys):
    assert finetune(stage, "--config.data.context=8") == 1
    assert "reads 64 tokens, padding too" in capsys.readouterr().err
    assert finetune(stage) == 0
    out = shutil.copytree(stage / "tuned", stage / "again")
    for name in ("manifest.json", "model.safetensors"):
        (out / name).unlink()
    shutil.rmtree(out / "checkpoints" / "3")
    assert finetune(stage, out="again") == 0
    found, before = weights.load(out / "model.safetensors"), weights.load(stage / "siglip.safetensors").flat
    assert (out / "model.safetensors").read_bytes() == (stage / "tuned" / "model.safetensors").read_bytes()
    changed = {name for name, array in found.flat.items() if not np.array_equal(array, before[name])}
    assert {"logit_bias", "text_projection", "visual.attn_pool.mlp.c_fc.weight"} <= changed
    assert len(changed) == 9  # two scalars, the projection, and the mlps of two blocks and the pool
    assert 0 < abs(found.flat["logit_bias"] - BIAS) < 0.1  # begun from the file's
    # The result, a checkpoint and the adapter find the tokenizer; the adapter is the same model.
    wanted = clipjax.load(out).features_of_texts(["a cat"])
    assert np.array_equal(clipjax.load(out / "checkpoints" / "3").features_of_texts(["a cat"]), wanted)
    # up to the float32 rounding of sums over random matrices of standard deviation 1
    np.testing.assert_allclose(clipjax.load(out / "adapter").features_of_texts(["a cat"]), wanted, rtol=1e-4, atol=1e-4)
    assert loading.find_weights(out / "adapter").source["lora"]["dropout"] == 0.3
    (stage / "tokenizer.json").unlink()
    assert finetune(stage, out="none") == 1
    assert "put the model's tokenizer.json there" in capsys.readouterr().err
