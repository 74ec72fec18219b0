"""What is different on an NVIDIA GPU; measured in experiments/gpu."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.sharding import AbstractMesh


def has_cudnn(mesh: Any, dtype: Any) -> bool:
    """Whether encoders on `mesh` are written for cuDNN (`Lowering.cudnn`): bfloat16 on NVIDIA's cards from Ampere on.

    A mesh without devices describes a machine that is not available, of which nothing is known.
    """
    if isinstance(mesh, AbstractMesh) or jnp.dtype(dtype) != jnp.bfloat16:
        return False
    device = mesh.devices.flat[0]
    if device.platform != "gpu" or "cuda" not in device.client.platform_version:  # AMD's are called gpu too
        return False
    return float(device.compute_capability) >= 8.0
