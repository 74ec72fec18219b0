"""Hard negatives: NegCLIP's loss against its formula, exact in parts and on several devices, and what is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from clipjax import parallel
from clipjax.data import table
from clipjax.errors import InputError
from clipjax.image import Preprocess
from clipjax.models import catalog, clip
from clipjax.text import tokenize
from clipjax.train import accumulate, feed, losses, optimiser, pairs, step
from clipjax.train.pairs import joined

SPEC = Preprocess(16, (0.5,) * 3, (0.5,) * 3)


def by_hand(kind, image, text, others, counts, scale, bias):
    """The formulas of the docstrings, one image after the other, in float64."""
    total, n = 0.0, len(image)
    for i in range(n):
        right, wrong = scale * image[i] @ text.T, scale * image[i] @ others[counts[i]].T
        if kind == "softmax":
            total += (np.log(np.exp(right).sum() + np.exp(wrong).sum()) - right[i]) / 2
            back = scale * text[i] @ image.T
            total += (np.log(np.exp(back).sum()) - back[i]) / 2
        else:
            sign = np.where(np.arange(n) == i, 1, -1)
            total += np.log1p(np.exp(-sign * (right + bias))).sum() + np.log1p(np.exp(wrong + bias)).sum()
    return total / n


def given():
    """Unit vectors float64 [3, 8, 6], and which hard negatives count."""
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(3, 8, 6))
    unit /= np.linalg.norm(unit, axis=2, keepdims=True)
    counts = rng.random((8, 8)) < 0.8
    counts[2] = False
    return unit, counts


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_the_loss_is_the_formula(kind):
    unit, counts = given()
    image, text, others = (jnp.asarray(a, jnp.float32) for a in unit)
    against = losses.HardNegatives(others, jnp.asarray(counts))
    scalars = [7.0] + [-3.0] * (kind == "sigmoid")
    found = getattr(losses, kind)(image, text, *scalars, None, against)
    assert float(found) == pytest.approx(by_hand(kind, *unit, counts, 7.0, -3.0), rel=1e-6)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_loss_and_gradient_are_those_of_parts_and_devices(kind):
    unit, counts = given()
    scalars = [7.0] + [-3.0] * (kind == "sigmoid")
    form = getattr(losses, kind)

    def loss(params, embeddings, batch):
        image, text, others = embeddings
        return form(image, text, *scalars, None, losses.HardNegatives(others, batch["counts"]))

    def encode(params, batch):
        return tuple(clip.normalise(batch["x"][:, k] @ params) for k in range(3))

    batch = {"x": jnp.asarray(unit.swapaxes(0, 1), jnp.float32), "counts": jnp.asarray(counts)}
    params = jnp.eye(6) + 0.1
    value, gradient = accumulate.value_and_grad(encode, loss)(params, batch)
    mesh = parallel.data_mesh(jax.devices()[:4])
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(mesh.axis_names))
    cut = jax.tree.map(lambda x: jax.device_put(x, rows), batch)
    found, other = jax.jit(accumulate.value_and_grad(encode, loss, 2, 4))(params, cut)
    np.testing.assert_allclose(found, value, rtol=1e-6)
    np.testing.assert_allclose(other, gradient, rtol=0, atol=2e-6)  # sums of 64 terms of size 1, in another order
    assert np.abs(gradient).max() > 0.01


def test_no_hard_negatives_is_the_loss_without_them():
    image, text, others = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 6)), jnp.float32)
    none = losses.HardNegatives(others, jnp.zeros((8, 8), bool))
    np.testing.assert_allclose(
        losses.softmax(image, text, 2.0, None, none), losses.softmax(image, text, 2.0), rtol=1e-6
    )
    assert losses.sigmoid(image, text, 2.0, -1.0, None, none) == losses.sigmoid(image, text, 2.0, -1.0)


@pytest.mark.exhaustive
def test_an_update_is_the_same_on_a_mesh_in_parts():
    """With texts that are an image's own caption, and with none: the update's loss is that of the counted ones."""
    config = catalog.openai(32, catalog.vit(32, 8, 64, 1), catalog.text(64, layers=1, vocab_size=512))
    rng = np.random.default_rng(0)

    def texts():
        tokens = np.zeros((16, 8), np.int32)
        tokens[:, 0], tokens[:, 1:4], tokens[:, 4] = 510, rng.integers(1, 510, (16, 3)), 511
        return tokens

    ids = np.arange(16, dtype=np.int32)
    batch = {
        "pixels": rng.integers(0, 256, (16, 32, 32, 3)).astype(np.uint8), "tokens": texts(), "ids": ids,
        "hard_negatives": texts(), "texts": np.stack([ids, np.r_[16:28, -1, -1, 0, 1]], 1).astype(np.int32),
    }  # fmt: skip
    recipe = optimiser.Options(steps=10, learning_rate=1e-3, warmup=0)
    params = clip.init(config, jax.random.key(0))

    def run(devices, given, **more):
        options = step.Options("softmax", soft_targets=True, **more)
        mesh = parallel.training_mesh(devices // 2 or 1, jax.devices()[:devices])
        state = step.start(params, options, recipe, mesh)
        state, metrics = step.make(config, options, recipe, state, mesh)(state, given)
        return jax.device_get(state["params"]), float(metrics["loss"])

    wanted, value = run(1, batch)
    found, other = run(4, batch, accumulation_steps=2, remat="full")
    assert other == pytest.approx(value, rel=1e-5)
    for name, array in wanted.items():  # Adam's first step divides rounding by its size where a gradient is only that
        np.testing.assert_allclose(found[name], array, rtol=0, atol=2e-5, err_msg=name)
    mean, std = np.float32(config.pixels.mean), np.float32(config.pixels.std)
    raw = [clip.apply_image(config, params, (batch["pixels"] / np.float32(255) - mean) / std)]
    raw += [clip.apply_text(config, params, batch[name]) for name in ("tokens", "hard_negatives")]
    unit = [np.asarray(clip.normalise(x), np.float64) for x in raw]
    counts = (batch["texts"][:, 1] >= 0) & (batch["texts"][:, :1] != batch["texts"][:, 1])
    assert counts.sum() == 16 * 14 - 2
    scale = float(np.exp(params["logit_scale"]))
    assert value == pytest.approx(by_hand("softmax", *unit, counts, scale, step.SIGLIP_BIAS), rel=1e-5)
    assert value > run(1, {name: batch[name] for name in ("pixels", "tokens", "ids")})[1]


@pytest.fixture
def files(tmp_path):
    for i in range(4):
        Image.new("RGB", (20, 20), (i * 10, 0, 0)).save(tmp_path / f"{i}.png")
    return [tmp_path / f"{i}.png" for i in range(4)]


CAPTIONS = [("a b", "c d"), ("e f",), ("g h",), ("i j",)]
CELLS = {"0.png": ("b a", "['d c', 'd d']"), "1.png": ("f e", "f f"), "2.png": (), "3.png": ("a b",)}


def test_a_hard_negative_stands_beside_its_caption(files):
    source = table.from_rows("some", files, {"captions": CAPTIONS})
    found = pairs.pairs(source, ("the {}",), against=CELLS)
    assert found.hard_negatives == [(("b a",), ("d c", "d d")), (("f e", "f f"),), ((),), (("a b",),)]
    assert "1 of 4 images have no hard negative" in pairs.notes(found, pairs.lengths(found, 12), 12, True, 4)
    stream = feed.Feed(found, 4, SPEC, 12, None, 3)
    texts = {tokenize(f"the {t}", 8)[0].tobytes(): t for n in range(4) for t in found.texts(n)}
    seen = set()
    for _ in range(30):
        batch = next(stream)
        drawn = [batch.arrays[name] for name in ("tokens", "hard_negatives", "texts")]
        for file, right, wrong, numbers in zip(batch.files, *drawn, strict=True):
            pair = texts[right.tobytes()], texts.get(wrong.tobytes())
            assert (numbers[1] < 0) == (pair[1] is None) == (file == "2.png")
            seen.add((file, *pair))
            if file == "3.png":
                assert numbers[1] == 0  # that of the caption "a b", which it is not a negative of
            if pair[0] == "a b":
                assert numbers[0] == 0
    stream.close()
    assert seen == {
        ("0.png", "a b", "b a"), ("0.png", "c d", "d c"), ("0.png", "c d", "d d"), ("1.png", "e f", "f e"),
        ("1.png", "e f", "f f"), ("2.png", "g h", None), ("3.png", "i j", "a b"),
    }  # fmt: skip
    plain = pairs.pairs(source, ("the {}",))
    assert plain.fingerprint != found.fingerprint
    both = joined([plain, found], [1, 1])
    assert both.hard_negatives == [((), ()), ((),), ((),), ((),), *found.hard_negatives]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"0.png": ("c d",)}, r"0\.png has 'c d' as caption and as hard negative"),
        ({"0.png": ("['x', 3]",)}, "is not a list of texts"),
        ({"0.png": ("[x]",)}, "is not a list of texts"),
        ({"0.png": ()}, "no image of some has a hard negative"),
    ],
)
def test_hard_negatives_that_cannot_be_meant(files, cells, message):
    with pytest.raises(InputError, match=message):
        pairs.pairs(table.from_rows("some", files, {"captions": CAPTIONS}), against=cells)
