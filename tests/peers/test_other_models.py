"""The three files of docs/other-models.md: their features are the peer's own, and probes run, are killed and go on."""

import csv
import json
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import timm
import torch
import transformers
from support import trained_tokenizers
from support.docs_blocks import ROOT, blocks
from support.probe_processes import encoded, finals, kill_at_random, run_with
from tokenizers import Tokenizer

import clipjax
from clipjax import image, loading
from clipjax.cli.main import main
from clipjax.custom import CustomModel
from clipjax.testing import pictures, tiny_model

pytestmark = pytest.mark.peers
TEXTS = ["a photo of a cat.", "dog", "", "word " * 300]
PROBES = {
    "zeroshot": ["--config.data.label_column=kind", "--config.classes=cat,dog"],
    "rates": ["--config.design={folder}/mine.yaml", "--config.data.group_columns=gender"],
    "retrieval": ["--config.data.caption_columns=caption"],
}
DESIGN = "templates: ['a photo of a {}.']\nclasses:\n  - {name: cat, sets: [pet]}\n  - {name: thief, sets: [crime]}\n"


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """One small CLIP with random weights as a folder of each library, the page's files, and 120 images."""
    root = tmp_path_factory.mktemp("other")
    tiny_model(root / "tiny.safetensors", layers=1)
    for to in ("open_clip", "huggingface"):
        loading.convert(root / "tiny.safetensors", root / to, to)
    for block in blocks(ROOT / "docs" / "other-models.md"):
        if block.title.endswith(".py"):
            (root / block.title).write_text(block.text)
    pictures(root / "photos", {"cat": 60, "dog": 60})
    with open(root / "people.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "gender", "kind", "caption"])
        for i, path in enumerate(sorted((root / "photos").rglob("*.jpg"))):
            kind = path.parent.name
            writer.writerow([f"photos/{kind}/{path.name}", "FM"[i % 2], kind, f"a {kind}, number {i}"])
    (root / "mine.yaml").write_text(DESIGN)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPJAX_QUIET", "1")


ADDRESSES = {
    "open_clip": "py:{folder}/open_clip_model.py:local-dir:{folder}/open_clip",
    "transformers": "py:{folder}/transformers_model.py:{folder}/huggingface",
    "timm": "py:{folder}/timm_model.py:local-dir:{folder}/open_clip+{folder}/huggingface",
}
every = pytest.mark.parametrize("library", ADDRESSES)


def address(stage, library):
    return ADDRESSES[library].format(folder=stage)


def opened(stage, n=12):
    return [image.open_image(path) for path in sorted((stage / "photos").rglob("*.jpg"))[:n]]


@torch.inference_mode()
def peers(stage, library, images):
    """What the library gives by its own documented call, image by image and text by text."""
    if library == "open_clip":
        net, _, transform = open_clip.create_model_and_transforms(f"local-dir:{stage}/open_clip")
        tokens = open_clip.get_tokenizer(f"local-dir:{stage}/open_clip")(TEXTS)
        return [net.eval().encode_image(transform(one)[None])[0] for one in images], list(net.encode_text(tokens))
    if library == "transformers":
        net = transformers.CLIPModel.from_pretrained(stage / "huggingface").eval()
        processor = transformers.CLIPProcessor.from_pretrained(stage / "huggingface")
        inputs = processor(text=TEXTS, images=images, padding=True, truncation=True, return_tensors="pt")
        found = net(**inputs)  # of unit length
        return list(found.image_embeds), list(found.text_embeds)
    net = timm.create_model(f"local-dir:{stage}/open_clip", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(net))
    tokenizer = transformers.CLIPTokenizer.from_pretrained(stage / "huggingface")
    text = transformers.CLIPTextModelWithProjection.from_pretrained(stage / "huggingface").eval()
    tokens = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    return [net(transform(one)[None])[0] for one in images], list(text(**tokens).text_embeds)


def unit(rows):
    rows = np.stack([np.asarray(row, np.float32) for row in rows])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@every
def test_features_are_the_peers_own(stage, library):
    """1e-6 of the length: float32's rounding in a batch of another size."""
    model, images = clipjax.load(address(stage, library)), opened(stage)
    of_images, of_texts = peers(stage, library, images)
    assert np.linalg.norm(unit(model.features_of_images(images)) - unit(of_images), axis=1).max() < 1e-6
    assert np.linalg.norm(unit(model.features_of_texts(TEXTS)) - unit(of_texts), axis=1).max() < 1e-6


def stopped_after(batches, patch):
    """As Control-C while the next batch of 16 is encoded."""
    whole, left = CustomModel.encode_image, [batches]

    def encode(self, inputs, feature="proj"):
        full = len(next(iter(inputs.values()))) == 16
        if full and not left[0]:
            raise KeyboardInterrupt
        left[0] -= full
        return whole(self, inputs, feature)

    patch.setattr(CustomModel, "encode_image", encode)


@every
def test_probes_give_what_clipjax_gives_of_the_same_weights(stage, tmp_path, library, monkeypatch, capsys):
    """The same parameters, in JAX from the file and in torch from the folder: answers that are not a tie are equal.

    The run in torch is stopped and goes on; made again in one go, it is the same to the last bit.
    """
    for probe, more in PROBES.items():
        own = [word.format(folder=stage) for word in more]
        tables = []
        for name, model in (("theirs", address(stage, library)), ("ours", stage / "tiny.safetensors")):
            words = ["--config.data.source=csv", f"--config.data.csv={stage}/people.csv", f"--config.model={model}"]
            words = ["probe", probe, *words, *own, "--config.batch_size=16", f"--out={tmp_path / probe / name}"]
            if name == "theirs":
                monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache" / probe))
                with monkeypatch.context() as patch:
                    stopped_after(4, patch)
                    assert main(words) == 130
                assert 0 < encoded(tmp_path / probe / name) < 120
            assert main(words) == 0
            if name == "theirs":
                assert main(["rerun", str(tmp_path / probe / name)]) == 0
                assert "Same: " in capsys.readouterr().out
            tables.append(pq.read_table(tmp_path / probe / name / "predictions.parquet").to_pydict())
        theirs, ours = tables
        same = np.mean([a == b for a, b in zip(theirs["prediction"], ours["prediction"], strict=True)])
        assert same > (0.95 if library == "timm" else 0.99), (probe, same)  # timm resizes by a rule of its own
        if probe != "retrieval" and library != "timm":
            # transformers' image processor rounds pixels on another grid: 1 to 2 levels of 255
            np.testing.assert_allclose(
                theirs["probabilities"], ours["probabilities"], atol=1e-5 if library == "open_clip" else 0.02
            )


@every
def test_a_killed_run_goes_on(stage, tmp_path, library):
    more = [
        f"--config.model={address(stage, library)}", "--config.classes=cat,dog", "--config.batch_size=2",
    ]  # fmt: skip
    whole, out = tmp_path / "whole", tmp_path / "out"
    run_with(stage, whole, tmp_path / "a", 1, *more)
    assert kill_at_random(stage, out, tmp_path / "b", 1, (5, 40), *more) == 1
    assert 0 < encoded(out) < 120
    run_with(stage, out, tmp_path / "b", 1, *more)
    assert finals(out) == finals(whole)
    assert json.loads((out / "manifest.json").read_text())["model"]["config"]["settings"]["torch"] == torch.__version__


def test_an_architecture_without_a_tag_has_random_weights_and_is_refused(stage, capsys):
    photo = next(Path(stage / "photos").rglob("*.jpg"))
    words = ["classify", str(photo), "--classes=a,b", f"--model=py:{stage}/open_clip_model.py:ViT-B-32"]
    assert main(words) == 1
    assert "write NAME@TAG" in capsys.readouterr().err


# What transformers does to texts of SigLIP where its caller says nothing, in the line of the page's file that says it.
FAULTS = {
    "attention mask passed on": ('"return_attention_mask": not siglip', '"return_attention_mask": True'),
    "padding to the longest": ('"padding": "max_length"', '"padding": True'),
    "padding on the left": ('"padding_side": "right"', '"padding_side": "left"'),
}


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    """A SigLIP 2 with random weights and a small tokenizer of Gemma's kind, as transformers saves it."""
    folder = tmp_path_factory.mktemp("siglip")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = sizes | {"vocab_size": 700, "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 1}
    vision = sizes | {"image_size": 32, "patch_size": 8}
    net = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision)).eval()
    with torch.no_grad():
        for value in net.parameters():
            value.normal_(0, 0.3 if value.ndim < 2 else value[0].numel() ** -0.5)
    net.save_pretrained(folder)
    square = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(square))
    trained_tokenizers.train("siglip2", folder)
    return folder


