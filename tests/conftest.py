"""Eight virtual CPU devices for every test; must be set before jax is imported anywhere."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
# jaxlib 0.10 on few cores: unsynchronised collectives on virtual devices can deadlock with a small pool.
os.environ.setdefault("NPROC", "16")
