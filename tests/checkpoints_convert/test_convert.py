"""Every format out and back, bit for bit; every layer in its place; what does not fit is refused by name."""

import argparse
import dataclasses
import hashlib
import json
import os

import ml_dtypes
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp
from safetensors.numpy import load_file, save_file
from support import checkpoints
from support.checkpoints import RESNET, VIT, WIDE, random_weights

import checkpoints_convert
from checkpoints_convert import Options, open_clip, open_clip_config, openai, rules, torchfile
from checkpoints_convert.dialects import huggingface as huggingface_names
from checkpoints_convert.dialects import openai as openai_names
from clipjax.errors import InputError
from clipjax.files import write_atomically
from clipjax.models import catalog, clip, families, weights
from clipjax.models import config as configs
from clipjax.models.config import CLIP
from clipjax.models.inputs import CLIP_BPE, OPENAI_RESIZE, Pixels
from clipjax.runs.engine import weights_sha256

GELU = CLIP(
    24, families.image("openai", 36, 12, 64, 2, 2, 160, "gelu", 1e-5),
    families.text("openai", 12, 96, 96, 2, 3, 384, "gelu", 1e-5),
    Pixels((0.5, 0.4, 0.3), (0.25, 0.26, 0.27), **OPENAI_RESIZE), CLIP_BPE, False,
)  # fmt: skip
MIXED = dataclasses.replace(VIT, text=dataclasses.replace(checkpoints.TEXT, activation="gelu", eps=1e-6))
EPS = dataclasses.replace(GELU, image=dataclasses.replace(GELU.image, eps=1e-6))
CAN_HOLD = [
    (VIT, "clipjax"), (VIT, "openai"), (VIT, "huggingface"), (VIT, "open_clip"),
    (RESNET, "clipjax"), (RESNET, "openai"), (RESNET, "open_clip"),
    (GELU, "clipjax"), (GELU, "huggingface"), (GELU, "open_clip"),
    (MIXED, "clipjax"), (MIXED, "huggingface"), (EPS, "huggingface"), (EPS, "open_clip"),
]  # fmt: skip
QUICK = Options(activation="quick_gelu")


def target(tmp_path, to):
    return tmp_path / {"openai": "m.pt", "clipjax": "m.safetensors"}.get(to, "folder")


def assert_same(a, b):
    assert a.keys() == b.keys()
    for k in a:
        assert a[k].dtype == b[k].dtype, k
        assert np.asarray(a[k]).tobytes() == np.asarray(b[k]).tobytes(), k


