"""Every architecture that clipjax builds of open_clip's registry, at a small size, layer by layer beside open_clip.

    python -m pytest tests/peers/test_every_architecture.py -m peers -s

open_clip's factory and timm build each from the registry's own configuration with other sizes, every parameter random.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from support import peer_layers, peer_registry

from checkpoints_convert import dialects, rules
from clipjax.models import clip, shapes
from clipjax.models.kinds.vit import ViT

pytestmark = [pytest.mark.peers]
# Of a layer's largest value: sums in another order. In float64, timm has angles of rotary positions in float32 buffers.
# In float32 most are within 1e-6, EVA02-E (4e-15 in float64), whose norms are after its blocks, is 2.0e-6.
FLOAT64, ROTATED, FLOAT32 = 1e-12, 1e-7, 4e-6
KINDS = peer_registry.architectures()
EXAMPLES = {"@".join(found[0]): found for found in KINDS.values()}


def test_every_native_pair_is_of_one_of_them():
    """127 pairs of 169; equal but for sizes, pixels and tokenizer: the rest is what is compared below."""
    covered = [pair for found in KINDS.values() for pair in found]
    print(f"\n{len(covered)} native pairs of {len(peer_registry.pairs())}, {len(KINDS)} distinct architectures")
    assert sorted(covered) == sorted(peer_registry.native())
    assert (len(covered), len(peer_registry.pairs())) == (127, 169)
    assert len(KINDS) == 19


@pytest.fixture(scope="module", params=EXAMPLES)
def case(request):
    """(name, configuration, parameters, pixels, tokens, what open_clip computes in float64)."""
    pair = EXAMPLES[request.param][0]
    peer = peer_layers.randomise(peer_registry.small_model(pair), 5)
    config = peer_registry.small_config(pair, peer)
    state = {k: v.numpy() for k, v in peer.state_dict().items() if "attn_mask" not in k}
    flat, unknown = rules.to_native(dialects.of(state), state, request.param)
    shapes.check(config, flat, request.param, unknown)
    size = config.image.image_size
    pixels, tokens = np.random.default_rng(3).normal(size=(2, size, size, 3)), peer_registry.tokens(config)
    return request.param, config, flat, pixels, tokens, peer_layers.outputs(peer, pixels, tokens)


def ours(config, flat, pixels, tokens, dtype):
    params = clip.unflatten({k: jnp.asarray(np.asarray(v), dtype) for k, v in flat.items()})

    def both(params, pixels, tokens):
        image, text = {}, {}
        image["features"] = clip.apply_image(config, params, pixels, image)
        text["features"] = clip.apply_text(config, params, tokens, dtype, text)
        return {f"image/{k}": v for k, v in image.items()} | {f"text/{k}": v for k, v in text.items()}

    with jax.default_matmul_precision("highest"):
        found = jax.jit(both)(params, jnp.asarray(pixels, dtype), jnp.asarray(tokens, jnp.int32))
    return {k: np.asarray(v) for k, v in found.items()}


def test_every_layer_is_open_clips(case):
    name, config, flat, pixels, tokens, want = case
    with jax.enable_x64(True):
        double = peer_layers.errors(ours(config, flat, pixels, tokens, jnp.float64), want)
    single = peer_layers.errors(ours(config, flat, pixels, tokens, jnp.float32), want)
    worst = [max(found.items(), key=lambda item: item[1]) for found in (double, single)]
    cells = [name, len(EXAMPLES[name]), len(want), *(f"{error:.1e} ({layer})" for layer, error in worst)]
    print(f"\n| {' | '.join(map(str, cells))} |")
    assert len(want) >= 7
    rotates = isinstance(config.image, ViT) and config.image.rope is not None
    assert {k: e for k, e in double.items() if e > (ROTATED if rotates and k[0] == "i" else FLOAT64)} == {}
    assert {k: e for k, e in single.items() if e > FLOAT32} == {}


def test_no_parameter_is_where_it_started(case):
    """A constant would hide what it multiplies or is added to; CoCa's queries beside the first are not read."""
    for name, value in case[2].items():
        values = np.asarray(value)
        if name.endswith("in_proj_bias") and "EVA" in case[0]:
            continue  # EVA has no bias of k: a third are zeros
        assert values.ndim == 0 or np.ptp(values) > 0, name
        assert torch.as_tensor(np.array(values)).count_nonzero() == values.size, name
