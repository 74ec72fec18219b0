"""`clipjax models FILE`: what a weights file is, as text and as JSON."""

import hashlib
import json
import re
from pathlib import Path

import clipjax
from clipjax.cli.main import main

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
