"""Eight virtual CPU devices for every test, set before jax is imported anywhere; no deadline for a property."""

import contextlib
import io
import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
# jaxlib 0.10 on few cores: unsynchronised collectives on virtual devices can deadlock with a small pool.
os.environ.setdefault("NPROC", "16")

# By default an example that takes 0.2 s is a failure: on a loaded machine that is a test of its neighbours.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    """`clipjax demo`, once for all tests: (the folder it ran in, exit status, stdout, stderr)."""
    from clipjax.cli.main import main

    folder, there = tmp_path_factory.mktemp("demo"), Path.cwd()
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPJAX_CACHE", str(folder / "cache"))
        patch.setenv("CLIPJAX_OFFLINE", "1")
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main(["demo"])
        finally:
            os.chdir(there)
    return folder, status, out.getvalue(), err.getvalue()
