"""Eight virtual CPU devices for every test, set before jax is imported anywhere; no deadline for a property."""

import os

from hypothesis import settings

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
# jaxlib 0.10 on few cores: unsynchronised collectives on virtual devices can deadlock with a small pool.
os.environ.setdefault("NPROC", "16")

# By default an example that takes 0.2 s is a failure: on a loaded machine that is a test of its neighbours.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
