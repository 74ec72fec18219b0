"""One model whose programs are compiled once for all tests of this folder."""

import functools

import pytest
from world import Bench, Box, Places


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    """Runs share one encoder: programs are compiled once. Everything else of a run is as always."""
    from clipjax import loading
    from clipjax.runs import job

    folder = tmp_path_factory.mktemp("door")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPJAX_CACHE", str(folder / "cache"))
        patch.setenv("CLIPJAX_OFFLINE", "1")
        make, known = job.Encoder, {}

        def encoder(config, params, **options):
            key = (repr(config), tuple(sorted(options.items())))
            if key not in known:
                known[key] = make(config, params, **options)
            return known[key]

        patch.setattr(job, "Encoder", encoder)
        patch.setattr(loading, "load", functools.cache(loading.load))
        yield Bench(folder)


@pytest.fixture(scope="session")
def places(bench, tmp_path_factory):
    """The world's two parts in every kind of container, written when they are first asked for."""
    return Places(tmp_path_factory.mktemp("places"), bench)


@pytest.fixture
def box(bench, tmp_path):
    """An empty folder to fill."""
    return Box(tmp_path, bench)
