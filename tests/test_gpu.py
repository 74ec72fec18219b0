"""Encoders written for cuDNN: where that is chosen, and what the program for CUDA then holds. No GPU runs here."""

from types import SimpleNamespace
from unittest import mock

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

from clipjax import gpu, parallel
from clipjax.encoder import Encoder, arithmetic
from clipjax.models import catalog, clip
from clipjax.models.lowering import Lowering

CONFIG = catalog.openai(32, catalog.vit(32, 8, 128, 3), catalog.text(64, layers=2, context_length=16, vocab_size=96))
RESNET = catalog.openai(32, catalog.resnet(64, 16, (1, 1, 1, 1)), CONFIG.text)
CALL = "__cudnn$fmhaSoftmax"


def mesh_of(platform="gpu", version="PJRT C API\ncuda 13000", capability="9.0"):
    client = SimpleNamespace(platform_version=version)
    kind = "NVIDIA H200" if "cuda" in version else "another"
    device = SimpleNamespace(platform=platform, client=client, compute_capability=capability, device_kind=kind)
    return SimpleNamespace(devices=np.array([device], object))


@pytest.mark.parametrize(
    ("mesh", "dtype", "fused"),
    [
        (mesh_of(), "bfloat16", True),
        (mesh_of(capability="12.0"), "bfloat16", True),
        (mesh_of(capability="7.5"), "bfloat16", False),
        (mesh_of(), "float32", False),
        (mesh_of(version="rocm 60000", capability="gfx942"), "bfloat16", False),
        (mesh_of("tpu", "TFRT TPU v5e"), "bfloat16", False),
        (AbstractMesh((8,), ("data",), (AxisType.Auto,)), "bfloat16", False),
    ],
)
def test_the_choice(mesh, dtype, fused):
    assert gpu.has_cudnn(mesh, dtype) is fused


def test_a_cpu_has_none():
    assert not gpu.has_cudnn(parallel.data_mesh(jax.devices("cpu")), "bfloat16")


@pytest.mark.parametrize(
    ("dtype", "products", "told"),
    [
        ("float32", None, "NVIDIA H200"),
        ("float32", "highest", "NVIDIA H200, highest products"),
        ("bfloat16", None, "NVIDIA H200, cuDNN"),
    ],
)
def test_cached_features_are_told_apart_by(dtype, products, told):
    with jax.default_matmul_precision(products):
        assert arithmetic(mesh_of(), dtype) == told


@pytest.fixture
def as_if_there():
    """JAX asks the machine for its cuDNN and card while it traces; here are none."""
    from jax._src.cudnn import fused_attention_stablehlo as asked

    with (
        mock.patch.object(asked, "check_cudnn_version", return_value=91000),
        mock.patch.object(asked, "check_compute_capability", return_value=True),
        mock.patch.object(asked, "is_cuda_compute_capability_equal", return_value=False),
        mock.patch.object(gpu, "has_cudnn", lambda mesh, dtype: dtype == "bfloat16"),
    ):
        yield


def lowered(config, dtype, devices):
    mesh = parallel.data_mesh(jax.devices()[:devices])
    encoder = Encoder(config, clip.abstract(config), dtype=dtype, batch_size=4, mesh=mesh, full_batches=True)
    with mock.patch.object(Encoder, "_on_cpu", False):
        program, arguments = encoder.image_step()
        return program.trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("devices", [1, 4])
def test_attention_is_its_kernel_in_every_block_that_has_all_positions(as_if_there, devices):
    assert lowered(CONFIG, "bfloat16", devices).count(f"{CALL}(") == 2  # of the last block one row is read
    assert lowered(CONFIG, "float32", devices).count(f"{CALL}(") == 0


def test_a_resnet_has_its_convolutions_as_convolutions(as_if_there):
    """Every 1 x 1 too, with BatchNorm in its weights: what XLA gives to cuDNN together with bias and ReLU."""
    half, full = (lowered(RESNET, dtype, 1) for dtype in ("bfloat16", "float32"))
    assert half.count("stablehlo.convolution(") == 3 + 4 * (3 + 1)  # the stem, and a short cut in each block
    assert full.count("stablehlo.convolution(") == 3 + 4 * 1


def test_folded_and_not_are_the_same_function():
    """Here in float32, where rounding hides nothing: what `Lowering.cudnn` changes is only how a ResNet is written."""
    rng = np.random.default_rng(0)
    flat = {
        name: np.abs(rng.normal(size=shape)).astype(np.float32) + 0.5
        if name.endswith("running_var")
        else rng.normal(size=shape).astype(np.float32) * max(1, np.prod(shape[:-1])) ** -0.5
        for name, shape in clip.shapes(RESNET).items()
    }
    params, pixels = clip.unflatten(flat), rng.normal(size=(3, 64, 64, 3)).astype(np.float32)
    want = jax.jit(lambda params, pixels: clip.apply_image(RESNET, params, pixels))(params, pixels)
    folded = Lowering(cudnn=True)
    got = jax.jit(lambda params, pixels: clip.apply_image(RESNET, params, pixels, lowering=folded))(params, pixels)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * np.abs(want).max())
    assert not np.array_equal(got, want)  # it was another program
