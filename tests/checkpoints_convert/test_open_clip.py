"""open_clip's configurations: read, or refused with every reason at once."""

import numpy as np
import pytest
from support import checkpoints
from support.checkpoints import WIDE, random_weights

import checkpoints_convert
from checkpoints_convert import open_clip
from clipjax.errors import InputError


@pytest.fixture
def folder(tmp_path):
    checkpoints.open_clip_folder(tmp_path, WIDE)
    checkpoints.save_safetensors(tmp_path / open_clip.WEIGHT_FILES[0], checkpoints.openai_names(random_weights(WIDE)))
    return tmp_path


def changed(folder, **parts):
    def change(data):
        for name, values in parts.items():
            (data["model_cfg"] if name == "model_cfg" else data["model_cfg"].get(name) or data[name]).update(values)

    checkpoints.edited(folder / open_clip.CONFIG_FILE, change)
    return folder


def test_every_reason_is_named_at_once(folder):
    """As SigLIP's: an image encoder of timm, a tokenizer, another pool, tanh, squashed images."""
    path = changed(
        folder,
        model_cfg={"custom_text": True, "init_logit_bias": -10},
        vision_cfg={"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "swirl": 1},
        text_cfg={"hf_tokenizer_name": "timm/ViT-B-16-SigLIP", "pool_type": "last", "no_causal_mask": True,
                  "tokenizer_kwargs": {"clean": "canonicalize"}, "vocab_size": 250_000,
                  "act_kwargs": {"approximate": "tanh"}, "norm_kwargs": {"eps": 1e-6}},
        preprocess_cfg={"resize_mode": "squash", "interpolation": "bilinear"},
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        open_clip.read_config(path)
    message = str(caught.value)
    for words in (
        "an image encoder of timm", "another tokenizer than CLIP's", "pool_type = 'last'", "no_causal_mask",
        "texts are cleaned in another way", "vocab_size 250000", "act_kwargs", "clipjax resizes bicubic",
        "clipjax scales the short side and crops", "swirl = 1, an attribute that clipjax does not know",
    ):  # fmt: skip
        assert words in message
    assert not any(name in message for name in ("custom_text", "init_logit_bias", "timm_pool", "norm_kwargs"))


def test_eps_of_either_encoder_is_read(folder):
    config, _ = open_clip.read_config(changed(folder, text_cfg={"norm_kwargs": {"eps": 1e-6}}))
    assert (config.text.eps, config.image.eps) == (1e-6, 1e-5)
    with pytest.raises(InputError, match="norm_kwargs"):
        open_clip.read_config(changed(folder, vision_cfg={"norm_kwargs": {"elementwise_affine": False}}))


def test_a_sigmoid_models_bias_is_kept_in_the_source_with_a_note(folder):
    """Also where scale and bias have the shape (1,), as open_clip's nonscalar_logit_scale writes them."""
    start = random_weights(WIDE)
    tensors = checkpoints.openai_names(start) | {"logit_bias": np.float32([-9.5])}
    tensors["logit_scale"] = tensors["logit_scale"].reshape(1)
    checkpoints.save_safetensors(folder / open_clip.WEIGHT_FILES[0], tensors)
    changed(folder, model_cfg={"init_logit_bias": -10, "nonscalar_logit_scale": True})
    found = checkpoints_convert.read(folder)
    assert found.weights.source["logit_bias"] == -9.5
    assert found.weights.flat.keys() == start.flat.keys()
    assert "no probability over classes depends on it" in found.notes[0]