@pytest.mark.parametrize(("config", "to"), CAN_HOLD)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, None], ids=str)
def test_out_and_back_is_bit_identical(tmp_path, config, to, dtype):
    start = random_weights(config, dtype)
    path = target(tmp_path, to)
    checkpoints_convert.write(path, start, to)
    back = checkpoints_convert.read(path)
    assert back.weights.config == config
    assert_same(start.flat, back.weights.flat)
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def containers(folder, start):
    """name -> (what to read, options): one model, as every tool would leave it."""
    ours, theirs = checkpoints.openai_names(start), checkpoints.huggingface_names(start)
    wrapped = {f"module.clip_model.{k}": v for k, v in ours.items()}
    namespace = argparse.Namespace(lr=np.float64(1e-3), names={"a"})
    state = {"state": {0: {"exp_avg": np.ones((3, 3), np.float32)}}, "param_groups": [{"params": [0]}]}
    trainer = {"epoch": 3, "net": wrapped, "optimizer": state, "args": namespace, "best": np.float32([0.5])}
    parts = [
        checkpoints.huggingface_folder(folder / name, start.config) for name in ("hf", "bin", "shards", "binshards")
    ]
    flax, variant, cache = (checkpoints.huggingface_folder(folder / n, start.config) for n in ("flax", "fp16", "cache"))
    hf, binary, shards, binary_shards = parts
    snapshot = folder / "models--org--name" / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    checkpoints.save_safetensors(cache / "model.safetensors", theirs)
    cache.rename(snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    (folder / "st").mkdir()
    checkpoints.torch_file(
        checkpoints.huggingface_folder(folder / "st" / "0_CLIPModel", start.config) / "pytorch_model.bin", theirs
    )
    checkpoints.save_safetensors(
        checkpoints.open_clip_folder(folder / "oc", start.config) / open_clip.WEIGHT_FILES[0], ours
    )
    for to, name in (("clipjax", "native.safetensors"), ("openai", "openai.pt")):
        checkpoints_convert.write(folder / name, start, to)
    custom = {f"text.{k}" if not k.startswith(("visual.", "logit")) else k: v for k, v in ours.items()}
    return {
        "native": (folder / "native.safetensors", None),
        "openai, ours": (folder / "openai.pt", None),
        "openai state dict": (checkpoints.torch_file(folder / "bare.pt", ours), QUICK),
        "openai safetensors": (checkpoints.save_safetensors(folder / "bare.safetensors", ours), QUICK),
        "a zip that is called .safetensors": (checkpoints.torch_file(folder / "zip.safetensors", ours), QUICK),
        "a safetensors that is called .bin": (checkpoints.save_safetensors(folder / "safe.bin", ours), QUICK),
        "a trainer's checkpoint": (checkpoints.torch_file(folder / "trainer.pt", trainer), QUICK),
        "any prefix": (
            checkpoints.save_safetensors(folder / "p.safetensors", {f"m.x9.{k}": v for k, v in ours.items()}),
            QUICK,
        ),
        "open_clip's custom text": (checkpoints.torch_file(folder / "custom.pt", {"state_dict": custom}), QUICK),
        "HF folder": (checkpoints.save_safetensors(hf / "model.safetensors", theirs).parent, None),
        "HF file": (hf / "model.safetensors", None),
        "HF .bin": (checkpoints.torch_file(binary / "pytorch_model.bin", theirs).parent, None),
        "HF shards": (checkpoints.sharded(shards, theirs, "safetensors", checkpoints.save_safetensors), None),
        "HF index": (shards / "model.safetensors.index.json", None),
        "HF .bin shards": (checkpoints.sharded(binary_shards, theirs, "bin", checkpoints.torch_file), None),
        "HF flax": (checkpoints.flax_file(flax / "flax_model.msgpack", start).parent, None),
        "HF variant": (checkpoints.save_safetensors(variant / "model.fp16.safetensors", theirs).parent, None),
        "hub's cache": (folder / "models--org--name", None),
        "sentence-transformers": (folder / "st", None),
        "open_clip folder": (folder / "oc", None),
        "OpenAI's names beside HF's configuration": (checkpoints.save_safetensors(hf / "ft.safetensors", ours), None),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_same_weights_in_any_container_are_the_same(tmp_path, dtype):
    """To the bit, in configuration and in the sum that a run's manifest and the feature cache are keyed by."""
    start = random_weights(VIT, dtype)
    want = weights_sha256(clip.unflatten(start.flat))
    for name, (path, options) in containers(tmp_path, start).items():
        found = checkpoints_convert.read(path, options).weights
        assert found.config == start.config, name
        assert_same(start.flat, found.flat)
        assert weights_sha256(clip.unflatten(found.flat)) == want, name


def test_the_source_is_the_file_that_was_read(tmp_path):
    """Its name and the sha256 of its own bytes, whatever else lies in the folder; of shards each one's."""
    start = random_weights(VIT)
    for name, (path, options) in containers(tmp_path, start).items():
        if name == "native":
            continue
        found = checkpoints_convert.read(path, options).weights
        folder = path if path.is_dir() else path.parent
        folder = next(f for f in (folder, folder / "0_CLIPModel", folder / "snapshots" / "abc")
                      if (f / found.source["file"]).is_file())  # fmt: skip
        for file, digest in ({found.source["file"]: found.source["sha256"]} | found.source.get("shards", {})).items():
            assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest, (name, file)
        assert ("shards" in found.source) == ("shards" in name or "index" in name)


def test_the_file_that_is_named_is_the_file_that_is_read(tmp_path):
    """A folder with two models: the folder's own by its name, the other where it is named."""
    a, b = random_weights(WIDE, seed=1), random_weights(WIDE, seed=2)
    folder = checkpoints.huggingface_folder(tmp_path / "hf", WIDE)
    checkpoints.save_safetensors(folder / "model.safetensors", checkpoints.huggingface_names(a))
    tuned = checkpoints.save_safetensors(folder / "tuned-HF.safetensors", checkpoints.huggingface_names(b))
    whole, named = checkpoints_convert.read(folder), checkpoints_convert.read(tuned)
    assert_same(whole.weights.flat, a.flat)
    assert_same(named.weights.flat, b.flat)
    assert named.weights.config == whole.weights.config == WIDE
    assert named.weights.source["sha256"] == hashlib.sha256(tuned.read_bytes()).hexdigest()
    assert (named.weights.name, whole.weights.name) == ("tuned-HF", "hf")
    assert whole.notes == (f"{folder}: read model.safetensors; for tuned-HF.safetensors name that file",)


def twelve_blocks():
    """Both encoders have twelve blocks, and everything in block i is i."""
    config = catalog.openai(32, catalog.vit(16, 8, 64, 12), catalog.text(64, 12, 8, 32))
    flat = {}
    for name, shape in clip.shapes(config).items():
        parts = name.split(".")
        tag = int(parts[parts.index("resblocks") + 1]) if "resblocks" in parts else 100
        flat[name] = np.full(shape, tag, np.float32)
    return weights.Weights(flat, config, "twelve", {})


def assert_in_order(flat):
    for name, array in flat.items():
        parts = name.split(".")
        if "resblocks" in parts:
            assert np.all(np.asarray(array) == int(parts[parts.index("resblocks") + 1])), name


@pytest.mark.parametrize("to", checkpoints_convert.FORMATS)
def test_layer_order_survives_every_format(tmp_path, to):
    path = target(tmp_path, to)
    checkpoints_convert.write(path, twelve_blocks(), to)
    assert_in_order(checkpoints_convert.read(path).weights.flat)


def test_layer_order_survives_the_nested_dict_and_orbax(tmp_path):
    """Orbax without an abstract tree returns string keys in the order 0, 1, 10, 11, 2: blocks must not move."""
    start = twelve_blocks()
    params = clip.unflatten(start.flat)
    assert_in_order(clip.flatten(params))
    ocp.save(tmp_path / "checkpoint", params)
    assert_in_order(clip.flatten(ocp.load(tmp_path / "checkpoint")))


def test_blocks_run_in_their_own_order():
    """Block i of twelve adds i + 1 to the residual stream and nothing else: each result shows which block ran."""
    config = catalog.openai(32, catalog.vit(16, 8, 64, 12), catalog.text(64, 12, 8, 32))
    flat = {k: np.zeros(s, np.float32) for k, s in clip.shapes(config).items()}
    for prefix in ("visual.", ""):
        for i in range(12):
            flat[f"{prefix}transformer.resblocks.{i}.mlp.c_proj.bias"][:] = i + 1
    reordered = dict(reversed(flat.items()))
    assert list(flat) != list(reordered)
    for order in (flat, reordered):
        params, image_results, text_results = clip.unflatten(order), {}, {}
        clip.apply_image(config, params, np.zeros((1, 16, 16, 3), np.float32), image_results)
        clip.apply_text(config, params, np.array([[30, 31, 0, 0, 0, 0, 0, 0]]), "float32", text_results)
        for results in (image_results, text_results):
            stream = [float(results[f"transformer.resblocks.{i}"][0, 0, 0]) for i in range(12)]
            assert np.diff([0.0, *stream]).tolist() == list(range(1, 13))


def test_a_source_with_missing_extra_and_renamed_tensors_is_refused_with_both_lists(tmp_path):
    tensors = openai.to_torch_layout(random_weights(VIT).flat, "x")
    tensors["visual.ln_before.weight"] = tensors.pop("visual.ln_pre.weight")
    torchfile.write(tmp_path / "odd.pt", tensors)
    with pytest.raises(InputError, match=r"without visual\.ln_pre\.weight; with visual\.ln_before\.weight"):
        checkpoints_convert.read(tmp_path / "odd.pt", QUICK)


def test_a_name_with_two_rules_is_refused():
    twice = rules.Dialect("twice", "twice", (rules.Rule("a", "a", rules.SAME), rules.Rule("b", "a", rules.SAME)), {})
    with pytest.raises(AssertionError, match="two rules for a"):
        rules.to_native(twice, {"a": np.zeros(1)}, "file")


def test_every_rule_of_every_dialect_is_used_by_some_model():
    """A rule no model needs is a rule nobody tested."""
    for dialect, models in ((openai_names.OPENAI, (VIT, RESNET)), (huggingface_names.CLIP, (VIT,))):
        names = {k for config in models for k in clip.shapes(config)} | {"logit_bias"}
        for rule in dialect.rules:
            assert any(rules._pattern(rule.ours).fullmatch(n) for n in names), rule


def test_constants_that_contradict_the_shapes_are_refused(tmp_path):
    tensors = openai.to_torch_layout(random_weights(VIT).flat, "x") | {"input_resolution": np.int64(64)}
    torchfile.write(tmp_path / "m.pt", {k: np.asarray(v) for k, v in tensors.items()})
    with pytest.raises(InputError, match="input_resolution = 64, but its tensors' shapes say 32"):
        checkpoints_convert.read(tmp_path / "m.pt", QUICK)


@pytest.mark.parametrize(
    ("config", "to", "words"),
    [
        (GELU, "openai", "text.activation: gelu != quick_gelu"),
        (RESNET, "huggingface", "no ResNet"),
        (MIXED, "open_clip", "one activation for both encoders"),
    ],
)
def test_a_format_that_cannot_express_the_model_is_refused_and_nothing_is_written(tmp_path, config, to, words):
    with pytest.raises(InputError, match=words):
        checkpoints_convert.write(target(tmp_path, to), random_weights(config), to)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda d: d["vision_config"].update(hidden_act="gelu_new"),
            "vision_config.hidden_act gelu_new: clipjax has quick_gelu, gelu",
        ),
        (lambda d: d["text_config"].update(rope_theta=1e4), "unknown attribute text_config.rope_theta"),
        (lambda d: d.update(model_type="siglip2"), "model_type is 'siglip2'"),
        (lambda d: d["text_config"].update(eos_token_id=7), "eos_token_id 7 is not the highest"),
        (lambda d: d["vision_config"].update(num_hidden_layers=3), "without visual.transformer.resblocks.2"),
    ],
)
def test_huggingface_attributes_are_never_guessed(tmp_path, change, words):
    checkpoints_convert.write(tmp_path / "hf", random_weights(VIT), "huggingface")
    checkpoints.edited(tmp_path / "hf" / "config.json", change)
    with pytest.raises(InputError, match=words):
        checkpoints_convert.read(tmp_path / "hf")


