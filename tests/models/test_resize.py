"""Another image size or context: positions interpolated over their places, everything else as it was."""

import numpy as np
import pytest
from support.family_models import MODELS

from clipjax.errors import InputError
from clipjax.models import resize, shapes, weights
from clipjax.testing import tiny_config, tiny_model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("resize")
    return {kind: weights.load(tiny_model(root / f"{kind}.safetensors", kind, layers=1)) for kind in ("vit", "resnet")}


POSITIONS = {"vit": "visual.positional_embedding", "resnet": "visual.attnpool.positional_embedding"}


@pytest.mark.parametrize("kind", POSITIONS)
def test_its_own_size_is_the_model_itself_and_there_and_back_is_nearly(models, kind):
    model = models[kind]
    size = model.config.image.image_size
    assert resize.resized(model, size, 77) is resize.resized(model) is model
    larger = resize.resized(model, 2 * size)
    back = resize.resized(larger, size)
    assert larger.config.image.image_size == 2 * size
    assert back.config == model.config
    shapes.check(larger.config, larger.flat, "larger")
    changed = {name for name in model.flat if not np.array_equal(larger.flat[name], model.flat[name])}
    assert changed == {POSITIONS[kind]}
    assert larger.source["resized"] == {"image_size": 2 * size, "context": 77}
    before, after = (one.flat[POSITIONS[kind]] for one in (model, back))
    assert np.array_equal(before[0], after[0])  # of the class token, or the mean
    assert np.corrcoef(before[1:].ravel(), after[1:].ravel())[0, 1] > 0.9


def test_positions_keep_their_place():
    """A cubic kernel has straight lines as they are, but for the edge; rows stay rows."""
    y, x = np.meshgrid(np.arange(8.0), np.arange(8.0), indexing="ij")
    table = np.concatenate([[[9, 9, 9]], np.stack([y.ravel(), x.ravel(), np.ones(64)], 1)]).astype(np.float32)
    for new in (16, 12):
        found = resize._grid(table, new**2 + 1)
        assert np.array_equal(found[0], [9, 9, 9])
        grid = found[1:].reshape(new, new, 3)
        inside = slice(new // 4, -new // 4)  # where the kernel does not reach over the edge
        places = ((np.arange(new) + 0.5) * 8 / new - 0.5)[inside]
        np.testing.assert_allclose(grid[inside, :, 0] - places[:, None], 0, atol=1e-5)
        np.testing.assert_allclose(grid[:, inside, 1] - places, 0, atol=1e-5)
    for new in (3, 4, 16):
        np.testing.assert_allclose(resize._grid(table, new**2 + 1)[1:, 2], 1, atol=1e-6)


def test_contexts(models):
    model = models["vit"]
    table = model.flat["positional_embedding"]
    longer = resize.resized(model, context=154).flat["positional_embedding"]
    np.testing.assert_allclose(longer[1:-1:2], 0.75 * table[:-1] + 0.25 * table[1:], atol=1e-6)
    assert np.array_equal(longer[[0, -1]], table[[0, -1]])
    kept = resize.resized(model, context=20, positions="keep")
    assert np.array_equal(kept.flat["positional_embedding"], table[:20])
    assert kept.config.text.context_length == 20
    shorter = resize.resized(model, context=11).flat["positional_embedding"]
    np.testing.assert_allclose(shorter, table[3::7], atol=1e-6)  # the middle of each seven


@pytest.mark.parametrize("family", MODELS)
def test_every_family(family):
    """What changes is where it has learned positions, and rotary ones are computed."""
    config = MODELS[family]
    rng = np.random.default_rng(0)
    flat = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.shapes(config).items()}
    model = weights.Weights(flat, config, family, {})
    size = 2 * config.image.image_size
    found = resize.resized(model, size, config.text.context_length + 3)
    weights.check(found.config, found.flat, family)
    changed = {name for name in flat if not np.array_equal(found.flat[name], flat[name])}
    learned = {name for name in flat if name.endswith("positional_embedding")}
    assert changed == learned
    if family == "coca":  # the row of the class token, behind the text
        assert np.array_equal(found.flat["positional_embedding"][-1], flat["positional_embedding"][-1])
    assert resize.resized(model, context=config.text.context_length) is model


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"image_size": 36}, "image size 36 is not a multiple of the patch size 8"),
        ({"image_size": -8}, "image_size of the image encoder is -8"),
        ({"context": -1}, "context_length of the text encoder is -1"),
        ({"context": 20, "positions": "cut"}, "choose interpolate or keep"),
        ({"context": 80, "positions": "keep"}, "of a shorter context than tiny-vit's 77 tokens"),
        ({"positions": "keep"}, "of a shorter context"),
    ],
)
def test_sizes_that_a_model_cannot_have(models, sizes, message):
    with pytest.raises(InputError, match=message):
        resize.resized(models["vit"], **sizes)


def test_every_kind_is_a_whole_model(models):
    for kind, size in (("vit", 48), ("resnet", 96)):
        found = resize.resized(models[kind], size, 32)
        assert found.config != tiny_config(kind, 1)
        weights.check(found.config, found.flat, kind)
