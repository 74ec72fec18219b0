"""Weights without a configuration: facts are taken over, all else is asked for at once, and the answer works."""

import dataclasses

import numpy as np
import pytest
from support import checkpoints
from support.checkpoints import VIT, WIDE, random_weights

import checkpoints_convert
from checkpoints_convert import Options, bare
from clipjax.errors import InputError
from clipjax.models import catalog, families
from clipjax.models.config import CLIP
from clipjax.models.inputs import CLIP_BPE


def empty(config):
    """Parameters of a full size that take no memory."""
    from clipjax.models import shapes

    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.shapes(config).items()}


def asked(path, options=None):
    with pytest.raises(InputError) as caught:
        checkpoints_convert.read(path, options)
    return str(caught.value)


@pytest.mark.parametrize("name", ["bare.pt", "bare.safetensors"])
def test_a_bare_file_is_refused_with_what_to_give_and_that_works(tmp_path, name):
    """The activation is not in the shapes; OpenAI's format says heads of 64, open_clip's does not."""
    write = checkpoints.torch_file if name.endswith("pt") else checkpoints.save_safetensors
    path = write(tmp_path / name, checkpoints.openai_names(random_weights(VIT)))
    message = asked(path)
    assert "--activation=quick_gelu" in message
    assert "--activation=gelu (LAION, DataComp) with --heads=N" in message
    assert "open_clip_config.json or config.json beside it" in message
    found = checkpoints_convert.read(path, Options(activation="quick_gelu"))
    assert found.weights.config == VIT
    assert "read with quick_gelu, heads 1 and 1, eps 1e-05, OpenAI's mean and std" in found.notes[0]
    assert "--heads=N" in asked(path, Options(activation="gelu"))
    found = checkpoints_convert.read(path, Options(activation="gelu", heads=2)).weights.config
    assert (found.image.heads, found.text.heads, found.image.activation, found.text.activation) == (
        2,
        1,
        "gelu",
        "gelu",
    )


@pytest.mark.parametrize("beside", ["open_clip", "huggingface"])
def test_or_the_configuration_is_put_beside_it(tmp_path, beside):
    path = checkpoints.save_safetensors(
        tmp_path / "epoch_32.safetensors", checkpoints.openai_names(random_weights(WIDE))
    )
    (checkpoints.open_clip_folder if beside == "open_clip" else checkpoints.huggingface_folder)(tmp_path, WIDE)
    found = checkpoints_convert.read(path)
    assert (found.weights.config, found.notes) == (WIDE, ())
    with pytest.raises(InputError, match=r"says heads 4; --heads=5 contradicts it"):
        checkpoints_convert.read(path, Options(heads=5))
    assert checkpoints_convert.read(path, Options(heads=4, activation="gelu")).weights.config == WIDE


def test_all_that_shapes_do_not_say_can_be_given(tmp_path):
    path = checkpoints.torch_file(tmp_path / "m.bin", checkpoints.openai_names(random_weights(WIDE)))
    assert "--heads=N (attention heads of the image encoder of width 320)" in asked(path, Options(activation="gelu"))
    options = Options(activation="gelu", heads=4, mean=WIDE.pixels.mean, std=WIDE.pixels.std)
    assert checkpoints_convert.read(path, options).weights.config == WIDE
    eps = checkpoints_convert.read(path, Options("gelu", 4, 2, 1e-6)).weights.config
    assert (eps.image.eps, eps.text.eps, eps.pixels) == (1e-6, 1e-6, catalog.OPENAI_PIXELS)


def open_clip_model(width, layers, patch, text_width, text_layers, embed_dim):
    image = families.image("openai", 224, patch, width, layers, 16, width * 4, "quick_gelu", 1e-5)
    text = families.text(
        "openai", 77, 49408, text_width, text_layers, text_width // 64, text_width * 4, "quick_gelu", 1e-5
    )
    return CLIP(embed_dim, image, text, catalog.OPENAI_PIXELS, CLIP_BPE, False)


@pytest.mark.parametrize(
    "sizes", [(1280, 32, 14, 1024, 24, 1024), (1408, 40, 14, 1024, 24, 1024), (1664, 48, 14, 1280, 32, 1280)],
    ids=["ViT-H-14", "ViT-g-14", "ViT-bigG-14"],
)  # fmt: skip
@pytest.mark.parametrize("activation", [None, "quick_gelu", "gelu"])
def test_widths_whose_published_heads_are_not_of_64_need_heads(sizes, activation):
    config = open_clip_model(*sizes)
    with pytest.raises(InputError, match=r"--heads=N .*16 in the published models of this width"):
        bare.config(empty(config), Options(activation), None, False, "m.bin")
    found, _ = bare.config(empty(config), Options("quick_gelu", heads=16), None, False, "m.bin")
    assert found == config


@pytest.mark.parametrize("release", catalog.RELEASES, ids=lambda r: r.name)
def test_of_openais_own_architectures_only_the_activation_is_asked(release):
    """LAION trained the same shapes with exact GELU; an archive's code says which, and then nothing is left to ask."""
    flat = empty(release.config)
    with pytest.raises(InputError, match=r"or --activation=gelu \(LAION, DataComp\); what is not given"):
        bare.config(flat, Options(), None, False, "m.pt")
    assert bare.config(flat, Options(), "quick_gelu", True, "m.pt") == (release.config, ())
    found, notes = bare.config(flat, Options("gelu"), None, False, "m.pt")
    assert (found.image.heads, found.text.activation) == (release.config.image.heads, "gelu")
    assert "OpenAI's mean and std" in notes[0]


def test_another_vocabulary_is_refused():
    """As MetaCLIP 2's, whose names and shapes are those of OpenAI's otherwise."""
    text = dataclasses.replace(VIT.text, vocab_size=901_629)
    with pytest.raises(InputError, match="vocabulary of 901629 words is not that of CLIP's tokenizer"):
        bare.config(empty(dataclasses.replace(VIT, text=text)), Options("quick_gelu"), None, False, "m.pt")


def test_an_archives_code_may_not_be_contradicted():
    with pytest.raises(InputError, match="its code computes gelu; --activation=quick_gelu contradicts it"):
        bare.config(empty(VIT), Options("quick_gelu"), "gelu", True, "m.pt")


@pytest.mark.parametrize(
    ("part", "words"),
    [("visual.", "the image encoder is missing"), ("t", "the text encoder is missing"), ("", "no tensor that a CLIP")],
)
def test_what_is_not_a_clip_is_named(part, words):
    flat = {k: v for k, v in empty(VIT).items() if part and not k.startswith(part)}
    with pytest.raises(InputError, match=words):
        bare.config(flat, Options(), None, False, "m.pt")