def test_huggingface_preprocessing_that_is_not_openais_is_refused(tmp_path):
    checkpoints_convert.write(tmp_path / "hf", random_weights(VIT), "huggingface")
    checkpoints.edited(tmp_path / "hf" / "preprocessor_config.json", lambda d: d.update(resample=1))
    with pytest.raises(InputError, match="resample is 1; clipjax prepares pixels with 3 or 2"):
        checkpoints_convert.read(tmp_path / "hf")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["model_cfg"]["vision_cfg"].update(timm_model_name="vit_x"), "timm_model_name = 'vit_x'"),
        (
            lambda d: d["model_cfg"]["vision_cfg"].update(swirl=True),
            "vision_cfg.swirl = True, an attribute that clipjax does not know",
        ),
        (lambda d: d["model_cfg"]["text_cfg"].update(pool_type="none"), "pool_type = 'none'"),
        (lambda d: d["preprocess_cfg"].update(interpolation="random"), "interpolation = 'random'"),
        (lambda d: d.pop("model_cfg"), "not an open_clip configuration"),
    ],
)
def test_open_clip_attributes_are_never_guessed(tmp_path, change, words):
    save_file(openai.to_torch_layout(random_weights(GELU).flat, "x"), tmp_path / open_clip.WEIGHT_FILES[0])
    (tmp_path / open_clip.CONFIG_FILE).write_text(json.dumps(open_clip_config.config_json(GELU)))
    assert checkpoints_convert.read(tmp_path).weights.config == GELU
    checkpoints.edited(tmp_path / open_clip.CONFIG_FILE, change)
    with pytest.raises(InputError, match=words):
        checkpoints_convert.read(tmp_path)


