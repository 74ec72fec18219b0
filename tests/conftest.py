"""How JAX runs under test: virtual devices and compilation, by environment before anything imports jax."""

import atexit
import contextlib
import gc
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings
from support.amount import EXHAUSTIVE, amount

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
# jaxlib 0.10 on few cores: unsynchronised collectives on virtual devices can deadlock with a small pool.
os.environ.setdefault("NPROC", "16")
# Matrices here are small and workers share the cores: threads of BLAS spend ten times the time waiting for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The tests run some thousand small programs, most of them once, so what they wait for is the compiler. They compile
# with less optimisation, which takes less than half the time and rounds otherwise in the last bits; CLIPJAX_OPTIMISED=1
# is what a user has (`.ci/nightly`).
OPTIMISED = os.environ.get("CLIPJAX_OPTIMISED", "") == "1"
if not OPTIMISED:
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    if [int(part) for part in version("jaxlib").split(".")[:2]] < [0, 11]:  # XLA ends a process over a flag it dropped
        flags = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1")
        os.environ.setdefault("XLA_FLAGS", " ".join(flags))

# Models in the Hugging Face cache of the person who runs the tests change no result.
os.environ["HF_HOME"] = os.path.join(tempfile.gettempdir(), "clipjax-tests-hub")

# Every worker and every process that a test starts finds the programs of the others. A worker inherits the folder.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs = tempfile.mkdtemp(prefix="clipjax-programs-")
    atexit.register(shutil.rmtree, _programs, ignore_errors=True)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"
    # JAX writes an entry in place: who reads it half-written, or after a kill, is told so and compiles.
    os.environ["PYTHONWARNINGS"] = "ignore:Error reading persistent compilation cache entry"

WORLD = {"cat": 18, "dog": 13, "fish": 10}  # images of a class; in sum a partial batch on 1, 2 and 4 devices

# By default an example that takes 0.2 s is a failure: on a loaded machine that is a test of its neighbours.
settings.register_profile("unhurried", deadline=None, max_examples=amount(100, 30))
settings.load_profile("unhurried")


def pytest_collection_modifyitems(config, items):
    """Leaves out what is marked `exhaustive`: more values of what another test has done once."""
    if not EXHAUSTIVE:
        left = [item for item in items if item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in set(left)]


gc.disable()  # while tests are collected: what is imported stays


def pytest_collection_finish(session):
    """Python looks less often for garbage in cycles: what JAX and the libraries hold is large, and stays."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000, 20, 50)


# Their files share programs and runs that take seconds to make: one worker has them all.
TOGETHER = ("tests/inputs/", "tests/explore/", "tests/runs/shards/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file is one worker's, as its fixtures are; but each page of the documentation is an item of its own."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if "::test_the_blocks_of[" in nodeid:
                return nodeid
            return next((folder for folder in TOGETHER if nodeid.startswith(folder)), super()._split_scope(nodeid))

    return Scheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def figures_are_not_drawn():
    """Most of a report's time; `with drawings.drawn():` is for the tests that look at figures."""
    from support import drawings

    with drawings.undrawn():
        yield


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """once(name, make): the folder that `make(folder)` filled, once for all workers of a pytest run."""

    def folder(name: str, make: Callable[[Path], None]) -> Path:
        base = tmp_path_factory.getbasetemp()
        base = base if "PYTEST_XDIST_WORKER" not in os.environ else base.parent
        path, done = base / f"once-{name}", base / f"once-{name}.done"
        with FileLock(base / f"once-{name}.lock"):
            if not done.exists():
                shutil.rmtree(path, ignore_errors=True)  # of a worker that failed on the way
                path.mkdir()
                make(path)
                done.touch()
        return path

    return folder


@pytest.fixture(scope="session")
def world(once):
    """A random model of one block, `tiny.safetensors`, and `photos`, WORLD's images by class. Not to be changed."""
    return once("world", _world)


def _world(folder: Path) -> None:
    from clipjax.testing import pictures, tiny_model

    tiny_model(folder / "tiny.safetensors", layers=1)
    pictures(folder / "photos", WORLD)


@pytest.fixture(scope="session")
def demo_run(once):
    """`clipjax demo`, once for all tests: (the folder it ran in, exit status, stdout, stderr)."""
    folder = once("demo", _demo)
    return folder, *json.loads((folder / "said.json").read_text())


def _demo(folder: Path) -> None:
    from support import drawings

    from clipjax.cli.main import main

    there = Path.cwd()
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, drawings.drawn() if EXHAUSTIVE else contextlib.nullcontext():
        patch.setenv("CLIPJAX_CACHE", str(folder / "cache"))
        patch.setenv("CLIPJAX_OFFLINE", "1")
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main(["demo"])
        finally:
            os.chdir(there)
    (folder / "said.json").write_text(json.dumps([status, out.getvalue(), err.getvalue()]))
