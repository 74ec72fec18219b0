"""The stored form: version 1 of what it can say, version 2 of the rest, every field stated or refused by name."""

import dataclasses
import hashlib
import json

import pytest
from support.family_models import MODELS

from clipjax.errors import InputError
from clipjax.models import catalog, config, weights
from clipjax.models.inputs import Tokens
from clipjax.testing import tiny_config

BASE = catalog.get("ViT-B/32").config


def stored(model):
    return json.loads(json.dumps(config.to_dict(model)))


@pytest.mark.parametrize("model", [*(r.config for r in catalog.RELEASES), *MODELS.values()])
def test_it_comes_back(model):
    assert config.from_dict(stored(model)) == model


def test_what_the_first_version_can_say_is_stored_in_it():
    """Its fields are those of the files, manifests and caches that exist."""
    found = config.to_dict(BASE)
    assert list(found) == ["embed_dim", "image", "text", "mean", "std", "tokenizer"]
    own = ["kind", "image_size", "patch_size", "width", "layers", "heads", "mlp", "activation", "eps"]
    assert list(found["image"]) == own
    assert found["tokenizer"] == "clip-bpe"
    assert all("version" in config.to_dict(model) for model in MODELS.values())


def test_caches_of_such_models_keep_their_keys():
    """The repr of the dataclass of that time, written out once."""
    text = (
        "CLIP(embed_dim=512, image=ViT(image_size=224, patch_size=32, width=768, layers=12, heads=12, mlp=3072, "
        "activation='quick_gelu', eps=1e-05), text=Text(context_length=77, vocab_size=49408, width=512, layers=12, "
        "heads=8, mlp=2048, activation='quick_gelu', eps=1e-05), mean=(0.48145466, 0.4578275, 0.40821073), "
        "std=(0.26862954, 0.26130258, 0.27577711), tokenizer='clip-bpe')"
    )
    assert config.identity(BASE) == hashlib.sha256(text.encode()).hexdigest()
    resnet = tiny_config("resnet")
    assert config.identity(resnet) != config.identity(dataclasses.replace(resnet, embed_dim=64))


@pytest.mark.parametrize(
    "change",
    [
        {"pixels": dataclasses.replace(BASE.pixels, resize="squash")},
        {"pixels": dataclasses.replace(BASE.pixels, interpolation="bilinear")},
        {"pixels": dataclasses.replace(BASE.pixels, fill=1)},
        {"tokens": Tokens("file", "lower", 0, None, None, None)},
        {"tokens": Tokens("file", "lower", 0, "0" * 64, None, None)},
        {"logit_bias": True},
        {"image": dataclasses.replace(BASE.image, ln_pre=False)},
        {"text": dataclasses.replace(BASE.text, causal=False)},
    ],
)
def test_each_choice_makes_another_key_and_is_a_difference(change):
    other = dataclasses.replace(BASE, **change)
    assert config.identity(other) != config.identity(BASE)
    assert config.differences(BASE, other)
    assert config.from_dict(stored(other)) == other


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(version=3), "version 3; this clipjax reads 2 and 1"),
        (lambda d: d["image"].pop("ln_pre"), "missing attribute of ViT: ln_pre"),
        (lambda d: d["image"].update(swirl=1), "unknown attribute of ViT: swirl"),
        (lambda d: d["pixels"].pop("fill"), "missing attribute of Pixels: fill"),
        (lambda d: d["tokens"].update(clean="tidy"), "unknown clean 'tidy'"),
        (lambda d: d.pop("logit_bias"), "missing attribute of CLIP: logit_bias"),
        (lambda d: d["image"].update(rope={"grid": 4}), "missing attribute of Rope: axes, offset, theta"),
        (lambda d: d["image"].update(pool_heads=None), "pool_heads beside pool attention is None: a whole number"),
        (lambda d: d["image"].update(pool_heads=5), "5 pool_heads do not divide the image encoder's width 64"),
        (lambda d: d["image"].update(class_token=1), "class_token is 1: true or false"),
        (lambda d: d["image"].update(pool="class"), "without a class_token"),
        (lambda d: d["text"].update(eos_id=2), "eos_id beside pool last of the text encoder is 2: null"),
        (lambda d: d.update(embed_dim=65), "without projection an image encoder of width 64 gives no embedding 65"),
        (lambda d: d.pop("version"), "version 2"),
    ],
)
def test_a_damaged_one_is_refused_by_name(change, words):
    data = stored(MODELS["siglip"])
    change(data)
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        config.from_dict(data)


@pytest.mark.parametrize("name", MODELS)
def test_its_weights_are_written_and_read(name, tmp_path):
    from models.test_families import parameters

    start = weights.Weights(parameters(name), MODELS[name], name, {"format": "random"})
    weights.save(tmp_path / "m.safetensors", start)
    found = weights.load(tmp_path / "m.safetensors")
    assert found.config == start.config
    assert all((found.flat[k] == v).all() for k, v in start.flat.items())
