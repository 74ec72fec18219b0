"""Every form of the losses against a float64 reference written from the papers' formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipjax import parallel
from clipjax.errors import InputError
from clipjax.train import accumulate, losses

# float32 sums of 64 terms of size about 1: a few ulps
TOLERANCE = 1e-6


def embeddings(n=64, width=32, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, n, width))
    return [jnp.asarray(a / np.linalg.norm(a, axis=1, keepdims=True), jnp.float32) for a in x]


def captions(n=64, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, n // 3, n))


def crossed(n=64, seed=0):
    """Captions that several images have, and images that several captions have: which is not an equivalence."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(np.stack([rng.integers(0, n // 3, n), rng.integers(0, n // 2, n)], 1))


def same(ids):
    ids = np.asarray(ids).reshape(len(ids), -1)
    return (ids[:, None] == ids[None]).any(-1)


IDS = {"none": lambda: None, "captions": captions, "crossed": crossed}


def reference_softmax(image, text, scale, ids=None):
    """float64 numpy: cross-entropy of each row and column with its targets."""
    image, text, scale = (np.asarray(a, np.float64) for a in (image, text, scale))
    logits = scale * image @ text.T
    ids = np.arange(len(image)) if ids is None else np.asarray(ids)
    target = same(ids).astype(float)
    target /= target.sum(1, keepdims=True)

    def entropy(z):
        z = z - z.max(1, keepdims=True)
        return -(target * (z - np.log(np.exp(z).sum(1, keepdims=True)))).sum(1).mean()

    return (entropy(logits) + entropy(logits.T)) / 2


def reference_sigmoid(image, text, scale, bias, ids=None):
    image, text, scale, bias = (np.asarray(a, np.float64) for a in (image, text, scale, bias))
    logits = scale * image @ text.T + bias
    ids = np.arange(len(image)) if ids is None else np.asarray(ids)
    sign = np.where(same(ids), 1, -1)
    return np.log1p(np.exp(-sign * logits)).sum() / len(image)


def arguments(kind):
    image, text = embeddings()
    scalars = [jnp.float32(20.0)] if kind == "softmax" else [jnp.float32(10.0), jnp.float32(-10.0)]
    return [image, text, *scalars]


REFERENCE = {"softmax": reference_softmax, "sigmoid": reference_sigmoid}
GLOBAL = {"softmax": losses.softmax, "sigmoid": losses.sigmoid}
RING = {"softmax": losses.ring_softmax, "sigmoid": losses.ring_sigmoid}