def through(folder, tmp_path, old="", new=""):
    """The page's file, with one line changed."""
    (block,) = [b for b in blocks(ROOT / "docs" / "other-models.md") if b.title == "transformers_model.py"]
    assert not old or block.text.count(old) == 1
    (tmp_path / block.title).write_text(block.text.replace(old, new))
    return clipjax.load(f"py:{tmp_path / block.title}:{folder}").features_of_texts(TEXTS[:3])


@torch.inference_mode()
def wanted(folder):
    """SiglipModel's own features of ids padded on the right to the whole context, which it sees."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = [tokenizer.encode(text).ids for text in TEXTS[:3]]
    ids = torch.tensor([row + [0] * (64 - len(row)) for row in rows])
    return (
        transformers.SiglipModel.from_pretrained(folder).eval().get_text_features(input_ids=ids).pooler_output.numpy()
    )


def test_texts_of_siglip_are_padded_as_it_was_trained(siglip, tmp_path):
    want = wanted(siglip)
    # Float32, texts in batches of another size; a fault is above 1e-2.
    assert np.abs(through(siglip, tmp_path) - want).max() <= 1e-6 * np.abs(want).max()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_padding_of_siglip_shows(siglip, tmp_path, fault):
    want = wanted(siglip)
    assert np.abs(through(siglip, tmp_path, *FAULTS[fault]) - want).max() > 1e-2 * np.abs(want).max()