def test_sharded_huggingface_folders_are_read_and_may_not_reach_outside(tmp_path):
    start, folder = random_weights(VIT), tmp_path / "hf"
    checkpoints_convert.write(folder, start, "huggingface")
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    where = {n: f"model-{1 + i % 2}-of-2.safetensors" for i, n in enumerate(names)}
    for shard in set(where.values()):
        save_file({n: tensors[n] for n in names if where[n] == shard}, folder / shard)
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    assert_same(start.flat, checkpoints_convert.read(folder).weights.flat)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "../secret.safetensors")}))
    with pytest.raises(InputError, match="outside its folder"):
        checkpoints_convert.read(folder)


def test_cast_changes_floats_and_refuses_overflow():
    start = random_weights(VIT)
    assert {str(v.dtype) for v in checkpoints_convert.cast(start, "bfloat16").flat.values()} == {"bfloat16"}
    assert checkpoints_convert.cast(start, "keep") is start
    start.flat["ln_final.bias"][0] = 1e6
    with pytest.raises(InputError, match=r"ln_final\.bias holds values beyond float16"):
        checkpoints_convert.cast(start, "float16")


def test_a_native_file_describes_itself_and_is_refused_when_it_does_not(tmp_path):
    path = tmp_path / "m.safetensors"
    start = random_weights(GELU)
    weights.save(path, start)
    back = weights.load(path)
    assert (back.config, back.name, back.source) == (start.config, start.name, start.source)
    tensors = load_file(path)
    save_file(tensors, path)
    with pytest.raises(InputError, match="not a clipjax weights file"):
        weights.load(path)
    good = {"format": "clipjax", "format_version": "1", "model": "x", "source": "{}"}
    for metadata, words in (
        (good | {"format_version": "9", "config": "{}"}, "format version 9"),
        (good, "damaged header"),
        (good | {"config": json.dumps(configs.to_dict(GELU) | {"extra": 1})}, "unknown attribute of CLIP: extra"),
        (good | {"config": json.dumps(configs.to_dict(VIT))}, "not those of its configuration"),
    ):
        save_file(tensors, path, metadata=metadata)
        with pytest.raises(InputError, match=words):
            weights.load(path)


