"""One model whose programs are compiled once for all tests of this folder."""

import functools

import pytest
from support.containers import Bench, Box, Places

import clipjax
from clipjax import loading
from clipjax.runs import engine


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    """The folder of the runs, the model and its features, for one pytest run."""
    return Bench(tmp_path_factory.mktemp("door"))


@pytest.fixture(scope="session")
def shared():
    """What takes the place of `engine.Encoder` and `loading.load`: each model is loaded and compiled once."""
    load, known = functools.cache(clipjax.load), {}  # looked up here, so that the package keeps what it is outside

    def encoder(config, params, make=engine.Encoder, **options):
        key = (id(params), repr(config), tuple(sorted(options.items())))
        if key not in known:
            known[key] = params, make(config, params, **options)  # kept, so that its id is no other's
        return known[key][1]

    return encoder, load


@pytest.fixture(autouse=True)
def one_encoder(bench, shared, monkeypatch):
    """Everything else of a run is as always, and so is everything in the tests of other folders."""
    monkeypatch.setenv("CLIPJAX_CACHE", str(bench.folder / "cache"))
    monkeypatch.setenv("CLIPJAX_OFFLINE", "1")
    monkeypatch.setattr(engine, "Encoder", shared[0])
    monkeypatch.setattr(loading, "load", shared[1])


@pytest.fixture(scope="session")
def places(bench, tmp_path_factory):
    """The world's two parts in every kind of container, written when they are first asked for."""
    return Places(tmp_path_factory.mktemp("places"), bench)


@pytest.fixture
def box(bench, tmp_path):
    """An empty folder to fill."""
    return Box(tmp_path, bench)