@pytest.mark.parametrize("shared", IDS)
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_global_forms_are_the_papers(kind, shared):
    args, ids = arguments(kind), IDS[shared]()
    np.testing.assert_allclose(GLOBAL[kind](*args, ids), REFERENCE[kind](*args, ids), rtol=TOLERANCE)
    gradient = jax.grad(GLOBAL[kind], argnums=tuple(range(len(args))))(*args, ids)
    rng = np.random.default_rng(1)
    for i, (arg, found) in enumerate(zip(args, gradient, strict=True)):
        direction = rng.normal(size=np.shape(arg))
        ends = [list(args), list(args)]
        for end, sign in zip(ends, (1, -1), strict=True):
            end[i] = np.asarray(arg, np.float64) + sign * 1e-5 * direction
        slope = (REFERENCE[kind](*ends[0], ids) - REFERENCE[kind](*ends[1], ids)) / 2e-5
        np.testing.assert_allclose(np.sum(np.asarray(found) * direction), slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("shared", IDS)
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_rings_equal_the_global_form(kind, shared, devices):
    args, ids = arguments(kind), IDS[shared]()
    mesh = parallel.data_mesh(jax.devices()[:devices])
    over = tuple(range(len(args)))
    wanted = jax.value_and_grad(GLOBAL[kind], argnums=over)(*args, ids)
    ring = lambda *a: 3 * RING[kind](*a, ids, mesh=mesh)  # noqa: E731  a factor: the cotangent is used
    value, gradient = jax.jit(jax.value_and_grad(ring, argnums=over))(*args)
    np.testing.assert_allclose(value, 3 * wanted[0], rtol=TOLERANCE)
    for a, b in zip(gradient, wanted[1], strict=True):
        np.testing.assert_allclose(a, 3 * b, rtol=0, atol=3 * TOLERANCE)


def test_ring_on_a_mesh_of_two_axes():
    args = arguments("softmax")
    mesh = jax.make_mesh((2, 2), ("data", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    found = jax.jit(lambda *a: losses.ring_softmax(*a, mesh=mesh))(*args)
    np.testing.assert_allclose(found, losses.softmax(*args), rtol=TOLERANCE)


def test_ring_never_holds_the_whole_matrix():
    """Temporary memory per device at B = 4,096 stays below that of all logits of one device's rows."""
    mesh = parallel.data_mesh()
    rows = parallel.by_rows(mesh)
    shape = jax.ShapeDtypeStruct((4096, 64), jnp.float32, sharding=rows)
    scale = jax.ShapeDtypeStruct((), jnp.float32, sharding=parallel.replicated(mesh))

    def memory(loss):
        grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)), out_shardings=None)
        return grad.lower(shape, shape, scale).compile().memory_analysis().temp_size_in_bytes

    mine = 4096 // mesh.size
    block = 4 * mine**2
    ring = memory(lambda *a: losses.ring_softmax(*a, mesh=mesh))
    assert ring < mine * 4096 * 4 < memory(losses.softmax)
    assert ring > block / 2  # what is measured is this program's memory


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "ring_softmax", "ring_sigmoid"])
def test_accumulation_is_exact(kind, steps, devices):
    mesh = parallel.data_mesh(jax.devices()[:devices])
    rng = np.random.default_rng(0)
    params = {
        "image": jnp.asarray(rng.normal(size=(12, 16)), jnp.float32),
        "text": jnp.asarray(rng.normal(size=(10, 16)), jnp.float32),
        "scale": jnp.float32(np.log(10)), "bias": jnp.float32(-5),
    }  # fmt: skip
    batch = {"image": rng.normal(size=(64, 12)), "text": rng.normal(size=(64, 10)), "ids": np.arange(64) // 2}
    batch = {k: jnp.asarray(v, jnp.int32 if k == "ids" else jnp.float32) for k, v in batch.items()}

    def encode(params, batch):
        unit = lambda x: x / jnp.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
        return unit(jnp.tanh(batch["image"] @ params["image"])), unit(batch["text"] @ params["text"])

    def loss(form, **options):
        def call(params, embeddings, batch):
            scalars = [jnp.exp(params["scale"])] + ([params["bias"]] if "sigmoid" in kind else [])
            return form(*embeddings, *scalars, batch["ids"], **options)

        return call

    plain = loss(GLOBAL[kind.removeprefix("ring_")])
    wanted = jax.value_and_grad(lambda p: plain(p, encode(p, batch), batch))(params)
    form = loss(getattr(losses, kind), mesh=mesh) if "ring" in kind else plain
    placed = jax.tree.map(lambda x: jax.device_put(x, parallel.by_rows(mesh)), batch)
    step = accumulate.value_and_grad(encode, form, steps, devices)
    found = jax.jit(step)(jax.device_put(params, parallel.replicated(mesh)), placed)
    np.testing.assert_allclose(found[0], wanted[0], rtol=TOLERANCE)
    for name in params:
        np.testing.assert_allclose(found[1][name], wanted[1][name], rtol=0, atol=TOLERANCE * 10, err_msg=name)


def test_scale_is_clamped_at_a_hundred():
    assert float(jnp.exp(losses.clamp(jnp.float32(7)))) == pytest.approx(100, rel=1e-6)
    assert float(losses.clamp(jnp.float32(3))) == 3


def test_wrong_shapes_are_refused():
    image, text = embeddings(62)
    with pytest.raises(InputError, match="62 does not divide over 4 devices"):
        losses.ring_softmax(image, text, 1.0, mesh=parallel.data_mesh())
    with pytest.raises(InputError, match="pair by pair"):
        losses.softmax(image, text[:5], 1.0)
    step = accumulate.value_and_grad(lambda p, b: b, lambda p, e, b: p * e["x"].sum(), steps=7)
    with pytest.raises(InputError, match="does not divide into 7 parts"):
        step(jnp.float32(1), {"x": image})
