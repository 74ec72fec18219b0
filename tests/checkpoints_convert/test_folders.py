"""Folders as hubs, trainers and other libraries leave them: one file is read, or what is there is named."""

import json

import numpy as np
import pytest
from safetensors.numpy import load
from support import checkpoints
from support.checkpoints import VIT, random_weights

import checkpoints_convert
from checkpoints_convert import folders
from clipjax.errors import InputError


@pytest.fixture
def start():
    return random_weights(VIT)


def refused(path):
    with pytest.raises(InputError) as caught:
        checkpoints_convert.read(path)
    return str(caught.value)


def folder_of(tmp_path, *names):
    folder = checkpoints.huggingface_folder(tmp_path / "m", VIT)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("model.safetensors", "pytorch_model.bin", "flax_model.msgpack", "tf_model.h5"), "model.safetensors"),
        (("pytorch_model.bin", "training_args.bin", "optimizer.pt"), "pytorch_model.bin"),
        (("model.safetensors.index.json", "model-00001-of-00001.safetensors"), "model.safetensors.index.json"),
        (("model.fp16.safetensors", "tf_model.h5", "rng_state.pth"), "model.fp16.safetensors"),
        (("flax_model.msgpack",), "flax_model.msgpack"),
        (("finetuned.safetensors",), "finetuned.safetensors"),
    ],
)
def test_the_peers_own_order_then_the_only_file(tmp_path, names, taken):
    place = folders.find(folder_of(tmp_path, *names))
    assert (place.file.name, place.name, place.notes) == (taken, "m", ())


def test_several_files_without_a_standard_name_are_listed(tmp_path):
    folder = folder_of(tmp_path, "a.safetensors", "b.safetensors")
    message = refused(folder)
    assert "holds a.safetensors, b.safetensors; name the file to read" in message
    assert str(folder / "a.safetensors") in message


def test_open_clips_configuration_comes_before_timms(tmp_path, start):
    """A repository of timm's has both, and a model.safetensors that holds the image encoder alone."""
    folder = checkpoints.open_clip_folder(tmp_path / "m", VIT)
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_base_patch32_clip_224"}))
    (folder / "model.safetensors").write_bytes(b"timm's")
    checkpoints.save_safetensors(folder / "open_clip_model.safetensors", checkpoints.openai_names(start))
    assert checkpoints_convert.read(folder).weights.source["file"] == "open_clip_model.safetensors"


def test_timms_own_folder_is_named(tmp_path):
    folder = checkpoints.huggingface_folder(tmp_path / "m", VIT)
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_base_patch32_clip_224"}))
    tensors = {"patch_embed.proj.weight": random_weights(VIT).flat["ln_final.weight"]}
    checkpoints.save_safetensors(folder / "model.safetensors", tensors)
    assert "is timm's, of the image encoder vit_base_patch32_clip_224 alone" in refused(folder)


@pytest.mark.parametrize(
    ("kind", "kept", "words"),
    [
        ("clip_vision_model", "vision_model.", "holds a CLIP's image encoder alone"),
        ("clip_text_model", "text_model.", "holds a CLIP's text encoder alone"),
        ("siglip2", "", "model_type is 'siglip2' (SigLIP 2 of variable size); clipjax reads clip, metaclip_2, siglip"),
    ],
)
def test_one_encoder_and_other_families_are_named(tmp_path, start, kind, kept, words):
    folder = checkpoints.huggingface_folder(tmp_path / "m", VIT)
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    tensors = {k: v for k, v in checkpoints.huggingface_names(start).items() if k.startswith(kept)}
    checkpoints.save_safetensors(folder / "model.safetensors", tensors)
    assert words in refused(folder)


def test_a_snapshot_is_found_by_its_reference_or_alone(tmp_path, start):
    cache = tmp_path / "models--org--name"
    for revision in ("aaa", "bbb"):
        folder = cache / "snapshots" / revision
        folder.mkdir(parents=True)
        checkpoints.huggingface_folder(folder, VIT)
        checkpoints.save_safetensors(folder / "model.safetensors", checkpoints.huggingface_names(start))
    message = refused(cache)
    assert "refs/main names none of its snapshots" in message
    assert checkpoints_convert.read(cache / "snapshots" / "aaa").weights.config == VIT  # the remedy
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("bbb\n")
    assert folders.find(cache).file.parent.name == "bbb"
    assert checkpoints_convert.read(cache).weights.name == "org/name"
    message = refused(tmp_path)
    assert f"is a hub's cache of several models; name one: {cache}" in message
    (tmp_path / "empty--x" / "snapshots").mkdir(parents=True)
    assert "download the model again" in refused(tmp_path / "empty--x")


def test_a_folder_without_configuration_names_its_files(tmp_path, start):
    path = checkpoints.save_safetensors(tmp_path / "model.safetensors", checkpoints.openai_names(start))
    message = refused(tmp_path)
    assert "neither config.json (Hugging Face) nor open_clip_config.json (open_clip)" in message
    assert f"to read a file of it name that file: {path}" in message
    path.unlink()
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "merge_and_unload()" in refused(tmp_path)


def test_one_shard_names_the_list_of_all(tmp_path, start):
    folder = checkpoints.huggingface_folder(tmp_path / "m", VIT)
    checkpoints.sharded(folder, checkpoints.huggingface_names(start), "safetensors", checkpoints.save_safetensors)
    message = refused(folder / "model-00001-of-00002.safetensors")
    assert "is one shard of a model; name the list of all of them" in message
    assert checkpoints_convert.read(message.rpartition(": ")[2]).weights.config == VIT


def test_shards_that_do_not_match_their_list_are_named(tmp_path, start):
    folder = checkpoints.huggingface_folder(tmp_path / "m", VIT)
    checkpoints.sharded(folder, checkpoints.huggingface_names(start), "safetensors", checkpoints.save_safetensors)
    first = folder / "model-00001-of-00002.safetensors"
    content = first.read_bytes()
    first.write_bytes((folder / "model-00002-of-00002.safetensors").read_bytes())
    assert f"{first}: model.safetensors.index.json lists other tensors for it" in refused(folder)
    checkpoints.save_safetensors(first, load(content) | {"extra.weight": np.zeros(2, np.float32)})
    assert "lists other tensors for it (extra.weight)" in refused(folder)
    first.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert f"{first}: is a git-lfs pointer" in refused(folder)
    first.unlink()
    assert "lists model-00001-of-00002.safetensors, not in this folder" in refused(folder)
    first.write_bytes(content)
    assert checkpoints_convert.read(folder).weights.config == VIT


def test_a_missing_path_is_one_line(tmp_path):
    assert "no such file or folder" in refused(tmp_path / "none.pt")
