"""One stage, one cache for all pages; a released name is answered by a small random model: nothing is downloaded."""

import jax
import pytest
import stage
from shell import Shell

from clipjax import compilation, loading


@pytest.fixture(scope="session")
def staged(tmp_path_factory):
    """The files that pages' commands read."""
    return stage.build(tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """Features and compiled programs, kept between pages as they are between a user's commands."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def shell(demo_run):
    """A bash with `clipjax` on its PATH."""
    made = Shell(demo_run)
    yield made
    made.close()


@pytest.fixture
def offline(monkeypatch, tmp_path_factory, shared_cache):
    """No network, released names answered by random weights, compiled programs kept for the next page."""
    monkeypatch.setenv("CLIPJAX_OFFLINE", "1")
    monkeypatch.setenv("CLIPJAX_CACHE", str(shared_cache))
    folder = tmp_path_factory.mktemp("released")
    monkeypatch.setattr(loading, "find_weights", stage.released(folder))
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    programs = shared_cache / "programs"
    programs.mkdir(mode=0o700, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(programs))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", compilation.SECONDS)
    yield
    jax.config.update("jax_compilation_cache_dir", before[0])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before[1])
