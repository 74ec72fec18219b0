"""What is written: the kind of the target, the configuration beside the tensors, and how its readers open it."""

import ast
import dataclasses
import json
import re

import numpy as np
import pytest
from support.checkpoints import RESNET, VIT, random_weights

import checkpoints_convert
from checkpoints_convert import open_clip_config, opening, timm
from clipjax.cli.main import main
from clipjax.errors import InputError
from clipjax.models import catalog, families, weights
from clipjax.models.config import CLIP
from clipjax.models.inputs import CLIP_BPE, OPENAI_RESIZE, Pixels

ODD = CLIP(
    24, families.image("openai", 36, 12, 64, 2, 2, 161, "gelu", 1e-5),
    families.text("openai", 12, 96, 96, 2, 3, 385, "gelu", 1e-5),
    Pixels((0.5, 0.4, 0.3), (0.25, 0.26, 0.27), **OPENAI_RESIZE), CLIP_BPE, False,
)  # fmt: skip


def read_json(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("config", [VIT, RESNET, ODD])
def test_an_open_clip_folder_says_everything_in_files(tmp_path, config):
    checkpoints_convert.write(tmp_path / "oc", random_weights(config), "open_clip")
    with weights.open_tensors(tmp_path / "oc" / "open_clip_model.safetensors") as file:
        assert file.metadata() == {"format": "pt"}  # a header that says it again could contradict the configuration
    described = read_json(tmp_path / "oc" / "open_clip_config.json")
    assert described["model_cfg"]["quick_gelu"] is (config.text.activation == "quick_gelu")
    assert described["preprocess_cfg"] == {
        "size": config.image.image_size, "mode": "RGB", "mean": list(config.pixels.mean),
        "std": list(config.pixels.std),
        "interpolation": "bicubic", "resize_mode": "shortest",
    }  # fmt: skip
    assert (tmp_path / "oc" / "config.json").exists() is (config is not RESNET)  # timm has no such ResNet
    assert (tmp_path / "oc").stat().st_mode & 0o055 == 0o055  # as any new folder, under a umask of 022
    assert checkpoints_convert.read(tmp_path / "oc").weights.config == config


def test_a_bare_open_clip_file_describes_itself_to_clipjax(tmp_path):
    start = random_weights(ODD)
    checkpoints_convert.write(tmp_path / "m.safetensors", start, "open_clip")
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]
    back = checkpoints_convert.read(tmp_path / "m.safetensors").weights
    assert back.config == ODD
    assert all(np.array_equal(back.flat[name], array) for name, array in start.flat.items())


def test_mlp_widths_survive_ratios_that_are_rounded_down():
    for width in range(64, 2048, 64):
        for mlp in (*range(width, 5 * width, 37), 4304, 6144, 8192, 15360):
            encoder = dataclasses.replace(VIT.image, width=width, heads=1, mlp=mlp)
            assert int(width * timm.mlp_ratio(encoder)) == mlp


@pytest.mark.parametrize(
    ("dtypes", "widest"),
    [
        (("float16",), "float16"), (("bfloat16",), "bfloat16"), (("float32",), "float32"),
        (("float16", "float32"), "float32"), (("bfloat16", "float32"), "float32"), (("float16", "bfloat16"), "float32"),
        (("float16", "float64"), "float64"),
    ],
)  # fmt: skip
def test_huggingface_is_given_a_dtype_that_rounds_nothing(tmp_path, dtypes, widest):
    start = random_weights(VIT)
    known = checkpoints_convert.convert.DTYPES | {"float64": np.dtype(np.float64)}
    flat = {name: start.flat[name].astype(known[dtypes[i % len(dtypes)]]) for i, name in enumerate(sorted(start.flat))}
    checkpoints_convert.write(tmp_path / "hf", dataclasses.replace(start, flat=flat), "huggingface")
    assert read_json(tmp_path / "hf" / "config.json")["dtype"] == widest


WRONG_TARGETS = [
    ("m.pt", "clipjax"), ("m.npz", "clipjax"), ("there", "clipjax"), ("m.safetensors", "openai"), ("there", "openai"),
    ("m.safetensors", "huggingface"), ("m.bin", "huggingface"), ("m.pt", "open_clip"), ("m.msgpack", "open_clip"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "to"), WRONG_TARGETS)
def test_a_target_of_another_kind_is_refused_with_a_name_that_works(tmp_path, monkeypatch, capsys, name, to):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    weights.save("source.safetensors", random_weights(VIT))
    before = sorted(tmp_path.rglob("*"))
    assert main(["convert", "source.safetensors", name, f"--to={to}"]) == 1
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert said.startswith(f"clipjax convert: {name}: ")
    assert sorted(tmp_path.rglob("*")) == before
    remedy = re.search(r"name it (\S+)$", said)
    assert main(["convert", "source.safetensors", remedy[1], f"--to={to}"]) == 0
    assert checkpoints_convert.read(remedy[1]).weights.config == VIT


def test_a_target_is_refused_before_the_source_is_read(tmp_path):
    with pytest.raises(InputError, match="name it"):
        checkpoints_convert.translate(tmp_path / "not there.pt", tmp_path / "x.pt", "huggingface")


