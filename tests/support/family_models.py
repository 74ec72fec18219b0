"""One small model of each family, as data, for tests/golden/make_families.py and for tests.

Image encoders have width 64, two blocks of four heads and 4 x 4 patches, text encoders width 48; sizes at which every
choice shows: heads of the pool that are not the blocks', a grid of rope that is not the image's, an mlp of its own.
"""

import dataclasses

from clipjax.models import families
from clipjax.models.catalog import OPENAI_PIXELS
from clipjax.models.config import CLIP
from clipjax.models.inputs import CLIP_BPE, Tokens

WORDS, LENGTH, EMBED = 100, 12, 40
_FILE = Tokens("file", "canonicalize", 1, None, None, None)


def _image(family, activation="gelu", eps=1e-6, size=32, mlp=128, patch=8):
    return families.image(family, size, patch, 64, 2, 4, mlp, activation, eps)


def _text(family, activation="gelu", eps=1e-5):
    return families.text(family, LENGTH, WORDS, 48, 2, 3, 96, activation, eps)


def _model(image, text, embed_dim=EMBED, tokens=CLIP_BPE, logit_bias=False):
    return CLIP(embed_dim, image, text, OPENAI_PIXELS, tokens, logit_bias)


MODELS = {
    "siglip": _model(_image("siglip", "gelu_tanh"), _text("siglip", "gelu_tanh", 1e-6), 64, _FILE, True),
    # 30 = 3 x 8 + 6: the last rows and columns are not read; timm's erf, and a text encoder without projection
    "siglip_rest": _model(
        _image("siglip", size=30),
        dataclasses.replace(families.text("siglip", LENGTH, WORDS, 64, 2, 4, 96, "gelu", 1e-6), proj="none"),
        64, _FILE, True),
    "pe_core": _model(_image("pe-core", eps=1e-5), _text("openai")),
    "pe_core_g": _model(_image("pe-core-g", eps=1e-5, mlp=192), _text("openai")),
    "eva01": _model(_image("eva01"), _text("openai")),
    "eva02": _model(_image("eva02", "silu", mlp=170), _text("openai")),
    "eva02_e": _model(_image("eva02-e"), _text("openai")),
    "mobileclip_b": _model(_image("mobileclip-b", size=64, patch=16), _text("openai")),
    "mobileclip_l": _model(_image("mobileclip-l", eps=1e-5), _text("mobileclip")),
    "clipa": _model(_image("clipa", eps=1e-5), _text("clipa"), tokens=dataclasses.replace(_FILE, pad_id=0)),
    "coca": _model(_image("coca", eps=1e-5), _text("coca")),
    "metaclip2": _model(_image("openai", eps=1e-5), _text("metaclip2"), tokens=_FILE),
}  # fmt: skip
