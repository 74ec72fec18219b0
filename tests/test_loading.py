"""`clipjax.load` and its options: one function for the flags, the same names as config keys, the same meaning."""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import clipjax
from checkpoints_convert import Options, openai, torchfile
from clipjax import loading, testing
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.runs import config as configs
from clipjax.runs import finetune_input, prepare

GOLDEN = Path(__file__).parent / "golden" / "parity"
BARE = str(GOLDEN / "openai_vit.pt")


def test_flags_and_keys_have_one_source_and_one_meaning():
    parser = argparse.ArgumentParser()
    loading.add_options(parser)
    words = ["--activation=gelu", "--heads=3", "--text-heads=2", "--eps=1e-6", "--mean=0,0,0", "--std=1,1,1",
             "--state-dict=ema"]  # fmt: skip
    given = Options("gelu", 3, 2, 1e-6, (0, 0, 0), (1, 1, 1), "ema")
    assert loading.options_of(parser.parse_args(words)) == given
    assert loading.options_of(parser.parse_args([])) == Options()
    keys = [
        word.replace("--", "--config.weights.").replace("-heads", "_heads").replace("e-dict", "e_dict")
        for word in words
    ]
    for name, kind in (("zeroshot", "probes"), ("openai_vit_b32_csv", "finetune")):
        said, unsaid = (configs.typed(configs.plain(configs.load(name, words, kind))) for words in (keys, []))
        assert loading.options_of(said.weights) == given
        assert loading.options_of(unsaid.weights) == Options()


def test_load_takes_them():
    with pytest.raises(InputError, match="--activation=quick_gelu"):
        clipjax.load(BARE)
    assert clipjax.load(BARE, activation="quick_gelu").config.image.heads == 1
    model = clipjax.load(BARE, activation="gelu", heads=2, text_heads=4)
    assert (model.config.image.heads, model.config.text.heads) == (2, 4)
    assert clipjax.load(BARE, options=Options("gelu", heads=2, eps=1e-6)).config.text.eps == 1e-6
    with pytest.raises(InputError, match="contradicts"):
        clipjax.load("emoji-clip", activation="gelu")
    with pytest.raises(InputError, match="leave --state-dict=ema out"):
        clipjax.load("emoji-clip", options=Options(state_dict="ema"))
    with pytest.raises(InputError, match="inside options"):
        clipjax.load("emoji-clip", heads=12, options=Options())


@pytest.mark.parametrize(
    "argv",
    [
        ["embed", f"--model={BARE}", "--texts=t.txt", "--out=f.npz", "--truncate"],
        ["classify", "a.png", "--classes=a,b", f"--model={BARE}"],
        ["interpolate", BARE, BARE, "out.safetensors"],
        ["plan", f"--model={BARE}", "--topology=h100:1"],
        ["models", BARE],
        ["convert", BARE, "out.safetensors"],
    ],
    ids=lambda argv: argv[0],
)
def test_every_verb_that_takes_a_file_asks_for_them(capsys, tmp_path, monkeypatch, argv):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text("a\n")
    Image.new("RGB", (40, 40)).save("a.png")
    assert main(argv) == 1
    assert "--activation=quick_gelu (OpenAI, DFN, MetaCLIP)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*argv, "--activation=relu"])
    capsys.readouterr()
    assert main([*argv, "--activation=gelu", "--heads=-1"]) == 1
    assert "--heads=-1: a whole number of attention heads" in capsys.readouterr().err


def test_a_verb_uses_them(tmp_path, monkeypatch):
    """Two activations give two features, and the file says of neither that it is its own."""
    monkeypatch.chdir(tmp_path)
    for name, activation in (("a", "quick_gelu"), ("b", "gelu")):
        assert main(["interpolate", BARE, BARE, f"{name}.safetensors", f"--activation={activation}", "--heads=1"]) == 0
    models = [clipjax.load(f"{name}.safetensors") for name in "ab"]
    assert [model.config.image.activation for model in models] == ["quick_gelu", "gelu"]
    pixels = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    a, b = (np.asarray(model.encode_image(pixels)) for model in models)
    assert np.abs(a - b).max() > 1e-4


@pytest.mark.parametrize(
    ("name", "value"),
    [("activation", "gelu"), ("heads", 5), ("text_heads", 5), ("eps", 1e-6), ("mean", "0,0,0"), ("std", "1,1,1"),
     ("state_dict", "ema")],
)  # fmt: skip
def test_every_key_is_refused_where_the_file_says_otherwise(name, value):
    """And read where it does not: the features, or the configuration, follow it."""
    given = loading.options_of(loading.WeightsKeys(**{name: value}))
    with pytest.raises(InputError, match=r"contradicts it|leave --config.weights.state_dict=ema out"):
        loading.find_weights("emoji-clip", given)
    if name == "state_dict":
        with pytest.raises(InputError, match="no tensors of that name"):
            loading.find_weights(BARE, given)
        return
    base = Options("quick_gelu", heads=1)
    other = {name: 2 if "heads" in name else getattr(given, name)}  # five heads do not divide 64
    found = loading.find_weights(BARE, dataclasses.replace(base, **other))
    assert found.config != loading.find_weights(BARE, base).config


def test_what_reads_no_file_refuses_what_contradicts_it(capsys):
    assert main(["plan", "--model=ViT-B/32", "--topology=h100:1", "--heads=16"]) == 1
    assert "says heads 12; --heads=16 contradicts it" in capsys.readouterr().err
    with pytest.raises(InputError, match="contradicts"):
        prepare.image_size(("ViT-B/32",), Options(activation="gelu"))
    config = configs.typed(configs.plain(configs.load("emoji_from_scratch", ["--config.weights.heads=2"], "finetune")))
    with pytest.raises(InputError, match=r"config\.weights\.\* is for weights of a file"):
        finetune_input.first_weights(config)


def test_an_older_runs_config_has_no_such_keys():
    config = configs.plain(configs.load("zeroshot", []))
    del config["weights"]
    assert loading.options_of(configs.typed(config).weights) == Options()


def test_a_probe_reads_its_model_as_its_keys_say(capsys, tmp_path, monkeypatch):
    """And says so in its manifest; without the keys it is refused before anything is written."""
    monkeypatch.setenv("CLIPJAX_CACHE", str(tmp_path / "cache"))
    flat = loading.find_weights(testing.tiny_model(tmp_path / "tiny.safetensors")).flat
    torchfile.write(tmp_path / "bare.pt", openai.to_torch_layout(flat, "bare"))
    testing.pictures(tmp_path / "images", {"cat": 2, "dog": 2})
    out = tmp_path / "run"
    argv = ["probe", "zeroshot", f"--config.model={tmp_path / 'bare.pt'}", f"--config.data.path={tmp_path / 'images'}",
            f"--out={out}"]  # fmt: skip
    assert main(argv) == 1
    line = capsys.readouterr().err
    assert "--config.weights.activation=gelu (LAION, DataComp) with --config.weights.heads=N" in line
    assert " --activation" not in line
    assert not (out / "manifest.json").exists()
    assert main([*argv, "--config.weights.activation=relu"]) == 1
    assert "--config.weights.activation=relu: clipjax has" in capsys.readouterr().err
    assert main([*argv, "--config.weights.activation=gelu", "--config.weights.heads=2"]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["model"]["config"]["image"]["heads"] == 2
    assert manifest["model"]["config"]["text"]["activation"] == "gelu"
    assert manifest["config"]["weights"]["heads"] == 2