@pytest.mark.parametrize("to", ["huggingface", "open_clip"])
def test_a_folder_that_holds_something_is_left_alone(tmp_path, to):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="not an empty folder"):
        checkpoints_convert.write(tmp_path / "x", random_weights(VIT), to)
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["mine.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("to", checkpoints_convert.FORMATS)
def test_parameters_that_do_not_fit_are_refused_in_every_direction(tmp_path, to):
    start = random_weights(VIT)
    start.flat["visual.proj"] = start.flat["visual.proj"][:, :-1]
    target = tmp_path / {"clipjax": "m.safetensors", "openai": "m.pt"}.get(to, "folder")
    with pytest.raises(InputError, match=r"visual\.proj \(64, 31\) instead of \(64, 32\)"):
        checkpoints_convert.write(target, start, to)
    assert list(tmp_path.iterdir()) == []


def test_what_is_printed_names_the_activation(tmp_path):
    quick = catalog.get("ViT-B/32").config
    gelu = dataclasses.replace(
        quick,
        image=dataclasses.replace(quick.image, activation="gelu"),
        text=dataclasses.replace(quick.text, activation="gelu"),
    )
    assert opening.open_clip_name(quick) == ("ViT-B-32-quickgelu", False)
    assert opening.open_clip_name(gelu) == ("ViT-B-32", False)
    assert opening.open_clip_name(catalog.get("RN50").config) == ("RN50-quickgelu", False)
    large = opening.open_clip_architectures()["ViT-g-14"]
    assert opening.open_clip_name(large) == ("ViT-g-14", False)
    image = dataclasses.replace(large.image, activation="quick_gelu")
    text = dataclasses.replace(large.text, activation="quick_gelu")
    quick_large = dataclasses.replace(large, image=image, text=text)
    assert opening.open_clip_name(quick_large) == ("ViT-g-14", True)
    line, *_ = opening.lines(tmp_path / "m.safetensors", weights.Weights({}, quick_large, "x", {}), "open_clip")
    assert line.endswith(", force_quick_gelu=True)")
    assert opening.open_clip_name(VIT) is None
    other = dataclasses.replace(gelu, pixels=Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), **OPENAI_RESIZE))
    line = opening.lines(tmp_path / "m.safetensors", weights.Weights({}, other, "x", {}), "open_clip")[0]
    assert 'create_model_and_transforms("ViT-B-32", ' in line
    assert "image_mean=(0.5, 0.5, 0.5), image_std=(0.5, 0.5, 0.5)" in line


@pytest.mark.parametrize("to", checkpoints_convert.FORMATS)
def test_every_printed_call_is_python(tmp_path, to):
    name = {"clipjax": "m.safetensors", "openai": "m.pt"}.get(to, "folder")
    for config in (VIT, catalog.get("ViT-B/32").config):
        for line in opening.lines(tmp_path / 'a "quoted" \\ ü' / name, weights.Weights({}, config, "x", {}), to):
            peer, rest = line.split(": ", 1)
            if peer != "note":
                ast.parse(rest, mode="eval")
                assert peer in ("clip", "open_clip", "timm", "transformers")


def test_what_clip_load_rounds_is_counted():
    start = random_weights(VIT)
    assert not opening.lines("m.pt", checkpoints_convert.cast(start, "float16"), "openai")[1:]
    flat = {k: v.astype(np.float16).astype(np.float32) for k, v in start.flat.items()}
    assert not opening.lines("m.pt", dataclasses.replace(start, flat=flat), "openai")[1:]
    flat["visual.proj"][0, :3] = 1 / 3
    flat["ln_final.weight"][:3] = 1 / 3  # stays float32 in clip.load
    (note,) = opening.lines("m.pt", dataclasses.replace(start, flat=flat), "openai")[1:]
    assert "rounds 3 values of this file, the largest change 8.1e-05" in note


def test_values_beyond_clip_loads_float16_are_refused(tmp_path):
    start = random_weights(VIT)
    start.flat["logit_scale"] = np.asarray(7e4, np.float32)  # stays float32
    checkpoints_convert.write(tmp_path / "fine.pt", start, "openai")
    start.flat["visual.proj"][0, 0] = -7e4
    with pytest.raises(InputError, match=r"visual\.proj holds 7e\+04.*--to=open_clip"):
        checkpoints_convert.write(tmp_path / "m.pt", start, "openai")
    assert [p.name for p in tmp_path.iterdir()] == ["fine.pt"]
    checkpoints_convert.write(tmp_path / "m", start, "open_clip")


def test_timm_names():
    assert timm.config_json(RESNET) is None
    assert timm.config_json(catalog.get("RN50x4").config)["architecture"] == "resnet50x4_clip"
    assert timm.config_json(VIT)["architecture"] == "vit_base_patch32_clip_quickgelu_224"
    assert timm.config_json(ODD)["architecture"] == "vit_base_patch32_clip_224"
    assert open_clip_config.config_json(ODD)["model_cfg"]["vision_cfg"]["head_width"] == 32
