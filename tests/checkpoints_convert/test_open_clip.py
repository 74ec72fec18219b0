"""open_clip's configurations: read, or refused with every reason at once."""

import dataclasses
import re

import numpy as np
import pytest
from support import checkpoints
from support.checkpoints import WIDE, random_weights

import checkpoints_convert
from checkpoints_convert import open_clip, timm_encoders
from clipjax.errors import InputError
from clipjax.model import Model
from clipjax.models import clip


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
    """An image encoder of timm that is not built, beside texts and pixels that are not."""
    path = changed(
        folder,
        model_cfg={"custom_text": True, "init_logit_bias": -10},
        vision_cfg={"timm_model_name": "fastvit_mci1", "timm_pool": "avg", "swirl": 1},
        text_cfg={"hf_tokenizer_name": "org/own", "pool_type": "none", "act_kwargs": {"approximate": "no"},
                  "tokenizer_kwargs": {"clean": "lower"}, "norm_kwargs": {"eps": 1e-6}},
        preprocess_cfg={"resize_mode": "stretch", "interpolation": "random"},
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        open_clip.read_config(path)
    message = str(caught.value)
    for words in (
        "an image encoder of timm", "a tokenizer whose padding clipjax does not know", "pool_type = 'none'",
        "cleaned in a way that clipjax does not know", "act_kwargs", "resize_mode = 'stretch'", "'random'",
        "swirl = 1, an attribute that clipjax does not know",
    ):  # fmt: skip
        assert words in message
    assert not any(name in message for name in ("custom_text", "init_logit_bias", "timm_pool", "norm_kwargs"))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("vit_base_patch16_siglip_224", {"image_size": 256}, "open_clip runs vit_base_patch16_siglip_224 at 224"),
        ("vit_base_patch16_siglip_224", {"timm_pool": "avg"}, "timm_pool = 'avg' (of vit_base_patch16_siglip_224"),
        ("vit_pe_core_base_patch16_224", {"image_size": 384}, "open_clip runs vit_pe_core_base_patch16_224 at 224"),
        ("eva02_base_patch16_clip_224", {"timm_proj": "linear"}, "timm_proj = 'linear'"),
    ],
)
def test_an_encoder_of_timm_is_read_as_open_clip_builds_it_or_not_at_all(folder, name, change, words):
    pool, proj = timm_encoders.POOLS[timm_encoders.TIMM[name].family]
    vision = {"timm_model_name": name, "timm_pool": pool, "timm_proj": proj, "image_size": 224}
    changed(folder, model_cfg={"embed_dim": 768}, preprocess_cfg={"size": 224})
    assert open_clip.read_config(changed(folder, vision_cfg=vision))[0].image == timm_encoders.image_encoder(name)
    with pytest.raises(InputError, match=re.escape(words)):
        open_clip.read_config(changed(folder, vision_cfg=change))


def test_eps_of_either_encoder_is_read(folder):
    config, _ = open_clip.read_config(changed(folder, text_cfg={"norm_kwargs": {"eps": 1e-6}}))
    assert (config.text.eps, config.image.eps) == (1e-6, 1e-5)
    silent, _ = open_clip.read_config(changed(folder, text_cfg={"norm_kwargs": None}, vision_cfg={"norm_kwargs": None}))
    assert (silent.text.eps, silent.image.eps) == (1e-5, 1e-5)  # open_clip's own, as in every CLIPA of the registry
    with pytest.raises(InputError, match="norm_kwargs"):
        open_clip.read_config(changed(folder, vision_cfg={"norm_kwargs": {"elementwise_affine": False}}))


def test_a_sigmoid_models_bias_is_a_parameter(folder):
    """Also where scale and bias have the shape (1,), as open_clip's nonscalar_logit_scale writes them."""
    start = random_weights(WIDE)
    tensors = checkpoints.openai_names(start) | {"logit_bias": np.float32([-9.5])}
    tensors["logit_scale"] = tensors["logit_scale"].reshape(1)
    checkpoints.save_safetensors(folder / open_clip.WEIGHT_FILES[0], tensors)
    changed(folder, model_cfg={"nonscalar_logit_scale": True})  # its init_logit_bias may be missing
    found = checkpoints_convert.read(folder).weights
    assert found.config == dataclasses.replace(WIDE, logit_bias=True)
    assert found.flat["logit_bias"].shape == ()
    assert found.flat["logit_bias"] == -9.5
    model = Model("m", found.config, clip.unflatten(found.flat), {})
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(2, 48)).astype(np.float32), rng.normal(size=(3, 48)).astype(np.float32)
    without = clip.logits({"logit_scale": model.params["logit_scale"]}, image, text)
    np.testing.assert_allclose(clip.logits(model.params, image, text), without - 9.5, rtol=1e-6)
    for to, name in (("openai", "m.pt"), ("huggingface", "hf")):
        with pytest.raises(InputError, match="logit_bias"):
            checkpoints_convert.write(folder / name, found, to)


def test_a_bias_that_a_configuration_promises_is_missed(folder):
    with pytest.raises(InputError, match="without logit_bias"):
        checkpoints_convert.read(changed(folder, model_cfg={"init_logit_bias": -10}))
