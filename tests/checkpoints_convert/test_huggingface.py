"""Hugging Face's configurations: pixels from either file, the tokenizer compared, every reason at once."""

import dataclasses
import json

import numpy as np
import pytest
from support import checkpoints
from support.checkpoints import VIT, WIDE, random_weights

import checkpoints_convert
from checkpoints_convert import Options, huggingface
from checkpoints_convert.families import siglip
from clipjax.errors import InputError


@pytest.fixture
def folder(tmp_path):
    checkpoints_convert.write(tmp_path / "hf", random_weights(VIT), "huggingface")
    return tmp_path / "hf"


def refused(folder):
    with pytest.raises(InputError) as caught:
        checkpoints_convert.read(folder)
    return str(caught.value)


@pytest.mark.parametrize("processor", huggingface.PROCESSORS)
def test_pixel_statistics_come_from_either_file(tmp_path, processor):
    """transformers 5 writes processor_config.json, with the image processor inside, and no other."""
    checkpoints.huggingface_folder(tmp_path, WIDE, processor)
    config, notes = huggingface.read_config(tmp_path)
    assert (config, notes) == (WIDE, ())


def test_without_either_openais_are_taken_with_a_note_or_given(tmp_path):
    checkpoints.huggingface_folder(tmp_path, WIDE, None)
    checkpoints.save_safetensors(tmp_path / "model.safetensors", checkpoints.huggingface_names(random_weights(WIDE)))
    found = checkpoints_convert.read(tmp_path)
    assert found.weights.config.pixels == VIT.pixels
    assert "--mean, --std" in found.notes[0]
    found = checkpoints_convert.read(tmp_path, Options(mean=WIDE.pixels.mean, std=WIDE.pixels.std))
    assert (found.weights.config, found.notes) == (WIDE, ())


def test_two_files_that_differ_are_refused(tmp_path):
    checkpoints.huggingface_folder(tmp_path, WIDE, "preprocessor_config.json")
    checkpoints.huggingface_folder(tmp_path, WIDE, "processor_config.json")
    assert huggingface.read_config(tmp_path)[0] == WIDE
    checkpoints.edited(tmp_path / "preprocessor_config.json", lambda d: d.update(image_mean=[0.5, 0.5, 0.5]))
    with pytest.raises(InputError, match=r"preprocessor_config.json and processor_config.json differ in how"):
        huggingface.read_config(tmp_path)


def test_every_reason_is_named_at_once(folder):
    checkpoints.edited(folder / "config.json", lambda d: (d["text_config"].update(rope_theta=1.0, eos_token_id=7),
                                                   d["vision_config"].update(hidden_act="gelu_new")))  # fmt: skip
    checkpoints.edited(folder / "preprocessor_config.json", lambda d: d.update(resample=0, size={"longest_edge": 32}))
    checkpoints.edited(folder / "tokenizer_config.json", lambda d: d.update(do_lower_case=False))
    message = refused(folder)
    for words in ("text_config.rope_theta", "eos_token_id 7", "vision_config.hidden_act gelu_new", "resample is 0",
                  "scales the short side", "do_lower_case is false"):  # fmt: skip
        assert words in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"do_center_crop": False}, "do_center_crop is False"),
        ({"do_pad": True}, "do_pad is True"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "Siglip2ImageProcessor prepares pixels in another way"),
        ({"size": {"height": 32, "width": 48}}, "is not the model's image size 32"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor"),
        ({"size": 48}, "are not the model's image size 32"),
    ],
)
def test_pixels_that_are_prepared_otherwise_are_refused(folder, change, words):
    checkpoints.edited(folder / "preprocessor_config.json", lambda d: d.update(change))
    assert words in refused(folder)


def test_other_squares_are_read(folder):
    """Both sides to a size, bilinear; and the defaults of the class that the file names."""
    change = {"size": {"height": 32, "width": 32}, "resample": 2, "do_center_crop": False}
    checkpoints.edited(folder / "preprocessor_config.json", lambda d: d.update(change))
    found = checkpoints_convert.read(folder).weights.config.pixels
    assert found == dataclasses.replace(VIT.pixels, resize="squash", interpolation="bilinear")
    said = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    assert checkpoints_convert.read(folder).weights.config.pixels == siglip.PIXELS


def test_older_ways_to_write_the_same_are_read(folder):
    older = {"size": 32, "crop_size": 32, "feature_extractor_type": "CLIPFeatureExtractor"}
    checkpoints.edited(folder / "preprocessor_config.json", lambda d: d.update(older, image_processor_type=None))
    assert checkpoints_convert.read(folder).weights.config == VIT


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("vocab.json", lambda d: d.update(cat=d["dog"]), "vocab.json is not CLIP's vocabulary"),
        ("tokenizer_config.json", lambda d: d.update(tokenizer_class="BertTokenizer"), "BertTokenizer is not CLIP's"),
        ("tokenizer_config.json", lambda d: d.update(do_lower_case=False), "do_lower_case is false"),
        ("tokenizer_config.json", lambda d: d.update(eos_token={"content": "</s>"}), "eos_token is"),
        ("config.json", lambda d: d["text_config"].update(vocab_size=901629, eos_token_id=2), "901629 is MetaCLIP 2's"),
    ],
)
def test_another_vocabulary_is_refused_by_name(folder, name, change, words):
    assert checkpoints_convert.read(folder).weights.config == VIT
    checkpoints.edited(folder / name, change)
    assert words in refused(folder)


def test_another_list_of_merges_or_kind_of_vocabulary_is_refused(folder):
    merges = folder / "merges.txt"
    lines = merges.read_text().split("\n")
    lines[1], lines[2] = lines[2], lines[1]
    merges.write_text("\n".join(lines))
    (folder / "spiece.model").write_bytes(b"")
    message = refused(folder)
    assert "merges.txt is not CLIP's list of merges" in message
    assert "spiece.model is another kind of vocabulary" in message


def fast_tokenizer(**normalizer):
    from clipjax.text import merges, vocabulary

    steps = [{"type": "NFC"}, {"type": "Replace"}, {"type": "Lowercase"}]
    return {"normalizer": normalizer or {"type": "Sequence", "normalizers": steps},
            "model": {"type": "BPE", "vocab": vocabulary(), "merges": [list(pair) for pair in merges()]}}  # fmt: skip


def test_a_fast_tokenizer_is_compared_too(folder):
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(fast_tokenizer()))
    assert checkpoints_convert.read(folder).weights.config == VIT
    path.write_text(json.dumps(fast_tokenizer(type="NFC")))
    assert "its normalizer differs from CLIP's in Lowercase, Replace" in refused(folder)
    checkpoints.edited(path, lambda d: d["model"]["merges"].reverse())
    assert "tokenizer.json (BPE) is not CLIP's vocabulary" in refused(folder)


def test_a_logit_scale_of_one_number_is_read(folder):
    tensors = checkpoints.huggingface_names(random_weights(VIT))
    tensors["logit_scale"] = tensors["logit_scale"].reshape(1)
    checkpoints.save_safetensors(folder / "model.safetensors", tensors)
    found = checkpoints_convert.read(folder).weights.flat["logit_scale"]
    assert (found.shape, found) == ((), np.float32(tensors["logit_scale"][0]))