def test_a_truncated_or_foreign_safetensors_is_one_line(tmp_path):
    path = tmp_path / "m.safetensors"
    weights.save(path, random_weights(VIT))
    data = path.read_bytes()
    for content, words in (
        (data[: len(data) // 2], "fetch it again"), (data[:3], "fetch it again"), (b"", "is empty"),
        (b"<html>not found</html>", "web page"), (b"version https://git-lfs.github.com/spec/v1", "run git lfs pull"),
        (b'{"error": "Unauthorized"}', 'a text in JSON .*Unauthorized'), (b"\x1f\x8b\x08", "gzip -dc"),
    ):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"m\.safetensors: .*{words}"):
            checkpoints_convert.read(path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_text("precious")

    def fails(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left"):
        write_atomically(path, fails)
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["m.safetensors"]
    with pytest.raises(InputError, match="cannot write there"):
        weights.save(tmp_path / "nowhere" / "m.safetensors", random_weights(VIT))


def test_huggingface_never_overwrites(tmp_path):
    (tmp_path / "hf").mkdir()
    checkpoints_convert.write(tmp_path / "hf", random_weights(VIT), "huggingface")  # an empty folder is fine
    before = sorted(os.listdir(tmp_path / "hf"))
    with pytest.raises(InputError, match="not an empty folder"):
        checkpoints_convert.write(tmp_path / "hf", random_weights(VIT, seed=1), "huggingface")
    assert sorted(os.listdir(tmp_path / "hf")) == before
    assert {"merges.txt", "vocab.json", "config.json", "preprocessor_config.json"} < set(before)
