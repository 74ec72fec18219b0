"""The arithmetic of clipjax/models/kinds against the modules that compute with them."""

import pytest
from flax import nnx
from support.family_models import MODELS

from clipjax.models import catalog, families, shapes
from clipjax.models.config import CLIP
from clipjax.models.inputs import CLIP_BPE, OPENAI_RESIZE, Pixels
from clipjax.models.kinds.resnet import ResNet

ODD = CLIP(
    24, families.image("openai", 36, 12, 64, 2, 2, 160, "gelu", 1e-5),
    families.text("openai", 12, 96, 96, 3, 3, 200, "gelu", 1e-5),
    Pixels((0.5, 0.4, 0.3), (0.25, 0.26, 0.27), **OPENAI_RESIZE), CLIP_BPE, False,
)  # fmt: skip
SMALL_RESNET = catalog.openai(32, catalog.resnet(64, 8, (1, 2, 1, 3)), catalog.text(64, 2, 16, 96))


def module_shapes(encoder, embed_dim):
    module = nnx.eval_shape(lambda: encoder.build(embed_dim, nnx.Rngs(0)))
    state = nnx.to_flat_state(nnx.state(module, (nnx.Param, nnx.BatchStat)))
    return {".".join(map(str, path)): tuple(v.shape) for path, v in state}


def released(release):
    """By default one ResNet: the others have more blocks of the same kind, which take seconds to trace."""
    small = not isinstance(release.config.image, ResNet) or release.name == "RN50"
    return pytest.param(release.config, marks=[] if small else [pytest.mark.exhaustive])


@pytest.mark.parametrize(
    "config",
    [*(released(r) for r in catalog.RELEASES), ODD, SMALL_RESNET, *MODELS.values()],
    ids=[*catalog.names(), "odd", "small resnet", *MODELS],
)
def test_shapes_are_those_of_the_modules(config):
    image, text = module_shapes(config.image, config.embed_dim), module_shapes(config.text, config.embed_dim)
    scalars = {"logit_scale": ()} | ({"logit_bias": ()} if config.logit_bias else {})
    assert shapes.shapes(config) == {f"visual.{k}": v for k, v in image.items()} | text | scalars
