"""Interpolated positions against open_clip's own functions, in float32."""

from types import SimpleNamespace

import numpy as np
import pytest

pytestmark = pytest.mark.peers
open_clip = pytest.importorskip("open_clip")
import torch  # noqa: E402
from open_clip.model import resize_pos_embed, resize_text_pos_embed  # noqa: E402

from clipjax.models import resize  # noqa: E402

ATOL = 5e-6  # places up to 37 are rounded by 2e-6 in float32, times slopes of about 2 between neighbours


@pytest.mark.parametrize(("old", "new"), [(7, 12), (24, 16), (16, 37), (14, 3), (7, 6), (2, 9)])
def test_grids_are_open_clips(old, new):
    table = np.random.default_rng(0).normal(size=(old * old + 1, 5)).astype(np.float32)
    state = {"visual.positional_embedding": torch.from_numpy(table)}
    resize_pos_embed(state, SimpleNamespace(visual=SimpleNamespace(grid_size=(new, new))))
    wanted = state["visual.positional_embedding"].numpy()
    np.testing.assert_allclose(resize._grid(table, new * new + 1), wanted, rtol=0, atol=ATOL)


@pytest.mark.parametrize(("old", "new"), [(77, 248), (77, 32), (77, 76), (16, 77)])
def test_contexts_are_open_clips(old, new):
    table = np.random.default_rng(0).normal(size=(old, 5)).astype(np.float32)
    state = {"positional_embedding": torch.from_numpy(table)}
    resize_text_pos_embed(state, SimpleNamespace(positional_embedding=torch.zeros(new, 5)))
    wanted = state["positional_embedding"].numpy()
    np.testing.assert_allclose(resize._line(table, new), wanted, rtol=0, atol=ATOL)


def test_a_larger_model_of_open_clip_is_ours(tmp_path):
    """What `force_image_size` and `force_context_length` make of a file there, and ours resized: the same features."""
    from checkpoints_convert import convert
    from clipjax.models import clip

    small = {"layers": 1, "width": 64, "patch_size": 8, "image_size": 32}
    text = {"context_length": 16, "vocab_size": 512, "width": 64, "heads": 1, "layers": 1}
    torch.manual_seed(0)
    first = open_clip.CLIP(32, small, text)
    torch.save({"state_dict": first.state_dict()}, tmp_path / "small.pt")
    options = convert.Options(activation="gelu", heads=1, text_heads=1)
    ours = resize.resized(convert.read(tmp_path / "small.pt", options).weights, 56, 24)
    state = dict(first.state_dict())
    larger = open_clip.CLIP(32, small | {"image_size": 56}, text | {"context_length": 24}).eval()
    resize_pos_embed(state, larger)
    resize_text_pos_embed(state, larger)
    larger.load_state_dict(state)
    rng = np.random.default_rng(0)
    pixels, tokens = rng.normal(size=(2, 56, 56, 3)).astype(np.float32), rng.integers(1, 510, (2, 24)).astype(np.int32)
    tokens[:, -1] = 511
    params = clip.unflatten(dict(ours.flat))
    with torch.no_grad():
        images = larger.encode_image(torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
        wanted = [images, larger.encode_text(torch.from_numpy(tokens))]
    found = [clip.apply_image(ours.config, params, pixels), clip.apply_text(ours.config, params, tokens)]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=2e-5)  # as other forwards: features of size 1 to 3
