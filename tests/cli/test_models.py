"""`clipjax models FILE`: what a weights file is, as text and as JSON."""

import hashlib
import json
import math
import re
from pathlib import Path

import pytest
from support import numpy_model
from support.checkpoints import random_weights
from support.family_models import MODELS
from support.small_siglip import siglip

import clipjax
from clipjax.cli.main import main
from clipjax.cli.models import FAMILIES
from clipjax.models import families, shapes, weights
from clipjax.plan import counts
from clipjax.testing import tiny_model

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"


def described(capsys, *argv):
    assert main(["models", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_native_file_says_everything(capsys):
    path = Path(clipjax.__file__).parent / "assets" / "emoji-clip.safetensors"
    what = described(capsys, str(path))
    assert what["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (what["format"], what["name"], what["embed_dim"], what["dtypes"]) == (
        "clipjax", "emoji-clip", 256, {"float16": what["parameters"]},
    )  # fmt: skip
    assert what["image"] == {"kind": "resnet", "image_size": 64, "width": 24, "layers": [1, 2, 2, 1], "heads": 12,
                             "eps": 1e-5}  # fmt: skip
    assert what["text"]["vocab_size"] == 49408
    assert what["missing"] == []
    assert described(capsys, "emoji-clip") == what


def test_a_folder_says_which_file_was_read(capsys):
    what = described(capsys, str(GOLDEN / "huggingface"))
    assert what["file"] == str(GOLDEN / "huggingface" / "model.safetensors")
    assert what["sha256"] == what["source"]["sha256"] == hashlib.sha256(Path(what["file"]).read_bytes()).hexdigest()
    assert (what["format"], what["source"]["config"]) == ("huggingface", "config.json")


def test_a_bare_file_takes_the_flags_and_prints_a_table(capsys):
    path = str(GOLDEN / "openai_vit.pt")
    assert main(["models", path]) == 1
    assert "--activation=quick_gelu" in capsys.readouterr().err
    assert main(["models", path, "--activation=gelu", "--heads=2", "--mean=0.5,0.5,0.5", "--std=0.5,0.5,0.5"]) == 0
    out = capsys.readouterr().out
    for name, value in {"patch size": "8", "heads": "2", "activation": "gelu", "pixel mean": "0.5, 0.5, 0.5"}.items():
        assert re.search(rf"^ *{name} +{value}$", out, re.M), name
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest() in out


def test_operations_are_those_of_the_products(tmp_path, capsys):
    """A ViT by hand: patches, four products and two of attention per block, the projection."""
    what = described(capsys, str(tiny_model(tmp_path / "tiny.safetensors", layers=2)))
    n, d, e = 17, 64, 32
    block = 2 * n * d * (3 * d + d + 8 * d) + 4 * n * n * d
    last = 2 * n * d * 2 * d + 2 * d * d + 4 * n * d + 2 * d * d + 2 * d * 8 * d  # the class row alone is computed
    assert what["flops"]["image"] == 2 * 16 * (8 * 8 * 3) * d + block + last + 2 * d * e
    assert (what["image"]["family"], what["text"]["family"]) == ("openai", "openai")
    assert "family" not in described(capsys, "emoji-clip")["image"]  # a ResNet


SMALL = {  # of the small models: what the image encoder and the text encoder are
    "siglip": ("siglip", "siglip"), "siglip_rest": ("siglip", None), "pe_core": ("pe-core", "openai"),
    "pe_core_g": ("pe-core-g", "openai"), "eva01": ("eva01", "openai"), "eva02": ("eva02", "openai"),
    "eva02_e": ("eva02-e", "openai"), "mobileclip_b": ("mobileclip-b", "openai"),
    "mobileclip_l": ("mobileclip-l", "mobileclip"), "clipa": ("clipa", "clipa"), "coca": ("coca", "coca"),
    "metaclip2": ("openai", "metaclip2"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_file_of_each_family_is_described(tmp_path, capsys, name):
    config, path = MODELS[name], tmp_path / "m.safetensors"
    weights.save(path, random_weights(config))
    what = described(capsys, str(path))
    assert (what["image"]["family"], what["text"].get("family")) == SMALL[name]
    assert what["parameters"] == sum(math.prod(shape) for shape in shapes.shapes(config).values())
    assert what["flops"]["image"] == counts.flops(config.image.products(config.embed_dim))
    assert bool(what["missing"]) == (what["tokenizer"] == "file")
    assert ("logit_bias" in what) == config.logit_bias
    assert main(["models", str(path)]) == 0
    table = capsys.readouterr().out
    told = {key.replace("_", " ") for key in what["image"].keys() - {"kind", "image_size"}}
    assert all(re.search(rf"^  {key} +\S", table, re.M) for key in told), told


def test_a_siglip_without_its_tokenizer_says_what_is_missing(tmp_path, capsys):
    path = siglip(tmp_path / "siglip.safetensors")
    what = described(capsys, str(path))
    assert what["image"]["family"] == what["text"]["family"] == "siglip"
    loaded = clipjax.load(path)
    assert (what["scale"], what["logit_bias"]) == (pytest.approx(loaded.scale), loaded.bias)
    assert what["missing"] == [
        "the model's tokenizer.json beside the weights: without it there are features of images alone"
    ]
    (tmp_path / "siglip.tokenizer.json").write_text("{}")
    assert described(capsys, str(path))["missing"] == []
    assert main(["models", str(path)]) == 0
    out = capsys.readouterr().out
    assert "GFLOP per image" in out
    assert re.search(rf"^logit bias +{loaded.bias:g}$", out, re.M)


def test_a_python_file(capsys):
    what = described(capsys, f"py:{numpy_model.__file__}:seed=2")
    assert (what["name"], what["format"], what["argument"], what["scale"]) == ("numpy model", "py", "seed=2", 30.0)
    assert main(["models", f"py:{numpy_model.__file__}"]) == 0
    assert "numpy model" in capsys.readouterr().out


def test_the_list_names_families_and_what_the_hubs_cache_holds(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--org--name"
    snapshot = repo / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    (snapshot / "open_clip_config.json").write_text("{}")
    (snapshot / "open_clip_model.safetensors").write_bytes(b"0" * 2_000_000)
    other = tmp_path / "models--org--other" / "refs"  # of another library: no layout that is read
    other.mkdir(parents=True)
    (other / "main").write_text("b" * 40)
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"hf://org/name +2\.0 MB in the hub's cache", out)
    assert "hf://org/other" not in out
    assert "py:FILE.py" in out
    assert "PE-Core" in out
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[-1]["cached"] == str(snapshot / "open_clip_model.safetensors")
    assert rows[0]["name"] == "RN50"


def test_every_family_that_is_built_is_listed():
    listed = " ".join(name.lower().replace(" ", "") for name, _ in FAMILIES)
    built = {re.sub("-[a-z]$", "", name) for name in (*families.IMAGE, *families.TEXT)}
    assert [name for name in sorted(built) if name not in listed] == []
