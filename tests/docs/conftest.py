"""One stage, one cache for all pages; a released name is answered by a small random model: nothing is downloaded."""

import pytest
from support import docs_files
from support.docs_shell import Shell

from clipjax import loading
from clipjax.data.sets import fairface


@pytest.fixture(scope="session")
def staged(once):
    """The files that pages' commands read."""
    return once("stage", docs_files.build)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """Features, kept between pages as they are between a user's commands."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def shell(demo_run):
    """A bash with `clipjax` on its PATH."""
    made = Shell(demo_run)
    yield made
    made.close()


@pytest.fixture
def offline(monkeypatch, once, shared_cache):
    """No network, released names answered by random weights."""
    monkeypatch.setenv("CLIPJAX_OFFLINE", "1")
    monkeypatch.setenv("CLIPJAX_CACHE", str(shared_cache))
    find, locate = docs_files.released(once("released", docs_files.random_weights))
    monkeypatch.setattr(loading, "find_weights", find)
    monkeypatch.setattr(loading, "locate", locate)
    monkeypatch.setattr(fairface, "FIRST", docs_files.FIRST_10K)
